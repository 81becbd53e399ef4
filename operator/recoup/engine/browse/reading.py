"""The bytes of one file or device of a recovery point, in order and in bounded memory: what `cat` writes and diff compares.

Packs are read whole if much of them is wanted, else by ranges; the last ones stay open, because neighbours lie in one pack.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from recoup.engine.blocks import RANGED_BELOW, read_checked
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.format.reader import ObjectReader
from recoup.engine.points import OpenPoint
from recoup.engine.records.content import Content, Run, iterate_runs
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.rows import Place
from recoup.errors import Integrity

KEPT = 2
"""Packs that stay open."""
_AHEAD = 64
"""Runs looked at beforehand, to know how much of a pack is wanted."""
ZEROS = bytes(1 << 20)


class ContentReader:
    """Reads contents of one recovery point. Not for several threads."""

    def __init__(self, point: OpenPoint) -> None:
        self._point = point
        self._open: OrderedDict[ObjectRef, ObjectReader] = OrderedDict()
        self._block: tuple[bytes, bytes | memoryview] = (b"", b"")

    def read(self, content: Content, start: int, end: int, kind: BlockKind = BlockKind.CONTENT) -> Iterator[bytes | memoryview]:
        """Bytes `start` to `end`, holes as zeros, in pieces of at most 16 MiB. Raises Integrity at the first that cannot be had."""
        end, at = min(end, content.size), start
        if at >= end:
            return
        for run, place, wanted in self._ahead(iterate_runs(self._point.blocks.fetch, content, kind, start)):
            if run.offset >= end:
                break
            yield from zeros(run.offset - at)
            first, last = max(run.offset, start), min(run.offset + run.length, end)
            plain = self._plain(run, place, wanted)
            if run.at + run.length > len(plain):
                raise Integrity(f"a run leaves block {place.number} of an object: the tree is forged")
            begin = run.at + first - run.offset
            yield plain[begin : begin + last - first]
            at = last
        yield from zeros(end - at)

    def _ahead(self, runs: Iterator[Run]) -> Iterator[tuple[Run, Place, int]]:
        """(run, where it is, bytes wanted of that pack by it and the runs behind it)."""
        batch: list[tuple[Run, Place]] = []
        for run in runs:
            batch.append((run, self._point.blocks.refs.lookup(run.block)))
            if len(batch) == _AHEAD:
                yield from _weighed(batch)
                batch = []
        yield from _weighed(batch)

    def _plain(self, run: Run, place: Place, wanted: int) -> bytes | memoryview:
        if run.block == self._block[0]:
            return self._block[1]
        try:
            plain = self._read(run, place, wanted)
        except Integrity:  # the damage may have been on the way
            self._open.pop(place.object, None)
            plain = self._read(run, place, RANGED_BELOW)
        self._block = (run.block, plain)
        return plain

    def _read(self, run: Run, place: Place, wanted: int) -> bytes | memoryview:
        reader = self._open.get(place.object)
        if reader is None:
            objects = self._point.objects
            whole = wanted >= RANGED_BELOW
            reader = objects.whole(Kind.DATA, place.object) if whole else objects.ranged(Kind.DATA, place.object)
            self._open[place.object] = reader
            if len(self._open) > KEPT:
                self._open.popitem(last=False)
        return read_checked(reader, place.number, run.block, BlockKind.DATA, self._point.blocks.id_key)


def _weighed(batch: list[tuple[Run, Place]]) -> Iterator[tuple[Run, Place, int]]:
    weights: dict[ObjectRef, int] = {}
    for run, place in batch:
        weights[place.object] = weights.get(place.object, 0) + run.length
    yield from ((run, place, weights[place.object]) for run, place in batch)


def zeros(count: int) -> Iterator[bytes]:
    """`count` zero bytes, in pieces."""
    while count > 0:
        piece = ZEROS[: min(count, len(ZEROS))]
        yield piece
        count -= len(piece)
