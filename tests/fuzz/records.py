"""Targets: the records inside sealed objects, and the plain objects, each as its decoder and its walkers read it.

Blocks get here only after they were authenticated: whoever makes these holds a writer's keys.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from recoup.engine.backup.lineage import OldRow
from recoup.engine.backup.units import KeptContent
from recoup.engine.format.kinds import BlockKind
from recoup.engine.records import cache, content, index, manifest, objectlist, objectset, refs, rows, tree
from recoup.engine.records.nodes import Locator, ObjectRef, encode, split_ids
from recoup.engine.restore.content import Budget
from recoup.errors import Integrity
from tests.fuzz.target import Target
from tests.vectors.make_records import samples, some_id, tables

ROOT = b"\xaa" * 32
HERE = Locator(some_id("object"), 0, 0)


def drain(items: Iterable[Any]) -> None:
    deque(items, maxlen=0)


def _companion() -> bytes:
    """Contents for the sample leaf's one file."""
    return encode(content.Companion(0, some_id("a"), (content.WireContent(0, ((0, 300, 0, 0, some_id("u")),)),)))


def _fetch(blocks: dict[bytes, bytes]) -> Callable[[bytes, BlockKind], bytes]:
    def fetch(block: bytes, _kind: BlockKind) -> bytes:
        if block not in blocks:
            raise Integrity("no such block")
        return blocks[block]

    return fetch


def _tree_leaf() -> bytes:
    """A leaf whose listings are in order, with a file that has content."""
    sample = samples()["tree leaf"]
    return encode(tree.TreeLeaf(0, some_id("c"), (tree.Listing(0, (), sample.listings[0].entries),)))


def _walk_tree(data: bytes) -> None:
    leaf = tree.TreeLeaf(0, b"", (tree.Listing(0, (), (tree.WireEntry(b"a", 2, 0o755, 0, 0, 0, 0),)),))
    fetch = _fetch({ROOT: data, some_id("c"): _companion(), some_id("a"): encode(leaf), some_id("b"): _tree_leaf()})
    budget = Budget(manifest.Totals(1_000, 1_000, 1 << 40))
    for entry in tree.iterate_tree(fetch, ROOT):
        budget.spend(entry)
        tree.printable(entry.path)
        if entry.content is not None:
            _spans(entry.content, fetch)
    drain(tree.iterate_tree(fetch, ROOT, (b"dir", b"x")))
    drain(tree.iterate_paths(fetch, ROOT, [(b"dir",), (b"x", b"y", b"z")]))


def _spans(found: content.Content, fetch: Callable[[bytes, BlockKind], bytes]) -> None:
    for run in content.iterate_runs(fetch, found):
        for offset, length, unit in content.unit_spans(run, found.scheme):
            assert offset >= 0
            assert length > 0
            assert len(unit) == 32
            if offset > run.offset + (1 << 30):
                break  # a run that claims an exabyte: whoever walks its units compares them with a file


def _walk_companion(data: bytes) -> None:
    found, companion = content.open_companion(data, [300, 1_300_000, 1 << 20] if len(data) > 200 else [300])
    fixed = encode(content.ListLeaf(0, some_id("a"), ((0, 100, 0, 0, some_id("u")),)))
    for one in found:
        _spans(one, _fetch({some_id("c"): fixed}))
    split_ids(companion.attributes, "attributes")


def _old_companion(data: bytes) -> None:
    """As the writer looks at what was there before."""
    companion = content.decode_companion(data, "a companion leaf")
    blocks = split_ids(companion.blocks, "blocks")
    for wire in companion.contents:
        found = OldRow(0, b"", KeptContent(wire, blocks)).content
        assert found is not None
        drain(content.iterate_runs(_fetch({}), found))


def _walk_list(data: bytes) -> None:
    leaf = encode(content.ListLeaf(0, some_id("a"), ((0, 100, 0, 0, some_id("u")),)))
    inner = encode(content.ListInner(1, (0,), some_id("a")))
    fetch = _fetch({ROOT: data, some_id("a"): leaf, some_id("b"): inner})
    complaints = []
    for scheme in content.Scheme:
        try:
            drain(content.iterate_runs(fetch, content.Content(1 << 40, scheme, (), ROOT)))
        except Integrity as error:
            complaints.append(error)
    if len(complaints) == len(content.Scheme):
        raise complaints[0]


def _walk_refs(data: bytes) -> None:
    table = tables()["refs table"]

    def fetch(locator: Locator) -> bytes:
        return data if locator == HERE else table

    found = refs.Refs(fetch, HERE)
    drain(found)
    found.find(some_id("a"))
    for _, place in found:
        assert len(place.digest) == 32
        _ = place.locator.checked()


def _walk_set(data: bytes) -> None:
    members = [objectset.Member(some_id("a"), 0, "d", 100, 1)]
    shard = objectset.encode_leaf(members, 0, 255, bytes(16))
    drain(objectset.iterate_set(lambda ref: data if ref.digest == ROOT else shard, ObjectRef(ROOT)))


def _cache_root(data: bytes) -> None:
    root = cache.decode_root(data, "a lineage cache")
    drain(node.resolved(HERE) for node in root.nodes)
    _ = root.refs.checked().object, root.objects, split_ids(root.inner, "inner")


def _cache_node(data: bytes) -> None:
    for record in cache.decode_node(data, "a node").records:
        _ = cache.check_record(record).rows.resolved(HERE)


def _manifest(data: bytes) -> None:
    found = manifest.decode_manifest(data, "m")
    _ = found.refs.checked().object, Budget(found.totals)
    encode(found)


def record_targets() -> Iterator[Target]:
    """One for each record; trees, contents, refs and sets as they are walked."""
    sample = {name: encode(value) for name, value in samples().items()} | tables()
    wide = encode(tree.TreeInner(1, ((0, (), b"a"), (0, (), b"b")), some_id("a") + some_id("b")))
    listed = objectlist.encode_list([objectlist.Listed(some_id("a"), 0, "d", 5)])
    short = encode(content.ListInner(1, (0,), some_id("a")))
    yield Target("tree", (_tree_leaf(), wide, sample["tree leaf"], sample["tree inner node"]), _walk_tree)
    yield Target("companion", (sample["companion leaf"], _companion()), _walk_companion)
    yield Target("companion-before", (sample["companion leaf"], _companion()), _old_companion)
    yield Target("content-list", (sample["list leaf"], sample["list inner node"], short), _walk_list)
    yield Target("refs", (sample["refs table"], sample["refs inner node"]), _walk_refs)
    yield Target("index", (sample["refs table"],), lambda data: drain(index.decode_segment(data)))
    yield Target("rows", (sample["refs table"],), lambda data: rows.Table(data, "x").find(some_id("b")))
    one = objectset.encode_root([objectset.Shard(0, 255, some_id("b"), 0)], bytes(16))
    yield Target("object-set-root", (one, sample["object set root"]), _walk_set)
    yield Target("object-set-shard", (sample["object set shard"],), lambda data: objectset.decode_leaf(data, 0, 255, "x"))
    yield Target("object-list", (listed,), lambda data: objectlist.decode_list(data, "x"))
    yield Target("cache-root", (sample["cache root"],), _cache_root)
    yield Target("cache-node", (sample["cache node"],), _cache_node)
    yield Target("cache-rows", (sample["cache rows"],), cache.decode_rows)
    yield Target("manifest", (sample["manifest"],), _manifest)
