"""Whether a BackupPolicy is fine: its Ready condition, in the order in which a person would ask.

Is it meant to run? Can it? Did the last run that was due store what it selected? A policy that waits for its first slot is fine and
says so. A failed run makes Ready False without Stalled: the next run may heal it.
"""

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from recoup.api.backuplocation import BackupLocation
from recoup.api.backuppolicy import BackupPolicy, RunResult
from recoup.api.backupsnapshot import BackupSnapshot
from recoup.api.conditions import (
    READY,
    Conditions,
    ConditionStatus,
    find_condition,
    set_not_ready,
    set_ready,
    set_reconciling,
    set_stalled,
)
from recoup.plan.access import Refusal
from recoup.plan.ledger import SUSPENDED, Ledger

Setter = Callable[..., Conditions]


class Judged(Struct, frozen=True, kw_only=True):
    """newest: the run that ended last, cancelled ones left out. running: one is under way. hold: why none can be made."""

    policy: BackupPolicy
    ledger: Ledger
    location: BackupLocation | None = None
    newest: BackupSnapshot | None = None
    running: bool = False
    hold: Refusal | None = None


def judge_policy(judged: Judged, now: datetime) -> Conditions:
    """The conditions as they should read now."""
    setter, reason, message = _can_run(judged) or _last_run(judged)
    metadata = judged.policy.metadata
    return setter(judged.policy.status.conditions, reason, message, now=now, generation=metadata.generation)


def _can_run(judged: Judged) -> tuple[Setter, str, str] | None:
    if judged.policy.spec.suspend:
        return set_not_ready, SUSPENDED, "spec.suspend is true: no slot of the schedule is run"
    if judged.hold is not None:
        return set_stalled, judged.hold.reason, judged.hold.message
    if judged.location is None:
        return None
    ready = find_condition(judged.location.status.conditions, READY)
    name = judged.location.metadata.name
    if ready is None:
        return set_reconciling, "LocationNotProbed", f"BackupLocation {name} has not been probed yet"
    if ready.status is not ConditionStatus.TRUE:
        return set_reconciling, ready.reason, f"BackupLocation {name} is not ready: {ready.message}"
    return None


def _last_run(judged: Judged) -> tuple[Setter, str, str]:
    newest, ledger = judged.newest, judged.ledger
    line = ledger.runs[0] if ledger.runs else None
    if line is not None and line.result is RunResult.MISSED and (newest is None or _ended(newest) < line.slot):
        return set_not_ready, "SlotMissed", f"the slot of {line.slot:%Y-%m-%dT%H:%M:%SZ} was missed: {line.message}"
    if newest is not None:
        ready = find_condition(newest.status.conditions, READY)
        if ready is None or ready.status is not ConditionStatus.TRUE:
            reason, message = (ready.reason, ready.message) if ready else ("LastRunFailed", "it ended without a result")
            return set_not_ready, reason, f"BackupSnapshot {newest.metadata.name}: {message}"
        return set_ready, "Protected", f"BackupSnapshot {newest.metadata.name} holds every volume that it selected"
    if judged.running:
        return set_reconciling, "FirstRunActive", "the first run is under way"
    if ledger.next_start is None:
        return set_ready, "OnDemand", "there is no schedule; create a BackupSnapshot to make the first recovery point"
    return (
        set_ready,
        "WaitingForFirstRun",
        f"there is no recovery point yet; the first run starts at {ledger.next_start:%Y-%m-%dT%H:%M:%SZ}",
    )


def _ended(snapshot: BackupSnapshot) -> datetime:
    assert snapshot.status.completed_at is not None
    return snapshot.status.completed_at
