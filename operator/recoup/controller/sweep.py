"""The periodic sweep: removes children whose owner is gone, wherever they are.

What goes is decided by plan/sweep.py from labels and uids; here it is only carried out, one action's failure not keeping the
others from happening.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from recoup.controller.gather import Reader
from recoup.controller.gather_sweep import gather_sweep
from recoup.errors import RecoupError
from recoup.plan.actions import Action
from recoup.plan.sweep import plan_sweep

log = logging.getLogger(__name__)

SOON = 5.0
"""Seconds to the next look while something was removed: what held it may show now."""


class Sweep:
    """Called by a worker; returns the seconds until the next sweep."""

    def __init__(self, reader: Reader, *, apply: Callable[[Action], int], every: float, jitter: Callable[[], float]) -> None:
        self._reader, self._apply, self._every, self._jitter = reader, apply, every, jitter

    def __call__(self, now: datetime) -> float:
        removed = 0
        for action in self._orphans(now):
            what = {"kind": action.kind, "namespace": action.namespace or "", "object": action.name}
            try:
                removed += self._apply(action)
                log.info("orphan removed", extra=what | {"action": type(action).__name__})
            except RecoupError as error:
                log.warning("orphan not removed: %s", error, extra=what)
        return SOON if removed else self._every * (0.9 + 0.2 * self._jitter())

    def _orphans(self, now: datetime) -> tuple[Action, ...]:
        """What to remove: nothing by the cache alone, in which an owner may be missing that has just been made."""
        actions = plan_sweep(gather_sweep(self._reader), now)
        certain = self._reader.at_server
        return plan_sweep(gather_sweep(certain), now) if actions and certain is not self._reader else actions
