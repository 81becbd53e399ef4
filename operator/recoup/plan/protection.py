"""How well each volume of a policy is protected, held against objectives.rpo: the conditions RPOMet and RPOAtRisk.

Pure arithmetic on times. A volume's objective ends `rpo` after the time that its newest stored point holds, or after its own creation
(or the policy's, if later) while it has none. It is at risk when the point that is to come next is not expected before that end. Messages
name moments, not ages, so that nothing has to be written while time merely passes.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from recoup.api.backuppolicy import MAX_VOLUMES, RPO_AT_RISK, RPO_MET, BackupPolicy, RpoState, VolumeProtection
from recoup.api.backupsnapshot import BackupSnapshot, VolumeState
from recoup.api.conditions import Conditions, drop_condition, set_condition
from recoup.api.durations import parse_duration
from recoup.errors import Invalid
from recoup.plan.actions import Object
from recoup.plan.ledger import Ledger
from recoup.plan.movers import parse_time

_BEGINNING = "0000"


class Expected(Struct, frozen=True):
    """When the next recovery point will be there, as far as one can tell: None with the reason why none is to come."""

    at: datetime | None
    why: str


class Verdict(Struct, frozen=True):
    """changes_at: when the verdict changes if nothing happens until then."""

    conditions: Conditions
    state: RpoState | None = None
    changes_at: datetime | None = None


def newest_points(
    policy: BackupPolicy, selected: tuple[Object, ...], snapshots: tuple[BackupSnapshot, ...]
) -> tuple[VolumeProtection, ...]:
    """One line for each selected claim, the worst protected first. A BackupSnapshot that was deleted took no data with it, so what is
    known of it stays; a claim made anew under an old name has another uid and begins without a point.
    """
    newest = {volume.uid: volume for volume in policy.status.volumes if volume.newest_point is not None}
    for snapshot in snapshots:
        for volume in snapshot.status.volumes:
            held = volume.captured_at or snapshot.status.taken_at
            before = newest.get(volume.uid)
            if volume.state is VolumeState.STORED and held is not None and (before is None or held > (before.newest_point or held)):
                newest[volume.uid] = VolumeProtection(
                    persistent_volume_claim=volume.persistent_volume_claim,
                    uid=volume.uid,
                    newest_point=held,
                    snapshot=snapshot.metadata.name,
                )
    lines = [_line(claim, newest.get(claim["metadata"]["uid"])) for claim in selected]
    return tuple(sorted(lines, key=_worst_first)[:MAX_VOLUMES])


def next_point(policy: BackupPolicy, snapshots: tuple[BackupSnapshot, ...], ledger: Ledger, now: datetime) -> Expected:
    """When the run that is under way, or else the next slot, will have stored its volumes, if it takes as long as the last one did."""
    lasts = _last_duration(snapshots)
    open_runs = [snapshot for snapshot in snapshots if snapshot.status.completed_at is None and snapshot.spec.origin is None]
    running = [snapshot for snapshot in open_runs if snapshot.metadata.deletion_timestamp is None]
    if running:
        first = min(running, key=lambda snapshot: snapshot.status.started_at or now)
        return Expected((first.status.started_at or now) + lasts, f"the run of BackupSnapshot {first.metadata.name} is expected to end")
    if policy.spec.suspend:
        return Expected(None, "spec.suspend is true, so that none follows")
    if ledger.next_start is None and ledger.run is None:
        return Expected(None, "no slot follows; give the policy a schedule, or create a BackupSnapshot in time")
    start = ledger.next_start if ledger.run is None else now
    assert start is not None
    return Expected(start + lasts, "the next run is expected to end")


def judge_rpo(
    policy: BackupPolicy,
    conditions: Conditions,
    volumes: tuple[VolumeProtection, ...],
    claims: tuple[Object, ...],
    expected: Expected,
    now: datetime,
) -> Verdict:
    """`conditions` with RPOMet and RPOAtRisk as they should read now; without a (readable) objective, or a volume, without them."""
    objective = policy.spec.objectives.rpo
    rpo = _read(objective)
    if objective is None or rpo is None or not volumes:
        return Verdict(drop_condition(drop_condition(conditions, RPO_MET), RPO_AT_RISK))
    born = {claim["metadata"]["uid"]: claim["metadata"].get("creationTimestamp") for claim in claims}
    ends = sorted(((_since(volume, born, policy) + rpo, volume) for volume in volumes), key=lambda pair: pair[0])
    end, worst = ends[0]
    late = sum(each <= now for each, _ in ends)
    at_risk = bool(late) or expected.at is None or expected.at > end
    generation = policy.metadata.generation
    place = f"PVC {policy.metadata.namespace}/{worst.persistent_volume_claim}"
    reason, message = _kept(worst, place, end, objective, late)
    conditions = set_condition(conditions, RPO_MET, not late, reason, message, now=now, generation=generation)
    reason, message = _risk(place, end, expected, at_risk=at_risk)
    conditions = set_condition(conditions, RPO_AT_RISK, at_risk, reason, message, now=now, generation=generation)
    state = RpoState.BROKEN if late else RpoState.AT_RISK if at_risk else RpoState.MET
    return Verdict(conditions, state, next((each for each, _ in ends if each > now), None))


def _read(objective: str | None) -> timedelta | None:
    """The API server has refused what is no length of time; an older object may still hold one."""
    try:
        return None if objective is None else parse_duration(objective)
    except Invalid:
        return None


def _kept(worst: VolumeProtection, place: str, end: datetime, objective: str, late: int) -> tuple[str, str]:
    if worst.newest_point is None:
        reason, what = "NoRecoveryPoint", f"{place} has no recovery point yet"
    else:
        reason, what = "NewestPointTooOld", f"the newest restorable point of {place} holds its state of {_text(worst.newest_point)}"
    if not late:
        return "WithinObjective", f"{what}, objective {objective}; kept until {_text(end)}"
    others = f"; {late - 1} more volumes are late" if late > 1 else ""
    return reason, f"{what}, objective {objective}; broken since {_text(end)}{others}"


def _risk(place: str, end: datetime, expected: Expected, *, at_risk: bool) -> tuple[str, str]:
    if expected.at is None:
        return "NoRunPlanned", f"the objective of {place} ends at {_text(end)}: {expected.why}"
    when = f"{expected.why} at {_text(expected.at)}"
    if at_risk:
        return (
            "NextPointTooLate",
            f"the objective of {place} ends at {_text(end)}, but {when}; run more often, or find what makes runs slow",
        )
    return "NextPointInTime", f"the objective of {place} ends at {_text(end)}, and {when}"


def _line(claim: Object, known: VolumeProtection | None) -> VolumeProtection:
    metadata = claim["metadata"]
    return known or VolumeProtection(persistent_volume_claim=metadata["name"], uid=metadata["uid"])


def _worst_first(volume: VolumeProtection) -> tuple[str, str]:
    return (_text(volume.newest_point) if volume.newest_point else _BEGINNING, volume.persistent_volume_claim)


def _since(volume: VolumeProtection, born: dict[str, str | None], policy: BackupPolicy) -> datetime:
    if volume.newest_point is not None:
        return volume.newest_point
    made = policy.metadata.creation_timestamp
    assert made is not None
    claim = born.get(volume.uid)
    return max(made, parse_time(claim)) if claim else made


def _last_duration(snapshots: tuple[BackupSnapshot, ...]) -> timedelta:
    """How long the newest run took that stored something; nothing is known before the first."""
    ended = [
        (snapshot.status.completed_at, snapshot.status.started_at)
        for snapshot in snapshots
        if snapshot.status.completed_at and snapshot.status.started_at
        if any(volume.state is VolumeState.STORED for volume in snapshot.status.volumes)
    ]
    if not ended:
        return timedelta()
    completed, started = max(ended)
    return completed - started


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
