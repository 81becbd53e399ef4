"""The threads that fetch packs and write what they hold.

One order, which cannot deadlock: a thread takes a job, fetches the pack into its own buffer, opens each wanted block, writes every run
that the block feeds, and takes the next job. No queue between threads; while one waits for the network the others decrypt and
write. A damaged pack costs the files that need it, named, and nothing else.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from typing import Protocol

from recoup.engine.blocks import MISSING, RANGED_BELOW, Objects, read_checked
from recoup.engine.format.kinds import MAX_OBJECT_BYTES, BlockKind, Kind
from recoup.engine.format.reader import ObjectReader
from recoup.engine.records.content import Run
from recoup.engine.restore.gate import Gate
from recoup.engine.restore.plan import PackJob, Pending
from recoup.errors import Cancelled, Integrity, KeyUnavailable, RecoupError
from recoup.typeinfo import build_type_info

THREADS = 3
"""One waits for the store while two use the cores; each keeps one pack in memory."""


MANY = 4
"""Files that a block is written to one thread at a time if it feeds more: short system calls of several threads would spend more time
on handing the interpreter over than on their work."""


Feeds = Sequence[tuple[Pending, Run]]


class Sink(Protocol):
    """Where runs go: files of a tree, or a device."""

    def write(self, plain: memoryview, feeds: Feeds) -> None:
        """Put runs of one block where they belong; all lie within `plain`. Each planned run comes once, from any thread."""

    def lose(self, pending: Pending, damage: str) -> None:
        """Take note that one planned run cannot be had."""


class _Buffer(threading.local):
    """As much address space as the largest object may need; memory is taken only as far as packs fill it."""

    def __init__(self) -> None:
        self.view = memoryview(mmap.mmap(-1, MAX_OBJECT_BYTES))


class Workers:
    """Runs pack jobs. `submit` waits for most jobs of the window before, so that memory holds little more than two windows."""

    def __init__(self, objects: Objects, id_key: bytes, sink: Sink) -> None:
        self._objects, self._id_key, self._sink = objects, id_key, sink
        build_type_info()
        self._threads = objects.parallelism or THREADS
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="restore")
        self._running: list[Future[None]] = []
        self._stop = threading.Event()
        self._patient = True
        self._buffer = _Buffer()
        self._turn = threading.Lock()
        self._gate = Gate()

    def submit(self, jobs: Sequence[PackJob]) -> None:
        """Start the jobs when no more of those before are left than keep the threads busy. Raises the first failure of those."""
        self.wait(self._threads)
        self._running += [self._pool.submit(self._work, job) for job in jobs]

    def wait(self, left: int = 0) -> None:
        """Until at most `left` jobs have not ended. Raises the first failure as soon as there is one, having told the rest to stop."""
        running, self._running = self._running, []
        try:
            while len(running) > left:
                running.pop(0).result()
            self._running = running
        except BaseException as error:
            self._stop.set()
            for future in running:
                future.cancel()
            self._patient = isinstance(error, Exception)
            if self._patient:
                wait(running)
            raise

    def close(self) -> None:
        """End the threads; what has not begun never will.

        After an interrupt nobody waits for a thread that waits for the network, but none is at the target any more.
        """
        self._stop.set()
        self._gate.shut()
        self._pool.shutdown(wait=self._patient, cancel_futures=True)

    def _work(self, job: PackJob) -> None:
        """All blocks of a job; those that turn out to be damaged once more from a fresh copy: it may have happened on the way."""
        damaged = self._attempt(job, job.blocks, {})
        if damaged and not all(error.reason == MISSING for error in damaged.values()):
            damaged = self._attempt(job, damaged, damaged)
        with self._gate.inside() if damaged else nullcontext():
            for number, error in damaged.items():
                for pending, _ in job.blocks[number][1]:
                    self._sink.lose(pending, str(error))

    def _attempt(self, job: PackJob, numbers: Iterable[int], before: dict[int, RecoupError]) -> dict[int, RecoupError]:
        """Write what these blocks feed; those that are damaged, and how."""
        self._check()
        try:
            reader = self._open(job, again=bool(before))
        except (Integrity, KeyUnavailable) as error:
            return {number: before.get(number, error) for number in numbers}
        damaged: dict[int, RecoupError] = {}
        for number in numbers:
            self._check()
            block, feeds = job.blocks[number]
            try:
                plain = memoryview(read_checked(reader, number, block, BlockKind.DATA, self._id_key))
            except Integrity as error:
                damaged[number] = error
            else:
                with self._gate.inside(), self._turn if len(feeds) > MANY else nullcontext():
                    self._feed(reader, number, plain, feeds)
        return damaged

    def _open(self, job: PackJob, *, again: bool) -> ObjectReader:
        """Again = a part of it was damaged: only the whole can be compared with the digest, and had from elsewhere."""
        if job.wanted < RANGED_BELOW and not (again or job.alone):
            return self._objects.ranged(Kind.DATA, job.object)
        return self._objects.whole(Kind.DATA, job.object, self._buffer.view)

    def _feed(self, reader: ObjectReader, number: int, plain: memoryview, feeds: Feeds) -> None:
        inside = [feed for feed in feeds if feed[1].at + feed[1].length <= len(plain)]
        self._sink.write(plain, inside)
        if len(inside) < len(feeds):
            for pending, run in feeds:
                if run.at + run.length > len(plain):
                    self._sink.lose(pending, f"a run leaves block {number} of object {reader.name}: the tree is forged")

    def _check(self) -> None:
        if self._stop.is_set():
            raise Cancelled("the restore was stopped")
