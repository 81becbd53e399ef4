"""Writing refs and object set: the last ones with what changed (docs/format-data.md sections 4 and 5).

Only leaves and shards that hold something changed are read and written again; the rest is named where it is.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from recoup.engine.backup.packs import Ledger
from recoup.engine.backup.places import NodeWriter
from recoup.engine.records.nodes import ID, Locator, ObjectRef, encode
from recoup.engine.records.objectset import (
    NONCE,
    FetchSet,
    Member,
    Shard,
    decode_leaf,
    decode_root,
    encode_leaf,
    encode_root,
)
from recoup.engine.records.refs import LEAF_ROWS, Refs, RefsInner
from recoup.engine.records.rows import Place, encode_table
from recoup.errors import Integrity
from recoup.value import Record

FANOUT: Final = 512
SHARD_MEMBERS: Final = 1024

FindPlace = Callable[[bytes], Place | None]


class NewRefs(Record):
    """What came out of a merge."""

    leaves: list[tuple[bytes, Locator]]
    inner: list[Locator]
    objects: Counter[ObjectRef]
    """By how much each object has more or fewer blocks in use."""


def merge_refs(old: Refs | None, changes: dict[bytes, int], find: FindPlace, out: NodeWriter) -> NewRefs:
    """Apply differences of uses. Raises Integrity if they do not fit the old refs (a cache that lies)."""
    objects: Counter[ObjectRef] = Counter()
    old_leaves = old.leaves if old is not None else []
    firsts = [first for first, _ in old_leaves]
    by_leaf: dict[int, list[bytes]] = defaultdict(list)
    for block in changes:
        by_leaf[max(bisect_right(firsts, block) - 1, 0)].append(block)
    leaves: list[tuple[bytes, Locator]] = []
    for number in range(max(len(old_leaves), 1)):
        if number not in by_leaf and old_leaves:
            leaves.append(old_leaves[number])
            continue
        rows = dict(old.leaf_rows(number)) if old is not None else {}
        for block in by_leaf.get(number, ()):
            _apply(rows, block, changes[block], find, objects)
        first = firsts[number] if firsts else bytes(ID)
        leaves += _split(first, sorted(rows.items()), out)
    return NewRefs(_closed(leaves, out), [], objects)


def _apply(rows: dict[bytes, Place], block: bytes, change: int, find: FindPlace, objects: Counter[ObjectRef]) -> None:
    place = rows.get(block)
    uses = (place.uses if place is not None else 0) + change
    if uses < 0:
        raise Integrity(f"block {block.hex()} is used {-uses} times less than never: the lineage cache and the refs do not belong together")
    if place is None:
        place = find(block)
        if place is None:
            raise Integrity(f"block {block.hex()} is named by the tree but stands nowhere: it was not stored")
        objects[place.object] += 1
    if uses:
        rows[block] = place._replace(uses=uses)
    else:
        objects[place.object] -= 1
        rows.pop(block, None)


def _split(first: bytes, rows: list[tuple[bytes, Place]], out: NodeWriter) -> list[tuple[bytes, Locator]]:
    """Tables for one range of ids: one, or several if it grew too long."""
    if len(rows) <= LEAF_ROWS * 4:
        return [(first, out.put(encode_table(rows)))] if rows else []
    parts = [rows[at : at + LEAF_ROWS] for at in range(0, len(rows), LEAF_ROWS)]
    return [(first if not index else part[0][0], out.put(encode_table(part))) for index, part in enumerate(parts)]


def _closed(leaves: list[tuple[bytes, Locator]], out: NodeWriter) -> list[tuple[bytes, Locator]]:
    """The first leaf's range begins at zero, whatever was dropped before it."""
    if not leaves:
        return [(bytes(ID), out.put(encode_table(())))]
    return [(bytes(ID), leaves[0][1]), *leaves[1:]]


def put_refs_root(new: NewRefs, out: NodeWriter) -> Locator:
    """Inner nodes over the leaves; the root's place. A single leaf is its own root."""
    level, nodes = 0, new.leaves
    while len(nodes) > 1:
        level += 1
        parents = []
        for at in range(0, len(nodes), FANOUT):
            part = nodes[at : at + FANOUT]
            out.begin_parent()
            children = tuple(out.written(node) for _, node in part)
            place = out.put(encode(RefsInner(level, b"".join(first for first, _ in part), children)))
            new.inner.append(place)
            parents.append((part[0][0], place))
        nodes = parents
    return nodes[0][1]


def structure_of(places: Iterable[Locator]) -> Counter[ObjectRef]:
    """How many blocks of each object a structure outside the refs (refs, caches) has."""
    return Counter(place.object for place in places)


class ObjectSetWriter:
    """Merges an object set and puts its nodes."""

    def __init__(
        self, fetch: FetchSet, put: Callable[[bytes], ObjectRef], ledger: Ledger, find_size: Callable[[ObjectRef], Member]
    ) -> None:
        self._fetch = fetch
        self._put = put
        self._ledger = ledger
        self._find = find_size

    def merge(self, old: ObjectRef | None, changes: Counter[ObjectRef]) -> ObjectRef:
        """The root of the new set. Shards in which nothing changed are named again."""
        changed = {ref: times for ref, times in changes.items() if times}
        if old is not None and not changed:
            return old
        shards = decode_root(self._fetch(old), "an object set's root") if old is not None else [Shard(0, 255, b"", 0)]
        new: list[Shard] = []
        for shard in shards:
            own = {ref: times for ref, times in changed.items() if shard.low <= ref.digest[0] <= shard.high}
            if not own and shard.digest:
                new.append(shard)
                continue
            members = decode_leaf(self._fetch(shard.object), shard.low, shard.high, "an object set's shard") if shard.digest else []
            new += self._shards(shard.low, shard.high, self._changed(members, own))
        return self._put(encode_root(new, os.urandom(NONCE)))

    def _changed(self, members: list[Member], changes: dict[ObjectRef, int]) -> list[Member]:
        by_ref = {member.object: member for member in members}
        for ref, times in changes.items():
            member = by_ref.get(ref) or self._ledger.members.get(ref) or self._find(ref)
            blocks = member.blocks + times if ref in by_ref else times
            if blocks < 0:
                raise Integrity(f"object {ref.digest.hex()} has fewer blocks in use than none: the lineage cache lies")
            if blocks:
                by_ref[ref] = member._replace(blocks=blocks)
            else:
                by_ref.pop(ref, None)
        return [by_ref[ref] for ref in sorted(by_ref)]

    def _shards(self, low: int, high: int, members: list[Member]) -> list[Shard]:
        if len(members) <= SHARD_MEMBERS or low == high:
            ref = self._put(encode_leaf(members, low, high, os.urandom(NONCE)))
            return [Shard(low, high, ref.digest, ref.incarnation)]
        middle = (low + high) // 2
        lower = [member for member in members if member.digest[0] <= middle]
        upper = members[len(lower) :]
        return self._shards(low, middle, lower) + self._shards(middle + 1, high, upper)
