"""The rotating sample: a small part of what looks unchanged is read all the same.

A cache that says wrongly that a file is unchanged (a bug, a broken clock, a mount that lies) would otherwise never be found
out. A mismatch is CacheDistrusted: the run begins again and reads everything.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from recoup.engine.backup.lineage import Lineage, OldRow
from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind
from recoup.engine.records.cache import LeafRecord
from recoup.engine.records.content import unit_spans
from recoup.engine.source.files import FileChanged, open_file, read_into, same_file

if TYPE_CHECKING:
    from recoup.engine.backup.leaves import Part

PERIOD: Final = 512
"""Every leaf is read at least once in so many runs."""
SAMPLE_BYTES: Final = 4 << 20
"""Bytes of one file that are compared at most."""


class CacheDistrusted(Exception):
    """A file that the cache calls unchanged has other content."""


class Sampler:
    """Chooses leaves and compares their files with what the lineage says of them."""

    def __init__(self, id_key: bytes, run: int) -> None:
        self._id_key = id_key
        self._run = run
        self.bytes_read = 0

    def chooses(self, record: LeafRecord) -> bool:
        return int.from_bytes(record.digest[:4], "big") % PERIOD == self._run % PERIOD

    def check(self, parts: list[Part], lineage: Lineage, hashes: Callable[[Part], tuple[list[bytes], list[bytes]]]) -> None:
        """Raises CacheDistrusted for a file whose content is not what its row says. Files that changed just now are passed over."""
        for part in parts:
            part.directory.enter()
            paths, marks = hashes(part)
            for name, listed, path, mark in zip(part.names, part.stats, paths, marks, strict=True):
                row = lineage.find(path)
                if row is not None and row.content is not None and row.signature == mark:
                    self._check_file(name, listed, row, lineage)

    def _check_file(self, name: bytes, listed: os.stat_result, row: OldRow, lineage: Lineage) -> None:
        try:
            fd = open_file(name)
        except (OSError, FileChanged):
            return
        try:
            if not self._differs(fd, row, lineage) or not same_file(listed, os.fstat(fd)):
                return
        except OSError:
            return
        finally:
            os.close(fd)
        raise CacheDistrusted

    def _differs(self, fd: int, row: OldRow, lineage: Lineage) -> bool:
        assert row.content is not None
        left = SAMPLE_BYTES
        for run in lineage.runs_of(row.content):
            for offset, length, unit in unit_spans(run, row.content.scheme):
                buffer = memoryview(bytearray(length))
                got = read_into(fd, buffer, offset)
                self.bytes_read += got
                if block_id(self._id_key, BlockKind.DATA, buffer[:got]) != unit:
                    return True
                left -= length
                if left <= 0:
                    return False
        return False
