"""Which plans may not rest on memory alone: those that settle a run for good, or end something badly.

A look is mostly made from what the watch told, which may be behind. A good end rests on the catalogue, and writes are safe by their
names and preconditions; but what is settled stays settled and what failed stays failed. Looks at statuses as JSON and at nothing else.
"""

from typing import Any

from recoup.plan.actions import Object

_BAD = frozenset({"Failed", "Cancelled"})
_GOOD = frozenset({"Stored", "Restored"})
_SETTLED = ("run", "plan")
"""What a BackupSnapshot and a RestoreRequest go by from the moment it is in their status."""


def is_final(before: Object | None, after: Object | None) -> bool:
    """Whether writing the status `after` over `before` decides something that no later look takes back."""
    if after is None:
        return False
    before = before or {}
    if any(after.get(field) is not None and before.get(field) is None for field in _SETTLED):
        return True
    if (after.get("plan") or {}).get("takenAt") != (before.get("plan") or {}).get("takenAt"):
        return True  # the next refresh of a standby: no mover may be overlooked
    known = {_name(volume): volume.get("state") for volume in before.get("volumes") or ()}
    states = {_name(volume): volume.get("state") for volume in after.get("volumes") or ()}
    if any(state in _BAD and known.get(name) != state for name, state in states.items()):
        return True
    ends = after.get("completedAt") is not None and before.get("completedAt") is None
    return ends and not (states and set(states.values()) <= _GOOD)


def _name(volume: Any) -> tuple[str, str]:
    return str(volume.get("persistentVolumeClaim") or ""), str(volume.get("uid") or volume.get("source") or "")
