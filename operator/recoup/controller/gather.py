"""Reads that the gatherers of all kinds share: children by label, what may be absent, progress from logs, warnings from Events.

Reads only, mostly from the cache; `at_server` is the same with the server asked every time, for what can't be undone. The progress
line of a pod is remembered for some seconds, so that a burst of looks does not read its log each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from recoup.api.labels import MANAGED_BY, MANAGER, OWNER_NAMESPACE, OWNER_UID
from recoup.controller import failures
from recoup.controller.cache import NAME, POLICY_NAME
from recoup.controller.kube import Kube, Object
from recoup.controller.resources import (
    CORE_EVENT,
    JOB,
    NAMESPACE,
    POD,
    PV,
    PVC,
    SNAPSHOT,
    SNAPSHOT_GROUP,
    STORAGE_CLASS,
    VOLUME_SNAPSHOT,
    VOLUME_SNAPSHOT_CLASS,
    VOLUME_SNAPSHOT_CONTENT,
    Resource,
)
from recoup.plan.objects.identity import ATTEMPT
from recoup.plan.observed import Progress, Surroundings

PROGRESS_EVERY = 12.0
"""Seconds between two reads of one pod's log."""
PROGRESS_AFTER = timedelta(seconds=10)
"""What has run for less has nothing to tell yet."""
PROGRESS_BYTES = 4096
PROGRESS_LINES = 10
"""More than the notes that a mover makes between two lines of progress."""
JOB_NAME = "batch.kubernetes.io/job-name"
WARNINGS_AFTER = timedelta(seconds=5)
"""What has existed for less is on its way; its Events are not asked for."""


class _ProgressLine(msgspec.Struct):
    progress: Progress


class Reader:
    """Reads for one look at one object. Thread-safe; raises what Kube raises unless a docstring says otherwise."""

    def __init__(self, kube: Kube, around: Surroundings, *, clock: Callable[[], float], server: Kube | None = None) -> None:
        """`server`: where `kube` answers from memory, the way past it."""
        self.kube = kube
        self.around = around
        self._clock = clock
        self._progress: dict[str, tuple[float, Progress | None]] = {}
        self.at_server: Reader = Reader(server, around, clock=clock) if server is not None else self

    def optional(self, resource: Resource, namespace: str | None, name: str | None) -> Object | None:
        """The object, or None if it is absent or has no name."""
        if not name:
            return None
        try:
            return self.kube.get(resource, namespace, name)
        except failures.Gone:
            return None

    def list_optional(self, resource: Resource, namespace: str | None = None, *, labels: str = "") -> tuple[Object, ...] | None:
        """All that match, or None if the cluster does not have this kind."""
        try:
            return tuple(self.kube.list(resource, namespace, labels=labels))
        except failures.Gone:
            return None

    def children(self, owner_uid: str, resources: Iterable[Resource]) -> tuple[Object, ...]:
        """Everything of these kinds with the owner's label, in all namespaces; Jobs and Pods of ours are in the movers' only."""
        found: list[Object] = []
        for resource in resources:
            namespace = self.around.movers_namespace if resource in (JOB, POD) else None
            found += self.list_optional(resource, namespace, labels=f"{MANAGED_BY}={MANAGER},{OWNER_UID}={owner_uid}") or ()
        return tuple(found)

    def ours(self, resource: Resource, namespace: str | None, owner_namespace: str) -> tuple[Object, ...]:
        """What we made of this kind for all custom resources of a namespace; nothing where the cluster does not have the kind."""
        labels = f"{MANAGED_BY}={MANAGER},{OWNER_NAMESPACE}={owner_namespace}"
        return self.list_optional(resource, namespace, labels=labels) or ()

    def jobs_and_pods(self, label: str, *, expected: Iterable[str] = ()) -> tuple[Object, ...]:
        """Jobs of ours with this label, in the movers' namespace, and their Pods. `expected`: values of the label ATTEMPT to be there.

        The server is asked where what is known can't be all: an attempt that is expected is missing, or a Job ended and nothing is
        known of its Pod's end, which says why.
        """
        namespace, labels = self.around.movers_namespace, f"{MANAGED_BY}={MANAGER},{label}"
        jobs = self.kube.list(JOB, namespace, labels=labels)
        pods = self.kube.list(POD, namespace, labels=labels) if jobs else []
        if self.at_server is not self and _lacks_some(jobs, pods, frozenset(expected)):
            return self.at_server.jobs_and_pods(label)
        return (*jobs, *pods)

    def snapshots_of(self, namespace: str, policy: str) -> tuple[Object, ...]:
        """The BackupSnapshots that name this policy, by whomever they were made."""
        return tuple(self.kube.list(SNAPSHOT, namespace, fields=f"{POLICY_NAME}={policy}"))

    def listed(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """As `optional`, but absence is taken from the cache too: for what decides nothing that can't be undone."""
        return next(iter(self.kube.list(resource, namespace, fields=f"{NAME}={name}")), None)

    def beside_workload(self, namespace: str, owner_uid: str) -> tuple[Object, ...]:
        """Jobs and Pods of a Live run in the workload's own namespace: always from the server, because no watch tells of them."""
        if namespace not in self.around.live_namespaces:
            return ()
        labels = f"{MANAGED_BY}={MANAGER},{OWNER_UID}={owner_uid}"
        jobs = self.kube.list(JOB, namespace, labels=labels)
        return (*jobs, *(self.kube.list(POD, namespace, labels=labels) if jobs else ()))

    def namespace(self, name: str) -> Object | None:
        return self.optional(NAMESPACE, None, name)

    def claims(self, namespace: str) -> tuple[Object, ...]:
        return tuple(self.kube.list(PVC, namespace))

    def volumes_of(self, claims: Iterable[Object]) -> tuple[Object, ...]:
        """The PersistentVolumes that these claims name and that exist."""
        names = sorted({name for claim in claims if (name := claim["spec"].get("volumeName"))})
        return tuple(volume for name in names if (volume := self.optional(PV, None, name)) is not None)

    def storage_classes(self) -> tuple[Object, ...]:
        return tuple(self.kube.list(STORAGE_CLASS))

    def snapshot_classes(self) -> tuple[Object, ...] | None:
        return self.list_optional(VOLUME_SNAPSHOT_CLASS)

    def contents_of(self, snapshots: Iterable[Object], known: Iterable[Object]) -> tuple[Object, ...]:
        """The VolumeSnapshotContents that these VolumeSnapshots are bound to, less those already known."""
        have = {item["metadata"]["name"] for item in known if item["kind"] == VOLUME_SNAPSHOT_CONTENT.kind}
        names = {(snapshot.get("status") or {}).get("boundVolumeSnapshotContentName") for snapshot in snapshots}
        wanted = sorted(name for name in names if name and name not in have)
        return tuple(item for name in wanted if (item := self.optional(VOLUME_SNAPSHOT_CONTENT, None, name)) is not None)

    def progress_of(self, children: Iterable[Object], wall: datetime) -> dict[str, Progress]:
        """By name, the last progress line of every mover Pod that has been running for a while and whose log can be read."""
        now = self._clock()
        found: dict[str, Progress] = {}
        for pod in children:
            if pod["kind"] != POD.kind or not _works_since(pod, wall - PROGRESS_AFTER):
                continue
            uid = pod["metadata"]["uid"]
            read_at, progress = self._progress.get(uid, (float("-inf"), None))
            if now - read_at >= PROGRESS_EVERY:
                progress = self._read_progress(pod)
                self._progress[uid] = (now, progress)
            if progress is not None:
                found[pod["metadata"]["name"]] = progress
        for uid in [uid for uid, (read_at, _) in self._progress.items() if now - read_at > 60 * PROGRESS_EVERY]:
            self._progress.pop(uid, None)
        return found

    def warnings_of(self, children: Iterable[Object], now: datetime) -> dict[str, str]:
        """By uid, the newest Warning Event about each Pod, PVC or VolumeSnapshot that waits, and each Job without a Pod, for a while."""
        seen = tuple(children)
        started = {(child["metadata"].get("labels") or {}).get(JOB_NAME) for child in seen if child["kind"] == POD.kind}
        late = (child for child in seen if now - _created(child) >= WARNINGS_AFTER)
        waiting = (child for child in late if _waits(child) or _lacks_pod(child, started))
        return {child["metadata"]["uid"]: text for child in waiting if (text := self._newest_warning(child))}

    def _read_progress(self, pod: Object) -> Progress | None:
        metadata = pod["metadata"]
        try:
            text = self.kube.log_tail(metadata["namespace"], metadata["name"], lines=PROGRESS_LINES, limit_bytes=PROGRESS_BYTES)
        except (failures.Gone, failures.Rejected):  # the container has not started, or has just gone
            return None
        for line in reversed(text.splitlines()):
            try:
                return msgspec.json.decode(line, type=_ProgressLine).progress
            except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
                continue
        return Progress(told=False)

    def _newest_warning(self, child: Object) -> str:
        metadata = child["metadata"]
        fields = f"involvedObject.uid={metadata['uid']},type=Warning"
        try:
            events = self.kube.list(CORE_EVENT, metadata["namespace"], fields=fields)
        except failures.Gone:
            return ""
        newest = max(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""), default=None)
        return f"{newest.get('reason')}: {newest.get('message')}" if newest else ""


def _lacks_some(jobs: list[Object], pods: list[Object], expected: frozenset[str]) -> bool:
    told = {(pod["metadata"].get("labels") or {}).get(JOB_NAME) for pod in pods if has_ended(pod)}
    unexplained = any((job.get("status") or {}).get("conditions") and job["metadata"]["name"] not in told for job in jobs)
    return unexplained or not expected <= {job["metadata"]["labels"].get(ATTEMPT, "") for job in jobs}


def has_ended(pod: Object) -> bool:
    """Its container terminated, and says how."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any("terminated" in (status.get("state") or {}) for status in statuses)


def _works_since(pod: Object, moment: datetime) -> bool:
    """Its container runs, and did so already at that moment."""
    status = pod.get("status") or {}
    states = [(one.get("state") or {}).get("running") for one in status.get("containerStatuses") or ()]
    return status.get("phase") == "Running" and any(state and datetime.fromisoformat(state["startedAt"]) <= moment for state in states)


def _lacks_pod(child: Object, started: set[str | None]) -> bool:
    """A Job that ended may have lost its Pod; one that works has one, unless a quota or an admission refuses it."""
    ended = (child.get("status") or {}).get("conditions")
    return child["kind"] == JOB.kind and not ended and child["metadata"]["name"] not in started


def _created(child: Object) -> datetime:
    return datetime.fromisoformat(child["metadata"]["creationTimestamp"])


def _waits(child: Object) -> bool:
    status: dict[str, Any] = child.get("status") or {}
    if child["kind"] == POD.kind:
        return status.get("phase") in (None, "Pending")
    if child["kind"] == PVC.kind:
        return status.get("phase") != "Bound"
    return child["kind"] == VOLUME_SNAPSHOT.kind and child["apiVersion"] == SNAPSHOT_GROUP and not status.get("readyToUse")
