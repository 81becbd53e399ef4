"""When a run's status is worth a write, and an Event: for outcomes and troubles, not for each step of the ordinary course.

The same for backups and restores. What is left unsaid by one pass is said by the pass that follows it, which is under way.
"""

from collections.abc import Collection
from datetime import timedelta

from recoup.api.backupsnapshot import BackupSnapshotStatus, SnapshotVolume
from recoup.api.conditions import READY, Conditions, ConditionStatus, find_condition
from recoup.api.restorerequest import FRESH, RestoredVolume, RestoreRequestStatus
from recoup.plan.actions import EventNote, EventType

RunStatus = BackupSnapshotStatus | RestoreRequestStatus
CLEANING_IS_QUIET = timedelta(seconds=60)
"""How long the removal of a run's objects is nobody's concern: mostly it takes a second, and each word about it is a write."""


def note_outcome(before: Conditions, after: Conditions, *, ordinary: Collection[str]) -> tuple[EventNote, ...]:
    """One Event when the reason of Ready changes to an outcome or a trouble. `ordinary`: reasons that are neither."""
    old, new = find_condition(before, READY), find_condition(after, READY)
    if new is None or (old is not None and (old.status, old.reason) == (new.status, new.reason)):
        return ()
    if new.status is ConditionStatus.TRUE:
        return (EventNote(EventType.NORMAL, new.reason, new.message),)
    return () if new.reason in ordinary else (EventNote(EventType.WARNING, new.reason, new.message),)


def is_passing(before: RunStatus, after: RunStatus, *, acting: bool) -> bool:
    """Nobody acts on the difference: no volume changed its state, and Ready says the same.

    If the pass writes nothing else (`acting` is False), none may have more to say either: of what it waits for, how far it is.
    """
    old, new = find_condition(before.conditions, READY), find_condition(after.conditions, READY)
    if old is None or new is None or (old.status, old.reason) != (new.status, new.reason):
        return False
    if [volume.state for volume in before.volumes] != [volume.state for volume in after.volumes]:
        return False
    if before.observed_generation != after.observed_generation or _word(before, FRESH) != _word(after, FRESH):
        return False
    return acting or (
        before.completed_at is None and [_said(volume) for volume in before.volumes] == [_said(volume) for volume in after.volumes]
    )


def _word(status: RunStatus, kind: str) -> tuple[str, str] | None:
    found = find_condition(status.conditions, kind)
    return (found.status, found.reason) if found else None


def _said(volume: SnapshotVolume | RestoredVolume) -> tuple[object, ...]:
    """What a person reads of one volume while it is on its way."""
    progress = volume.progress if isinstance(volume, SnapshotVolume) else volume.progress_at
    return volume.reason, volume.message, volume.attempts, progress
