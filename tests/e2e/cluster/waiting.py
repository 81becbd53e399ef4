"""Waiting for what a cluster does in its own time: a condition, a deadline, and at the end of it what was still missing."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 300.0
"""Seconds for what takes a few on an idle machine."""
_PAUSE = 0.25


class StillMissing(AssertionError):
    """The deadline passed; the message says what was awaited and what was seen last."""


def wait_until(what: str, missing: Callable[[], str | None], seconds: float = PATIENCE) -> float:
    """Ask until `missing` returns None; its text says what is still missing. Returns the seconds it took."""
    started = time.monotonic()
    while (last := missing()) is not None:
        if time.monotonic() - started >= seconds:
            raise StillMissing(f"{what}: after {seconds:.0f} s still: {last}")
        time.sleep(_PAUSE)
    return time.monotonic() - started
