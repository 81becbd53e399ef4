"""How much of each pack is needed: the blocks that the refs of live points name, against all that it holds.

Memory is about a hundred bytes a pack; leaves of refs that points share are read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import field

from recoup.engine.blocks import Objects
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.log.facts import Committed
from recoup.engine.log.sets import StoredSets
from recoup.engine.points import OpenPoint
from recoup.engine.records.nodes import Locator, ObjectRef
from recoup.engine.records.objectset import FetchSet, iterate_set
from recoup.value import Record


class Use(Record):
    """Of all packs that some points name. Bytes are those of encrypted blocks, without padding and footers."""

    packs: dict[ObjectRef, int] = field(default_factory=dict)
    """Numbers of the blocks in use, as bits."""
    size: int = 0
    """Of all blocks of the packs that were judged."""
    wasted: int = 0
    wasteful: dict[ObjectRef, int] = field(default_factory=dict)
    """Bytes of the blocks in use of each pack that is to be moved."""


def used_blocks(points: Iterable[OpenPoint], sets: StoredSets) -> Use:
    """Which blocks of which packs are in use. Raises Integrity if a point's refs or set cannot be read."""
    use, seen = Use(), set[Locator]()
    for point in points:
        commit = point.commit
        members = iterate_set(_fetch(sets, commit), commit.here(commit.body.object_set))
        packs = {member.object for member in members if member.area == Kind.DATA.area}
        for number, (_, leaf) in enumerate(point.blocks.refs.leaves):
            if leaf in seen:
                continue
            seen.add(leaf)
            for _, place in point.blocks.refs.leaf_rows(number):
                if place.object in packs:
                    use.packs[place.object] = use.packs.get(place.object, 0) | 1 << place.number
    return use


def judge_packs(use: Use, objects: Objects, threshold: float) -> Iterator[ObjectRef]:
    """Read every pack's table; those that waste at least `threshold` of their bytes come into `wasteful`. Yields each when judged."""
    for ref in sorted(use.packs):
        table = objects.ranged(Kind.DATA, ref).table
        rows = [(number, row.cipher_length) for number, row in enumerate(table) if row.kind != BlockKind.PADDING]
        total = sum(length for _, length in rows)
        used = sum(length for number, length in rows if use.packs[ref] >> number & 1)
        use.size += total
        use.wasted += total - used
        if total and (total - used) / total >= threshold:
            use.wasteful[ref] = used
        yield ref


def _fetch(sets: StoredSets, commit: Committed) -> FetchSet:
    return lambda ref: sets.node(commit.here(ref.digest, ref.incarnation))
