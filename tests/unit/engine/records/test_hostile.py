"""Records from a hostile bucket: anything that a writer would not have written is Integrity, never another error, never accepted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup.engine.format.kinds import BlockKind
from recoup.engine.records import cache, content, manifest, objectset, rows, tree
from recoup.engine.records import refs as refs_records
from recoup.engine.records.content import Content, Scheme, iterate_runs
from recoup.engine.records.nodes import Locator, ObjectRef, encode
from recoup.engine.records.rows import Place, Table, encode_table
from recoup.engine.records.tree import Listing, TreeInner, TreeLeaf, WireEntry, iterate_tree
from recoup.errors import Integrity
from tests.vectors.make_records import samples, some_id, tables

DECODERS: dict[str, Callable[[bytes], Any]] = {
    "tree leaf": lambda data: tree.decode_leaf(data, "x"),
    "tree inner node": lambda data: tree.decode_inner(data, "x"),
    "companion leaf": lambda data: content.decode_companion(data, "x"),
    "list leaf": lambda data: content.decode_list_leaf(data, "x"),
    "list inner node": lambda data: content.decode_list_inner(data, "x"),
    "refs inner node": lambda data: refs_records.decode_inner(data, "x"),
    "cache rows": cache.decode_rows,
    "cache node": lambda data: cache.decode_node(data, "x"),
    "cache root": lambda data: cache.decode_root(data, "x"),
    "manifest": lambda data: manifest.decode_manifest(data, "x"),
}
TABLES: dict[str, Callable[[bytes], Any]] = {
    "refs table": lambda data: list(rows.Table(data, "x")),
    "object set shard": lambda data: objectset.decode_leaf(data, 0, 255, "x"),
    "object set root": lambda data: objectset.decode_root(data, "x"),
}


@pytest.mark.parametrize("name", DECODERS)
def test_flipped_and_cut_records(name: str) -> None:
    data = encode(samples()[name])
    for at in range(len(data)):
        with pytest.raises(Integrity):
            DECODERS[name](data[:at])
        for bit in range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            try:
                DECODERS[name](bytes(flipped))
            except Integrity:
                continue  # what still decodes is another record: ids and signatures are what notices that


@pytest.mark.parametrize("name", TABLES)
def test_flipped_and_cut_tables(name: str) -> None:
    data = tables()[name]
    for at in range(len(data)):
        with pytest.raises(Integrity):
            TABLES[name](data[:at])
        flipped = bytearray(data)
        flipped[at] ^= 0x80
        try:
            TABLES[name](bytes(flipped))
        except Integrity:
            continue


@given(st.binary(max_size=300))
def test_noise(data: bytes) -> None:
    for decode in (*DECODERS.values(), *TABLES.values()):
        with pytest.raises(Integrity):
            decode(data)


def walk(*leaves: TreeLeaf, inner: TreeInner | None = None) -> list[tree.Entry]:
    blocks = {bytes([number]) * 32: encode(leaf) for number, leaf in enumerate(leaves)}
    root = bytes(32)
    if inner is not None:
        root = b"\xff" * 32
        blocks[root] = encode(inner)
    return list(iterate_tree(lambda block, _kind: blocks[block], root))


def entry(name: bytes, kind: int = 2, **more: Any) -> WireEntry:
    return WireEntry(name, kind, 0o755, 0, 0, 0, more.pop("size", 0), **more)


def leaf(*listings: tuple[int, tuple[bytes, ...], tuple[WireEntry, ...]]) -> TreeLeaf:
    return TreeLeaf(0, b"", tuple(Listing(*listing) for listing in listings))


BAD_LEAVES = {
    "names not in order": leaf((0, (), (entry(b"b"), entry(b"a")))),
    "one name twice": leaf((0, (), (entry(b"a"), entry(b"a")))),
    "dot": leaf((0, (), (entry(b"."),))),
    "dot dot": leaf((0, (), (entry(b".."),))),
    "slash": leaf((0, (), (entry(b"a/b"),))),
    "nul": leaf((0, (), (entry(b"a\0"),))),
    "empty name": leaf((0, (), (entry(b""),))),
    "long name": leaf((0, (), (entry(b"a" * 256),))),
    "path that climbs": leaf((0, (), (entry(b"a"),)), (0, (b"..",), (entry(b"b"),))),
    "listing of what is not there": leaf((0, (), (entry(b"a"),)), (0, (b"b",), (entry(b"c"),))),
    "listing of a symlink": leaf((0, (), (entry(b"a", 3, target=b"/etc"),)), (0, (b"a",), (entry(b"c"),))),
    "listing before its parent": leaf((0, (b"a",), (entry(b"c"),)), (0, (), (entry(b"a"),))),
    "listing twice": leaf((0, (), (entry(b"a"),)), (0, (b"a",), (entry(b"x"),)), (0, (b"a",), (entry(b"x"),))),
    "child of another branch": leaf((0, (), (entry(b"a"), entry(b"b"))), (0, (b"a",), (entry(b"x"),)), (0, (b"b", b"x"), (entry(b"y"),))),
    "keeps more than there is": leaf((3, (b"a",), (entry(b"c"),))),
    "keeps a negative number": leaf((-1, (), (entry(b"c"),))),
    "unknown type": leaf((0, (), (entry(b"a", 9),))),
    "symlink without target": leaf((0, (), (entry(b"a", 3),))),
    "target of a directory": leaf((0, (), (entry(b"a", 2, target=b"x"),))),
    "size of a directory": leaf((0, (), (entry(b"a", 2, size=5),))),
    "negative size": leaf((0, (), (entry(b"a", 1, size=-5),))),
    "content without companion": leaf((0, (), (entry(b"a", 1, size=5),))),
    "mode of a type": leaf((0, (), (WireEntry(b"a", 2, 0o40755, 0, 0, 0, 0),))),
    "xattr without name": leaf((0, (), (entry(b"a", xattrs=(tree.Xattr(b"", b""),)),))),
    "xattr with half an id": leaf((0, (), (entry(b"a", xattrs=(tree.Xattr(b"a", b"", b"12"),)),))),
}


@pytest.mark.parametrize("name", BAD_LEAVES)
def test_bad_leaves(name: str) -> None:
    with pytest.raises(Integrity):
        walk(BAD_LEAVES[name])


def test_bad_inner_nodes() -> None:
    good = leaf((0, (), (entry(b"a"),))), leaf((0, (), (entry(b"b"),)))
    ids = bytes(32) + b"\1" * 32
    keys = ((0, (), b"a"), (0, (), b"b"))
    assert len(walk(*good, inner=TreeInner(1, keys, ids))) == 2
    for inner in (
        TreeInner(1, keys[::-1], ids),
        TreeInner(1, keys, ids[:32]),
        TreeInner(1, keys, ids[:40]),
        TreeInner(1, (), b""),
        TreeInner(2, keys, ids),
        TreeInner(1, keys, ids[:32] * 2),
        TreeInner(1, ((1, (), b"a"), (0, (), b"b")), ids),
    ):
        with pytest.raises(Integrity):
            walk(*good, inner=inner)


def run(offset: int, length: int, at: int = 0, units: int = 1) -> content.Run:
    return content.Run(offset, length, some_id("a"), at, some_id("u") * units)


BAD_RUNS = {
    "overlap": (Scheme.WHOLE, (run(0, 10), run(5, 10))),
    "descending": (Scheme.WHOLE, (run(50, 10), run(0, 10))),
    "beyond the file": (Scheme.WHOLE, (run(95, 10),)),
    "empty": (Scheme.WHOLE, (run(0, 0),)),
    "negative": (Scheme.WHOLE, (run(-5, 10),)),
    "before the block": (Scheme.WHOLE, (run(0, 10, -1),)),
    "whole with two units": (Scheme.WHOLE, (run(0, 10, units=2),)),
    "chunk with a unit": (Scheme.CDC, (run(0, 10),)),
    "fixed without unit": (Scheme.FIXED, (run(0, 10, units=0),)),
}


@pytest.mark.parametrize("name", BAD_RUNS)
def test_bad_runs(name: str) -> None:
    scheme, runs = BAD_RUNS[name]
    with pytest.raises(Integrity):
        list(iterate_runs(lambda _block, _kind: b"", Content(100, scheme, runs)))


def test_lists_that_are_not_in_order_or_lead_round() -> None:
    wires = ((0, 10, 0, 0, some_id("u")),)
    blocks = {
        b"L" * 32: encode(content.ListLeaf(0, some_id("a"), wires)),
        b"O" * 32: encode(content.ListLeaf(0, some_id("a"), ((0, 10, 1, 0, some_id("u")),))),
        b"R" * 32: encode(content.ListInner(1, (0,), b"R" * 32)),
        b"D" * 32: encode(content.ListInner(1, (10, 0), b"L" * 64)),
        b"E" * 32: encode(content.ListInner(1, (), b"")),
        b"G" * 32: encode(content.ListInner(1, (0,), b"L" * 32)),
        b"S" * 32: encode(content.ListInner(1, (0, 5), b"L" * 64)),
    }

    def runs(root: bytes) -> list[content.Run]:
        return list(iterate_runs(lambda block, _kind: blocks[block], Content(100, Scheme.WHOLE, (), root * 32), BlockKind.CONTENT))

    assert len(runs(b"G")) == 1
    for bad in b"ORDES":
        with pytest.raises(Integrity):
            runs(bytes([bad]))


def test_refs_that_do_not_cover_or_lead_round() -> None:
    a, b = sorted((some_id("a"), some_id("b")))
    place = Place(some_id("o"), 0, 3, 1)
    here = some_id("object")
    nodes = {
        0: encode_table([(a, place)]),
        1: encode_table([(b, place)]),
        2: encode(refs_records.RefsInner(1, bytes(32) + b, (Locator(b"", 0, 0), Locator(b"", 0, 1)))),
        3: encode(refs_records.RefsInner(1, b + bytes(32), (Locator(b"", 0, 0), Locator(b"", 0, 1)))),
        4: encode(refs_records.RefsInner(1, a + b, (Locator(b"", 0, 0), Locator(b"", 0, 1)))),
        5: encode(refs_records.RefsInner(2, bytes(32), (Locator(b"", 0, 5),))),
        6: encode(refs_records.RefsInner(1, bytes(32), (Locator(b"xx", 0, 5),))),
    }

    def open_refs(root: int) -> refs_records.Refs:
        return refs_records.Refs(lambda locator: nodes[locator.number], Locator(here, 0, root))

    refs = open_refs(2)
    assert refs.lookup(a) == refs.lookup(b) == place
    assert dict(refs) == {a: place, b: place}
    with pytest.raises(Integrity, match="not among"):
        refs.lookup(some_id("c"))
    assert open_refs(0).lookup(a) == place
    for bad in (3, 4, 5, 6):
        with pytest.raises(Integrity):
            open_refs(bad)


def test_tables_that_are_not_sorted_or_point_outside() -> None:
    a, b = sorted((some_id("a"), some_id("b")))
    place = Place(some_id("o"), 0, 3, 1)
    for wrong in ([(b, place), (a, place)], [(a, place), (a, place)]):
        with pytest.raises(Integrity, match="sorted"):
            Table(encode_table(wrong), "x")
    data = bytearray(encode_table([(a, place)]))
    data[-9] = 7
    with pytest.raises(Integrity, match="outside"):
        Table(bytes(data), "x").find(a)


@given(st.dictionaries(st.binary(min_size=32, max_size=32), st.tuples(st.integers(0, 5), st.integers(0, 2**32 - 1)), max_size=80))
def test_tables_find_what_they_hold(wanted: dict[bytes, tuple[int, int]]) -> None:
    places = {block: Place(bytes([owner]) * 32, owner, number, 1) for block, (owner, number) in wanted.items()}
    table = Table(encode_table(sorted(places.items())), "x")
    assert dict(table) == places
    for block, place in places.items():
        assert table.find(block) == place
        other = block[:-1] + bytes([block[-1] ^ 1])
        assert table.find(other) == places.get(other)


def test_object_sets() -> None:
    members = [objectset.Member(bytes([first]) * 32, 0, "d", first, 1) for first in (0, 5, 200)]
    nodes = {
        some_id("low"): objectset.encode_leaf(members[:2], 0, 127, bytes(16)),
        some_id("high"): objectset.encode_leaf(members[2:], 128, 255, bytes(16)),
        some_id("gap"): objectset.encode_root([objectset.Shard(0, 100, some_id("low"), 0)], bytes(16)),
        some_id("swap"): objectset.encode_root(
            [objectset.Shard(0, 127, some_id("high"), 0), objectset.Shard(128, 255, some_id("low"), 0)], bytes(16)
        ),
        some_id("root"): objectset.encode_root(
            [objectset.Shard(0, 127, some_id("low"), 0), objectset.Shard(128, 255, some_id("high"), 0)], bytes(16)
        ),
    }

    def read(root: str) -> list[objectset.Member]:
        return list(objectset.iterate_set(lambda ref: nodes[ref.digest], ObjectRef(some_id(root))))

    assert read("root") == members
    assert len(list(objectset.set_nodes(lambda ref: nodes[ref.digest], ObjectRef(some_id("root"))))) == 3
    for bad in ("gap", "swap", "low"):
        with pytest.raises(Integrity):
            read(bad)
