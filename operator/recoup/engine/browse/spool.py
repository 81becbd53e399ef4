"""Sorting and merging more than memory should hold: rows of bytes in a temporary file, in sorted runs.

The file has no name and goes with the process. It holds paths and digests of the caller, never content, and only this user can read it.
"""

from __future__ import annotations

import heapq
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from typing import Self

RUN_BYTES = 8 << 20
"""Rows kept in memory before they are sorted and written."""
FAN_IN = 64
"""Runs that are read at once: as many of one size become one, so that memory does not grow with what is sorted."""
_CHUNK = 16 << 10
_LENGTH = struct.Struct(">I")


class Spool:
    """Runs of rows. `add` and `end_run` write; `merged` reads all runs as one sorted sequence."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="recoup-")  # noqa: SIM115  # closed by `close`
        self._runs: list[list[tuple[int, int]]] = [[]]
        """(start, end) in the file, by how often they were merged."""
        self._rows: list[bytes] = []
        self._bytes = 0

    def add(self, row: bytes) -> None:
        """Add a row to the present run; rows need not be sorted. Raises OSError if the disk is full."""
        self._rows.append(row)
        self._bytes += len(row) + 64
        if self._bytes >= RUN_BYTES:
            self.end_run()

    def end_run(self) -> None:
        """Write what was added."""
        if self._rows:
            self._runs[0].append(self._write(sorted(self._rows)))
        self._rows, self._bytes = [], 0
        for level, runs in enumerate(self._runs):
            if len(runs) >= FAN_IN:
                self._file.flush()
                if level + 1 == len(self._runs):
                    self._runs.append([])
                self._runs[level + 1].append(self._write(heapq.merge(*(self._read(*run) for run in runs))))
                runs.clear()

    def merged(self) -> Iterator[bytes]:
        """All rows in order."""
        self.end_run()
        self._file.flush()
        return heapq.merge(*(self._read(*run) for runs in self._runs for run in runs))

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, rows: Iterable[bytes]) -> tuple[int, int]:
        start = self._file.seek(0, os.SEEK_END)
        for row in rows:
            self._file.write(_LENGTH.pack(len(row)) + row)
        return start, self._file.tell()

    def _read(self, start: int, end: int) -> Iterator[bytes]:
        """The rows of one run, with a buffer of its own, so that many are read at once."""
        fd, buffer = self._file.fileno(), b""
        while start < end or buffer:
            if len(buffer) < _LENGTH.size or len(buffer) < _LENGTH.size + _LENGTH.unpack_from(buffer)[0]:
                more = os.pread(fd, min(_CHUNK, end - start), start)
                start += len(more)
                buffer += more
                continue
            at = 0
            while len(buffer) >= at + _LENGTH.size:
                length = _LENGTH.unpack_from(buffer, at)[0]
                if len(buffer) < at + _LENGTH.size + length:
                    break
                yield buffer[at + _LENGTH.size : at + _LENGTH.size + length]
                at += _LENGTH.size + length
            buffer = buffer[at:]
