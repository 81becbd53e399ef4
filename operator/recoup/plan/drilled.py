"""What drills and restores showed, for people: status.lastDrill, the conditions Drilled and RTOMet, and an Event for each drill.

RTOMet compares objectives.rto with the newest measured time of each volume from each location; nothing is extrapolated.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from recoup.api.backuppolicy import DRILLED, RTO_MET, BackupPolicy, DrillResult, LastDrill
from recoup.api.conditions import Conditions, drop_condition, is_true, set_condition
from recoup.api.durations import parse_duration, to_duration
from recoup.api.objects import decode
from recoup.api.restorerequest import RESTORED, RestoreRequest
from recoup.errors import Invalid
from recoup.plan.access import Refusal
from recoup.plan.actions import EventNote, EventType, Object
from recoup.plan.drills import DRILL, Drills, drills_at
from recoup.plan.observed import DrillRun, Point
from recoup.plan.upkeep import TaskKey, TaskPhase, TaskState
from recoup.plan.verification import Due, Place


class Drilled(Struct, frozen=True):
    """changes_at: when the next drill is due."""

    conditions: Conditions
    last: LastDrill | None = None
    events: tuple[EventNote, ...] = ()
    changes_at: datetime | None = None


class _Measured(Struct, frozen=True):
    """How long it took to bring a volume, or what a request restored, back from a location."""

    what: str
    location: str
    took: timedelta
    at: datetime
    failed: str = ""


def judge_drilled(
    policy: BackupPolicy,
    conditions: Conditions,
    places: Sequence[Place],
    drills: Drills,
    states: Mapping[TaskKey, TaskState],
    restores: Sequence[Object],
    now: datetime,
) -> Drilled:
    """`conditions` with Drilled and RTOMet as they should read now, each only where the spec asks for it."""
    asked = policy.spec.verification.drill if policy.spec.verification else None
    found = [(place, point, drill) for place in places for drill, point in _of_policy(place)]
    newest = max(found, key=lambda one: one[2].ended, default=None)
    last = _line(*newest) if newest is not None else policy.status.last_drill
    conditions = _judge_rto(policy, conditions, _measured(found, restores, policy), now)
    if asked is None:
        return Drilled(drop_condition(conditions, DRILLED), last, _event(policy, last))
    status, reason, message = _verdict(places, drills, last, states)
    conditions = set_condition(conditions, DRILLED, status, reason, message, now=now, generation=policy.metadata.generation)
    changes_at = drills.due.next if isinstance(drills.due, Due) else None
    return Drilled(conditions, last, _event(policy, last), changes_at)


def _of_policy(place: Place) -> list[tuple[DrillRun, Point]]:
    points = {point.id: point for point in place.points}
    return [(drill, points[drill.point]) for drill in drills_at(place) if drill.point in points]


def _line(place: Place, point: Point, drill: DrillRun) -> LastDrill:
    return LastDrill(
        location=place.name,
        manifest=point.id,
        persistent_volume_claim=point.source.persistent_volume_claim,
        snapshot=point.snapshot or None,
        result=DrillResult.PASSED if drill.passed else DrillResult.FAILED,
        reason=drill.reason or None,
        at=drill.ended,
        duration=to_duration(timedelta(seconds=drill.seconds)),
    )


def _verdict(
    places: Sequence[Place], drills: Drills, last: LastDrill | None, states: Mapping[TaskKey, TaskState]
) -> tuple[bool | None, str, str]:
    if isinstance(drills.due, Refusal):
        return False, drills.due.reason, drills.due.message
    if last is not None and last.result is DrillResult.FAILED:
        message = f"the drill of {_words(last)} failed at {last.at:%Y-%m-%dT%H:%M:%SZ} ({last.reason}): it is looked for damage, and healed"
        return False, "DrillFailed", f"{message} if another location holds it good; the condition Verified tells"
    failed = [(place, state) for place in places if (state := states.get((DRILL, place.name))) and state.phase is TaskPhase.FAILED]
    if drills.task is not None and failed:
        place, state = failed[0]
        return False, state.reason, f"the drill from BackupLocation {place.name} could not be made and is tried again: {state.message}"
    if last is None:
        when = f"; the next slot begins at {drills.due.next:%Y-%m-%dT%H:%M:%SZ}" if drills.due.next else ""
        return None, "NotDrilledYet", f"no recovery point has been drilled yet{when}"
    return True, "DrillPassed", f"{_words(last)} was restored and compared in {last.duration} at {last.at:%Y-%m-%dT%H:%M:%SZ}"


def _words(last: LastDrill) -> str:
    return f"{last.snapshot or last.manifest[:16]} (PVC {last.persistent_volume_claim}) from {last.location}"


def _event(policy: BackupPolicy, last: LastDrill | None) -> tuple[EventNote, ...]:
    before = policy.status.last_drill
    if last is None or (before is not None and (before.manifest, before.location, before.at) == (last.manifest, last.location, last.at)):
        return ()
    if last.result is DrillResult.PASSED:
        return (EventNote(EventType.NORMAL, "DrillPassed", f"{_words(last)} was restored and compared in {last.duration}"),)
    return (EventNote(EventType.WARNING, "DrillFailed", f"{_words(last)} did not come back whole ({last.reason})"),)


def _measured(found: Sequence[tuple[Place, Point, DrillRun]], restores: Sequence[Object], policy: BackupPolicy) -> tuple[_Measured, ...]:
    """The newest measurement of each volume and location, by drills, and of each location by whole restore requests."""
    newest: dict[tuple[str, str], _Measured] = {}
    every = [
        (point.source.persistent_volume_claim_uid, _Measured(
            f"PVC {point.source.persistent_volume_claim}", place.name, timedelta(seconds=drill.seconds), drill.ended, drill.reason
        ))
        for place, point, drill in found
    ]  # fmt: skip
    for thing in restores:
        request = decode(RestoreRequest, thing)
        plan, ended, created = request.status.plan, request.status.completed_at, request.metadata.creation_timestamp
        if plan is None or ended is None or created is None or plan.policy != policy.metadata.name:
            continue
        if is_true(request.status.conditions, RESTORED):
            every.append(("", _Measured(f"RestoreRequest {request.metadata.name}", plan.location, ended - created, ended)))
    for volume, one in every:
        before = newest.get((volume, one.location))
        if before is None or one.at > before.at:
            newest[volume, one.location] = one
    return tuple(newest.values())


def _judge_rto(policy: BackupPolicy, conditions: Conditions, measured: tuple[_Measured, ...], now: datetime) -> Conditions:
    objective = policy.spec.objectives.rto
    try:
        rto = None if objective is None else parse_duration(objective)
    except Invalid:  # the API server has refused it; an older object may still hold one
        rto = None
    if rto is None:
        return drop_condition(conditions, RTO_MET)
    generation = policy.metadata.generation
    if not measured:
        message = f"no restore or drill of this policy was measured yet, objective {objective}; set spec.verification.drill"
        return set_condition(conditions, RTO_MET, None, "NotMeasured", message, now=now, generation=generation)
    failed = [one for one in measured if one.failed]
    worst = max(failed or measured, key=lambda one: one.took)
    what = f"{worst.what} from {worst.location}"
    when = f"at {worst.at:%Y-%m-%dT%H:%M:%SZ}, objective {objective}"
    if failed:
        message = f"the newest drill of {what} did not come back whole ({worst.failed}) {when}"
        return set_condition(conditions, RTO_MET, False, "DrillFailed", message, now=now, generation=generation)
    kept = worst.took <= rto
    reason = "WithinObjective" if kept else "RestoreTooSlow"
    message = f"the slowest of {len(measured)} newest measurements: {what} took {to_duration(worst.took)} {when}"
    return set_condition(conditions, RTO_MET, kept, reason, message, now=now, generation=generation)
