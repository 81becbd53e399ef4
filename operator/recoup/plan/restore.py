"""One RestoreRequest: what was observed and the time in, the next writes and the whole status out.

Settle the plan (restore_resolve.py), take each volume one step on (restore_volume.py, handback.py), say how it stands (restore_status.py).
Running it twice, on two replicas, or again after a stop behind any write ends in the same objects: tests/faults proves it for every prefix.
"""

from datetime import datetime

import msgspec

from recoup.api.backuplocation import BackupLocation
from recoup.api.objects import decode, encode
from recoup.api.restorerequest import KIND, PlanMode, RestorePlan, RestoreRequest, RestoreRequestStatus, RestoreState
from recoup.plan.access import Refusal
from recoup.plan.actions import Object, Plan
from recoup.plan.handback import RestoreView, release
from recoup.plan.objects.identity import Owner
from recoup.plan.observed import RestoreObserved
from recoup.plan.outcome import is_passing, note_outcome
from recoup.plan.restore_paths import describe_paths
from recoup.plan.restore_places import sources_of
from recoup.plan.restore_plan import awaits_approval, describe_plan, why_not_begun
from recoup.plan.restore_resolve import is_final, needs_record, resolve_restore, target_of, wanted_place
from recoup.plan.restore_source import reader_of, source_vault
from recoup.plan.restore_standby import describe_standby, is_handed_over
from recoup.plan.restore_status import ORDINARY, describe_restore, is_over, planned_status, refused_status
from recoup.plan.restore_volume import Terms, begin_volume, step_volume, view_volume
from recoup.plan.standby import (
    Ahead,
    begin_round,
    in_the_way,
    is_standby,
    look_ahead,
    may_be_handed_over,
    note_standby,
    settle_round,
    wants_newer,
)

_RETRY = 60.0
_BEFORE_FILLED = (RestoreState.WAITING, RestoreState.RESTORING)


def is_at_rest(request: Object) -> bool:
    """The restore is over as far as its status tells: only its children still need a look."""
    return decode(RestoreRequest, request).status.completed_at is not None


def wants_catalogue(observed: RestoreObserved) -> bool:
    """Whether this look needs the vault's catalogue: to settle the plan, and to place movers; `observed` is complete but for that."""
    request = decode(RestoreRequest, observed.request)
    if request.status.completed_at is not None:
        return False
    if request.status.plan is None or wants_newer(request):
        return True
    return any(view.volume is None and view.known.state in _BEFORE_FILLED for view in _views(observed, request, request.status.plan))


def plan_restore(observed: RestoreObserved, now: datetime) -> Plan:
    """The next step of the restore."""
    request = decode(RestoreRequest, observed.request)
    plan = request.status.plan
    if request.metadata.deletion_timestamp is not None:
        views = _views(observed, request, plan) if plan else []
        return Plan(actions=tuple(action for view in views for action in release(view, request.metadata.uid)), requeue_after=2.0)
    if plan is None:
        return _plan_beginning(observed, request, now)
    if request.status.started_at is None and request.status.completed_at is not None:
        return Plan()  # only planned, or cancelled before it was approved
    if awaits_approval(request):
        return _plan_gate(request, plan, now)
    return _plan_volumes(observed, request, plan, now)


def _plan_beginning(observed: RestoreObserved, request: RestoreRequest, now: datetime) -> Plan:
    before, generation = request.status, request.metadata.generation
    if before.completed_at is not None:
        return Plan()
    resolution = resolve_restore(observed, now)
    if resolution.refusal is not None:
        final = is_final(resolution.refusal)
        status = refused_status(before, resolution.refusal, final=final, by_itself=resolution.by_itself, now=now, generation=generation)
        again = None if final else _RETRY / 4 if resolution.by_itself else _RETRY
        return Plan(
            status=encode(status), events=note_outcome(before.conditions, status.conditions, ordinary=ORDINARY), requeue_after=again
        )
    assert resolution.plan is not None
    return _plan_gate(request, resolution.plan, now)


def _plan_gate(request: RestoreRequest, plan: RestorePlan, now: datetime) -> Plan:
    """The plan is settled: begin, or say what it waits for. What began stays begun, whatever spec.approve says later."""
    before, generation = request.status, request.metadata.generation
    lines = tuple(begin_volume(planned, request.spec.paths) for planned in plan.volumes)
    settled = msgspec.structs.replace(before, plan=plan, volumes=lines)
    waits = Refusal("Cancelled", "spec.cancel was set before the restore began") if request.spec.cancel else why_not_begun(request, plan)
    if waits is None:
        begun = msgspec.structs.replace(settled, started_at=now.replace(microsecond=0))
        status = _described(request, begun, now, cleaning=False)
    else:
        status = planned_status(settled, waits, describe_plan(plan, request.spec.paths), now=now, generation=generation)
    again = 0.0 if waits is None else None
    events = note_outcome(before.conditions, status.conditions, ordinary=ORDINARY)
    return Plan(status=encode(status), events=events, requeue_after=again)


def _plan_volumes(observed: RestoreObserved, request: RestoreRequest, plan: RestorePlan, now: datetime) -> Plan:
    before = request.status
    views = _views(observed, request, plan)
    blocked = in_the_way(request, views) if is_standby(request) else None
    terms = _terms(observed, request, plan, now, promoted=blocked is None and may_be_handed_over(request, views))
    ahead = look_ahead(request, plan, views, observed, terms.denied, now)
    if ahead.plan is not None:
        return _plan_round(request, ahead.plan, now)
    steps = [step_volume(view, observed, terms) for view in views]
    cleaning = any(view.children(request.metadata.uid) for view in views)
    settled = msgspec.structs.replace(before, volumes=tuple(step.known for step in steps))
    if terms.standby:
        settled = msgspec.structs.replace(settled, standby=note_standby(request, plan, settled.volumes, now))
    status = _described(request, settled, now, cleaning=cleaning, ahead=ahead, blocked=blocked)
    again = [step.again for step in steps if step.again is not None]
    actions = tuple(action for step in steps for action in step.actions)
    return Plan(
        actions=actions,
        status=None if is_passing(before, status, acting=bool(actions)) else encode(status),
        events=note_outcome(before.conditions, status.conditions, ordinary=ORDINARY),
        requeue_after=min(again, default=None if is_over(status) else _RETRY),
    )


def _plan_round(request: RestoreRequest, ahead: RestorePlan, now: datetime) -> Plan:
    """The next round of a standby: from this write on, each volume is on its way to the newer recovery point."""
    lines = tuple(begin_round(volume) for volume in request.status.volumes)
    settled = msgspec.structs.replace(request.status, plan=settle_round(request, ahead, now), volumes=lines)
    return Plan(status=encode(_described(request, settled, now, cleaning=False)), requeue_after=0.0)


def _described(
    request: RestoreRequest,
    status: RestoreRequestStatus,
    now: datetime,
    *,
    cleaning: bool,
    ahead: Ahead | None = None,
    blocked: Refusal | None = None,
) -> RestoreRequestStatus:
    metadata = request.metadata
    part = describe_paths(request.spec.paths)
    if is_standby(request) and not is_handed_over(status):
        return describe_standby(
            status, ahead or Ahead(), blocked, promote=request.spec.promote, now=now, generation=metadata.generation, part=part
        )  # fmt: skip
    asked = metadata.creation_timestamp if request.spec.plan is PlanMode.AUTO else status.started_at
    if status.standby is not None:
        asked = status.standby.promoted_at
    return describe_restore(status, created=asked, now=now, generation=metadata.generation, cleaning=cleaning, part=part)


def _views(observed: RestoreObserved, request: RestoreRequest, plan: RestorePlan) -> list[RestoreView]:
    known = {volume.source: volume for volume in request.status.volumes}
    return [
        view_volume(observed, _owner(request), planned, known.get(planned.source) or begin_volume(planned, request.spec.paths))
        for planned in plan.volumes
    ]


def _owner(request: RestoreRequest) -> Owner:
    metadata = request.metadata
    return Owner(kind=KIND, namespace=metadata.namespace or "", name=metadata.name, uid=metadata.uid)


def _terms(observed: RestoreObserved, request: RestoreRequest, plan: RestorePlan, now: datetime, *, promoted: bool) -> Terms:
    namespace = observed.namespace
    location = decode(BackupLocation, observed.location) if observed.location else None
    return Terms(
        owner=_owner(request),
        plan=plan,
        paths=request.spec.paths,
        location=location.spec if location else None,
        sources=sources_of(observed.places, plan.read_from or plan.location),
        denied=_denied(request, plan, namespace, location),
        namespace_ending=namespace is None or bool(namespace["metadata"].get("deletionTimestamp")),
        started_at=request.status.started_at or now,
        cancel=request.spec.cancel,
        standby=is_standby(request),
        promoted=promoted,
        places=_places(observed, request, plan),
        now=now,
    )


def _denied(request: RestoreRequest, plan: RestorePlan, namespace: Object | None, location: BackupLocation | None) -> Refusal | None:
    """The right to read is judged again before every mover: grants are taken back, and a status is no proof of one."""
    if namespace is None or location is None:
        return None
    vault = source_vault(request, reader_of(request, namespace), location)
    if isinstance(vault, Refusal):
        return vault
    if vault.id != plan.vault:
        return Refusal("NotGranted", f"vault {plan.vault} is not that of namespace {plan.namespace} at BackupLocation {plan.location}")
    return None


def _places(observed: RestoreObserved, request: RestoreRequest, plan: RestorePlan) -> dict[str, Object | None]:
    """Where each mover is to run, for classes that wait for their first consumer; without an entry, it can't be told yet."""
    classes = {item["metadata"]["name"]: item for item in observed.storage_classes}
    recorded = {point.manifest: point.source.node_affinity for point in observed.catalogue.points} if observed.catalogue else {}
    places: dict[str, Object | None] = {}
    for volume in plan.volumes:
        target, storage_class = target_of(request, volume.source), classes.get(volume.storage_class_name or "")
        if volume.manifest in recorded or not needs_record(target, storage_class):
            places[volume.source] = wanted_place(target, storage_class, recorded.get(volume.manifest))
    return places
