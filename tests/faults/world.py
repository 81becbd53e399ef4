"""The rest of a cluster in memory: what else acts on the objects that Recoup makes, with the storage and the bucket behind it.

Simulated as far as the hand-overs depend on it: snapshot controller and CSI snapshotter, provisioner and binder, Job controller with movers
that do their work at once, namespace deletion, PVC protection. Two sets are what the tests judge by: `disks` and `cuts` (snapshots on the
storage), which must be empty of ours in the end, and `points` (COMMITs in the bucket). cluster/ runs the same flows on the real thing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from recoup.controller.resources import (
    JOB,
    NAMESPACE,
    POD,
    PV,
    PVC,
    SECRET,
    SNAPSHOT,
    SNAPSHOT_GROUP,
    STORAGE_CLASS,
    VOLUME_SNAPSHOT,
    VOLUME_SNAPSHOT_CLASS,
    VOLUME_SNAPSHOT_CONTENT,
    Resource,
    resource_of,
)
from recoup.plan.observed import ClaimRecord, Point
from tests.fakes.memory_kube import MemoryKube, copied

Object = dict[str, Any]
Mover = Callable[["World", Object, Object], Object | None]
"""Plays a mover's container: (world, job, pod) → its terminated state, or None to go on running."""

DRIVER = "disk.example.com"
BEING_DELETED = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted"


@dataclass
class World:
    """A cluster with one CSI driver. `step` lets every controller act once; `now` moves only when a test moves it."""

    now: datetime = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    disks: dict[str, str] = field(default_factory=dict)
    """Volume handle → what is on it."""
    cuts: dict[str, str] = field(default_factory=dict)
    """Snapshot handle → what is in it."""
    points: list[Point] = field(default_factory=list)
    copies: dict[str, list[Point]] = field(default_factory=dict)
    """MIRRORs by the name of the location that they are at."""
    mover: Mover | None = None
    snapshots_work: bool = True
    snapshot_error: str = ""
    retain_snapshots: bool = False
    """The VolumeSnapshotClass says Retain."""
    pods_start: bool = True

    def __post_init__(self) -> None:
        self.kube = MemoryKube(now=self.stamp)
        self._handles = 0

    def stamp(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def pass_time(self, **parts: float) -> None:
        self.now += timedelta(**parts)

    # what a test arranges

    def add_namespace(self, name: str, uid: str, labels: dict[str, str] | None = None) -> None:
        self.kube.put(NAMESPACE, {"metadata": {"name": name, "uid": uid, "labels": labels or {}}})

    def add_storage(self, *, binding: str = "Immediate", reclaim: str = "Delete", classes: dict[str, bool] | None = None) -> None:
        """A StorageClass `fast` and VolumeSnapshotClasses by name → marked as default."""
        fast = {"metadata": {"name": "fast"}, "provisioner": DRIVER, "volumeBindingMode": binding, "reclaimPolicy": reclaim}
        self.kube.put(STORAGE_CLASS, fast)
        for name, default in (classes if classes is not None else {"cuts": False}).items():
            annotations = {"snapshot.storage.kubernetes.io/is-default-class": "true"} if default else {}
            body = {"metadata": {"name": name, "annotations": annotations}, "driver": DRIVER, "deletionPolicy": "Delete"}
            self.kube.put(VOLUME_SNAPSHOT_CLASS, body)

    def add_volume(self, namespace: str, name: str, content: str, *, driver: str = DRIVER, labels: dict[str, str] | None = None) -> Object:
        """A bound PVC with something on it."""
        handle = self._handle("disk")
        self.disks[handle] = content
        claim = self.kube.put(
            PVC,
            {
                "metadata": {"name": name, "namespace": namespace, "labels": labels or {}, "finalizers": ["kubernetes.io/pvc-protection"]},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "volumeMode": "Filesystem",
                    "storageClassName": "fast",
                    "resources": {"requests": {"storage": "1Gi"}},
                    "volumeName": f"pv-{handle}",
                },
                "status": {"phase": "Bound"},
            },
        )
        self._add_disk(handle, claim, driver=driver)
        return claim

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        return self.kube.get(resource, namespace, name)

    def all(self, resource: Resource) -> list[Object]:
        return self.kube.list(resource)

    def delete(self, thing: Object) -> None:
        """Play a user with kubectl delete."""
        metadata = thing["metadata"]
        resource = resource_of(thing["apiVersion"], thing["kind"])
        self.kube.delete(resource, metadata.get("namespace"), metadata["name"], uid=metadata["uid"])

    def delete_namespace(self, name: str) -> None:
        """Begin to delete it; `step` takes its content away bit by bit."""
        found = self.get(NAMESPACE, None, name)
        found["metadata"]["deletionTimestamp"] = self.stamp()
        self.kube.put(NAMESPACE, found)

    # the controllers

    def step(self) -> bool:
        """Every controller acts once, in an order that the test cannot choose. True if anything changed."""
        before = self._versions()
        hooks, self.kube.before_write = self.kube.before_write, lambda _verb, _kind, _name: None
        try:
            for act in (
                self._empty_namespaces, self._run_jobs, self._expire_jobs, self._collect_secrets, self._collect_pods, self._take_snapshots,
                self._drop_snapshots, self._drop_contents, self._provision, self._bind, self._drop_claims, self._drop_volumes,
            ):  # fmt: skip
                act()
        finally:
            self.kube.before_write = hooks
        return before != self._versions()

    def _versions(self) -> object:
        """What changes when anything does."""
        objects = {place: thing["metadata"]["resourceVersion"] for place, thing in self.kube.objects.items()}
        return objects, dict(self.disks), dict(self.cuts), len(self.points)

    def settle(self, limit: int = 30) -> None:
        """Let the controllers act until nothing changes any more."""
        for _ in range(limit):
            if not self.step():
                return
        raise AssertionError("the world does not come to rest")

    def _empty_namespaces(self) -> None:
        for namespace in self.all(NAMESPACE):
            if not namespace["metadata"].get("deletionTimestamp"):
                continue
            name = namespace["metadata"]["name"]
            inside = [thing for thing in list(self.kube.objects.values()) if thing["metadata"].get("namespace") == name]
            for thing in inside:
                if not thing["metadata"].get("deletionTimestamp"):
                    self.delete(thing)
            if not any(thing["metadata"].get("namespace") == name for thing in self.kube.objects.values()):
                del self.kube.objects[(NAMESPACE.api_version, NAMESPACE.kind, "", name)]

    def _take_snapshots(self) -> None:
        for snapshot in self.all(VOLUME_SNAPSHOT):
            if snapshot["metadata"].get("deletionTimestamp"):
                continue
            if "persistentVolumeClaimName" in snapshot["spec"]["source"]:
                self._take_dynamic(snapshot)
            else:
                self._bind_static(snapshot)

    def _take_dynamic(self, snapshot: Object) -> None:
        status = snapshot.get("status") or {}
        name = f"snapcontent-{snapshot['metadata']['uid']}"
        claim = self._find(PVC, snapshot["metadata"]["namespace"], snapshot["spec"]["source"]["persistentVolumeClaimName"])
        if not status.get("boundVolumeSnapshotContentName"):
            if claim is None:
                return
            volume = self.get(PV, None, claim["spec"]["volumeName"])
            self._put_content(name, snapshot, {"volumeHandle": volume["spec"]["csi"]["volumeHandle"]})
            self._put(snapshot, status={"boundVolumeSnapshotContentName": name, "readyToUse": False}, finalizer="bound")
            return
        content = self._find(VOLUME_SNAPSHOT_CONTENT, None, name)
        if content is None or status.get("readyToUse"):
            return
        if not self.snapshots_work:
            error = {"error": {"message": self.snapshot_error}} if self.snapshot_error else {}
            self._put(snapshot, status=status | error)
            return
        handle = self._handle("cut")
        self.cuts[handle] = self.disks.get(content["spec"]["source"]["volumeHandle"], "")
        done = {"readyToUse": True, "restoreSize": 1 << 30, "creationTime": int(self.now.timestamp()) * 10**9, "snapshotHandle": handle}
        self._put(content, status=done)
        self._put(snapshot, status=status | {"readyToUse": True, "restoreSize": "1Gi", "creationTime": self.stamp()})

    def _bind_static(self, snapshot: Object) -> None:
        content = self._find(VOLUME_SNAPSHOT_CONTENT, None, snapshot["spec"]["source"]["volumeSnapshotContentName"])
        if content is None or (snapshot.get("status") or {}).get("readyToUse"):
            return
        handle = content["spec"]["source"]["snapshotHandle"]
        if handle not in self.cuts:
            self._put(snapshot, status={"readyToUse": False, "error": {"message": f"snapshot {handle} not found"}}, finalizer="bound")
            return
        content["spec"]["volumeSnapshotRef"]["uid"] = snapshot["metadata"]["uid"]
        self._put(content, status={"readyToUse": True, "restoreSize": 1 << 30, "snapshotHandle": handle}, finalizer="bound")
        bound = {"boundVolumeSnapshotContentName": content["metadata"]["name"], "readyToUse": True, "restoreSize": "1Gi"}
        self._put(snapshot, status=bound, finalizer="bound")

    def _drop_snapshots(self) -> None:
        for snapshot in self.all(VOLUME_SNAPSHOT):
            if not snapshot["metadata"].get("deletionTimestamp"):
                continue
            content = self._find(VOLUME_SNAPSHOT_CONTENT, None, (snapshot.get("status") or {}).get("boundVolumeSnapshotContentName"))
            if content is not None:
                content["metadata"].setdefault("annotations", {})[BEING_DELETED] = "yes"
                self.kube.put(VOLUME_SNAPSHOT_CONTENT, content)
                if content["spec"]["deletionPolicy"] == "Delete" and not content["metadata"].get("deletionTimestamp"):
                    self.delete(content)
            self._let_go(snapshot)

    def _drop_contents(self) -> None:
        for content in self.all(VOLUME_SNAPSHOT_CONTENT):
            if not content["metadata"].get("deletionTimestamp"):
                continue
            unbound = "snapshotHandle" in content["spec"]["source"] and not content["spec"]["volumeSnapshotRef"].get("uid")
            if not unbound and BEING_DELETED not in (content["metadata"].get("annotations") or {}):
                continue
            if content["spec"]["deletionPolicy"] == "Delete":
                handle = (content.get("status") or {}).get("snapshotHandle") or content["spec"]["source"].get("snapshotHandle")
                self.cuts.pop(str(handle), None)
            self._let_go(content)

    def _provision(self) -> None:
        for claim in self.all(PVC):
            if claim["spec"].get("volumeName") or claim["metadata"].get("deletionTimestamp"):
                continue
            storage = self._find(STORAGE_CLASS, None, claim["spec"].get("storageClassName"))
            if storage is None or (storage["volumeBindingMode"] == "WaitForFirstConsumer" and not self._pods_using(claim)):
                continue
            source = claim["spec"].get("dataSource")
            content = ""
            if source is not None:
                snapshot = self._find(VOLUME_SNAPSHOT, claim["metadata"]["namespace"], source["name"])
                held = self._find(
                    VOLUME_SNAPSHOT_CONTENT, None, ((snapshot or {}).get("status") or {}).get("boundVolumeSnapshotContentName")
                )
                handle = ((held or {}).get("status") or {}).get("snapshotHandle")
                if handle not in self.cuts:
                    continue
                content = self.cuts[handle]
            handle = self._handle("disk")
            self.disks[handle] = content
            claim["spec"]["volumeName"] = f"pv-{handle}"
            claim["status"] = {"phase": "Bound"}
            claim["metadata"]["finalizers"] = ["kubernetes.io/pvc-protection"]
            self._add_disk(handle, self.kube.put(PVC, claim), reclaim=storage["reclaimPolicy"])

    def _bind(self) -> None:
        for claim in self.all(PVC):
            volume = self._find(PV, None, claim["spec"].get("volumeName"))
            if volume is None or (claim.get("status") or {}).get("phase") == "Bound" or claim["metadata"].get("deletionTimestamp"):
                continue
            ref = volume["spec"].get("claimRef") or {}
            metadata = claim["metadata"]
            if (ref.get("namespace"), ref.get("name"), ref.get("uid")) == (metadata["namespace"], metadata["name"], metadata["uid"]):
                metadata["finalizers"] = ["kubernetes.io/pvc-protection"]
                self._put(claim, status={"phase": "Bound"})
                self._put(volume, status={"phase": "Bound"})

    def _drop_claims(self) -> None:
        for claim in self.all(PVC):
            if claim["metadata"].get("deletionTimestamp") and not self._pods_using(claim):
                self._let_go(claim)

    def _drop_volumes(self) -> None:
        for volume in self.all(PV):
            ref = volume["spec"].get("claimRef") or {}
            claim = self._find(PVC, ref.get("namespace"), ref.get("name"))
            if claim is not None and claim["metadata"]["uid"] == ref.get("uid"):
                continue
            if volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
                self.disks.pop(volume["spec"]["csi"]["volumeHandle"], None)
                del self.kube.objects[(PV.api_version, PV.kind, "", volume["metadata"]["name"])]
            elif (volume.get("status") or {}).get("phase") != "Released":
                self._put(volume, status={"phase": "Released"})

    def _run_jobs(self) -> None:
        for job in self.all(JOB):
            if job["metadata"].get("deletionTimestamp") or (job.get("status") or {}).get("conditions"):
                continue
            pods = [pod for pod in self.all(POD) if self._job_of(pod) == job["metadata"]["uid"]]
            if not pods:
                self._start_pod(job)
                continue
            self._run_pod(job, pods[0])

    def _start_pod(self, job: Object) -> None:
        if (job.get("status") or {}).get("started"):  # its only pod was deleted: backoffLimit is 0
            self._finish(job, "Failed", "BackoffLimitExceeded")
            return
        if not self.pods_start:
            return
        template = copied(job["spec"]["template"])
        name, namespace = f"{job['metadata']['name'][:50]}-pod", job["metadata"]["namespace"]
        labels = template["metadata"]["labels"] | {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
        owner = [{"kind": "Job", "uid": job["metadata"]["uid"]}]
        metadata = template["metadata"] | {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": owner}
        self.kube.put(POD, {"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}})
        self._put(job, status={"started": True})

    def _run_pod(self, job: Object, pod: Object) -> None:
        if any(self._find(SECRET, pod["metadata"]["namespace"], name) is None for name in self._secrets_awaited(pod)):
            return
        claims = [self._find(PVC, pod["metadata"]["namespace"], name) for name in _claims_of(pod)]
        if any(claim is None or (claim.get("status") or {}).get("phase") != "Bound" for claim in claims):
            return
        running = {"state": {"running": {"startedAt": self.stamp()}}}
        if pod["status"]["phase"] == "Pending":
            pod = self._put(pod, status={"phase": "Running", "containerStatuses": [running]})
        ended = (self.mover or work)(self, job, pod)
        if ended is None:
            return
        phase = "Succeeded" if ended["exitCode"] == 0 else "Failed"
        state = {"state": {"terminated": {"finishedAt": self.stamp(), **ended}}}
        self._put(pod, status={"phase": phase, "containerStatuses": [state]})
        self._finish(job, "Complete" if ended["exitCode"] == 0 else "Failed", "BackoffLimitExceeded")

    def _expire_jobs(self) -> None:
        for job in self.all(JOB):
            kept = job["spec"].get("ttlSecondsAfterFinished")
            ended = [item["lastTransitionTime"] for item in (job.get("status") or {}).get("conditions") or ()]
            if kept is not None and ended and self.now >= datetime.fromisoformat(ended[0]) + timedelta(seconds=kept):
                self.delete(job)

    def _finish(self, job: Object, kind: str, reason: str) -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": self.stamp()}
        self._put(job, status={"started": True, "conditions": [condition]})

    def _collect_pods(self) -> None:
        jobs = {job["metadata"]["uid"] for job in self.all(JOB)}
        for pod in self.all(POD):
            if self._job_of(pod) not in (None, *jobs):
                self.delete(pod)

    def _collect_secrets(self) -> None:
        """What belongs to a Job goes with it; a Job goes with the BackupSnapshot that it belongs to."""
        owners = {thing["metadata"]["uid"] for thing in [*self.all(JOB), *self.all(SNAPSHOT)]}
        for thing in [*self.all(SECRET), *self.all(JOB)]:
            if any(owner["uid"] not in owners for owner in thing["metadata"].get("ownerReferences") or ()):
                self.delete(thing)

    # small things

    def _secrets_awaited(self, pod: Object) -> list[str]:
        """Those of movers outside the movers' namespace; what lies there is taken to be there."""
        if pod["metadata"]["namespace"] == "recoup-movers":
            return []
        return [item["secret"]["secretName"] for item in pod["spec"].get("volumes") or () if "secret" in item]

    def _find(self, resource: Resource, namespace: str | None, name: str | None) -> Object | None:
        if not name:
            return None
        found = self.kube.objects.get((resource.api_version, resource.kind, namespace or "", name))
        return copied(found) if found else None

    def _put(self, thing: Object, *, status: Object, finalizer: str = "") -> Object:
        changed = thing | {"status": status}
        if finalizer:
            changed["metadata"] = changed["metadata"] | {"finalizers": [finalizer]}
        present = self._find(resource_of(thing["apiVersion"], thing["kind"]), thing["metadata"].get("namespace"), thing["metadata"]["name"])
        return thing if changed == present else self.kube.put(resource_of(thing["apiVersion"], thing["kind"]), changed)

    def _put_content(self, name: str, snapshot: Object, source: Object) -> None:
        ref = {"namespace": snapshot["metadata"]["namespace"], "name": snapshot["metadata"]["name"], "uid": snapshot["metadata"]["uid"]}
        policy = "Retain" if self.retain_snapshots else "Delete"
        spec = {"deletionPolicy": policy, "driver": DRIVER, "source": source, "volumeSnapshotRef": ref}
        self.kube.put(
            VOLUME_SNAPSHOT_CONTENT,
            {"apiVersion": SNAPSHOT_GROUP, "metadata": {"name": name, "finalizers": ["bound"]}, "spec": spec},
        )

    def _add_disk(self, handle: str, claim: Object, *, driver: str = DRIVER, reclaim: str = "Delete") -> None:
        metadata = claim["metadata"]
        ref = {"namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}
        spec = {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "csi": {"driver": driver, "volumeHandle": handle},
            "claimRef": ref,
            "persistentVolumeReclaimPolicy": reclaim,
            "storageClassName": claim["spec"]["storageClassName"],
        }
        self.kube.put(PV, {"metadata": {"name": f"pv-{handle}"}, "spec": spec, "status": {"phase": "Bound"}})

    def _let_go(self, thing: Object) -> None:
        """Take the finalizers off what is being deleted, and with the last one the object goes."""
        place = (thing["apiVersion"], thing["kind"], thing["metadata"].get("namespace") or "", thing["metadata"]["name"])
        self.kube.objects.pop(place, None)

    def _pods_using(self, claim: Object) -> list[Object]:
        """Also pods that ended: the protection of a claim lasts as long as the pod object."""
        namespace, name = claim["metadata"]["namespace"], claim["metadata"]["name"]
        return [pod for pod in self.all(POD) if pod["metadata"]["namespace"] == namespace and name in _claims_of(pod)]

    def _job_of(self, pod: Object) -> str | None:
        owners = pod["metadata"].get("ownerReferences") or ()
        return next((str(owner["uid"]) for owner in owners if owner["kind"] == "Job"), None)

    def _handle(self, kind: str) -> str:
        self._handles += 1
        return f"{kind}-{self._handles}"


def work(world: World, job: Object, pod: Object) -> Object | None:
    """A mover that does its work at once and well: backup, restore or keys, by its arguments."""
    arguments = pod["spec"]["containers"][0]["args"]
    match arguments[0]:
        case "backup":
            commit(world, pod)
        case "restore":
            manifest = arguments[arguments.index("--snapshot") + 1]
            world.disks[_disk_of(world, pod)] = next(point.id for point in world.points if point.manifest == manifest)
        case "handout-job":
            namespace, name, uid = (arguments[arguments.index(flag) + 1] for flag in ("--namespace", "--job", "--job-uid"))
            owner = [{"kind": "Job", "name": name, "uid": uid}]
            world.kube.put(SECRET, {"metadata": {"name": name, "namespace": namespace, "ownerReferences": owner}})
        case "keys-job":
            vault = arguments[arguments.index("--vault") + 1]
            world.kube.put(SECRET, {"metadata": {"name": f"catalogue-{vault}", "namespace": "recoup-system"}})
    return {
        "exitCode": 0,
        "message": json.dumps({"version": 1, "outcome": "Succeeded", "filesTotal": 3, "bytesWritten": 7, "duration": 2.0}),
    }


def commit(world: World, pod: Object) -> None:
    """What a backup mover leaves in the bucket: one COMMIT a session, however often it is tried. `id` holds what was on the volume."""
    run = json.loads(pod["metadata"]["annotations"]["recoup.dev/run"])
    content = world.disks[_disk_of(world, pod)]
    if any(point.session == run["session"] for point in world.points):
        return
    source = {key: value for key, value in run["source"].items() if key != "clusterUid"}
    world.points.append(
        Point(
            id=content,
            session=run["session"],
            manifest=f"manifest-of-{run['session']}",
            taken_at=datetime.fromisoformat(run["slot"]),
            policy=run["policy"],
            policy_uid=run["policyUid"],
            owner_uid=run["policyUid"],
            order=len(world.points),
            snapshot=run["snapshot"],
            snapshot_uid=run["snapshotUid"],
            source=ClaimRecord(**_snake(source)),
            volumes_expected=tuple(run["volumesExpected"]),
            consistency=run["consistency"],
            files_total=3,
            bytes_read=len(content),
            bytes_stored=len(content),
            bytes_total=len(content),
            duration=2.0,
        )
    )


def _snake(fields: Object) -> Object:
    return {"".join(f"_{char.lower()}" if char.isupper() else char for char in key): value for key, value in fields.items()}


def _disk_of(world: World, pod: Object) -> str:
    claim = world.get(PVC, pod["metadata"]["namespace"], _claims_of(pod)[0])
    return str(world.get(PV, None, claim["spec"]["volumeName"])["spec"]["csi"]["volumeHandle"])


def _claims_of(pod: Object) -> list[str]:
    return [item["persistentVolumeClaim"]["claimName"] for item in pod["spec"].get("volumes") or () if "persistentVolumeClaim" in item]
