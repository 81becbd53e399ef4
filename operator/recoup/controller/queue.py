"""The keyed delaying queue between events and workers.

A key is in it once, at its earliest due time; it is worked on by one worker at a time, and an event that comes meanwhile makes
it due again afterwards. Failures back off per key, exponentially with jitter. Urgent keys (restores) overtake others that are
due. The clock is monotonic and injected; nothing here knows what a key means.
"""

import heapq
import threading
from collections.abc import Callable, Hashable
from itertools import count
from typing import Generic, TypeVar

BACKOFF_FIRST = 1.0
BACKOFF_LONGEST = 300.0

K = TypeVar("K", bound=Hashable)


class DelayingQueue(Generic[K]):
    """Thread-safe. Seconds everywhere; `jitter` returns a number in [0, 1)."""

    def __init__(
        self, *, clock: Callable[[], float], jitter: Callable[[], float], urgent: Callable[[K], bool] = lambda _key: False
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._urgent = urgent
        self._changed = threading.Condition()
        self._due: dict[K, float] = {}  # the truth; heap entries that disagree with it are stale and skipped
        self._waiting: list[tuple[float, int, K]] = []
        self._ready: list[tuple[bool, float, int, K]] = []
        self._working: set[K] = set()
        self._again: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._order = count()
        self._closed = False

    def add(self, key: K, delay: float = 0.0) -> None:
        """Make the key due in `delay` seconds, or leave it if it is due sooner."""
        with self._changed:
            self._add(key, self._clock() + max(0.0, delay))

    def take(self) -> K | None:
        """Take the next key that is due, or None; the taker must call done or failed."""
        with self._changed:
            return self._take()

    def get(self) -> K | None:
        """Wait for a key; None when the queue is closed."""
        with self._changed:
            while not self._closed:
                key = self._take()
                if key is not None:
                    return key
                self._changed.wait(self._until_next())
            return None

    def done(self, key: K, *, again_in: float | None = None) -> None:
        """Finish a key that went well, which also forgets its failures; look again in `again_in` seconds."""
        with self._changed:
            self._failures.pop(key, None)
            self._release(key, again_in)

    def failed(self, key: K, *, at_least: float = 0.0, first: float = BACKOFF_FIRST) -> float:
        """Finish a key that failed; it comes back after its back-off, which begins with `first` and whose seconds are returned."""
        with self._changed:
            attempt = self._failures[key] = self._failures.get(key, 0) + 1
            ceiling = min(BACKOFF_LONGEST, first * 2.0 ** min(attempt, 32))
            delay = max(at_least, ceiling * (0.5 + 0.5 * self._jitter()))
            if self._again.pop(key, None) is not None:  # something changed meanwhile: soon, but an object that fails and flaps can't spin
                delay = max(at_least, min(delay, BACKOFF_FIRST))
            self._release(key, delay)
            return delay

    def close(self) -> None:
        """Wake and send away all workers; keys in work may still be finished."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def depth(self) -> int:
        """How many keys are due now and wait for a worker."""
        with self._changed:
            now = self._clock()
            return sum(due <= now for due in self._due.values())

    def in_work(self) -> int:
        with self._changed:
            return len(self._working)

    def oldest_age(self) -> float:
        """For how many seconds the longest-waiting due key has been due; 0.0 if none is."""
        with self._changed:
            return max(0.0, self._clock() - min(self._due.values(), default=self._clock()))

    def _add(self, key: K, due: float) -> None:
        if key in self._working:
            self._again[key] = min(due, self._again.get(key, due))
            return
        if due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        heapq.heappush(self._waiting, (due, next(self._order), key))
        self._changed.notify()

    def _take(self) -> K | None:
        now = self._clock()
        while self._waiting and self._waiting[0][0] <= now:
            due, order, key = heapq.heappop(self._waiting)
            heapq.heappush(self._ready, (not self._urgent(key), due, order, key))
        while self._ready:
            _, due, _, key = heapq.heappop(self._ready)
            if self._due.get(key) == due:
                del self._due[key]
                self._working.add(key)
                return key
        return None

    def _release(self, key: K, delay: float | None) -> None:
        self._working.discard(key)
        times = [self._clock() + delay] if delay is not None else []
        again = self._again.pop(key, None)
        times += [again] if again is not None else []
        if times:
            self._add(key, min(times))

    def _until_next(self) -> float | None:
        return max(0.0, self._waiting[0][0] - self._clock()) if self._waiting else None
