"""One volume of a backup run as it stands in the cluster: which of its objects exist, on both sides of the hand-over.

Only looks things up by name, label and reference; capture.py and snapshot.py decide what follows.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from recoup.api.backupsnapshot import SnapshotVolume
from recoup.api.objects import GROUP
from recoup.plan.actions import Delete, Object, Patch
from recoup.plan.movers import attempt_number, parse_time
from recoup.plan.objects.identity import Owner, is_child, is_handout
from recoup.plan.objects.snapshots import CONTENT, SNAPSHOT
from recoup.plan.observed import ClaimRecord, Point, SnapshotObserved

SOURCE = f"{GROUP}/source"
"""Annotation on the contents of the hand-over: the ClaimRecord of their volume, for the time when the claim itself is gone."""


CAPTURED_AT = f"{GROUP}/captured-at"
"""Annotation on our own content: when the storage cut the snapshot, in nanoseconds since 1970."""


class VolumeView(Struct, frozen=True, kw_only=True):
    """What exists for one volume. `tenant_*` on the workload's side, `movers_*` on ours, `static_content` between them.

    claim, volume: the PVC (with the pinned uid) and its PersistentVolume. jobs: its movers by attempt; pods: of all attempts. live: it is
    read where it is; handouts: the Jobs that bring keys to such movers, by attempt.
    """

    known: SnapshotVolume
    name: str
    claim: Object | None = None
    volume: Object | None = None
    tenant_snapshot: Object | None = None
    tenant_content: Object | None = None
    static_content: Object | None = None
    movers_snapshot: Object | None = None
    movers_claim: Object | None = None
    jobs: dict[int, Object] = {}
    handouts: dict[int, Object] = {}
    live: bool = False
    pods: tuple[Object, ...] = ()
    point: Point | None = None

    @property
    def place(self) -> str:
        return self.known.persistent_volume_claim

    def captured_nanoseconds(self) -> int:
        """When the storage cut the snapshot, since 1970 by its own clock; 0 if that is not known (any more)."""
        carried = ((self.static_content or {}).get("metadata") or {}).get("annotations", {}).get(CAPTURED_AT)
        return int(carried or 0) or cut_at(self.tenant_content or {})

    def captured_at(self) -> datetime | None:
        """The same as a time for the status, which keeps it. Of a Live capture, when its mover was made."""
        if self.live:
            made = self.jobs[max(self.jobs)]["metadata"]["creationTimestamp"] if self.jobs else None
            return parse_time(made) if made else self.known.captured_at
        stamp = self.captured_nanoseconds()
        return self.known.captured_at or (datetime.fromtimestamp(stamp // 1_000_000_000, UTC) if stamp else None)

    def is_cut(self) -> bool:
        """The storage has taken its snapshot: what is written from now on is not in it."""
        ready = ((self.tenant_snapshot or {}).get("status") or {}).get("readyToUse")
        return bool(ready) or self.captured_at() is not None or self.static_content is not None or self.movers_claim is not None

    def children(self) -> list[Object]:
        """Everything of ours that still exists for this volume."""
        singles = (self.tenant_snapshot, self.tenant_content, self.static_content, self.movers_snapshot, self.movers_claim)
        return [*(item for item in singles if item is not None), *self.jobs.values(), *self.handouts.values()]

    def handed_over(self) -> bool:
        """The snapshot no longer depends on the workload's namespace."""
        return self.static_content is not None or (self.tenant_content is not None and is_retained(self.tenant_content))


def view_volume(observed: SnapshotObserved, owner: Owner, known: SnapshotVolume, session: str | None, *, live: bool = False) -> VolumeView:
    """Pick this volume's objects out of what was observed."""
    mine = [child for child in observed.children if is_child(child, owner.uid, known.uid)]
    claim = next((claim for claim in observed.claims if claim["metadata"]["uid"] == known.uid), None)
    points = observed.catalogue.points if observed.catalogue else ()
    view = sort_children(mine, observed.around.movers_namespace, known)
    return msgspec.structs.replace(
        view,
        name=owner.child_name(known.persistent_volume_claim, known.uid),
        live=live,
        claim=claim,
        volume=_volume_of(observed, claim),
        tenant_content=_bound_content(observed.children, view.tenant_snapshot) or view.tenant_content,
        point=next((point for point in points if session is not None and point.session == session), None),
    )


def sort_children(mine: list[Object], movers_namespace: str, known: SnapshotVolume) -> VolumeView:
    """Which of one volume's children is which: by kind, side and source, so that it works without the owner too."""
    kinds: dict[str, list[Object]] = {}
    for child in mine:
        kinds.setdefault(child["kind"], []).append(child)
    snapshots, contents = kinds.get(SNAPSHOT, []), kinds.get(CONTENT, [])
    ours = [thing["metadata"].get("namespace") == movers_namespace for thing in snapshots]
    jobs = kinds.get("Job", [])
    static = ["snapshotHandle" in thing["spec"]["source"] for thing in contents]
    return VolumeView(
        known=known,
        name="",
        tenant_snapshot=next((thing for thing, our in zip(snapshots, ours, strict=True) if not our), None),
        movers_snapshot=next((thing for thing, our in zip(snapshots, ours, strict=True) if our), None),
        tenant_content=next((thing for thing, fixed in zip(contents, static, strict=True) if not fixed), None),
        static_content=next((thing for thing, fixed in zip(contents, static, strict=True) if fixed), None),
        movers_claim=next(iter(kinds.get("PersistentVolumeClaim", [])), None),
        jobs={attempt_number(job): job for job in jobs if not is_handout(job)},
        handouts={attempt_number(job): job for job in jobs if is_handout(job)},
        pods=tuple(kinds.get("Pod", [])),
    )


def record_claim(view: VolumeView, *, namespace_uid: str) -> ClaimRecord | None:
    """What to remember of the source: from the claim while it is there, else from what the hand-over carries."""
    if view.claim is not None and view.volume is not None:
        spec, metadata = view.claim["spec"], view.claim["metadata"]
        return ClaimRecord(
            namespace=metadata["namespace"],
            namespace_uid=namespace_uid,
            persistent_volume_claim=metadata["name"],
            persistent_volume_claim_uid=metadata["uid"],
            storage_class_name=spec.get("storageClassName"),
            access_modes=tuple(spec.get("accessModes") or ()),
            volume_mode=spec.get("volumeMode") or "Filesystem",
            size=str((view.volume["spec"].get("capacity") or {}).get("storage") or spec["resources"]["requests"]["storage"]),
            labels=metadata.get("labels") or {},
            node_affinity=view.volume["spec"].get("nodeAffinity"),
        )
    for content in (view.static_content, view.tenant_content):
        text = ((content or {}).get("metadata") or {}).get("annotations", {}).get(SOURCE)
        if text:
            return msgspec.json.decode(text, type=ClaimRecord)
    return None


def cut_at(content: Object) -> int:
    """When the snapshot of a content was taken, as the CSI driver says: nanoseconds since 1970; 0 if it does not say."""
    return int((content.get("status") or {}).get("creationTime") or 0)


def is_retained(content: Object) -> bool:
    return bool(content["spec"].get("deletionPolicy") == "Retain")


def is_going(thing: Object) -> bool:
    """It is being deleted already."""
    return bool(thing["metadata"].get("deletionTimestamp"))


def delete(thing: Object) -> Delete:
    metadata = thing["metadata"]
    return Delete(
        api_version=thing["apiVersion"], kind=thing["kind"], namespace=metadata.get("namespace"), name=metadata["name"], uid=metadata["uid"]
    )


def patch(thing: Object, change: Object) -> Patch:
    metadata = thing["metadata"]
    return Patch(
        api_version=thing["apiVersion"],
        kind=thing["kind"],
        namespace=metadata.get("namespace"),
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        patch=change,
    )


def _bound_content(children: tuple[Object, ...], snapshot: Object | None) -> Object | None:
    """The content that a VolumeSnapshot names; it has our labels only from step two on."""
    bound = ((snapshot or {}).get("status") or {}).get("boundVolumeSnapshotContentName")
    named = (child for child in children if bound and child["kind"] == CONTENT and child["metadata"]["name"] == bound)
    return next(named, None)


def _volume_of(observed: SnapshotObserved, claim: Object | None) -> Object | None:
    bound = ((claim or {}).get("spec") or {}).get("volumeName")
    return next((volume for volume in observed.volumes if bound and volume["metadata"]["name"] == bound), None)


def measure_skew(views: Sequence[VolumeView]) -> str | None:
    """The time between the first and the last volume's capture, by the storage's own clock, such as `120ms` or `3.4s`.

    None as long as one is not captured, and for a single volume.
    """
    stamps = [view.captured_nanoseconds() for view in views]
    if len(stamps) < 2 or not all(stamps):
        return None
    milliseconds = (max(stamps) - min(stamps)) // 1_000_000
    return f"{milliseconds}ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f}s"
