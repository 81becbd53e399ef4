"""Writing the lineage cache of a run: its nodes over the leaf records, and its root (docs/format-data.md section 8)."""

from __future__ import annotations

from collections import Counter
from typing import Final

from recoup.engine.backup.leaves import NewLeaf
from recoup.engine.backup.lineage import Lineage
from recoup.engine.backup.places import NodeWriter
from recoup.engine.records.cache import LeafRecord, Node
from recoup.engine.records.nodes import Locator, ObjectRef, encode

NODE_RECORDS: Final = 512
LEAST_RECORDS: Final = 64
"""An old node is not taken over if so few records would stand alone before it."""


def put_nodes(leaves: list[NewLeaf], lineage: Lineage | None, out: NodeWriter) -> list[Locator]:
    """Places of the nodes over all leaf records; old nodes whose leaves are all as before are named again."""
    spans = _old_spans(lineage)
    nodes: list[Locator] = []
    pending: list[LeafRecord] = []
    at = 0
    while at < len(leaves):
        old = spans.get(leaves[at].taken)
        if old is not None and _continues(leaves, at, old[1]) and (not pending or len(pending) >= LEAST_RECORDS):
            if pending:
                nodes.append(_put(pending, out))
                pending = []
            nodes.append(old[0])
            at += old[1]
            continue
        record = leaves[at].record
        assert record is not None
        pending.append(record)
        if len(pending) == NODE_RECORDS:
            nodes.append(_put(pending, out))
            pending = []
        at += 1
    if pending:
        nodes.append(_put(pending, out))
    return nodes


def cache_objects(leaves: list[NewLeaf], nodes: list[Locator], out: NodeWriter) -> Counter[ObjectRef]:
    """How many blocks of each object the cache's rows and nodes are. Its root is an object that COMMIT names."""
    places = [out.final(leaf.record.rows) for leaf in leaves if leaf.record is not None] + nodes
    return Counter(place.object for place in places)


def _old_spans(lineage: Lineage | None) -> dict[int, tuple[Locator, int]]:
    """By the number of its first leaf: place and length of every old node."""
    spans: dict[int, tuple[Locator, int]] = {}
    if lineage is not None:
        at = 0
        for place, count in zip(lineage.node_places, lineage.node_lengths, strict=True):
            spans[at] = (place, count)
            at += count
    return spans


def _continues(leaves: list[NewLeaf], at: int, count: int) -> bool:
    """Whether the `count` leaves from `at` are those of one old node, in its order."""
    first = leaves[at].taken
    return at + count <= len(leaves) and count > 0 and all(leaves[at + i].taken == first + i for i in range(count))


def _put(records: list[LeafRecord], out: NodeWriter) -> Locator:
    out.begin_parent()
    written = [
        LeafRecord(r.entries, r.digest, r.tree, r.companion, out.written(r.rows), r.newest, r.files, r.directories, r.size) for r in records
    ]
    return out.put(encode(Node(0, tuple(written))))
