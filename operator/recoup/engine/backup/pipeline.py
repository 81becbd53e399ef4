"""The threads of a backup: workers compress blocks into packs, uploaders put sealed objects.

One lock and one condition for everything that anybody waits for. Blocks are taken from the main thread through a bounded number
of buffers; workers wait for pack buffers, uploaders for the store alone, so no circle of waiting exists. The first error anywhere
stops all, and is raised in the main thread at its next call.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

from recoup.engine.format.sealed import SealedObject, new_buffer
from recoup.typeinfo import build_type_info

BLOCK_BYTES: Final = 4 << 20
"""Bytes of a block's buffer: the longest content-defined chunk."""
MAX_WORKERS: Final = 8


class Stopped(Exception):  # never seen outside: the cause is raised instead
    """Another thread failed; this one has nothing left to do."""


def worker_count() -> int:
    return max(1, min(len(os.sched_getaffinity(0)), MAX_WORKERS))


class Pipeline:
    """Runs jobs and uploads. A context manager: leaving it by an error stops the threads, leaving it well requires `drain`."""

    def __init__(self, upload: Callable[[SealedObject], None], *, workers: int, uploaders: int) -> None:
        self._upload = upload
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._objects: deque[tuple[SealedObject, Callable[[], None]]] = deque()
        self._busy = 0
        self._uploading = 0
        self._buffers: list[memoryview] = []
        self._unmade = workers + 2
        self._error: BaseException | None = None
        self._ended = False
        build_type_info()
        self._threads = [threading.Thread(target=self._work, name=f"worker-{n}", daemon=True) for n in range(workers)]
        self._threads += [threading.Thread(target=self._put, name=f"uploader-{n}", daemon=True) for n in range(uploaders)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._changed:
            self._ended = True
            if error is not None and self._error is None:
                self._error = error
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def take_buffer(self) -> memoryview:
        """A page-aligned buffer of BLOCK_BYTES; waits until one is free. Raises what stopped the pipeline."""
        with self._changed:
            while not self._buffers and not self._unmade:
                self._check()
                self._changed.wait()
            self._check()
            if self._buffers:
                return self._buffers.pop()
            self._unmade -= 1
        return new_buffer(BLOCK_BYTES)

    def give_buffer(self, buffer: memoryview) -> None:
        with self._changed:
            self._buffers.append(buffer)
            self._changed.notify_all()

    def submit(self, job: Callable[[], None]) -> None:
        """Have a worker run `job`. Bounded by the buffers that jobs hold; those that hold none must be few and small."""
        with self._changed:
            self._check()
            self._jobs.append(job)
            self._changed.notify_all()

    def put(self, sealed: SealedObject, done: Callable[[], None]) -> None:
        """Have an uploader put the object; `done` is called when its buffer may be used again."""
        with self._changed:
            self._objects.append((sealed, done))
            self._changed.notify_all()

    def wait_for(self, ready: Callable[[], bool]) -> None:
        """Wait, in any thread, until `ready` (asked under the lock, after every change). Raises Stopped or the error."""
        with self._changed:
            while not ready():
                self._check()
                self._changed.wait()

    def changed(self, action: Callable[[], None]) -> None:
        """Do `action` under the lock and wake everybody who waits."""
        with self._changed:
            action()
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait until every job and upload so far is done. Raises what stopped the pipeline."""
        self.wait_for(lambda: not self._jobs and not self._busy and not self._objects and not self._uploading)
        with self._changed:
            self._check()

    def _check(self) -> None:
        if self._error is None:
            return
        if threading.current_thread() in self._threads:
            raise Stopped
        raise self._error

    def _work(self) -> None:
        with suppress(Stopped):
            while (job := self._next_job()) is not None:
                try:
                    job()
                except Stopped:
                    raise
                except BaseException as error:  # noqa: BLE001  # handed to the main thread, which raises it
                    self._fail(error)
                    return
                finally:
                    with self._changed:
                        self._busy -= 1
                        self._changed.notify_all()

    def _next_job(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._jobs:
                if self._ended or self._error is not None:
                    return None
                self._changed.wait()
            if self._error is not None:
                return None
            self._busy += 1
            return self._jobs.popleft()

    def _put(self) -> None:
        while True:
            with self._changed:
                while not self._objects:
                    if self._ended or self._error is not None:
                        return
                    self._changed.wait()
                if self._error is not None:
                    return
                self._uploading += 1
                sealed, done = self._objects.popleft()
            try:
                self._upload(sealed)
                done()
            except BaseException as error:  # noqa: BLE001  # handed to the main thread, which raises it
                self._fail(error)
            finally:
                with self._changed:
                    self._uploading -= 1
                    self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._error is None:
                self._error = error
            self._changed.notify_all()
