"""The status of a RestoreRequest: conditions and columns, from its plan and its volumes.

Restored, and with it Ready, is True when every volume was written, compared and handed over, and never otherwise. A volume whose file
system could not keep everything is handed over too (an incident does not wait for a better one), but not called Restored.
"""

from datetime import datetime, timedelta

import msgspec

from recoup.api.conditions import RECONCILING, Conditions, drop_condition, set_condition, set_ready, set_reconciling, set_stalled
from recoup.api.durations import to_duration
from recoup.api.quantities import to_quantity
from recoup.api.restorerequest import (
    FRESH,
    PLANNED,
    RESOLVED,
    RESTORED,
    RestoredVolume,
    RestorePlan,
    RestoreRequestStatus,
    RestoreState,
    RestoreSummary,
)
from recoup.plan.access import Refusal
from recoup.plan.outcome import CLEANING_IS_QUIET

_FINAL = (RestoreState.RESTORED, RestoreState.FAILED, RestoreState.CANCELLED)
ORDINARY = frozenset(
    {"ReadingLocation", "Restoring", "HandingOver", "Restored", "MoverEnding", "ApprovalRequired", "Filling", "Refreshing"}
)
_SHOWN = 8


def is_over(status: RestoreRequestStatus) -> bool:
    """Every volume has its outcome."""
    return status.plan is not None and bool(status.volumes) and all(volume.state in _FINAL for volume in status.volumes)


def refused_status(
    status: RestoreRequestStatus, refusal: Refusal, *, final: bool, by_itself: bool, now: datetime, generation: int
) -> RestoreRequestStatus:
    """Nothing was begun, and why. final: it never will be; by_itself: it may go on without anybody's help."""
    say = set_reconciling if by_itself else set_stalled
    conditions = say(status.conditions, refusal.reason, refusal.message, now=now, generation=generation)
    conditions = set_condition(conditions, RESOLVED, False, refusal.reason, refusal.message, now=now, generation=generation)
    ended = now.replace(microsecond=0) if final else None
    return msgspec.structs.replace(status, conditions=conditions, observed_generation=generation, completed_at=status.completed_at or ended)


def planned_status(status: RestoreRequestStatus, waits: Refusal, described: str, *, now: datetime, generation: int) -> RestoreRequestStatus:
    """The plan stands and nothing is written: that is all that was asked for, or it waits for approval, or it was cancelled."""
    assert status.plan is not None
    conditions = set_condition(status.conditions, RESOLVED, True, "Resolved", chosen_words(status.plan), now=now, generation=generation)
    conditions = set_condition(conditions, PLANNED, True, "Planned", described, now=now, generation=generation)
    conditions = set_condition(conditions, RESTORED, False, waits.reason, waits.message, now=now, generation=generation)
    if waits.reason == "PlanOnly":
        conditions = set_ready(conditions, "Planned", described, now=now, generation=generation)
    else:
        say = set_stalled if waits.reason == "Cancelled" else set_reconciling
        conditions = say(conditions, waits.reason, waits.message, now=now, generation=generation)
    over = waits.reason in ("PlanOnly", "Cancelled")
    return msgspec.structs.replace(
        status,
        observed_generation=generation,
        conditions=conditions,
        completed_at=now.replace(microsecond=0) if over else None,
        summary=summarise(status.plan, status.volumes, over=over),
        volumes=(),
    )


def describe_restore(
    status: RestoreRequestStatus, *, created: datetime | None, now: datetime, generation: int, cleaning: bool, part: str = ""
) -> RestoreRequestStatus:
    """Conditions and columns for the volumes as they stand.

    `cleaning`: some of our objects still exist. `part`: what is restored of the volumes, in words.
    """
    assert status.plan is not None
    over = is_over(status)
    completed = status.completed_at or (now.replace(microsecond=0) if over else None)
    conditions = _conditions(status, part, now=now, generation=generation)
    if over and cleaning and completed is not None and now - completed >= CLEANING_IS_QUIET:
        message = "the restore is over, and what it left unfinished is being removed"
        conditions = set_condition(conditions, RECONCILING, True, "CleaningUp", message, now=now, generation=generation)
    return msgspec.structs.replace(
        status,
        observed_generation=generation,
        conditions=conditions,
        completed_at=completed,
        duration=to_duration(completed - created) if completed and created else None,
        summary=summarise(status.plan, status.volumes, over=over),
    )


def _conditions(status: RestoreRequestStatus, part: str, *, now: datetime, generation: int) -> Conditions:
    plan, volumes = status.plan, status.volumes
    assert plan is not None
    kept = drop_condition(status.conditions, FRESH)  # of a standby that has been promoted
    conditions = set_condition(kept, RESOLVED, True, "Resolved", chosen_words(plan), now=now, generation=generation)
    restored = sum(volume.state is RestoreState.RESTORED for volume in volumes)
    counts = f"{restored} of {len(volumes)} volumes are restored, compared and handed over"
    counts += f"; {part}" if part else ""
    if restored == len(volumes) and not any(volume.reason for volume in volumes):
        conditions = set_condition(conditions, RESTORED, True, "Restored", counts, now=now, generation=generation)
        return set_ready(conditions, "Restored", counts, now=now, generation=generation)
    reason, message = _reason(volumes), message_of(counts, volumes)
    conditions = set_condition(conditions, RESTORED, False, reason, message, now=now, generation=generation)
    say = set_stalled if is_over(status) else set_reconciling
    return say(conditions, reason, message, now=now, generation=generation)


def chosen_words(plan: RestorePlan) -> str:
    """The recovery point and where it is read from."""
    return f"{plan.snapshot or 'the recovery point'} of {plan.taken_at.isoformat()} from BackupLocation {plan.location}"


def _reason(volumes: tuple[RestoredVolume, ...]) -> str:
    """One word for the request: what failed if it is over, else what is in the way, else what is going on."""
    if all(volume.state in _FINAL for volume in volumes):
        failed = [volume for volume in volumes if volume.state is not RestoreState.RESTORED or volume.reason]
        if any(volume.state is RestoreState.CANCELLED for volume in failed):
            return "Cancelled"
        reasons = {volume.reason for volume in failed}
        return (reasons.pop() if len(reasons) == 1 else None) or "VolumeNotRestored"
    troubled = [volume.reason for volume in volumes if volume.state not in _FINAL and volume.reason and volume.reason not in ORDINARY]
    if troubled:
        return troubled[0]
    return "HandingOver" if all(volume.state in (*_FINAL, RestoreState.HANDING_OVER) for volume in volumes) else "Restoring"


def message_of(counts: str, volumes: tuple[RestoredVolume, ...]) -> str:
    """The counts, and what there is to say of single volumes."""
    lines = [f"{volume.target}: {volume.message}" for volume in volumes if volume.message]
    more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return "; ".join([counts, *lines[:_SHOWN]]) + more


def summarise(plan: RestorePlan, volumes: tuple[RestoredVolume, ...], *, over: bool) -> RestoreSummary:
    """The columns. A volume counts when it is handed over, or complete in a standby."""
    restored = sum(volume.state in (RestoreState.RESTORED, RestoreState.STANDBY) for volume in volumes)
    total = sum(volume.bytes_total or 0 for volume in volumes)
    done = sum(min(volume.bytes_done or 0, volume.bytes_total or 0) for volume in volumes)
    rate = sum(volume.rate or 0 for volume in volumes)
    left = None if over or not rate or not total else to_duration(timedelta(seconds=(total - done) / rate))
    percent = min(99, done * 100 // total) if total else 0  # the last one is the hand-over's: nothing is complete before it
    return RestoreSummary(
        source=plan.snapshot or f"{plan.policy or plan.namespace}@{plan.taken_at.strftime('%Y-%m-%dT%H:%M:%SZ')}",
        volumes=f"{restored}/{len(volumes)}",
        progress="100 %" if restored == len(volumes) else f"{percent} %",
        rate=f"{to_quantity(rate)}/s" if rate and not over else None,
        eta=left,
    )
