"""When a run's status is worth a write, and an Event: for outcomes and troubles, not for each step of the ordinary course.

The same for backups and restores. What is left unsaid by one pass is said by the pass that follows it, which is under way.
"""

from collections.abc import Collection
from datetime import timedelta

from recoup.api.backupsnapshot import BackupSnapshotStatus
from recoup.api.conditions import READY, Conditions, ConditionStatus, find_condition
from recoup.api.restorerequest import RestoreRequestStatus
from recoup.plan.actions import EventNote, EventType

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


def is_passing(before: BackupSnapshotStatus | RestoreRequestStatus, after: BackupSnapshotStatus | RestoreRequestStatus) -> bool:
    """Nobody acts on the difference: no volume changed its state, and Ready says the same."""
    old, new = find_condition(before.conditions, READY), find_condition(after.conditions, READY)
    same_word = old is not None and new is not None and (old.status, old.reason) == (new.status, new.reason)
    return same_word and [volume.state for volume in before.volumes] == [volume.state for volume in after.volumes]
