"""The contents of regular files: reads them once and says where their bytes are (docs/format-data.md section 3).

Chooses how a file is cut, reads around holes, notices files that change while they are read. Long contents become lists of
their own. What the lineage knows about the same path is used again unit by unit.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from pyfastcdc import FastCDC

from recoup.engine.backup.cutting import Cutting, Unit
from recoup.engine.backup.fixed import MAX_BLOCKS_OF_REGION, FixedReader
from recoup.engine.backup.lists import ListBuilder
from recoup.engine.backup.units import (
    REMEMBERED_UNITS,
    SMALL_BYTES,
    BlockRef,
    BlockSink,
    Group,
    PendingContent,
    PendingRun,
    ends_group,
)
from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind
from recoup.engine.format.sealed import new_buffer
from recoup.engine.records.content import Content, Run, Scheme
from recoup.engine.source.files import data_extents, has_holes, open_file, read_into, same_file

CHUNK_LEAST: Final = 512 << 10
CHUNK_MOST: Final = 4 << 20
_CHUNK_AVERAGE: Final = 1 << 20
"""As pyfastcdc counts: the real average is this plus the least."""
_READ: Final = 2 * CHUNK_MOST
_DATA: Final = BlockKind.DATA

ENDLESS: Final = 1 << 62
"""As a size: until the end of the stream."""

Fill = Callable[[memoryview, int], int]
"""Fills a buffer from an offset; fewer bytes only at the end."""
RunsOf = Callable[[Content], Iterable[Run]]
"""The runs of a content of the lineage, read back where they are a list."""


class ContentReader:
    """Reads files of the working directory into blocks. Not thread-safe."""

    def __init__(
        self,
        sink: BlockSink,
        lists: ListBuilder,
        gear_seed: bytes,
        progress: Callable[[int], None],
        runs_of: RunsOf,
        unit: Unit = Unit.AUTO,
        most_blocks: int = MAX_BLOCKS_OF_REGION,
    ) -> None:
        self.cutting = Cutting(unit, sink.id_key)
        self._sink = sink
        self._runs_of = runs_of
        self._lists = lists
        self._group = Group(sink)
        self._units: OrderedDict[bytes, tuple[BlockRef, int]] = OrderedDict()
        self._progress = progress
        self._buffer: memoryview | None = None
        self._chunker = FastCDC(
            _CHUNK_AVERAGE, min_size=CHUNK_LEAST, max_size=CHUNK_MOST, normalized_chunking=1, seed=int.from_bytes(gear_seed[:8], "big") >> 1
        )
        self._fixed = FixedReader(sink, lists, progress, most_blocks)
        self.bytes_read = 0
        self._end = 0
        """Where the last file ended when it was read."""

    def read(self, name: bytes, listed: os.stat_result, old: Content | None) -> tuple[PendingContent, int, bool]:
        """(content, its size, whether the file stayed as it was listed). `old` is the same path's content in the lineage.

        Raises OSError and FileChanged if the file cannot be opened or read.
        """
        fd = open_file(name)
        try:
            size, holes = listed.st_size, has_holes(fd, listed)
            content = (
                self._read_small(fd, size, old) if size < SMALL_BYTES and not holes else self._read_large(fd, name, listed, old, holes)
            )
            after = os.fstat(fd)
        finally:
            os.close(fd)
        if same_file(listed, after):
            return content, size, True
        return content, max(self._end, min(size, after.st_size)), False

    @property
    def rewritten(self) -> int:
        """Bytes of unchanged units that were written afresh."""
        return self._fixed.rewritten

    def close_group(self) -> None:
        self._group.close()

    def _read_small(self, fd: int, size: int, old: Content | None) -> PendingContent:
        view = self._group.room(size)
        length = os.readv(fd, [view])
        if length != size:
            length += read_into(fd, view[length:], length)
            view = view[:length]
        self.bytes_read += length
        self._progress(length)
        self._end = length
        return PendingContent(Scheme.WHOLE, [self._unit(0, view, old)] if length else [])

    def _unit(self, offset: int, view: memoryview, old: Content | None) -> PendingRun:
        """One small unit that stands at the end of the group: kept there if it is new."""
        length = len(view)
        unit = block_id(self._sink.id_key, _DATA, view)
        known = self._units.get(unit)
        if known is None and old is not None:
            run = next((r for r in old.runs if r.units == unit), None)
            known = (BlockRef(run.block), run.at) if run else None
        if known is None:
            known = self._group.add(length)
            if ends_group(unit, length, self._group.length):
                self._group.close()
            self._units[unit] = known
            if len(self._units) > REMEMBERED_UNITS:
                self._units.popitem(last=False)
        return offset, length, known[0], known[1], unit

    def _read_large(self, fd: int, name: bytes, listed: os.stat_result, old: Content | None, holes: bool) -> PendingContent:
        size = self._end = listed.st_size
        scheme = old.scheme if old is not None else None
        before = self._runs_of(old) if old is not None else ()
        if self.cutting.fixed(fd, name, size, holes=holes, old=scheme, runs=before):
            runs = before if scheme is Scheme.FIXED else ()
            content = self._fixed.read(fd, data_extents(fd, size) if holes else [(0, size)], runs)
            self.bytes_read += self._fixed.taken
            return content
        made = self._lists.begin(Scheme.CDC, BlockKind.CONTENT)
        self._end = self._cut(lambda view, at: read_into(fd, view, at), size, made.add)
        return made.finish()

    def read_stream(self, fill: Fill) -> tuple[PendingContent, int]:
        """The content of a stream, and how long it was."""
        made = self._lists.begin(Scheme.CDC, BlockKind.CONTENT)
        size = self._cut(fill, ENDLESS, made.add)
        return made.finish() if size else PendingContent(Scheme.WHOLE, []), size

    def _cut(self, fill: Fill, size: int, add: Callable[[PendingRun], None]) -> int:
        """Cut by content what `fill` delivers, `size` bytes at most; each chunk is a block. Returns where it ended."""
        if self._buffer is None:
            self._buffer = new_buffer(_READ)
        buffer, held, at = self._buffer, 0, 0
        while True:
            want = min(_READ - held, size - at)
            got = fill(buffer[held : held + want], at) if want else 0
            self.bytes_read += got
            self._progress(got)
            at += got
            held += got
            last = at >= size or got < want
            start = at - held
            cut = 0
            for chunk in self._chunker.cut_buf(buffer[:held]):
                if not last and chunk.offset + chunk.length == held:
                    break  # its end is the buffer's, not its own
                block = self._sink.store_copy(buffer[chunk.offset : chunk.offset + chunk.length])
                add((start + chunk.offset, chunk.length, BlockRef(block), 0, b""))
                cut = chunk.offset + chunk.length
            if last:
                return at
            held -= cut
            buffer[:held] = buffer[cut : cut + held]
