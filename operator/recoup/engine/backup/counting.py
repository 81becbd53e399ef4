"""How often the new tree names each block, compared with the lineage's last one.

Refs count uses, so that a run can drop what is no longer named without reading what did not change. Only differences are added
up here: of leaves that are new or gone, and of lists that changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from recoup.engine.backup.leaves import NewLeaf
from recoup.engine.backup.lineage import Lineage
from recoup.engine.backup.lists import MadeList
from recoup.engine.format.kinds import BlockKind
from recoup.engine.records.content import Companion, decode_list_inner, decode_list_leaf
from recoup.engine.records.nodes import level_of, split_ids


class UseCounts:
    """Adds up differences of uses by block id. Finish with `settle`."""

    def __init__(self, lineage: Lineage | None, made: dict[bytes, MadeList]) -> None:
        self._lineage = lineage
        self._made = made
        self._roots: Counter[bytes] = Counter()
        self._kinds: dict[bytes, BlockKind] = {}
        self._uses: Counter[bytes] = Counter()
        self._tables: dict[bytes, bytes] = {}

    def add_leaf(self, leaf: NewLeaf) -> None:
        """A leaf that this run made."""
        assert leaf.record is not None
        self._node(leaf.record.tree, 1)
        self._node(leaf.record.companion, 1)
        self._count(leaf.blocks, 1)
        self._roots.update(leaf.roots)

    def drop_unused_leaves(self) -> None:
        """The leaves of the lineage that the new tree does not have."""
        if self._lineage is None:
            return
        for record in self._lineage.unused():
            self._node(record.tree, -1)
            self._node(record.companion, -1)
            companion = self._lineage.companion(record)
            if companion is not None:
                self._companion(companion)

    def change_nodes(self, new: Iterable[bytes], old: Iterable[bytes]) -> None:
        """Single blocks: inner nodes of the tree, long xattr values of its root."""
        for block in new:
            self._node(block, 1)
        for block in old:
            self._node(block, -1)

    def change_root(self, new: bytes, old: bytes, kind: BlockKind) -> None:
        """The root of a device's map."""
        for root, sign in ((new, 1), (old, -1)):
            if root:
                self._roots[root] += sign
                self._kinds[root] = kind

    def settle(self) -> dict[bytes, int]:
        """All differences that are not 0, lists included. Reads those nodes of old lists that the new ones do not have."""
        for made in self._made.values():
            self._tables.update(made.tables)
        gained: Counter[bytes] = Counter()
        lost: Counter[bytes] = Counter()
        kinds: dict[bytes, BlockKind] = {}
        for root, times in self._roots.items():
            if times:
                kind = self._kinds.get(root, BlockKind.CONTENT)
                inner, leaves = self._nodes_of(root, kind)
                for node in inner:
                    self._uses[node] += times
                (gained if times > 0 else lost).update({leaf: abs(times) * count for leaf, count in Counter(leaves).items()})
                kinds.update(dict.fromkeys(leaves, kind))
        gained.subtract(lost)
        for leaf, times in gained.items():
            if times:
                self._uses[leaf] += times
                self._count(self._table_of(leaf, kinds[leaf]), times)
        return {block: times for block, times in self._uses.items() if times}

    def _companion(self, companion: Companion) -> None:
        self._count(companion.blocks + companion.attributes, -1)
        self._roots.subtract(content.root for content in companion.contents if content.root)

    def _node(self, block: bytes, times: int) -> None:
        if block:
            self._uses[block] += times

    def _count(self, blocks: bytes, times: int) -> None:
        for block in split_ids(blocks, "a table of blocks"):
            self._uses[block] += times

    def _nodes_of(self, root: bytes, kind: BlockKind) -> tuple[list[bytes], list[bytes]]:
        """Inner nodes and leaves of a list, each as often as it is named."""
        made = self._made.get(root)
        if made is not None:
            return made.inner, made.leaves
        inner: list[bytes] = []
        leaves: list[bytes] = []
        for node, level in self._walk(root, kind, None):
            (inner if level else leaves).append(node)
        return inner, leaves

    def _walk(self, node: bytes, kind: BlockKind, level: int | None) -> Iterator[tuple[bytes, int]]:
        """Old nodes with their levels; leaves are not read unless the root is one."""
        if level == 0:
            yield node, 0
            return
        assert self._lineage is not None
        data = self._lineage.fetch(node, kind)
        found = level_of(data, "a content list's node")
        yield node, found
        if found:
            for child in split_ids(decode_list_inner(data, "a content list's node").children, "a content list's node"):
                yield from self._walk(child, kind, found - 1)

    def _table_of(self, leaf: bytes, kind: BlockKind) -> bytes:
        table = self._tables.get(leaf)
        if table is not None:
            return table
        assert self._lineage is not None
        return decode_list_leaf(self._lineage.fetch(leaf, kind), "a content list's leaf").blocks
