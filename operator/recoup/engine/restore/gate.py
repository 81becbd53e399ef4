"""Who is at the target: threads go in to write, and once the gate is shut nobody is in, nor ever will be.

An interrupt ends a restore without waiting for threads that wait for the network. Descriptors of the target are closed then, and their
numbers may be given to other files: a thread that still wrote would write into those.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from recoup.errors import Cancelled


class Gate:
    """Shared by the threads of one restore."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._shut = False

    @contextmanager
    def inside(self) -> Iterator[None]:
        """For as long as a thread is at the target. Raises Cancelled once the gate is shut."""
        with self._changed:
            if self._shut:
                raise Cancelled("the restore was stopped")
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def shut(self) -> None:
        """Let nobody in any more, and wait until everybody is out: as long as the disk takes for what was begun."""
        with self._changed:
            self._shut = True
            self._changed.wait_for(lambda: not self._inside)
