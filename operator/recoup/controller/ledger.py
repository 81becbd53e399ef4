"""The last refusal of each write, per owner: a hint for the planner's message and its back-off, lost at a restart without harm.

What is in here was also seen in the answer to a real call, so a condition made of it is true; after a restart the same call is
made, and refused, again.
"""

import threading
from datetime import datetime

from recoup.errors import RecoupError
from recoup.plan.actions import Action
from recoup.plan.observed import ApiFailure, FailureKey


class FailureLedger:
    """Thread-safe. Owners are named by uid, so a re-created one starts clean."""

    def __init__(self) -> None:
        self._failures: dict[str, dict[FailureKey, ApiFailure]] = {}
        self._lock = threading.Lock()

    def of(self, owner_uid: str) -> dict[FailureKey, ApiFailure]:
        with self._lock:
            return dict(self._failures.get(owner_uid, {}))

    def failed(self, owner_uid: str, action: Action, error: RecoupError, now: datetime) -> None:
        key = (action.kind, action.namespace or "", action.name)
        with self._lock:
            known = self._failures.setdefault(owner_uid, {})
            count = known[key].count + 1 if key in known and known[key].reason == error.reason else 1
            known[key] = ApiFailure(reason=error.reason, message=str(error), at=now, count=count)

    def succeeded(self, owner_uid: str, action: Action) -> None:
        with self._lock:
            known = self._failures.get(owner_uid, {})
            known.pop((action.kind, action.namespace or "", action.name), None)
            if not known:
                self._failures.pop(owner_uid, None)

    def forget(self, owner_uid: str) -> None:
        with self._lock:
            self._failures.pop(owner_uid, None)
