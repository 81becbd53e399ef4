"""Which blocks of which packs go where: the tree's runs, grouped so that each pack is fetched once.

Pure bookkeeping, no I/O. Work is cut into windows of bounded memory; the pack that the walk is just in stays for the next window, so
that a recovery point written in walk order is read with one request per pack.
"""

from __future__ import annotations

import threading

from msgspec import field

from recoup.engine.records.content import Run
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.rows import Place
from recoup.engine.records.tree import Entry
from recoup.value import Record

WINDOW_RUNS = 16_384
"""A run of a small file takes some 1.2 KiB with all that belongs to it, and two windows are there at a time."""
WINDOW_BYTES = 512 * 2**20


class Pending:
    """One file in the making. `done` says when its last run has been written or given up; thread-safe."""

    __slots__ = ("_outstanding", "_planned", "bytes", "damage", "entry", "in_place", "single", "temporary")
    _lock = threading.Lock()
    """One for all: it is held for a few additions, and one for each file would take more than they do."""

    def __init__(self, entry: Entry, temporary: bytes, *, in_place: bool = False) -> None:
        """`in_place`: under the temporary name stands the old file, of which only the planned runs are wrong."""
        self.entry, self.temporary, self.in_place = entry, temporary, in_place
        self.single = not in_place and is_single(entry)
        self.damage: str | None = None
        self._outstanding, self._planned = 0, False
        self.bytes = 0
        """Of the runs planned so far."""

    def add(self, length: int = 0) -> None:
        """One more run is planned."""
        if self.single:
            return  # its one run is all: nobody counts
        with self._lock:
            self._outstanding += 1
            self.bytes += length

    def spoil(self, damage: str) -> None:
        """The file cannot be had whole, whatever becomes of the runs that were planned."""
        with self._lock:
            self.damage = self.damage or damage

    def planned(self) -> bool:
        """All runs are planned. True if they are all done, too, so that the caller finishes the file."""
        with self._lock:
            self._planned = True
            return self._outstanding == 0

    def done(self, damage: str | None = None) -> bool:
        """One run is written, or lost to `damage`. True for the last one: the caller finishes the file."""
        with self._lock:
            self.damage = self.damage or damage
            self._outstanding -= 1
            return self._planned and self._outstanding == 0


def is_single(entry: Entry) -> bool:
    """Whether one run is all there is of the file."""
    content = entry.content
    if content is None or len(content.runs) != 1:
        return False
    run = content.runs[0]
    return run.offset == 0 and run.length == entry.size


class PackJob(Record):
    """What is wanted of one pack: by block number, the block's id and the runs that it feeds."""

    object: ObjectRef
    blocks: dict[int, tuple[bytes, list[tuple[Pending, Run]]]] = field(default_factory=dict)
    wanted: int = 0
    """Bytes of runs: about the plaintext that will be read."""
    alone: bool = False
    """The whole restore wants of one pack only: one request is better then than the several that ranges take."""


class Planner:
    """Collects runs; `take` hands out jobs when a window is full."""

    def __init__(self, window_runs: int = WINDOW_RUNS, window_bytes: int = WINDOW_BYTES) -> None:
        self._limits = (window_runs, window_bytes)
        self._jobs: dict[ObjectRef, PackJob] = {}
        self._latest: ObjectRef | None = None
        self._runs = self._bytes = 0
        self._taken = False

    def add(self, pending: Pending, run: Run, place: Place) -> None:
        pending.add(run.length)
        job = self._jobs.get(place.object)
        if job is None:
            job = self._jobs[place.object] = PackJob(place.object)
        job.blocks.setdefault(place.number, (run.block, []))[1].append((pending, run))
        job.wanted += run.length
        self._latest = place.object
        self._runs += 1
        self._bytes += run.length

    @property
    def full(self) -> bool:
        return self._runs >= self._limits[0] or self._bytes >= self._limits[1]

    def take(self, *, everything: bool = False) -> list[PackJob]:
        """The jobs collected so far, in the order in which the walk first met their packs; the latest stays unless `everything`."""
        kept = None if everything or len(self._jobs) == 1 else self._jobs.pop(self._latest) if self._latest is not None else None
        jobs = list(self._jobs.values())
        if everything and len(jobs) == 1 and not self._taken:
            jobs[0].alone = True
        self._taken = True
        self._jobs = {kept.object: kept} if kept is not None else {}
        self._runs = sum(len(feeds) for _, feeds in kept.blocks.values()) if kept is not None else 0
        self._bytes = kept.wanted if kept is not None else 0
        return jobs
