"""A bandwidth limit shared by the threads of one store: a bucket that fills at the limit and holds a quarter of a second of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

CHUNK = 128 * 1024
"""Bytes to move between two calls of `take`."""


class Limiter:
    """`take(n)` returns when n more bytes may be moved. A limit of None costs nothing."""

    def __init__(
        self, bytes_per_second: int | None, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.limit = bytes_per_second
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, count: int) -> None:
        """Wait until `count` bytes fit. Threads queue by reserving time, so that none starves."""
        if self.limit is None:
            return
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now - 0.25) + count / self.limit
            wait = self._free_at - now
        if wait > 0:
            self._sleep(wait)


class LimitedBody:
    """A request body that hands out its bytes no faster than the limiter allows. Seekable, as clients demand for a retry."""

    def __init__(self, data: memoryview, limiter: Limiter) -> None:
        self._data, self._limiter, self._at = data, limiter, 0

    def __len__(self) -> int:
        return len(self._data)

    def read(self, _amount: int = -1) -> memoryview:
        """The next CHUNK bytes, without a copy. Clients ask for 16 KiB, which costs them a tenth of their speed, and take what comes."""
        chunk = self._data[self._at : self._at + CHUNK]
        self._limiter.take(len(chunk))
        self._at += len(chunk)
        return chunk

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, len(self._data))[whence]
        return self._at
