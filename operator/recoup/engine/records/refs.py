"""Refs: where every block is that one recovery point needs (docs/format-data.md section 4).

Leaves are tables sorted by id, each for its range of ids, so that a run rewrites only those leaves whose blocks
changed. Nodes name their children by place, because nothing else says where refs are. A restore needs manifest, refs and packs;
never an index.
"""

from __future__ import annotations

import bisect
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from recoup.engine.records.nodes import ID, Locator, decoder, level_of, split_ids
from recoup.engine.records.rows import Place, Table
from recoup.errors import Integrity

FetchAt = Callable[[Locator], bytes | memoryview]
"""Plaintext of one block of kind REFS in an object of kind REFS. Raises Integrity."""

LEAF_ROWS: Final = 512
"""Rows that a writer puts into a new leaf; one that grows beyond four times as many is split."""


class RefsInner(msgspec.Struct, frozen=True, array_like=True):
    level: int
    firsts: bytes
    """The least id that each child may hold; that of the first child of the root is zero."""
    children: tuple[Locator, ...]


decode_inner = decoder(RefsInner)


class Refs:
    """Looks up blocks of one recovery point; loads leaves when they are needed and keeps the last `keep_leaves` of them."""

    def __init__(self, fetch: FetchAt, root: Locator, *, keep_leaves: int = 256) -> None:
        self._fetch = fetch
        self._keep = keep_leaves
        self._tables: OrderedDict[Locator, Table] = OrderedDict()
        self._firsts: list[bytes] = []
        self._leaves: list[Locator] = []
        self._inner: list[Locator] = []
        for first, leaf in _leaf_places(fetch, root, self._inner):
            self._firsts.append(first)
            self._leaves.append(leaf)

    def lookup(self, block: bytes) -> Place:
        """Where the block is. Raises Integrity if the point's refs do not name it."""
        place = self.find(block)
        if place is None:
            raise Integrity(f"block {block.hex()} is not among the refs of the recovery point")
        return place

    def find(self, block: bytes) -> Place | None:
        index = bisect.bisect_right(self._firsts, block) - 1
        return self._table(self._leaves[index]).find(block) if index >= 0 else None

    def lookup_all(self, blocks: Iterable[bytes]) -> dict[bytes, Place]:
        """Places of many blocks, each leaf loaded once. Raises Integrity if one is not named."""
        return {block: self.lookup(block) for block in sorted(set(blocks))}

    def __iter__(self) -> Iterator[tuple[bytes, Place]]:
        """All rows in the order of their ids."""
        for leaf in self._leaves:
            yield from self._table(leaf)

    @property
    def leaves(self) -> list[tuple[bytes, Locator]]:
        """(least id, place) of every leaf, in order."""
        return list(zip(self._firsts, self._leaves, strict=True))

    def leaf_rows(self, number: int) -> Iterator[tuple[bytes, Place]]:
        """The rows of one leaf."""
        return iter(self._table(self._leaves[number]))

    @property
    def inner(self) -> list[Locator]:
        """Places of the inner nodes, the root included."""
        return list(self._inner)

    def _table(self, leaf: Locator) -> Table:
        table = self._tables.get(leaf)
        if table is None:
            table = Table(self._fetch(leaf), "a leaf of refs")
            self._tables[leaf] = table
            if len(self._tables) > self._keep:
                self._tables.popitem(last=False)
        else:
            self._tables.move_to_end(leaf)
        return table


def _leaf_places(
    fetch: FetchAt, node: Locator, inner_nodes: list[Locator], level: int | None = None, first: bytes = bytes(ID)
) -> Iterator[tuple[bytes, Locator]]:
    data = fetch(node.checked())
    if data[:1] == b"\x00":  # a table, not an array: a leaf
        if level not in {None, 0}:
            raise Integrity("a node of refs is on another level than its parent says")
        yield first, node
        return
    found = level_of(data, "a node of refs")
    inner = decode_inner(data, "a node of refs")
    firsts = split_ids(inner.firsts, "a node of refs")
    ordered = all(a < b for a, b in itertools.pairwise(firsts))
    if found == 0 or level not in {None, found} or not firsts or len(firsts) != len(inner.children) or not ordered or firsts[0] != first:
        raise Integrity("a node of refs is not well-formed")
    inner_nodes.append(node)
    if found == 1:  # leaves are not fetched to be listed
        yield from ((f, child.resolved(node)) for f, child in zip(firsts, inner.children, strict=True))
        return
    for child_first, child in zip(firsts, inner.children, strict=True):
        yield from _leaf_places(fetch, child.resolved(node), inner_nodes, found - 1, child_first)
