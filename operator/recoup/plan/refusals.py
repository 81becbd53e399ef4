"""What the API server refused, and what that means for the next try: nothing is hammered, nothing is hidden, nothing waits for ever.

An action whose object was refused lately is held back, with everything after it that belongs to the same volume; the refusal's reason
and message go into the status. After `REFUSAL_LIMIT` a step that never succeeded is given up by its caller.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from recoup.plan.actions import Action
from recoup.plan.observed import ApiFailure, FailureKey

REFUSAL_LIMIT = timedelta(hours=1)
_FIRST_DELAY = 5.0
_LONGEST_DELAY = 300.0


class Admitted(Struct, frozen=True):
    """The actions to try now; the refusal that is in the way of the others, and the seconds until they may be tried again."""

    actions: tuple[Action, ...]
    refusal: ApiFailure | None = None
    again: float | None = None


def admit(actions: tuple[Action, ...], failures: dict[FailureKey, ApiFailure], now: datetime) -> Admitted:
    """Cut the actions at the first whose object was refused and whose pause is not over."""
    refusal: ApiFailure | None = None
    for number, action in enumerate(actions):
        failure = failures.get((action.kind, action.namespace or "", action.name))
        if failure is None:
            continue
        refusal = refusal or failure
        pause = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(failure.count - 1, 10))
        left = pause - (now - failure.at).total_seconds()
        if left > 0:
            return Admitted(actions[:number], failure, left)
    return Admitted(actions, refusal)
