"""Content lists: where the bytes of a file or device are (docs/format-data.md section 3).

Short contents stand in the companion leaf of a tree leaf; long ones (and every device map) are trees of their own, of nodes
that name blocks by id. Both are readable by the writer, so that a next run refers to them instead of writing them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Final

import msgspec

from recoup.engine.format.kinds import BlockKind
from recoup.engine.records.nodes import ID, Fetch, decoder, encode, level_of, split_ids
from recoup.errors import Integrity

UNIT: Final = 64 << 10
"""Bytes of a fixed unit: databases, disk images, block devices. The last one of a file may be shorter."""
INLINE_RUNS: Final = 64
"""A content of more runs is a list of its own."""

WireRun = tuple[int, int, int, int, bytes]
"""offset in the file, length, index into the node's block table, offset in the block's plaintext, unit ids."""


class Scheme(IntEnum):
    """How a content was cut into units; decides what a run's unit ids mean."""

    WHOLE = 0
    """One unit per run: its id stands in the run."""
    CDC = 1
    """A run is one content-defined chunk, unit and block at once: no unit ids, the block's id is the chunk's."""
    FIXED = 2
    """Aligned spans of 64 KiB; a run holds the ids of its units in order, its first and last may be parts of their spans."""


class Run(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`length` bytes at `offset` of the file are the bytes from `at` of the plaintext of block `block`."""

    offset: int
    length: int
    block: bytes
    at: int
    units: bytes

    def unit_ids(self) -> list[bytes]:
        return split_ids(self.units, "a run's units")


class Content(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The content of one file or device. Bytes between runs are holes (zeros that were never stored); see `iterate_runs`."""

    size: int
    scheme: Scheme
    runs: tuple[Run, ...] = ()
    root: bytes = b""
    """Id of the root node (BlockKind.CONTENT, or DEVICE_MAP for a device) if the runs are a list of their own, else empty."""


class WireContent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A content as the companion leaf stores it."""

    scheme: int
    runs: tuple[WireRun, ...]
    root: bytes = b""


class Companion(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The companion of a tree leaf: the contents of its regular files that are not empty, in the leaf's order."""

    level: int
    blocks: bytes
    """Ids of the blocks that the runs below name by index."""
    contents: tuple[WireContent, ...]
    attributes: bytes = b""
    """Ids of the blocks that hold long xattr values of the tree leaf's entries: the writer must know them to keep them."""


class ListLeaf(msgspec.Struct, frozen=True, array_like=True, gc=False):
    level: int
    blocks: bytes
    runs: tuple[WireRun, ...]


class ListInner(msgspec.Struct, frozen=True, array_like=True, gc=False):
    level: int
    starts: tuple[int, ...]
    """Offset in the file from which on each child speaks; it ends where the next begins."""
    children: bytes


decode_companion = decoder(Companion)
decode_list_leaf = decoder(ListLeaf)
decode_list_inner = decoder(ListInner)
encode_node = encode


def open_companion(data: bytes | memoryview, sizes: list[int]) -> tuple[list[Content], Companion]:
    """The contents of a companion leaf; `sizes` are those of the tree leaf's non-empty regular files."""
    companion = decode_companion(data, "a companion leaf")
    if companion.level or len(companion.contents) != len(sizes):
        raise Integrity("a tree leaf and its companion do not belong together")
    blocks = split_ids(companion.blocks, "a companion leaf")
    return [open_content(wire, size, blocks) for wire, size in zip(companion.contents, sizes, strict=True)], companion


def iterate_runs(fetch: Fetch, content: Content, kind: BlockKind = BlockKind.CONTENT, start: int = 0) -> Iterator[Run]:
    """Runs in file order, from the first that reaches beyond `start`. Checked: ascending, inside the size, units match.

    `kind` is DEVICE_MAP for a device. Raises Integrity; memory is one node per level.
    """
    end = 0
    runs = _walk(fetch, content.root, content.size, kind, start, None) if content.root else iter(content.runs)
    for run in runs:
        if run.offset < end or run.offset + run.length > content.size or run.length <= 0 or run.at < 0:
            raise Integrity("the runs of a content overlap or leave it")
        check_units(run, content.scheme)
        end = run.offset + run.length
        if end > start:
            yield run


def check_units(run: Run, scheme: Scheme) -> None:
    """Raise Integrity unless the run holds as many unit ids as its scheme asks for."""
    count = 1 if scheme is Scheme.WHOLE else 0
    if scheme is Scheme.FIXED:
        count = -(-(run.offset + run.length) // UNIT) - run.offset // UNIT
    if len(run.units) != count * ID:
        raise Integrity("the units of a run do not fit its length")


def unit_spans(run: Run, scheme: Scheme) -> Iterator[tuple[int, int, bytes]]:
    """(offset in the file, length, unit id) of the units of a checked run: with them a target is compared without fetching.

    Unit ids are block ids of kind DATA over the unit's bytes. A fixed unit is the part of its aligned 64 KiB span that the
    run covers; a chunk is its block's id.
    """
    if scheme is not Scheme.FIXED:
        yield run.offset, run.length, run.units or run.block
        return
    offset, end = run.offset, run.offset + run.length
    for unit in run.unit_ids():
        next_offset = min((offset // UNIT + 1) * UNIT, end)
        yield offset, next_offset - offset, unit
        offset = next_offset


def open_content(wire: WireContent, size: int, blocks: list[bytes]) -> Content:
    """A content as a companion holds it. Raises Integrity unless its scheme is known and it is either inline or a list."""
    scheme = _SCHEMES.get(wire.scheme)
    if scheme is None:
        raise Integrity(f"unknown unit scheme {wire.scheme}")
    root, runs = wire.root, wire.runs
    if root and (runs or len(root) != ID):
        raise Integrity("a content is neither inline nor a list")
    return Content(size, scheme, resolve_runs(wire, blocks) if len(runs) != 1 else (_resolve(runs[0], blocks),), root)


_SCHEMES: Final = {int(scheme): scheme for scheme in Scheme}


def resolve_runs(wire: WireContent, blocks: list[bytes]) -> tuple[Run, ...]:
    """Runs with the ids of their blocks. Raises Integrity for a block outside the table."""
    return tuple(_resolve(run, blocks) for run in wire.runs)


def _resolve(run: WireRun, blocks: list[bytes]) -> Run:
    offset, length, index, at, units = run
    if not 0 <= index < len(blocks):
        raise Integrity("a run names a block outside its node's table")
    return Run(offset, length, blocks[index], at, units)


def _walk(fetch: Fetch, node: bytes, end: int, kind: BlockKind, start: int, level: int | None) -> Iterator[Run]:
    data = fetch(node, kind)
    found = level_of(data, "a content list's node")
    if level is not None and found != level:
        raise Integrity("a content list's node is on another level than its parent says")
    if found == 0:
        leaf = decode_list_leaf(data, "a content list's leaf")
        blocks = split_ids(leaf.blocks, "a content list's leaf")
        for wire in leaf.runs:
            run = _resolve(wire, blocks)
            if run.offset + run.length > end:
                raise Integrity("a content list's leaf leaves its range")
            yield run
        return
    inner = decode_list_inner(data, "a content list's node")
    children = split_ids(inner.children, "a content list's node")
    if len(children) != len(inner.starts) or not children or any(a >= b for a, b in zip(inner.starts, inner.starts[1:], strict=False)):
        raise Integrity("the children of a content list's node are not in order")
    for index, child in enumerate(children):
        child_end = inner.starts[index + 1] if index + 1 < len(children) else end
        if child_end > start:
            yield from _walk(fetch, child, child_end, kind, start, found - 1)
