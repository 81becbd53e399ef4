"""What works beside Recoup in the scale tests: real controllers and scheduler, kwok for nodes, and stand-ins for storage and containers.

The stand-ins do what the CSI sidecars and a mover's container do to the API server and to the bucket: a snapshot becomes ready, a claim
gets its volume, a keys Job makes a vault and hands out its Secrets, a backup appends OPEN and COMMIT before its pod ends.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec

from recoup.cli.keys_job import hand_out
from recoup.controller import failures
from recoup.controller.kube import ApiServer, load_configuration
from recoup.controller.resources import NODE, POD, PV, PVC, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT, Resource
from recoup.engine.keys.kek import SecretKek
from recoup.engine.keys.tickets import ticket_from_text
from recoup.engine.log.bodies import Commit, Open
from recoup.engine.log.follow import Log
from recoup.engine.log.points import PointRecord, seal_point
from recoup.engine.probe import probe
from recoup.engine.stores.file import FileStore
from recoup.engine.vault import Provisioned, provision
from recoup.report import Report, encode_report
from tests.cluster.programs import share
from tests.integration.controller.conftest import ControlPlane
from tests.integration.controller.process import wait_for

Object = dict[str, Any]

DRIVER = "disk.example.com"
CONTROLLERS = (
    "job-controller", "garbage-collector-controller", "ttl-after-finished-controller", "persistentvolume-binder-controller",
    "persistentvolumeclaim-protection-controller", "persistentvolume-protection-controller", "node-lifecycle-controller",
)  # fmt: skip
STAGES = ("node/fast/node-initialize", "node/heartbeat-with-lease/node-heartbeat-with-lease", "pod/fast/pod-ready", "pod/fast/pod-delete")
"""Of kwok. Not its pod-complete: a mover ends when its COMMIT is in the log."""
WORKS_FOR = 3.0
"""Seconds that a backup takes."""
LOOKS_EVERY = 0.3
GIB = 1 << 30


def start_the_rest(plane: ControlPlane, nodes: int) -> None:
    """The controllers that a run needs, the scheduler, and nodes by kwok."""
    config = str(plane.others_kubeconfig)
    plane.run(
        "kube-controller-manager", f"--kubeconfig={config}", "--leader-elect=false", "--secure-port=0", "--kube-api-qps=200",
        "--kube-api-burst=400", f"--controllers={','.join(CONTROLLERS)}",
    )  # fmt: skip
    plane.run("kube-scheduler", f"--kubeconfig={config}", "--leader-elect=false", "--secure-port=0", "--kube-api-qps=200")
    stages = [f"--config={share('kwok') / 'stage' / name}.yaml" for name in STAGES]
    plane.run(
        "kwok", f"--kubeconfig={config}", "--node-ip=192.0.2.1", "--node-lease-duration-seconds=40", "--manage-all-nodes=true", *stages
    )
    kube, room = plane.kube(), {"cpu": "32", "memory": "256Gi", "pods": "110"}
    for number in range(nodes):
        metadata = {"name": f"node-{number}", "labels": {"kubernetes.io/hostname": f"node-{number}"}}
        body = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": {"capacity": room, "allocatable": room}}
        kube.create(NODE, body)
    wait_for("kwok has the nodes ready", lambda: all(is_ready(node) for node in kube.list(NODE)))


def is_ready(thing: Object) -> bool:
    conditions = (thing.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


class OthersKube(ApiServer):
    """The API server as controllers use it that are not ours."""

    def patch_status(self, resource: Resource, thing: Object, status: Object) -> Object:
        metadata = thing["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"], "status")
        return self._json("PATCH", resource, path, {"status": status}, media="application/merge-patch+json")


class StandIns:
    """Storage and containers. `commits`: the recovery points that it appended, by session."""

    def __init__(self, plane: ControlPlane, folder: str, kek: SecretKek, *, movers: str, system: str) -> None:
        self._kube = OthersKube(load_configuration(str(plane.others_kubeconfig)))
        self._store, self._kek, self._movers, self._system = FileStore(folder), kek, movers, system
        self._vaults: dict[str, tuple[Provisioned, Log]] = {}
        self._started: set[str] = set()
        self._stop = threading.Event()
        self.commits: set[str] = set()
        self.trouble: list[BaseException] = []

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with ThreadPoolExecutor(64) as containers:
            thread = threading.Thread(target=self._run, args=(containers,), daemon=True)
            thread.start()
            try:
                yield
            finally:
                self._stop.set()
                thread.join(30)
        assert self.trouble == []

    def _run(self, containers: ThreadPoolExecutor) -> None:
        while not self._stop.wait(LOOKS_EVERY):
            for act in (self._snapshots, self._claims, self._volumes, lambda: self._pods(containers)):
                self._noted(act)

    def _noted(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (failures.Conflict, failures.Gone, failures.AlreadyExists, failures.Unavailable):
            return  # somebody was quicker: it is looked at again
        except BaseException as error:  # noqa: BLE001  # told by the test's own thread
            self.trouble.append(error)

    def _snapshots(self) -> None:
        snapshots = self._kube.list(VOLUME_SNAPSHOT)
        contents = {content["metadata"]["name"]: content for content in self._kube.list(VOLUME_SNAPSHOT_CONTENT)}
        there = {snapshot["metadata"]["uid"] for snapshot in snapshots}
        for snapshot in snapshots:
            if not (snapshot.get("status") or {}).get("readyToUse"):
                self._noted(lambda snapshot=snapshot: self._cut(snapshot, contents))  # type: ignore[misc]  # bound now
        for content in contents.values():
            if content["spec"]["deletionPolicy"] == "Delete" and content["spec"]["volumeSnapshotRef"].get("uid", "") not in {"", *there}:
                self._noted(lambda content=content: self._remove(VOLUME_SNAPSHOT_CONTENT, content))  # type: ignore[misc]  # bound now

    def _cut(self, snapshot: Object, contents: dict[str, Object]) -> None:
        """One VolumeSnapshot: of a claim, or bound to a content that is there."""
        metadata, source, now = snapshot["metadata"], snapshot["spec"]["source"], datetime.now(UTC)
        ref = {"namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}
        if "persistentVolumeClaimName" in source:
            name = f"snapcontent-{metadata['uid']}"
            disk = {"volumeHandle": f"disk-{metadata['namespace']}"}
            spec = {"deletionPolicy": "Delete", "driver": DRIVER, "source": disk, "volumeSnapshotRef": ref}
            body = {"apiVersion": VOLUME_SNAPSHOT_CONTENT.api_version, "kind": "VolumeSnapshotContent", "metadata": {"name": name}}
            content = contents.get(name) or self._kube.create(VOLUME_SNAPSHOT_CONTENT, body | {"spec": spec})
            handle = f"cut-{metadata['uid']}"
        else:
            found = contents.get(source["volumeSnapshotContentName"])
            if found is None:
                return
            name, handle = found["metadata"]["name"], found["spec"]["source"]["snapshotHandle"]
            content = self._kube.patch(VOLUME_SNAPSHOT_CONTENT, None, name, {"spec": {"volumeSnapshotRef": {"uid": metadata["uid"]}}})
        done = {"readyToUse": True, "restoreSize": GIB, "creationTime": int(now.timestamp() * 1e9), "snapshotHandle": handle}
        self._kube.patch_status(VOLUME_SNAPSHOT_CONTENT, content, done)
        bound = {
            "boundVolumeSnapshotContentName": name,
            "readyToUse": True,
            "restoreSize": "1Gi",
            "creationTime": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        }
        self._kube.patch_status(VOLUME_SNAPSHOT, snapshot, bound)

    def _claims(self) -> None:
        """Volumes for the movers' claims; the real binder binds them."""
        for claim in self._kube.list(PVC, self._movers):
            if not claim["spec"].get("volumeName") and not claim["metadata"].get("deletionTimestamp"):
                self._noted(lambda claim=claim: self._provision(claim))  # type: ignore[misc]  # bound now

    def _provision(self, claim: Object) -> None:
        self._kube.create(PV, volume_for(claim, f"copy-{claim['metadata']['uid']}"))

    def _volumes(self) -> None:
        for volume in self._kube.list(PV):
            if (volume.get("status") or {}).get("phase") == "Released" and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
                self._noted(lambda volume=volume: self._remove(PV, volume))  # type: ignore[misc]  # bound now

    def _remove(self, resource: Resource, thing: Object) -> None:
        if not thing["metadata"].get("deletionTimestamp"):
            self._kube.delete(resource, thing["metadata"].get("namespace"), thing["metadata"]["name"], uid=thing["metadata"]["uid"])

    def _pods(self, containers: ThreadPoolExecutor) -> None:
        for pod in self._kube.list(POD, self._movers):
            uid = pod["metadata"]["uid"]
            if pod["status"].get("phase") == "Running" and uid not in self._started:
                self._started.add(uid)
                containers.submit(self._noted, lambda pod=pod: self._contain(pod))  # type: ignore[misc]  # bound now

    def _contain(self, pod: Object) -> None:
        """A container's whole life."""
        arguments = pod["spec"]["containers"][0]["args"]
        report = Report(outcome="Succeeded", files_total=3, bytes_read=7, duration=WORKS_FOR)
        match arguments[0]:
            case "backup":
                self._back_up(pod, arguments[arguments.index("--vault") + 1])
            case "keys-job":
                self._make_keys(dict(pairwise(arguments)))
            case "doctor":
                assert probe(self._store).conformant
            case other:
                raise AssertionError(other)
        state = {"terminated": {"exitCode": 0, "message": encode_report(report).decode(), "finishedAt": stamp(), "startedAt": stamp()}}
        status = pod["status"]["containerStatuses"][0] | {"state": state, "ready": False}
        self._kube.patch_status(POD, pod, {"phase": "Succeeded", "containerStatuses": [status]})

    def _make_keys(self, options: dict[str, str]) -> None:
        vault, labels = options["--vault"], {"namespace": options["--namespace"], "namespaceUid": options["--namespace-uid"]}
        made = provision(self._store, [self._kek], [], vault_id=bytes.fromhex(vault), labels=labels)
        self._vaults[vault] = (made, Log(self._store, bytes.fromhex(vault), root_public=made.writer.identity.root_public))
        hand_out(self._kube, made, vault, labels, self._movers, self._system)

    def _back_up(self, pod: Object, vault: str) -> None:
        run = msgspec.json.decode(pod["metadata"]["annotations"]["recoup.dev/run"])
        made, log = self._vaults[vault]
        keys, session, ticket = made.writer, bytes.fromhex(run["session"]), ticket_from_text(run["ticket"])
        log.follow()
        opened = log.append(Open(session, ticket, 16 << 20), keys.signer).head.seq
        began = time.time_ns() // 1_000_000
        time.sleep(WORKS_FOR)  # what a mover would copy meanwhile
        record = PointRecord(
            point=run["snapshotUid"], snapshot=run["snapshot"], policy=run["policy"], consistency=run["consistency"],
            volumes_expected=tuple(run["volumesExpected"]), source=msgspec.json.encode(run["source"]).decode(), kind="directory",
            started=began, finished=time.time_ns() // 1_000_000, files=3, bytes_total=7, bytes_read=7, bytes_stored=7, errors=0,
            tool="test",
        )  # fmt: skip
        sealed = seal_point(keys.meta_key, keys.identity, keys.generation, session, record)
        log.append(Commit(session, opened, ticket, os.urandom(32), os.urandom(32), (os.urandom(32),), b"", sealed), keys.signer)
        self.commits.add(run["session"])


def volume_for(claim: Object, handle: str) -> Object:
    """A PersistentVolume of the test's driver that is reserved for this claim."""
    metadata, spec = claim["metadata"], claim["spec"]
    ref = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"} | {key: metadata[key] for key in ("namespace", "name", "uid")}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pv-{metadata['uid']}", "annotations": {"pv.kubernetes.io/provisioned-by": DRIVER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "csi": {"driver": DRIVER, "volumeHandle": handle},
            "claimRef": ref,
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
        },
    }


def stamp() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
