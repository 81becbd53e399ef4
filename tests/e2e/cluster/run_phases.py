"""Where a run stands, read off the objects that exist: the phases in which a controller can be killed, in their order.

For a test that has stopped the controllers and looks around. It knows the hand-over from docs/architecture.md, not from the planner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recoup.controller.kube import ApiServer
from recoup.controller.resources import JOB, POD, PV, PVC, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT
from tests.e2e.cluster.locations import MOVERS

Object = dict[str, Any]

BACKUP = (
    "before the VolumeSnapshot",
    "snapshot not ready",
    "snapshot ready",
    "content retained",
    "static content",
    "movers' snapshot",
    "workload's pair gone",
    "movers' claim",
    "Job made",
    "Job running",
    "Job done",
    "clean-up",
)
RESTORE = (
    "before the claim",
    "movers' claim",
    "Job made",
    "Job running",
    "Job done",
    "volume held",
    "target claim",
    "volume given",
    "policy back",
    "clean-up",
)


@dataclass(frozen=True)
class Census:
    """Everything that Recoup made, at one moment."""

    things: dict[str, list[Object]]

    @classmethod
    def take(cls, kube: ApiServer) -> Census:
        resources = (VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT, PVC, PV, JOB, POD)
        return cls({each.kind: kube.list(each) for each in resources})

    def of(self, kind: str, namespace: str) -> list[Object]:
        """The children of that namespace's runs."""
        return [each for each in self.things[kind] if (each["metadata"].get("labels") or {}).get("recoup.dev/owner-namespace") == namespace]

    def backup(self, namespace: str, status: Object) -> str | None:
        """The phase of the namespace's only backup; None when it is over."""
        snapshots, contents = self.of("VolumeSnapshot", namespace), self.of("VolumeSnapshotContent", namespace)
        jobs, claims = self.of("Job", namespace), self.of("PersistentVolumeClaim", namespace)
        states = {volume["state"] for volume in status.get("volumes", ())}
        if status.get("completedAt") or (states and states <= {"Stored", "Failed", "Cancelled"}):
            return "clean-up" if jobs or claims or snapshots or contents else None
        if jobs:
            return self._job_phase(namespace)
        if claims:
            return "movers' claim"
        theirs = [snapshot for snapshot in snapshots if snapshot["metadata"]["namespace"] == namespace]
        static = [content for content in contents if content["spec"]["volumeSnapshotRef"]["namespace"] == MOVERS]
        if static:
            ours = [snapshot for snapshot in snapshots if snapshot["metadata"]["namespace"] == MOVERS]
            return "static content" if not ours else "movers' snapshot" if theirs else "workload's pair gone"
        if not theirs:
            return "before the VolumeSnapshot"
        if not (theirs[0].get("status") or {}).get("readyToUse"):
            return "snapshot not ready"
        return "content retained" if contents else "snapshot ready"

    def restore(self, namespace: str, status: Object, target: str) -> str | None:
        """The phase of the namespace's only restore, to the claim `target`; None when it is over."""
        jobs, volumes = self.of("Job", namespace), self.of("PersistentVolume", namespace)
        claims = self.of("PersistentVolumeClaim", namespace)
        states = {volume["state"] for volume in status.get("volumes", ())}
        if states and states <= {"Restored", "Failed", "Cancelled"}:
            return "clean-up" if jobs or claims or volumes else "policy back" if not status.get("completedAt") else None
        made = [
            claim
            for claim in self.things["PersistentVolumeClaim"]
            if (claim["metadata"]["namespace"], claim["metadata"]["name"]) == (namespace, target)
        ]
        if made:
            name = made[0]["spec"].get("volumeName")
            volume = next((each for each in self.things["PersistentVolume"] if each["metadata"]["name"] == name), None)
            given = volume is not None and (volume["spec"].get("claimRef") or {}).get("uid") == made[0]["metadata"]["uid"]
            return "target claim" if not given else "volume given" if volumes else "policy back"
        if volumes:
            return "volume held"
        if jobs:
            return self._job_phase(namespace)
        return "movers' claim" if claims else "before the claim"

    def _job_phase(self, namespace: str) -> str:
        pods = [pod.get("status", {}).get("phase") for pod in self.of("Pod", namespace)]
        done = [job for job in self.of("Job", namespace) if _ended(job)]
        if done or "Succeeded" in pods:
            return "Job done"
        return "Job running" if "Running" in pods else "Job made"


def _ended(job: Object) -> bool:
    conditions = job.get("status", {}).get("conditions") or ()
    return any(each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in conditions)
