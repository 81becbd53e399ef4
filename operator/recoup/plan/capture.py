"""The hand-over of one volume: from a snapshot in the workload's namespace to a claim that a mover can read in ours.

The order survives a stop after any write, and the loss of the workload's namespace between any two: (1) VolumeSnapshot there; (2) when it
is ready, its content to Retain, with our labels; (3) a content of our own for the same handle, and a VolumeSnapshot in the movers'
namespace; (4) when that is ready, a claim from ours and its mover; (5) the workload's pair away. `release` takes all of it away again,
from wherever it stands. Each function looks at what exists and returns the next writes; nothing is remembered.
"""

from datetime import datetime

import msgspec
from msgspec import Struct

from recoup.api.durations import to_duration
from recoup.api.quantities import parse_bytes
from recoup.plan.access import Refusal
from recoup.plan.actions import Action, Create, Object
from recoup.plan.movers import STALL_LIMIT, START_GRACE, parse_time
from recoup.plan.objects.claims import ClaimShape, build_mover_claim
from recoup.plan.objects.identity import Owner
from recoup.plan.objects.snapshots import build_bound_snapshot, build_static_content, build_volume_snapshot
from recoup.plan.observed import ClaimRecord, SnapshotObserved
from recoup.plan.snapshot_class import choose_snapshot_class, per_namespace_secrets
from recoup.plan.volume_view import CAPTURED_AT, SOURCE, VolumeView, cut_at, delete, is_going, is_retained, patch, record_claim


class Handover(Struct, frozen=True):
    """Where the hand-over stands: writes to make now, then `ready` (a mover may be made for the claim), a refusal, or what it waits for.

    after: writes that nobody waits for, to be made last. waits, reason: only of what takes longer than it should, or is in the way.
    """

    actions: tuple[Action, ...] = ()
    after: tuple[Action, ...] = ()
    refusal: Refusal | None = None
    ready: bool = False
    waits: str | None = None
    reason: str | None = None


class Terms(Struct, frozen=True, kw_only=True):
    """What the run settled for all its volumes."""

    owner: Owner
    namespace_uid: str
    namespace_ending: bool
    snapshot_class: str | None
    now: datetime


def continue_handover(view: VolumeView, observed: SnapshotObserved, terms: Terms) -> Handover:
    """The next step towards the movers' claim."""
    if view.movers_claim is not None and not is_going(view.movers_claim):
        return Handover(ready=True, after=_drop_tenant_pair(view))
    if view.static_content is not None and not is_going(view.static_content):
        return _on_our_side(view, observed, terms)
    if view.tenant_content is not None and _usable(view.tenant_content):
        return _take_over(view, observed, terms)
    if view.tenant_snapshot is not None:
        return _await_snapshot(view, observed, terms)
    return _take_snapshot(view, observed, terms)


def release(view: VolumeView) -> tuple[Action, ...]:
    """Remove everything of ours: from the movers outwards, the snapshot itself last and exactly once."""
    holder: Object | None
    actions: list[Action] = [delete(job) for job in (*view.jobs.values(), *view.handouts.values()) if not is_going(job)]
    if view.movers_claim is not None and not is_going(view.movers_claim):
        actions.append(delete(view.movers_claim))
    if view.static_content is not None:
        actions += _drop_tenant_pair(view)
        holder = view.movers_snapshot or view.static_content  # the snapshot takes its content along, as its policy says
        return (*actions, *(() if is_going(holder) else (delete(holder),)))
    if view.movers_snapshot is not None and not is_going(view.movers_snapshot):
        actions.append(delete(view.movers_snapshot))
    content = view.tenant_content
    if content is not None and not is_going(content) and is_retained(content):
        actions.append(patch(content, {"spec": {"deletionPolicy": "Delete"}}))
    holder = view.tenant_snapshot or content
    if holder is not None and not is_going(holder):
        actions.append(delete(holder))
    return tuple(actions)


def _take_snapshot(view: VolumeView, observed: SnapshotObserved, terms: Terms) -> Handover:
    place = f"PVC {terms.owner.namespace}/{view.place}"
    if terms.namespace_ending:
        message = f"namespace {terms.owner.namespace} is being deleted, and {place} was not captured yet"
        return Handover(refusal=Refusal("NamespaceTerminating", message))
    if view.claim is None or is_going(view.claim):
        message = f"{place} was deleted before a snapshot of it was ready; if it was made anew, the next run protects the new one"
        return Handover(refusal=Refusal("VolumeClaimDeleted", message))
    refusal = check_bound(view.claim, view.volume, observed, terms)
    if refusal is not None:
        return refusal
    chosen = choose_snapshot_class(view.claim, view.volume, observed.snapshot_classes, terms.snapshot_class)
    if isinstance(chosen, Refusal):
        return Handover(refusal=chosen)
    secrets = per_namespace_secrets(_class_named(observed, view.claim["spec"].get("storageClassName")))
    if secrets is not None:
        return Handover(refusal=secrets)
    snapshot = build_volume_snapshot(terms.owner, name=view.name, claim=view.place, claim_uid=view.known.uid, snapshot_class=chosen)
    return Handover(actions=(Create(snapshot),))


def check_bound(claim: Object, volume: Object | None, observed: SnapshotObserved, terms: Terms) -> Handover | None:
    """A claim without a volume holds nothing yet; one that is being bound gets the stall limit."""
    if volume is not None and (claim.get("status") or {}).get("phase") == "Bound":
        return None
    phase = (claim.get("status") or {}).get("phase") or "Pending"
    message = f"PVC {terms.owner.namespace}/{claim['metadata']['name']} is {phase}, not Bound: there is no volume to capture"
    if phase == "Lost" or _older(observed.snapshot, terms.now):
        hint = "start a pod that uses it, or exclude it in spec.selector.exclude"
        return Handover(refusal=Refusal("VolumeNotBound", f"{message}; {hint}"))
    return Handover(reason="VolumeNotBound", waits=message)


def _await_snapshot(view: VolumeView, observed: SnapshotObserved, terms: Terms) -> Handover:
    snapshot = view.tenant_snapshot
    assert snapshot is not None
    name = f"VolumeSnapshot {terms.owner.namespace}/{snapshot['metadata']['name']}"
    if is_going(snapshot):
        reason = "NamespaceTerminating" if terms.namespace_ending else "VolumeSnapshotDeleted"
        return Handover(refusal=Refusal(reason, f"{name} was deleted before it could be handed over; the next run takes another"))
    error = _error_of(snapshot, view.tenant_content) or observed.warnings.get(snapshot["metadata"]["uid"], "")
    waits = f"{name} is not ready" + (f": {error[:1024]}" if error else "")
    if _older(snapshot, terms.now):
        hint = "look at the snapshot controller and the CSI driver's csi-snapshotter"
        return Handover(refusal=Refusal("VolumeSnapshotNotReady", f"{waits}; given up after {to_duration(STALL_LIMIT)}; {hint}"))
    late = bool(error) or _is_late(snapshot, terms.now)
    return Handover(_mark_retained(view, terms), reason="VolumeSnapshotFailing" if error else None, waits=waits if late else None)


def _mark_retained(view: VolumeView, terms: Terms) -> tuple[Action, ...]:
    """A class that retains leaves its content behind when the namespace goes: with our labels the sweep finds it."""
    content, labels = view.tenant_content, terms.owner.labels(view.known.uid)
    if content is None or not is_retained(content) or labels.items() <= (content["metadata"].get("labels") or {}).items():
        return ()
    return (patch(content, {"metadata": {"labels": labels}}),)


def _take_over(view: VolumeView, observed: SnapshotObserved, terms: Terms) -> Handover:
    """Steps two and three. The patch comes first and carries the resource version that was seen, so what follows rests on Retain."""
    content = view.tenant_content
    assert content is not None
    record = record_claim(view, namespace_uid=terms.namespace_uid)
    if record is None:
        message = f"PVC {terms.owner.namespace}/{view.place} was deleted before its snapshot could be handed over; the next run goes on"
        return Handover(refusal=Refusal("VolumeClaimDeleted", message))
    source = msgspec.json.encode(record).decode()
    captured = cut_at(content)
    labels = terms.owner.labels(view.known.uid)
    carried = content["metadata"].get("annotations") or {}
    actions: list[Action] = []
    if not is_retained(content) or SOURCE not in carried or not labels.items() <= (content["metadata"].get("labels") or {}).items():
        change = {"metadata": {"labels": labels, "annotations": {SOURCE: source}}, "spec": {"deletionPolicy": "Retain"}}
        actions.append(patch(content, change))
    movers = observed.around.movers_namespace
    static = build_static_content(terms.owner, name=view.name, claim_uid=view.known.uid, movers_namespace=movers, tenant_content=content)
    static["metadata"]["annotations"] |= {SOURCE: source} | ({CAPTURED_AT: str(captured)} if captured else {})
    actions.append(Create(static))
    if view.movers_snapshot is None:
        bound = build_bound_snapshot(terms.owner, name=view.name, claim_uid=view.known.uid, movers_namespace=movers, content=static)
        actions.append(Create(bound))
    return Handover(actions=tuple(actions))


def _on_our_side(view: VolumeView, observed: SnapshotObserved, terms: Terms) -> Handover:
    """Steps three and four: the snapshot is ours whatever happens to the workload's namespace."""
    content = view.static_content
    assert content is not None
    movers = observed.around.movers_namespace
    if view.movers_snapshot is None:
        bound = build_bound_snapshot(terms.owner, name=view.name, claim_uid=view.known.uid, movers_namespace=movers, content=content)
        return Handover(actions=(Create(bound),))
    status = view.movers_snapshot.get("status") or {}
    if not status.get("readyToUse"):  # the pair goes later: the snapshot controller makes few calls a second, and ours is waited for
        error = _error_of(view.movers_snapshot, content)
        waits = f"VolumeSnapshot {movers}/{view.name} is not ready" + (f": {error[:1024]}" if error else "")
        if _older(view.movers_snapshot, terms.now):
            message = f"{waits}; given up after {to_duration(STALL_LIMIT)}; look at the snapshot controller and the CSI driver"
            return Handover(refusal=Refusal("VolumeSnapshotNotReady", message))
        return Handover(waits=waits if error or _is_late(view.movers_snapshot, terms.now) else None)
    record = record_claim(view, namespace_uid=terms.namespace_uid)
    if record is None:
        return Handover(refusal=Refusal("VolumeClaimDeleted", f"nothing is known any more of PVC {view.place}"))
    shape = _shape(record, content, view.tenant_content, view.movers_snapshot, observed)
    if isinstance(shape, Refusal):
        return Handover(refusal=shape)
    claim = build_mover_claim(
        terms.owner, name=view.name, volume_uid=view.known.uid, movers_namespace=movers, shape=shape, snapshot=view.name
    )
    return Handover(actions=(Create(claim),), after=_drop_tenant_pair(view), ready=True)


def _shape(
    record: ClaimRecord, content: Object, tenant: Object | None, snapshot: Object, observed: SnapshotObserved
) -> ClaimShape | Refusal:
    name = record.storage_class_name or _class_for(content["spec"]["driver"], observed)
    if _class_named(observed, name) is None:
        message = f"StorageClass {name or '(none)'} of PVC {record.namespace}/{record.persistent_volume_claim} does not exist"
        return Refusal("NoStorageClass", f"{message}; create one for driver {content['spec']['driver']}")
    sizes = [record.size, (snapshot.get("status") or {}).get("restoreSize"), ((tenant or {}).get("status") or {}).get("restoreSize")]
    size = max((size for size in sizes if size), key=parse_bytes)
    return ClaimShape(storage_class_name=name, access_modes=record.access_modes, volume_mode=record.volume_mode, size=str(size))


def _drop_tenant_pair(view: VolumeView) -> tuple[Action, ...]:
    """Step five: the workload's objects away, which must not take the snapshot along. Only ever with our own content in place."""
    assert view.static_content is not None or view.movers_claim is not None
    content = view.tenant_content
    if content is not None and not is_going(content) and not is_retained(content):
        return (patch(content, {"spec": {"deletionPolicy": "Retain"}}),)  # somebody undid step two
    pair = (view.tenant_snapshot, content)
    return tuple(delete(thing) for thing in pair if thing is not None and not is_going(thing))


def _usable(content: Object) -> bool:
    status = content.get("status") or {}
    return bool(status.get("readyToUse") and status.get("snapshotHandle")) and not is_going(content)


def _error_of(*things: Object | None) -> str:
    for thing in things:
        error = ((thing or {}).get("status") or {}).get("error") or {}
        if error.get("message"):
            return str(error["message"])
    return ""


def _is_late(thing: Object, now: datetime) -> bool:
    return now - parse_time(thing["metadata"]["creationTimestamp"]) >= START_GRACE


def _older(thing: Object, now: datetime) -> bool:
    return now - parse_time(thing["metadata"]["creationTimestamp"]) >= STALL_LIMIT


def _class_named(observed: SnapshotObserved, name: str | None) -> Object | None:
    return next((item for item in observed.storage_classes if item["metadata"]["name"] == name), None)


def _class_for(driver: str, observed: SnapshotObserved) -> str | None:
    """A volume that was made by hand has no class; any of its driver's will do for a copy."""
    names = sorted(item["metadata"]["name"] for item in observed.storage_classes if item.get("provisioner") == driver)
    return names[0] if names else None
