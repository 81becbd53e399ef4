"""The threads that fetch packs and write what they hold.

One order, which cannot deadlock: a thread takes a job, fetches the pack into its own buffer, opens each wanted block, writes every run
that the block feeds, and takes the next job. No queue between threads; while one waits for the network the others decrypt and
write. A damaged pack costs the files that need it, named, and nothing else.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Protocol

from recoup.engine.blocks import RANGED_BELOW, Objects, read_checked
from recoup.engine.format.kinds import MAX_OBJECT_BYTES, BlockKind, Kind
from recoup.engine.format.reader import ObjectReader
from recoup.engine.records.content import Run
from recoup.engine.restore.plan import PackJob, Pending
from recoup.errors import Cancelled, Integrity, KeyUnavailable

THREADS = 3
"""One waits for the store while two use the cores; each keeps one pack in memory."""


class Sink(Protocol):
    """Where runs go: files of a tree, or a device."""

    def write(self, pending: Pending, run: Run, plain: memoryview) -> None:
        """Put one run's bytes where they belong. Called once per planned run, from any thread."""

    def lose(self, pending: Pending, damage: str) -> None:
        """Take note that one planned run cannot be had."""


class _Buffer(threading.local):
    """As much address space as the largest object may need; memory is taken only as far as packs fill it."""

    def __init__(self) -> None:
        self.view = memoryview(mmap.mmap(-1, MAX_OBJECT_BYTES))


class Workers:
    """Runs pack jobs. `submit` waits for the jobs before, so that at most one window is being worked on while the next is planned."""

    def __init__(self, objects: Objects, id_key: bytes, sink: Sink, threads: int = THREADS) -> None:
        self._objects, self._id_key, self._sink = objects, id_key, sink
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="restore")
        self._running: list[Future[None]] = []
        self._stop = threading.Event()
        self._buffer = _Buffer()

    def submit(self, jobs: Sequence[PackJob]) -> None:
        """Start the jobs when all that were submitted before have ended. Raises the first failure of those."""
        self.wait()
        self._running = [self._pool.submit(self._work, job) for job in jobs]

    def call(self, task: Callable[[], None]) -> None:
        """Start any other piece of work."""
        self._running.append(self._pool.submit(task))

    def wait(self) -> None:
        """Raise the first failure as soon as there is one, having told the rest to stop."""
        running, self._running = self._running, []
        try:
            for future in running:
                future.result()
        except BaseException:
            self._stop.set()
            for future in running:
                future.cancel()
            wait(running)
            raise

    def close(self) -> None:
        """End the threads; what has not begun never will."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _work(self, job: PackJob) -> None:
        self._check()
        try:
            reader = self._open(job)
        except (Integrity, KeyUnavailable) as error:
            for pending in job.pendings():
                self._sink.lose(pending, str(error))
            return
        for number, (block, feeds) in job.blocks.items():
            self._check()
            self._one_block(reader, number, block, feeds)

    def _open(self, job: PackJob) -> ObjectReader:
        if job.wanted < RANGED_BELOW:
            return self._objects.ranged(Kind.DATA, job.object)
        return self._objects.whole(Kind.DATA, job.object, self._buffer.view)

    def _one_block(self, reader: ObjectReader, number: int, block: bytes, feeds: list[tuple[Pending, Run]]) -> None:
        try:
            plain = memoryview(read_checked(reader, number, block, BlockKind.DATA, self._id_key))
        except Integrity as error:
            for pending, _ in feeds:
                self._sink.lose(pending, str(error))
            return
        for pending, run in feeds:
            part = plain[run.at : run.at + run.length]
            if len(part) == run.length:
                self._sink.write(pending, run, part)
            else:
                self._sink.lose(pending, f"a run leaves block {number} of object {reader.name}: the tree is forged")

    def _check(self) -> None:
        if self._stop.is_set():
            raise Cancelled("the restore was stopped")
