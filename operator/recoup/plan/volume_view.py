"""One volume of a backup run as it stands in the cluster: which of its objects exist, on both sides of the hand-over.

Only looks things up by name, label and reference; capture.py and snapshot.py decide what follows.
"""

import msgspec
from msgspec import Struct

from recoup.api.backupsnapshot import SnapshotVolume
from recoup.api.objects import GROUP
from recoup.plan.actions import Delete, Object, Patch
from recoup.plan.movers import attempt_number
from recoup.plan.objects.identity import Owner, is_child
from recoup.plan.objects.snapshots import CONTENT, SNAPSHOT
from recoup.plan.observed import ClaimRecord, Point, SnapshotObserved

SOURCE = f"{GROUP}/source"
"""Annotation on the contents of the hand-over: the ClaimRecord of their volume, for the time when the claim itself is gone."""


class VolumeView(Struct, frozen=True, kw_only=True):
    """What exists for one volume. `tenant_*` on the workload's side, `movers_*` on ours, `static_content` between them.

    claim, volume: the PVC (with the pinned uid) and its PersistentVolume. jobs: its movers by attempt; pods: of all attempts.
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
    pods: tuple[Object, ...] = ()
    point: Point | None = None

    @property
    def place(self) -> str:
        return self.known.persistent_volume_claim

    def children(self) -> list[Object]:
        """Everything of ours that still exists for this volume."""
        singles = (self.tenant_snapshot, self.tenant_content, self.static_content, self.movers_snapshot, self.movers_claim)
        return [*(item for item in singles if item is not None), *self.jobs.values()]

    def handed_over(self) -> bool:
        """The snapshot no longer depends on the workload's namespace."""
        return self.static_content is not None or (self.tenant_content is not None and is_retained(self.tenant_content))


def view_volume(observed: SnapshotObserved, owner: Owner, known: SnapshotVolume, session: str | None) -> VolumeView:
    """Pick this volume's objects out of what was observed."""
    name = owner.child_name(known.persistent_volume_claim, known.uid)
    mine = [child for child in observed.children if is_child(child, owner.uid, known.uid)]
    movers = observed.around.movers_namespace
    claim = next((claim for claim in observed.claims if claim["metadata"]["uid"] == known.uid), None)
    tenant_snapshot = _find(mine, SNAPSHOT, owner.namespace, name)
    points = observed.catalogue.points if observed.catalogue else ()
    return VolumeView(
        known=known,
        name=name,
        claim=claim,
        volume=_volume_of(observed, claim),
        tenant_snapshot=tenant_snapshot,
        tenant_content=_tenant_content(observed, mine, tenant_snapshot, name),
        static_content=_find(mine, CONTENT, None, name),
        movers_snapshot=_find(mine, SNAPSHOT, movers, name),
        movers_claim=_find(mine, "PersistentVolumeClaim", movers, name),
        jobs={attempt_number(child): child for child in mine if child["kind"] == "Job"},
        pods=tuple(child for child in mine if child["kind"] == "Pod"),
        point=next((point for point in points if session is not None and point.session == session), None),
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


def _find(things: list[Object], kind: str, namespace: str | None, name: str) -> Object | None:
    for thing in things:
        metadata = thing["metadata"]
        if (thing["kind"], metadata.get("namespace"), metadata["name"]) == (kind, namespace, name):
            return thing
    return None


def _tenant_content(observed: SnapshotObserved, mine: list[Object], snapshot: Object | None, name: str) -> Object | None:
    """By the VolumeSnapshot's reference; once that is gone, by the labels that step two put on it."""
    bound = ((snapshot or {}).get("status") or {}).get("boundVolumeSnapshotContentName")
    for child in observed.children:
        if bound and child["kind"] == CONTENT and child["metadata"]["name"] == bound:
            return child
    return next((child for child in mine if child["kind"] == CONTENT and child["metadata"]["name"] != name), None)


def _volume_of(observed: SnapshotObserved, claim: Object | None) -> Object | None:
    bound = ((claim or {}).get("spec") or {}).get("volumeName")
    return next((volume for volume in observed.volumes if bound and volume["metadata"]["name"] == bound), None)
