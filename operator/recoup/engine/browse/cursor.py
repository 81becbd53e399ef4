"""A place in a tree that can be moved entry by entry, or over a whole node at once: what two trees are compared with.

Nodes are read when something in them is asked for. Everything that a reader of a tree checks is checked here, too, but for the order
across nodes that were passed over.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from recoup.engine.format.kinds import BlockKind
from recoup.engine.records.nodes import Fetch, level_of, split_ids
from recoup.engine.records.tree import Entry, Key, Path, child_keys, decode_inner, leaf_entries, may_hold, printable
from recoup.errors import Integrity


class Cursor:
    """Begins before the first entry at or below `under`."""

    def __init__(self, fetch: Fetch, root: bytes, under: Path = ()) -> None:
        self._fetch, self._under = fetch, under
        self._stack: list[tuple[bytes, int | None]] = [(root, None)]
        """Nodes to come, the next one last: (id, level that its parent gives it)."""
        self._leaf: Iterator[Entry] = iter(())
        self._current: Entry | None = None
        self._last: Key | None = None

    def entry(self) -> Entry | None:
        """The entry that the cursor stands on; None at the end."""
        while self._current is None:
            self._current = self._next_in_leaf()
            if self._current is None and not self.open():
                return None
        return self._current

    def advance(self) -> None:
        """Go on to the next entry."""
        self._current = None

    def skip_shared(self, other: Cursor) -> None:
        """Pass over what both have next if it is the same node, at a border of nodes in both; open inner nodes that differ."""
        while True:
            mine, theirs = self.border(), other.border()
            if mine is None or theirs is None:
                return
            if mine == theirs:
                self.skip()
                other.skip()
                continue
            my_level, their_level = self.level(), other.level()
            if not my_level and not their_level:
                return
            if my_level >= their_level:
                self.open()
            if their_level >= my_level:
                other.open()

    def border(self) -> bytes | None:
        """The id of the next node, if the cursor stands before it and not within a leaf."""
        if self._current is None:
            self._current = self._next_in_leaf()
        return self._stack[-1][0] if self._current is None and self._stack else None

    def skip(self) -> None:
        """Pass over the next node."""
        self._stack.pop()

    def level(self) -> int:
        """The level of the next node."""
        node, level = self._stack[-1]
        return level if level is not None else level_of(self._fetch(node, BlockKind.TREE), "a tree's node")

    def _next_in_leaf(self) -> Entry | None:
        for entry in self._leaf:
            key = (entry.parent, entry.name)
            if self._last is not None and key <= self._last:
                raise Integrity(f"the entries of {printable(entry.parent)} are not in order or have one name")
            self._last = key
            if entry.path[: len(self._under)] == self._under:
                return entry
        return None

    def open(self) -> bool:
        """Open the next node; False if there is none."""
        if not self._stack:
            return False
        node, level = self._stack.pop()
        data = self._fetch(node, BlockKind.TREE)
        found = level_of(data, "a tree's node")
        if level is not None and found != level:
            raise Integrity("a tree's node is on another level than its parent says")
        if found == 0:
            self._leaf = leaf_entries(self._fetch, data)
            return True
        inner = decode_inner(data, "a tree's node")
        children, keys = split_ids(inner.children, "a tree's node"), child_keys(inner)
        if len(children) != len(keys) or not children or any(a >= b for a, b in itertools.pairwise(keys)):
            raise Integrity("the children of a tree's node are not in order")
        afters: list[Key | None] = [*keys[1:], None]
        wanted = [
            (child, found - 1) for child, first, after in zip(children, keys, afters, strict=True) if may_hold(first, after, self._under)
        ]
        self._stack += reversed(wanted)
        return True
