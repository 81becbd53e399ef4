"""Writing content lists and device maps: runs into leaves, leaves into nodes (docs/format-data.md section 3).

Leaves of fixed contents stand for fixed ranges of the file, those of chunked ones end where a chunk's id says so; either way a
change rewrites the leaves it touches and no others. Nodes that the lineage has are named, not stored again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import field

from recoup.engine.backup.units import PendingContent, PendingRun
from recoup.engine.format.kinds import BlockKind
from recoup.engine.records.content import INLINE_RUNS, UNIT, ListInner, ListLeaf, Scheme, WireRun
from recoup.engine.records.nodes import encode
from recoup.value import Record

LEAF_SPAN: Final = 64 << 20
"""Bytes of a fixed content that one leaf describes: 1,024 units, 32 KiB of ids and their runs."""
FANOUT: Final = 1024
INLINE_UNIT_BYTES: Final = 8 << 10
_CHUNKS_LEAST: Final = 128
_CHUNKS_MOST: Final = 2048

PutNode = Callable[[BlockKind, bytes], bytes]
"""Store a node unless it is known; its id."""


class MadeList(Record):
    """The nodes of one list, for those who count references: inner nodes, then leaves, and the leaves' block tables."""

    inner: list[bytes] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    tables: dict[bytes, bytes] = field(default_factory=dict)
    kind: BlockKind = BlockKind.CONTENT


class ListBuilder:
    """Makes lists; remembers what each consists of (`made`, by the id of the root)."""

    def __init__(self, put: PutNode) -> None:
        self._put = put
        self.made: dict[bytes, MadeList] = {}

    def begin(self, scheme: Scheme, kind: BlockKind, *, inline: bool = True) -> OneList:
        return OneList(self._put, self.made, scheme, kind, inline=inline)


class OneList:
    """One content in the making. Runs are added in order."""

    def __init__(self, put: PutNode, made: dict[bytes, MadeList], scheme: Scheme, kind: BlockKind, *, inline: bool) -> None:
        self._put = put
        self._made = made
        self._scheme = scheme
        self._inline = inline
        self._runs: list[PendingRun] = []
        self._nodes = MadeList(kind=kind)
        self._starts: list[int] = []

    def add(self, run: PendingRun) -> None:
        """Add a run; one that goes on where the last one ends, in file and block, is joined with it."""
        runs = self._runs
        if runs and self._scheme is Scheme.FIXED:
            offset, length, block, at, units = runs[-1]
            same_block = block is run[2] or block.id == run[2].id != b""
            if same_block and offset + length == run[0] and at + length == run[3] and run[0] % UNIT == 0:
                runs[-1] = (offset, length + run[1], block, at, units + run[4])
                return
        runs.append(run)
        if self._scheme is Scheme.CDC and self._ends_leaf(run[2].id):
            self.cut()

    def cut(self) -> None:
        """End a leaf here. All blocks of its runs must have their ids."""
        runs, self._runs = self._runs, []
        if not runs:
            return
        blocks, wires = wire_runs(runs)
        leaf = self._put(self._nodes.kind, encode(ListLeaf(0, blocks, tuple(wires))))
        self._starts.append(runs[0][0] // LEAF_SPAN * LEAF_SPAN if self._scheme is Scheme.FIXED else runs[0][0])
        self._nodes.leaves.append(leaf)
        self._nodes.tables[leaf] = blocks

    def finish(self) -> PendingContent:
        """The content: inline if it is short, else the root of its nodes."""
        runs = self._runs
        short = len(runs) <= INLINE_RUNS and sum(len(run[4]) for run in runs) <= INLINE_UNIT_BYTES
        if self._inline and not self._nodes.leaves and short:
            return PendingContent(self._scheme, runs)
        self.cut()
        children = list(zip(self._starts, self._nodes.leaves, strict=True))
        if not children:
            return PendingContent(self._scheme, [])
        level = 0
        while len(children) > 1:
            level += 1
            children = [self._inner(level, part) for part in self._parts(children, level)]
        root = children[0][1]
        self._made[root] = self._nodes
        return PendingContent(self._scheme, [], root)

    def _inner(self, level: int, children: list[tuple[int, bytes]]) -> tuple[int, bytes]:
        starts = tuple(start for start, _ in children)
        node = self._put(self._nodes.kind, encode(ListInner(level, starts, b"".join(child for _, child in children))))
        self._nodes.inner.append(node)
        return starts[0], node

    def _parts(self, children: list[tuple[int, bytes]], level: int) -> list[list[tuple[int, bytes]]]:
        """Children of one level as groups, one for each parent: by ranges of the file, or where a child's id says so."""
        if len(children) <= FANOUT:
            return [children]
        parts: list[list[tuple[int, bytes]]] = [[]]
        span = LEAF_SPAN * FANOUT**level
        for child in children:
            last = parts[-1]
            if self._scheme is Scheme.FIXED:
                new = bool(last) and child[0] // span != last[0][0] // span
            else:
                new = len(last) >= FANOUT * 2 or (len(last) >= FANOUT // 4 and last[-1][1][0] == 0)
            if new:
                parts.append([])
            parts[-1].append(child)
        return parts

    def _ends_leaf(self, block: bytes) -> bool:
        count = len(self._runs)
        return count >= _CHUNKS_MOST or (count >= _CHUNKS_LEAST and int.from_bytes(block[:2], "big") % 512 == 0)


def wire_runs(runs: list[PendingRun], table: dict[bytes, int] | None = None) -> tuple[bytes, list[WireRun]]:
    """Runs with block numbers, and the table of the blocks; `table` goes on with one that was begun."""
    numbers: dict[bytes, int] = {} if table is None else table
    wires = [(offset, length, numbers.setdefault(block.id, len(numbers)), at, units) for offset, length, block, at, units in runs]
    return b"".join(numbers), wires
