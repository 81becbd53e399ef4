"""From changed conditions to Events: one for each statement that changed its mind, none for saying the same again."""

from recoup.api.backuppolicy import AT_HOME, DRILLED, RETENTION_APPLIED, RPO_AT_RISK, RPO_MET, RTO_MET, SUSPICIOUS, VERIFIED
from recoup.api.conditions import READY, RECONCILING, STALLED, Condition, Conditions, ConditionStatus, find_condition
from recoup.plan.actions import EventNote, EventType


def transition_notes(before: Conditions, after: Conditions) -> tuple[EventNote, ...]:
    """The Events that tell somebody who follows the object what changed.

    Ready speaks for Reconciling. That work has begun is no news, that it stalled is, and that a new objective is kept is none either; two
    conditions that say the same make one Event.
    """
    notes: list[EventNote] = []
    working = find_condition(after, RECONCILING) is not None
    for condition in after:
        if condition.type == RECONCILING or not _changed(before, condition):
            continue
        if condition.type == READY and condition.status is ConditionStatus.FALSE and working:
            continue
        note = EventNote(_type(condition), condition.reason, condition.message)
        if note not in notes:
            notes.append(note)
    return tuple(notes)


def _changed(before: Conditions, condition: Condition) -> bool:
    if condition.status is ConditionStatus.UNKNOWN:
        return False
    known = find_condition(before, condition.type)
    if known is None:
        return condition.type not in (AT_HOME, RPO_MET, RPO_AT_RISK, RTO_MET, VERIFIED, DRILLED, RETENTION_APPLIED) or not _is_good(
            condition
        )
    return known.status is not condition.status


def _type(condition: Condition) -> EventType:
    return EventType.NORMAL if _is_good(condition) else EventType.WARNING


def _is_good(condition: Condition) -> bool:
    return (condition.status is ConditionStatus.TRUE) != (condition.type in (STALLED, RPO_AT_RISK, SUSPICIOUS))
