"""The status of a standby until it is handed over: what it holds, whether that is the newest there is, and what is in the way.

Ready means that it could be promoted at this moment: every volume holds one recovery point, completely.
"""

from datetime import datetime

import msgspec

from recoup.api.conditions import Conditions, set_condition, set_ready, set_reconciling
from recoup.api.restorerequest import FRESH, RESOLVED, RESTORED, RestoredVolume, RestorePlan, RestoreRequestStatus, RestoreState
from recoup.plan.access import Refusal
from recoup.plan.restore_status import ORDINARY, chosen_words, message_of, summarise
from recoup.plan.standby import Ahead

_ENDS = (RestoreState.HANDING_OVER, RestoreState.RESTORED, RestoreState.FAILED, RestoreState.CANCELLED)


def is_handed_over(status: RestoreRequestStatus) -> bool:
    """It is being handed over, or was, or is no more: from here on it is told as any restore."""
    return bool(status.volumes) and any(volume.state in _ENDS for volume in status.volumes)


def describe_standby(
    status: RestoreRequestStatus, ahead: Ahead, blocked: Refusal | None, *, promote: bool, now: datetime, generation: int, part: str
) -> RestoreRequestStatus:
    """Conditions and columns of a standby that is kept. `blocked`: what is in the way of its promotion."""
    plan, volumes = status.plan, status.volumes
    assert plan is not None
    whole = all(volume.state is RestoreState.STANDBY for volume in volumes)
    conditions = set_condition(status.conditions, RESOLVED, True, "Resolved", chosen_words(plan), now=now, generation=generation)
    counts = f"{sum(volume.state is RestoreState.STANDBY for volume in volumes)} of {len(volumes)} volumes hold {chosen_words(plan)}"
    counts += f"; {part}" if part else ""
    reason, message = _reason(status, whole=whole, promote=promote), message_of(counts, volumes)
    if blocked is not None and whole:
        reason, message = blocked.reason, blocked.message
    say = set_ready if whole and reason == "Standby" else set_reconciling
    conditions = say(conditions, reason, message, now=now, generation=generation)
    conditions = set_condition(
        conditions, RESTORED, False, reason, "a standby is restored when it is promoted", now=now, generation=generation
    )
    return msgspec.structs.replace(
        status,
        observed_generation=generation,
        conditions=_fresh(conditions, plan, ahead, whole=whole, reason=reason, message=message, now=now, generation=generation),
        summary=summarise(plan, volumes, over=False),
    )


def _fresh(
    conditions: Conditions, plan: RestorePlan, ahead: Ahead, *, whole: bool, reason: str, message: str, now: datetime, generation: int
) -> Conditions:
    """Said anew when it was looked for; otherwise as it was said last."""
    if not whole:
        return set_condition(conditions, FRESH, False, reason, message, now=now, generation=generation)
    if ahead.trouble is not None:
        return set_condition(conditions, FRESH, None, ahead.trouble.reason, ahead.trouble.message, now=now, generation=generation)
    words = f"it holds {chosen_words(plan)}, the newest there"
    return set_condition(conditions, FRESH, True, "UpToDate", words, now=now, generation=generation) if ahead.looked else conditions


def _reason(status: RestoreRequestStatus, *, whole: bool, promote: bool) -> str:
    """One word: what is in the way, else what is going on."""
    troubled = [volume.reason for volume in status.volumes if volume.reason and volume.reason not in ORDINARY and _is_in_the_way(volume)]
    if troubled:
        return troubled[0]
    if promote:
        return "HandingOver" if whole else "FinishingRefresh"
    if whole:
        return "Standby"
    return "Refreshing" if status.standby is not None and status.standby.holds is not None else "Filling"


def _is_in_the_way(volume: RestoredVolume) -> bool:
    """What the file system could not keep is a reservation that stays with the volume, and no reason not to promote it."""
    return volume.reason != "MetadataNotPreserved"
