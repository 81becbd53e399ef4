"""The phases of a run in which a controller can be killed: where a run stands, read off the objects that exist, and what ends each phase.

It knows the hand-overs from docs/architecture.md, not from the planner. A phase ends with one write, mostly the controller's own; while
that write is held (api_gate.py) the run stands in the phase.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recoup.api.labels import OWNER_KIND, OWNER_NAME, OWNER_NAMESPACE
from recoup.controller.kube import ApiServer
from recoup.controller.resources import JOB, POD, PV, PVC, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT
from tests.e2e.cluster.api_gate import Write
from tests.e2e.cluster.locations import MOVERS

Object = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """The run that a phase is about: a BackupSnapshot or RestoreRequest of one volume. target: the claim that a restore makes."""

    kind: str
    namespace: str
    name: str
    target: str = ""

    def owns(self, labels: Callable[[str], str]) -> bool:
        """Whether an object with these labels was made for it."""
        asked = (self.kind, self.namespace, self.name)
        return (labels(OWNER_KIND), labels(OWNER_NAMESPACE), labels(OWNER_NAME)) == asked


Ends = Callable[[Write, Subject], bool]


@dataclass(frozen=True)
class Phase:
    """ends: the write with which it is over; None while a mover works, and nobody writes.

    by_controller: that write is the controller's own, which repeats it as long as it is refused. slow: the mover works meanwhile, and only
    a slow place keeps it from ending.
    """

    name: str
    ends: Ends | None
    by_controller: bool = True
    slow: bool = False


def _made(resource: str, *, in_movers: bool = True) -> Ends:
    def ends(write: Write, run: Subject) -> bool:
        place = write.namespace in ("", MOVERS) if in_movers else write.namespace == run.namespace
        return write.verb == "CREATE" and write.resource == resource and place and run.owns(write.label)

    return ends


def _changed(resource: str, retains: str = "") -> Ends:
    """`retains`: the field that this change sets to Retain; without it, any change."""

    def ends(write: Write, run: Subject) -> bool:
        right = write.verb == "UPDATE" and write.resource == resource and run.owns(write.label)
        return right and (not retains or write.object["spec"].get(retains) == "Retain")

    return ends


def _removed(resource: str) -> Ends:
    return lambda write, run: write.verb == "DELETE" and write.resource == resource and run.owns(write.label)


def _told(resource: str, state: str) -> Ends:
    """The run's status says so of its volume."""

    def ends(write: Write, run: Subject) -> bool:
        if (write.resource, write.namespace, write.name) != (f"{resource}/status", run.namespace, run.name):
            return False
        return any(volume["state"] == state for volume in write.object.get("status", {}).get("volumes", ()))

    return ends


def _gets_ready(write: Write, run: Subject) -> bool:
    """The storage says that the snapshot is there: first of its content, then of the VolumeSnapshot."""
    if write.resource == "volumesnapshots/status":
        return write.namespace == run.namespace and write.name.startswith(f"{run.name}-") and _is_ready(write.object)
    if write.resource != "volumesnapshotcontents/status":
        return False
    ref = write.object["spec"]["volumeSnapshotRef"]
    return ref.get("namespace") == run.namespace and str(ref.get("name")).startswith(f"{run.name}-") and _is_ready(write.object)


def _is_ready(thing: Object) -> bool:
    return bool((thing.get("status") or {}).get("readyToUse"))


def _claim_given(write: Write, run: Subject) -> bool:
    """The volume's claimRef is the target."""
    ref = (write.object.get("spec") or {}).get("claimRef") or {}
    given = (ref.get("namespace"), ref.get("name")) == (run.namespace, run.target)
    return write.verb == "UPDATE" and write.resource == "persistentvolumes" and given and run.owns(write.label)


def _policy_back(write: Write, run: Subject) -> bool:
    """Our labels go off the volume."""
    gone = not (write.object["metadata"].get("labels") or {}).get(OWNER_NAME)
    return write.verb == "UPDATE" and write.resource == "persistentvolumes" and gone and run.owns(write.label)


def _bound(write: Write, run: Subject) -> bool:
    """The target claim changes: the controller has the binder look at it, or the binder has looked."""
    claim = write.resource in ("persistentvolumeclaims", "persistentvolumeclaims/status")
    return claim and (write.verb, write.namespace, write.name) == ("UPDATE", run.namespace, run.target)


BACKUP = (
    Phase("before the VolumeSnapshot", _made("volumesnapshots", in_movers=False)),
    Phase("snapshot not ready", _gets_ready, by_controller=False),
    Phase("snapshot ready", _changed("volumesnapshotcontents", "deletionPolicy")),
    Phase("content retained", _made("volumesnapshotcontents")),
    Phase("static content", _made("volumesnapshots")),
    Phase("movers' snapshot", _made("persistentvolumeclaims")),
    Phase("movers' claim", _made("jobs")),
    Phase("workload's pair to go", _removed("volumesnapshots"), by_controller=False, slow=True),  # not repeated while the mover works
    Phase("Job made", _made("pods"), by_controller=False),
    Phase("Job running", None, by_controller=False, slow=True),
    Phase("Job done", _told("backupsnapshots", "Stored")),
    Phase("clean-up", _removed("jobs")),
)
RESTORE = (
    Phase("before the claim", _made("persistentvolumeclaims")),
    Phase("movers' claim", _made("jobs")),
    Phase("Job made", _made("pods"), by_controller=False),
    Phase("Job running", None, by_controller=False, slow=True),
    Phase("Job done", _told("restorerequests", "HandingOver")),
    Phase("to be handed over", _changed("persistentvolumes", "persistentVolumeReclaimPolicy")),
    Phase("volume held", _removed("jobs")),
    Phase("target claim", _claim_given),
    Phase("volume given", _bound),
    Phase("target bound", _policy_back),
    Phase("policy back", _told("restorerequests", "Restored")),
    Phase("clean-up of a cancelled one", _removed("persistentvolumeclaims")),
)
"""A restore that went well leaves nothing to clean up: what it made is the user's, or went before the target was given."""


@dataclass(frozen=True)
class Census:
    """Everything that Recoup made, at one moment."""

    things: dict[str, list[Object]]

    @classmethod
    def take(cls, kube: ApiServer) -> Census:
        resources = (VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT, PVC, PV, JOB, POD)
        return cls({each.kind: kube.list(each) for each in resources})

    def of(self, kind: str, run: Subject) -> list[Object]:
        """The run's children."""
        return [each for each in self.things[kind] if run.owns(lambda key, each=each: _label(each, key))]  # type: ignore[misc]

    def backup(self, run: Subject, status: Object) -> str | None:
        """The phase of a backup; None when it is over."""
        snapshots, contents = self.of("VolumeSnapshot", run), self.of("VolumeSnapshotContent", run)
        jobs, claims = self.of("Job", run), self.of("PersistentVolumeClaim", run)
        states = {volume["state"] for volume in status.get("volumes", ())}
        if states and states <= {"Stored", "Failed", "Cancelled"}:
            return "clean-up" if jobs or claims or snapshots or contents else None
        theirs = [snapshot for snapshot in snapshots if snapshot["metadata"]["namespace"] == run.namespace]
        if jobs:
            return "workload's pair to go" if _some_stay(theirs) else self._job_phase(run)
        if claims:
            return "movers' claim"
        static = [content for content in contents if content["spec"]["volumeSnapshotRef"]["namespace"] == MOVERS]
        if static:
            ours = [snapshot for snapshot in snapshots if snapshot["metadata"]["namespace"] == MOVERS]
            return "static content" if not ours else "movers' snapshot"
        if not theirs:
            return "before the VolumeSnapshot"
        if not _is_ready(theirs[0]):
            return "snapshot not ready"
        return "content retained" if contents else "snapshot ready"

    def restore(self, run: Subject, status: Object) -> str | None:
        """The phase of a restore; None when it is over."""
        jobs, volumes = self.of("Job", run), self.of("PersistentVolume", run)
        claims = self.of("PersistentVolumeClaim", run)
        states = {volume["state"] for volume in status.get("volumes", ())}
        if states and states <= {"Failed", "Cancelled"}:
            return "clean-up of a cancelled one" if jobs or claims or volumes else None
        if states == {"Restored"}:
            return None
        made = next((claim for claim in self.things["PersistentVolumeClaim"] if _place(claim) == (run.namespace, run.target)), None)
        if made is not None:
            return self._given_phase(made, held=bool(volumes))
        if volumes:
            return "volume held"
        if states == {"HandingOver"}:
            return "to be handed over"
        if jobs:
            return self._job_phase(run)
        return "movers' claim" if claims else "before the claim"

    def _given_phase(self, target: Object, *, held: bool) -> str:
        if not held:
            return "policy back"
        name = target["spec"].get("volumeName")
        volume = next((each for each in self.things["PersistentVolume"] if each["metadata"]["name"] == name), None)
        if volume is None or (volume["spec"].get("claimRef") or {}).get("uid") != target["metadata"]["uid"]:
            return "target claim"
        return "target bound" if target.get("status", {}).get("phase") == "Bound" else "volume given"

    def _job_phase(self, run: Subject) -> str:
        pods = [pod.get("status", {}).get("phase") for pod in self.of("Pod", run)]
        done = [job for job in self.of("Job", run) if _ended(job)]
        if done or "Succeeded" in pods:
            return "Job done"
        return "Job running" if "Running" in pods else "Job made"


def _label(thing: Object, key: str) -> str:
    return str((thing["metadata"].get("labels") or {}).get(key) or "")


def _place(thing: Object) -> tuple[str, str]:
    return thing["metadata"].get("namespace") or "", thing["metadata"]["name"]


def _some_stay(things: list[Object]) -> bool:
    return any(not each["metadata"].get("deletionTimestamp") for each in things)


def _ended(job: Object) -> bool:
    conditions = job.get("status", {}).get("conditions") or ()
    return any(each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in conditions)
