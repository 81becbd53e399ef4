"""What verifications found, for people: the condition Verified, status.verifications and status.damaged, and an Event for what was healed.

Verified is True only while every location was verified when that was due, as deep as asked for, and holds all its points whole.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from recoup.api.backuppolicy import MAX_DAMAGED, VERIFIED, BackupPolicy, DamagedVolume, VerificationResult
from recoup.api.conditions import Conditions, drop_condition, set_condition
from recoup.plan.access import Refusal
from recoup.plan.actions import EventNote, EventType
from recoup.plan.observed import Point
from recoup.plan.upkeep import TaskKey, TaskPhase, TaskState
from recoup.plan.verification import HEAL, VERIFY, Due, Place, heal_at, holders, is_done, runs_at

_SHOWN = 5
_PATHS = 10
_SHORT = 16
"""Digits of a point's id in a Job's list of paths."""


class Verified(Struct, frozen=True):
    """changes_at: when another verification or healing is due."""

    conditions: Conditions
    results: tuple[VerificationResult, ...] = ()
    damaged: tuple[DamagedVolume, ...] = ()
    events: tuple[EventNote, ...] = ()
    changes_at: datetime | None = None


def judge_verified(
    policy: BackupPolicy,
    conditions: Conditions,
    places: Sequence[Place],
    due: Due | Refusal,
    states: Mapping[TaskKey, TaskState],
    now: datetime,
) -> Verified:
    """`conditions` with Verified as it should read now; without spec.verification, without it. `due`: or why nothing can be verified."""
    if policy.spec.verification is None:
        return Verified(drop_condition(conditions, VERIFIED))
    before = {result.location: result for result in policy.status.verifications}
    results = tuple(result for name in dict.fromkeys(place.name for place in places) if (result := _results(name, places, before)))
    damaged = _damaged(policy, places, states)
    status, reason, message = _verdict(policy, places, results, damaged, due, states, now)
    generation = policy.metadata.generation
    conditions = set_condition(conditions, VERIFIED, status, reason, message, now=now, generation=generation)
    moments = [at for place in places if (at := heal_at(place, places)) is not None and at > now]
    if isinstance(due, Due) and due.next is not None:
        moments.append(due.next)
    return Verified(conditions, results, damaged, _healed(results, before), min(moments, default=None))


def _results(name: str, places: Sequence[Place], before: Mapping[str, VerificationResult]) -> VerificationResult | None:
    """One location: of several vaults there the older verification and the lower level count. As it was, while a log can't be read."""
    here = [place for place in places if place.name == name]
    results = [result for place in here if (result := _result(place)) is not None]
    if not results or any(place.catalogue is None for place in here):
        return before.get(name)
    return VerificationResult(
        location=name,
        at=min(result.at for result in results),
        level=min(result.level for result in results),
        points=sum(result.points for result in results),
        damaged=sum(result.damaged for result in results),
        healed=sum(result.healed or 0 for result in results) or None,
    )


def _result(place: Place) -> VerificationResult | None:
    """The newest verification of everything there; healings of single points since count as healed by it."""
    runs = runs_at(place)
    whole = [run for run in runs if not run.chosen]
    if not whole:
        return None
    last = whole[-1]
    healed = sum(run.healed for run in runs if run.started >= last.started)
    return VerificationResult(
        location=place.name,
        at=last.started,
        level=last.level,
        points=len(place.points),
        damaged=len(place.damaged),
        healed=healed or None,
    )


def _damaged(policy: BackupPolicy, places: Sequence[Place], states: Mapping[TaskKey, TaskState]) -> tuple[DamagedVolume, ...]:
    """Of a location whose log cannot be read just now, what was known stays."""
    known = {(line.location, line.manifest): line for line in policy.status.damaged}
    unread = {place.name for place in places if place.catalogue is None}
    read = {(place.name, point.id) for place in places for point in place.points}
    lines = [line for line in policy.status.damaged if line.location in unread and (line.location, line.manifest) not in read]
    for place in places:
        told = [path for kind in (VERIFY, HEAL) if (state := states.get((kind, place.name))) for path in state.report.first_paths]
        for point in place.damaged:
            paths = tuple(path.partition(": ")[2] for path in told if path.startswith(f"{point.id[:_SHORT]}: "))
            line = known.get((place.name, point.id))
            lines.append(_line(place, point, paths[:_PATHS] or (line.first_paths if line else ())))
    return tuple(sorted(lines, key=lambda line: line.since)[:MAX_DAMAGED])


def _line(place: Place, point: Point, paths: tuple[str, ...]) -> DamagedVolume:
    assert point.damage is not None
    return DamagedVolume(
        location=place.name,
        manifest=point.id,
        persistent_volume_claim=point.source.persistent_volume_claim,
        since=point.damage.since,
        snapshot=point.snapshot or None,
        whole=point.damage.whole or None,
        paths=point.damage.paths or None,
        first_paths=paths,
    )


def _verdict(
    policy: BackupPolicy,
    places: Sequence[Place],
    results: tuple[VerificationResult, ...],
    damaged: tuple[DamagedVolume, ...],
    due: Due | Refusal,
    states: Mapping[TaskKey, TaskState],
    now: datetime,
) -> tuple[bool | None, str, str]:
    if damaged:
        names = dict.fromkeys(line.location for line in damaged)
        return False, "Damaged", "; ".join(_tell(name, places, damaged, now) for name in names)
    if isinstance(due, Refusal):
        return False, due.reason, due.message
    for place in places:
        trouble = _trouble(policy, place, due, states)
        if trouble is not None:
            return (False, *trouble)
    told = {result.location for result in results} - _never_looked_at(places)
    missing = [named.name for named in policy.spec.locations if named.name not in told]
    if missing or not results:
        when = f"; the next slot begins at {due.next:%Y-%m-%dT%H:%M:%SZ}" if due.next else ""
        return None, "NotVerifiedYet", f"not verified yet: {', '.join(missing)}{when}"
    return True, "Verified", "; ".join(f"{one.location} at level {one.level}, {one.at:%Y-%m-%dT%H:%M:%SZ}" for one in results)


def _never_looked_at(places: Sequence[Place]) -> set[str]:
    """Locations where one of several vaults with recovery points was not verified yet."""
    names = [place.name for place in places]
    several = [place for place in places if names.count(place.name) > 1 and place.catalogue is not None and place.points]
    return {place.name for place in several if _result(place) is None}


def _trouble(policy: BackupPolicy, place: Place, due: Due, states: Mapping[TaskKey, TaskState]) -> tuple[str, str] | None:
    """Why a location without known damage does not count as verified."""
    asked = policy.spec.verification
    assert asked is not None
    runs = runs_at(place)
    if runs and runs[-1].log:
        what = ", ".join(runs[-1].log)
        return runs[-1].log[
            0
        ], f"the log at BackupLocation {place.name} has troubles ({what}): recoup verify --level 0 says which, and what to do"
    if due.slot is None or not place.points or is_done(place, due.slot, asked.level):
        return None
    state = states.get((VERIFY, place.name))
    slot = f"the verification of {due.slot:%Y-%m-%dT%H:%M:%SZ} at BackupLocation {place.name}"
    if state is not None and state.phase is TaskPhase.FAILED:
        return state.reason, f"{slot} failed and is tried again: {state.message}"
    if state is not None and state.phase is TaskPhase.DONE:
        return "NotRecorded", f"{slot} left nothing in the log: may its credentials create objects below v/*/log/?"
    if due.before is not None and not is_done(place, due.before, asked.level) and any(run.level >= asked.level for run in runs):
        waits = f": {state.message}" if state is not None and state.message else ""
        return "VerificationOverdue", f"{slot} is not done, nor the one before it{waits}"
    return None


def _tell(name: str, places: Sequence[Place], damaged: tuple[DamagedVolume, ...], now: datetime) -> str:
    """One location's damage, and what is to be done about it."""
    lines = [line for line in damaged if line.location == name]
    more = f"; and {len(lines) - _SHOWN} more, see status.damaged" if len(lines) > _SHOWN else ""
    what = "; ".join(_words(line) for line in lines[:_SHOWN]) + more
    here = [place for place in places if place.name == name]
    others = tuple(dict.fromkeys(other for place in here for other in holders(place, places)))
    at = min((at for place in here if (at := heal_at(place, places)) is not None), default=None)
    if others and at is not None:
        when = "is due now" if at <= now else f"is tried again at {at:%Y-%m-%dT%H:%M:%SZ}"
        advice = f"healing from {', '.join(others)} {when}"
    else:
        advice = (
            "no other location of the policy is known to hold it whole: the next backup stores again what the volume has now; "
            "for what is lost restore another recovery point"
        )
    return f"BackupLocation {name}: {len(lines)} volumes of recovery points are damaged: {what}; {advice}"


def _words(line: DamagedVolume) -> str:
    point = line.snapshot or line.manifest[:_SHORT]
    if line.whole:
        return f"{point} (PVC {line.persistent_volume_claim}): nothing of it can be restored from there"
    listed = f": {', '.join(line.first_paths)}" if line.first_paths else ""
    return f"{point} (PVC {line.persistent_volume_claim}): {line.paths or 0} files cannot be restored from there{listed}"


def _healed(results: tuple[VerificationResult, ...], before: Mapping[str, VerificationResult]) -> tuple[EventNote, ...]:
    """An Event for objects that were brought back since the last look."""
    notes = []
    for result in results:
        known = before.get(result.location)
        earlier = (known.healed or 0) if known is not None and known.at == result.at else 0
        if (result.healed or 0) > earlier:
            count = (result.healed or 0) - earlier
            text = f"BackupLocation {result.location}: {count} damaged objects were brought back from other locations, and are good"
            notes.append(EventNote(EventType.NORMAL, "Healed", text))
    return tuple(notes)
