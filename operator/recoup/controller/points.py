"""From the engine's catalogue to what the planners look at.

What a mover wrote into its record is untrusted: it is read leniently, bounded, and never decides whose point it is (the ticket's
policy and PVC uid do, which the controller signed).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from recoup.plan.observed import ClaimRecord, DrillRun, Garbage, Point, PointDamage, VerificationRun

if TYPE_CHECKING:
    from recoup.engine import catalogue as engine


class _Source(ClaimRecord, frozen=True, kw_only=True, rename="camel"):
    """The record with what else the run file carries."""

    cluster_uid: str = ""


def to_point(entry: engine.Point) -> Point | None:
    """One recovery point; None if the time it stands for is not known at all."""
    record = entry.record
    taken_at = _time(entry.slot) or (_milliseconds(record.finished) if record else None)
    if taken_at is None:
        return None
    point = Point(
        id=entry.id, session=entry.session, manifest=entry.id, taken_at=taken_at, policy_uid=entry.policy_uid,
        source=ClaimRecord(persistent_volume_claim_uid=entry.pvc_uid), here_at=_milliseconds(entry.here_at), revision=entry.revision,
        order=entry.seq, owner_uid=entry.owner_uid,
        verified=(entry.verified_level or 0) >= 1, pinned=entry.pinned,
    )  # fmt: skip
    if entry.judgement is not None:
        point = _judged(point, entry.judgement)
    if record is None:
        return point
    return structs.replace(
        point,
        policy=record.policy,
        snapshot=record.snapshot,
        snapshot_uid=record.point,
        source=_source(record.source, entry.pvc_uid),
        volumes_expected=tuple(record.volumes_expected),
        consistency=record.consistency or "CrashConsistent",
        files_total=record.files,
        bytes_read=record.bytes_read,
        bytes_stored=record.bytes_stored,
        bytes_total=record.bytes_total,
        duration=max(0.0, (record.finished - record.started) / 1000),
        errors=record.errors,
        figures=record.figures,
    )


def to_verification(run: engine.Verification) -> VerificationRun | None:
    """One run; None if its times are none."""
    started, ended = _time(run.started), _time(run.ended)
    if started is None or ended is None:
        return None
    return VerificationRun(
        round=run.round, started=started, ended=ended, level=run.level, chosen=run.chosen, points=run.points, objects=run.objects,
        healed=run.healed_objects, log=run.log,
    )  # fmt: skip


def to_drill(drill: engine.Drill) -> DrillRun | None:
    """One drill; None if its time is none."""
    ended = _time(drill.ended)
    if ended is None:
        return None
    return DrillRun(round=drill.round, point=drill.point, ended=ended, passed=drill.passed, seconds=drill.seconds, reason=drill.reason)


def _judged(point: Point, judgement: engine.Judgement) -> Point:
    damage = judgement.damage
    return structs.replace(
        point,
        verified_level=judgement.level,
        verified_at=_moment(judgement.attested_at),
        drilled_at=_moment(judgement.drilled_at),
        damage=None
        if damage is None
        else PointDamage(
            since=_at(damage.since),
            at=_at(damage.at),
            whole=damage.statement.whole,
            paths=damage.statement.paths,
            cleared_by=damage.statement.cleared_by,
            healing=damage.healing,
        ),
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else _at(seconds)


def _at(seconds: float) -> datetime:
    """Times by a verifier's clock: one outside the calendar is the beginning, so that what was seen then is due again."""
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def to_garbage(found: engine.Garbage) -> Garbage:
    """What waits to be pruned; a time outside the calendar is the beginning: it has waited long enough."""
    stamp = found.condemned_at
    try:
        since = None if stamp is None else datetime.fromtimestamp(stamp / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        since = datetime.fromtimestamp(0, UTC)
    return Garbage(fresh=found.fresh, condemned_at=since, unfinished=found.unfinished)


def _source(text: str, claim_uid: str) -> ClaimRecord:
    try:
        source: ClaimRecord = msgspec.json.decode(text, type=_Source)
    except (msgspec.DecodeError, RecursionError):
        source = ClaimRecord()
    return structs.replace(source, persistent_volume_claim_uid=claim_uid or source.persistent_volume_claim_uid)


def _milliseconds(stamp: int) -> datetime | None:
    """A time that a mover wrote: anything may stand there."""
    try:
        return datetime.fromtimestamp(stamp / 1000, UTC) if stamp else None
    except (ValueError, OverflowError, OSError):
        return None


def _time(text: str) -> datetime | None:
    """A time as text, in UTC; None for what is none, or lies outside the calendar there."""
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
