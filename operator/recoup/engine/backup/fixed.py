"""Reading what is written in place: fixed units of 64 KiB, compared with the lineage's last content at the same offset.

Databases, disk images, block devices. Only units that changed are stored, grouped to blocks of 2 MiB, which compress better than
the smaller ones of files that are found again elsewhere; a 4 MiB region whose live units lie
in too many blocks is written afresh, so that old blocks die whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from recoup.engine.backup.lists import LEAF_SPAN, ListBuilder, OneList
from recoup.engine.backup.units import GROUP_MOST, BlockRef, BlockSink, Group, PendingContent
from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind
from recoup.engine.format.sealed import new_buffer
from recoup.engine.records.content import UNIT, Run, Scheme, unit_spans
from recoup.engine.source.files import read_into

REGION: Final = 4 << 20
MAX_BLOCKS_OF_REGION: Final = 12
"""Live units of one region in more blocks than these are written afresh, unless the run says another number."""
_ZEROS: Final = bytes(REGION)
_PAGE: Final = 4096

OldUnit = tuple[int, int, bytes, bytes, int]
"""offset, length, unit id, block id, offset in the block."""


class FixedReader:
    """Reads one content at a time. Not thread-safe."""

    def __init__(
        self, sink: BlockSink, lists: ListBuilder, progress: Callable[[int], None], most_blocks: int = MAX_BLOCKS_OF_REGION
    ) -> None:
        self._most_blocks = most_blocks
        self._sink = sink
        self._lists = lists
        self._progress = progress
        self._group = Group(sink)
        self._buffer: memoryview | None = None
        self._zeros: dict[int, bytes] = {}
        self.taken = 0
        """Bytes read of the last content."""
        self.rewritten = 0
        """Bytes written afresh because they were fragmented, over all contents."""

    def read(self, fd: int, extents: Iterable[tuple[int, int]], old: Iterable[Run], *, device: bool = False) -> PendingContent:
        """The content of the extents of an open file; `old` are the runs of its last content, in order.

        For a device, units of zeros are left out: they read as zeros again.
        """
        kind = BlockKind.DEVICE_MAP if device else BlockKind.CONTENT
        made = self._lists.begin(Scheme.FIXED, kind, inline=not device)
        units = _OldUnits(old)
        self.taken, leaf = 0, 0
        for extent_offset, extent_length in extents:
            offset, end = extent_offset, extent_offset + extent_length
            while offset < end:
                if offset // LEAF_SPAN != leaf:
                    leaf = offset // LEAF_SPAN
                    self._group.close()
                    made.cut()
                length = min(end, (offset // REGION + 1) * REGION) - offset
                got = self._region(fd, offset, length, units, made, device=device)
                if got < length:  # the file became shorter
                    self._group.close()
                    return made.finish()
                offset += length
        self._group.close()
        return made.finish()

    def _region(self, fd: int, offset: int, length: int, old: _OldUnits, made: OneList, *, device: bool) -> int:
        if self._buffer is None:
            self._buffer = new_buffer(REGION)
        buffer = self._buffer[:length]
        length = read_into(fd, buffer, offset)
        self.taken += length
        self._progress(length)
        buffer = buffer[:length]
        if device and _is_zero(buffer):
            return length
        spans = _spans(offset, length)
        ids = [block_id(self._sink.id_key, BlockKind.DATA, buffer[begin - offset : begin - offset + size]) for begin, size in spans]
        matches = [old.find(begin, size, unit) for (begin, size), unit in zip(spans, ids, strict=True)]
        if len({match[3] for match in matches if match is not None}) > self._most_blocks:
            self.rewritten += sum(match[1] for match in matches if match is not None)
            matches = [None] * len(matches)
        fresh = 0
        """How many units before the present one are new and not yet in the group."""
        for index, (begin, size) in enumerate(spans):
            match = matches[index]
            if match is not None or (device and ids[index] == self._zero(size)):
                self._store(buffer, offset, spans[index - fresh : index], ids[index - fresh : index], made)
                fresh = 0
                if match is not None:
                    made.add((begin, size, BlockRef(match[3]), match[4], match[2]))
                continue
            fresh += 1
            if self._group.length + fresh * UNIT >= GROUP_MOST:
                self._store(buffer, offset, spans[index + 1 - fresh : index + 1], ids[index + 1 - fresh : index + 1], made)
                fresh = 0
        self._store(buffer, offset, spans[len(spans) - fresh :], ids[len(ids) - fresh :], made)
        return length

    def _store(self, buffer: memoryview, base: int, spans: list[tuple[int, int]], ids: list[bytes], made: OneList) -> None:
        """Adjacent new units into the group, as one run."""
        if not spans:
            return
        begin, end = spans[0][0], spans[-1][0] + spans[-1][1]
        view = self._group.room(end - begin)
        view[:] = buffer[begin - base : end - base]
        ref, at = self._group.add(end - begin)
        made.add((begin, end - begin, ref, at, b"".join(ids)))
        if self._group.length >= GROUP_MOST:
            self._group.close()

    def _zero(self, size: int) -> bytes:
        zero = self._zeros.get(size)
        if zero is None:
            zero = self._zeros[size] = block_id(self._sink.id_key, BlockKind.DATA, bytes(size))
        return zero


def _is_zero(buffer: memoryview) -> bool:
    """Whether there is nothing but zeros: empty parts of a device need not be hashed. Most others show it in their first page."""
    return buffer[:_PAGE] == _ZEROS[: len(buffer[:_PAGE])] and buffer.tobytes() == _ZEROS[: len(buffer)]


class _OldUnits:
    """The units of the last content as a stream that is asked in order of offsets."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._units = _units(runs)
        self._next: OldUnit | None = next(self._units, None)

    def find(self, offset: int, length: int, unit: bytes) -> OldUnit | None:
        """The old unit at this offset, if it has the same length and id."""
        while self._next is not None and self._next[0] < offset:
            self._next = next(self._units, None)
        found = self._next
        return found if found is not None and found[:3] == (offset, length, unit) else None


def _units(runs: Iterable[Run]) -> Iterator[OldUnit]:
    for run in runs:
        for offset, length, unit in unit_spans(run, Scheme.FIXED):
            yield offset, length, unit, run.block, run.at + offset - run.offset


def _spans(offset: int, length: int) -> list[tuple[int, int]]:
    """(offset, length) of the units of a range: cut at every multiple of 64 KiB."""
    end = offset + length
    cuts = [offset, *range((offset // UNIT + 1) * UNIT, end, UNIT), end]
    return [(begin, after - begin) for begin, after in itertools.pairwise(cuts) if after > begin]
