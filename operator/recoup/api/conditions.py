"""Conditions as kstatus reads them: what is True, since when, why, and for which generation.

`Ready` answers "is it fine?", `Reconciling` is present and True while work is under way, `Stalled` is present and True when only a
person can help. Argo CD, Flux and `kubectl wait` need no custom code for that. A condition's transition time changes with its
status and with nothing else.
"""

from datetime import datetime
from enum import StrEnum

from recoup.api.objects import Status, cut

MESSAGE_LIMIT = 4096


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"


class Condition(Status, frozen=True):
    type: str
    status: ConditionStatus
    reason: str
    message: str
    last_transition_time: datetime
    observed_generation: int = 0


Conditions = tuple[Condition, ...]


def find_condition(conditions: Conditions, kind: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == kind), None)


def is_true(conditions: Conditions, kind: str) -> bool:
    found = find_condition(conditions, kind)
    return found is not None and found.status is ConditionStatus.TRUE


def set_condition(
    conditions: Conditions,
    kind: str,
    status: bool | None,
    reason: str,
    message: str,
    *,
    now: datetime,
    generation: int,
) -> Conditions:
    """The conditions with this one set, in a stable order; `None` is Unknown. Setting what is already said changes nothing."""
    word = ConditionStatus.UNKNOWN if status is None else ConditionStatus(str(status))
    before = find_condition(conditions, kind)
    since = before.last_transition_time if before and before.status is word else now.replace(microsecond=0)
    entry = Condition(
        type=kind,
        status=word,
        reason=reason,
        message=cut(message, MESSAGE_LIMIT),
        last_transition_time=since,
        observed_generation=generation,
    )
    return tuple(sorted((*drop_condition(conditions, kind), entry), key=lambda condition: condition.type))


def drop_condition(conditions: Conditions, kind: str) -> Conditions:
    return tuple(condition for condition in conditions if condition.type != kind)


def set_ready(conditions: Conditions, reason: str, message: str, *, now: datetime, generation: int) -> Conditions:
    """All is as asked for: Ready, neither reconciling nor stalled."""
    rest = drop_condition(drop_condition(conditions, RECONCILING), STALLED)
    return set_condition(rest, READY, True, reason, message, now=now, generation=generation)


def set_reconciling(conditions: Conditions, reason: str, message: str, *, now: datetime, generation: int) -> Conditions:
    """Work is under way, or waits for something that comes by itself: not Ready yet, and nobody needs to act."""
    rest = drop_condition(conditions, STALLED)
    rest = set_condition(rest, RECONCILING, True, reason, message, now=now, generation=generation)
    return set_condition(rest, READY, False, reason, message, now=now, generation=generation)


def set_stalled(conditions: Conditions, reason: str, message: str, *, now: datetime, generation: int) -> Conditions:
    """Only a person can help; the message says how."""
    rest = drop_condition(conditions, RECONCILING)
    rest = set_condition(rest, STALLED, True, reason, message, now=now, generation=generation)
    return set_condition(rest, READY, False, reason, message, now=now, generation=generation)


def set_not_ready(conditions: Conditions, reason: str, message: str, *, now: datetime, generation: int) -> Conditions:
    """Not as asked for, and nothing is under way just now; a later event or run may change that."""
    rest = drop_condition(drop_condition(conditions, RECONCILING), STALLED)
    return set_condition(rest, READY, False, reason, message, now=now, generation=generation)
