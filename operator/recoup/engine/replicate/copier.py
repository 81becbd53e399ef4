"""Moving objects to a location: read where they are good, compare with the digest, create where they are absent.

Responsible for: several objects at a time in bounded memory, as few requests as can be, and the incarnation under which each object is here
(docs/format.md section 1). An object counts as here only if it was put by this very call or read back whole; a listing or a HEAD never is
enough. Knows no log: whoever calls says where an object should be.
"""

from __future__ import annotations

import mmap
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple, Self

from msgspec import field

from recoup.engine.format.kinds import MAX_OBJECT_BYTES, Area
from recoup.engine.format.names import digest_of, object_name
from recoup.engine.stores.base import Store
from recoup.errors import Cancelled, Integrity, NotFound
from recoup.report import Progress
from recoup.value import Record

THREADS = 6
_AHEAD = 4
"""Objects waiting for each thread."""
_KEPT = 32 << 20
"""Bytes of a thread's buffer that stay in memory between two objects."""
_MAX_INCARNATIONS = 64
"""So many spoilt incarnations of one object are somebody's work."""


class Wanted(NamedTuple):
    """An object to have here."""

    digest: bytes
    area: Area
    at: int = 0
    """Its incarnation where it is to be read."""
    size: int | None = None
    """Stored bytes; None where the records that name it do not tell."""
    first: int = 0
    """The lowest incarnation under which it may stand here: not swept, not known to be damaged."""
    data: bytes | None = None
    """Its bytes, where they were read and compared already."""


class Copied(Record):
    """What was done. Bytes are stored bytes."""

    objects: int = 0
    """Objects put here."""
    bytes: int = 0
    found: int = 0
    """Objects that were here already, read back and good."""
    found_bytes: int = 0
    spoilt: int = 0
    """Objects that stood here with other bytes than their names say, and were put again under the next incarnation."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Buffer(threading.local):
    """Address space for the largest object; what a large one filled is given back."""

    def __init__(self) -> None:
        self.map = mmap.mmap(-1, MAX_OBJECT_BYTES)
        self.view = memoryview(self.map)

    def shrink(self, used: int) -> None:
        if used > _KEPT:
            self.map.madvise(mmap.MADV_DONTNEED, _KEPT, MAX_OBJECT_BYTES - _KEPT)


Look = Callable[[str, Wanted, memoryview], int | None]
"""(name at the target, what it should be, a buffer to use) → its length if it is good there, else None."""


class Copier:
    """Copies objects of one vault from `source`, which must compare what it hands out with its digest, to `target`."""

    def __init__(
        self,
        source: Store,
        target: Store,
        vault_id: bytes,
        progress: Progress,
        *,
        threads: int | None = None,
        look: Look | None = None,
    ) -> None:
        """With `look` every object should stand at the target already; one that it finds bad is put under the next incarnation."""
        self.copied = Copied()
        self._source, self._target, self._vault, self._progress = source, target, vault_id, progress
        self._look = look
        self._threads = threads or THREADS
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="copy")
        self._buffer = _Buffer()
        self._stop = threading.Event()
        self._expect = False
        """Whether the last object looked at stood here already: then the next one may, and is asked for before it is fetched."""

    def copy(self, wanted: Iterable[Wanted]) -> tuple[list[Wanted], list[Integrity]]:
        """Have all of them here. Returns those that stand here under another incarnation than 0 (`first`; with `look` only those that
        were bad), and why some cannot be had.

        Raises what the stores raise when one is away; what was copied until then stays and is found by the next run.
        """
        raised: list[Wanted] = []
        lost: list[Integrity] = []
        waiting: deque[Future[Wanted]] = deque()

        def settle() -> None:
            try:
                one = waiting.popleft().result()
            except Integrity as error:
                lost.append(error)
            else:
                if one.first:
                    raised.append(one)

        try:
            try:
                for each in wanted:
                    waiting.append(self._pool.submit(self._one, each))
                    if len(waiting) >= self._threads * _AHEAD:
                        settle()
            except Integrity as error:  # the list itself cannot be read to its end
                lost.append(error)
            while waiting:
                settle()
        except BaseException:
            self._stop.set()
            raise
        return raised, lost

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the threads. After an interrupt nobody waits for one that waits for the network."""
        self._stop.set()
        self._pool.shutdown(wait=error is None or isinstance(error, Exception), cancel_futures=True)

    def _one(self, wanted: Wanted) -> Wanted:
        """Have one object here; where it stands now."""
        if self._stop.is_set():
            raise Cancelled("the copying was stopped")
        lowest = wanted.first
        held = 0
        try:
            if self._look is not None:
                size = self._look(object_name(self._vault, wanted.area, wanted.digest, lowest), wanted, self._buffer.view)
                if size is not None:
                    self._find(size, wanted)
                    return wanted._replace(first=0)
                lowest += 1
            for incarnation in range(lowest, lowest + _MAX_INCARNATIONS):
                name = object_name(self._vault, wanted.area, wanted.digest, incarnation)
                there = self._expect and self._target.size(name) is not None
                if not there:
                    held = held or self._fetch(wanted)
                    if self._put(name, held, wanted):
                        return wanted._replace(first=incarnation)
                self._expect = True
                size = reads_back(self._target, name, wanted, self._buffer.view)
                if size is not None:
                    self._find(size, wanted)
                    return wanted._replace(first=incarnation)
                held = 0  # the buffer holds what was found here
                with self.copied.lock:
                    self.copied.spoilt += 1
        finally:
            self._buffer.shrink(max(held, wanted.size or 0))
        raise Integrity(
            f"object {object_name(self._vault, wanted.area, wanted.digest)} was put {_MAX_INCARNATIONS} times at {self._target.url} with "
            "other bytes than its name says: somebody spoils the location",
            reason="LocationSquatted",
        )

    def _fetch(self, wanted: Wanted) -> int:
        """Read the object from the source into the thread's buffer; its length."""
        if wanted.data is not None:
            self._buffer.view[: len(wanted.data)] = wanted.data
            return len(wanted.data)
        name = object_name(self._vault, wanted.area, wanted.digest, wanted.at)
        limit = MAX_OBJECT_BYTES if wanted.size is None else min(wanted.size, MAX_OBJECT_BYTES)
        try:
            length = self._source.get_into(name, self._buffer.view[:limit])
        except NotFound as error:
            raise Integrity(f"object {name} is missing at {self._source.url}", reason="ObjectMissing") from error
        if wanted.size is not None and length != wanted.size:
            raise Integrity(f"object {name} has {length} bytes at {self._source.url}, its set says {wanted.size}", reason="SetMismatch")
        return length

    def _put(self, name: str, length: int, wanted: Wanted) -> bool:
        if not self._target.create(name, self._buffer.view[:length]):
            return False
        self._expect = False
        with self.copied.lock:
            self.copied.objects += 1
            self.copied.bytes += length
        self._progress.advance(data=wanted.size or 0, files=1)
        return True

    def _find(self, size: int, wanted: Wanted) -> None:
        with self.copied.lock:
            self.copied.found += 1
            self.copied.found_bytes += size
        self._progress.advance(data=wanted.size or 0, files=1)


def reads_back(store: Store, name: str, wanted: Wanted, buffer: memoryview) -> int | None:
    """Length of the object if the store gives the bytes that its digest says, None if not."""
    try:
        length = store.get_into(name, buffer)
    except (NotFound, Integrity):
        return None
    return length if digest_of(buffer[:length]) == wanted.digest else None
