"""A source that is a stream: what a pipe delivers, or the output of a command that is run for it.

Read once, of unknown length. The output of a command counts only if the command succeeds; who writes into a pipe is not known here,
and a producer that fails looks like one that is done.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from recoup.errors import Invalid, Usage

MAX_NAME = 255
_GRACE = 10.0
"""Seconds that a command has to end when the backup failed."""


class Stream:
    """Opens standard input, or starts the command. A context manager: on exit a command that still runs is ended."""

    def __init__(self, name: str, command: Sequence[str] = (), *, allow_empty: bool = False) -> None:
        """`name` is that of the one file of the recovery point. Raises Usage if no file can have it."""
        raw = os.fsencode(name)
        if not raw or b"/" in raw or b"\0" in raw or raw in {b".", b".."} or len(raw) > MAX_NAME:
            raise Usage(f"{name!r} is not a file's name: give the one that the dump shall have in the recovery point, for example dump.sql")
        self.name = raw
        self.command = tuple(command)
        self._allow_empty = allow_empty
        self._process: subprocess.Popen[bytes] | None = None
        self._fd = -1

    def __enter__(self) -> Self:
        """Raises Invalid if the command cannot be started, Usage if standard input is a terminal."""
        if not self.command:
            if sys.stdin is None or sys.stdin.isatty():
                raise Usage("--stdin: standard input is a terminal; pipe a dump into it, or give its command after --")
            self._fd = sys.stdin.fileno()
            return self
        try:
            self._process = subprocess.Popen(self.command, stdout=subprocess.PIPE)  # what a person asked to be run
        except OSError as error:
            raise Invalid(f"the command {self.command[0]} cannot be run: {error.strerror}", reason="SourceCommandFailed") from None
        assert self._process.stdout is not None
        self._fd = self._process.stdout.fileno()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdout is not None
        process.stdout.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def fill(self, buffer: memoryview, _offset: int = 0) -> int:
        """Read until the buffer is full or the stream ends. Raises Invalid if it cannot be read."""
        done = 0
        try:
            while done < len(buffer) and (count := os.readv(self._fd, [buffer[done:]])):
                done += count
        except OSError as error:
            raise Invalid(f"the stream cannot be read: {error.strerror}", reason="SourceUnreadable") from None
        return done

    def finish(self, length: int) -> None:
        """Call at the end of the stream. Raises Invalid unless its producer, as far as it is known, succeeded, and said something."""
        if self._process is not None and (code := self._process.wait()):
            ended = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            message = f"the command {self.command[0]} {ended} after {length} bytes: no recovery point was made"
            raise Invalid(message, reason="SourceCommandFailed")
        if not length and not self._allow_empty:
            origin = f"the command {self.command[0]} wrote nothing" if self.command else "standard input was empty"
            raise Invalid(f"{origin}: no recovery point was made; --allow-empty makes one all the same", reason="SourceEmpty")
