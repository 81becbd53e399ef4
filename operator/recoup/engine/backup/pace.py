"""How large packs are, by how fast they go: on a slow line a pack must not take longer than connections live.

The first packs are small, until one has been sent; then as large as the line sends in half a minute, up to what the run was asked for.
"""

from __future__ import annotations

import threading
from typing import Final

LEAST_PACK: Final = 5 << 20
"""Holds the longest block (4 MiB) and what surrounds it."""
SECONDS: Final = 30.0
"""That one pack may take."""
_STEP: Final = 1 << 20
_MEASURABLE: Final = 256 << 10
"""Stored bytes below which an object says more of the way there and back than of the line."""


class Pace:
    """Told by the uploaders how long objects took; asked by whoever begins a pack. Safe for several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._least = min(LEAST_PACK, most)
        self._rate: float | None = None
        self._lock = threading.Lock()

    @property
    def rate(self) -> float | None:
        """Bytes a second of one upload among the others, of late; None while none has been seen."""
        return self._rate

    def took(self, size: int, seconds: float) -> None:
        """An object of `size` bytes was put in so many seconds."""
        if size < _MEASURABLE:
            return
        rate = size / max(seconds, 1e-6)
        with self._lock:
            self._rate = rate if self._rate is None else (self._rate + rate) / 2

    def pack_bytes(self) -> int:
        """Stored size of the pack that is begun now."""
        if self._rate is None:
            return self._least
        wanted = int(self._rate * SECONDS) // _STEP * _STEP
        return max(self._least, min(self._most, wanted))
