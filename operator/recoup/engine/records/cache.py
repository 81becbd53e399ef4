"""The lineage cache: what the next run of the same volume compares with (docs/format-data.md section 8).

Readable by the writer, so it holds no name: keyed hashes of paths and stat signatures in tree order, and which leaves the
tree has. A leaf whose entries all look as before is referred to by its record alone; its rows are read only when it differs.
Sealed under K_cache. A cache is a hint: without it everything is read again, and what it says wrongly a sample finds.
"""

from __future__ import annotations

from typing import Final

import msgspec

from recoup.engine.records.nodes import ID, Locator, ObjectRef, decoder, encode
from recoup.errors import Integrity

HASH: Final = 8
"""Bytes of a keyed path or signature hash: compared with one position only, so that 64 bits are ample."""

REGULAR: Final = 1
"""Flag of a row: a regular file that is not empty, so it has the next content of the companion leaf."""


class Rows(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Rows of one tree leaf, column by column, in the leaf's order."""

    level: int
    paths: bytes
    signatures: bytes
    flags: bytes

    @property
    def count(self) -> int:
        return len(self.flags)


class LeafRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One leaf of the tree, seen from the writer."""

    entries: int
    digest: bytes
    """Keyed digest of all the leaf's entries as stat and xattrs showed them; equal = nothing to do."""
    tree: bytes
    companion: bytes
    rows: Locator
    newest: int
    """Latest mtime or ctime of its entries, in nanoseconds. What is later than the root's `reference` less 2 s is unsettled:
    a later change may look the same, so such files are read again by the next run."""
    files: int
    directories: int
    size: int


class Node(msgspec.Struct, frozen=True, array_like=True):
    """A part of the leaf records, in order."""

    level: int
    records: tuple[LeafRecord, ...]


class Root(msgspec.Struct, frozen=True, array_like=True):
    """The cache's root: what the whole recovery point was."""

    level: int
    walker: bytes
    """Keyed digest of what decides the walk (kind of source, excludes, rules): another one makes the cache useless."""
    manifest: bytes
    """Digest of the manifest it belongs to: the next run's parent."""
    refs: Locator
    objects: ObjectRef
    """Root of the object set."""
    tree: bytes
    inner: bytes
    """Ids of the tree's inner nodes, the root included."""
    device: bytes
    """Of a device: the encoded content (root of its map). Empty otherwise."""
    nodes: tuple[Locator, ...]
    reference: int
    """A time of the source's file system before which all its changes were captured, in nanoseconds."""
    files: int
    directories: int
    size: int
    run: int
    """Number of runs of this lineage so far; decides which part is sampled."""


decode_rows_ = decoder(Rows)
decode_node = decoder(Node)
decode_root = decoder(Root)
encode_cache = encode


def decode_rows(data: bytes | memoryview) -> Rows:
    """Rows of one leaf. Raises Integrity unless the columns are of one length."""
    rows = decode_rows_(data, "rows of a lineage cache")
    if len(rows.paths) != rows.count * HASH or len(rows.signatures) != rows.count * HASH:
        raise Integrity("the columns of a lineage cache differ in length")
    return rows


def check_record(record: LeafRecord) -> LeafRecord:
    """Raise Integrity unless the record's ids are ids."""
    if len(record.digest) != ID or len(record.tree) != ID or len(record.companion) not in {0, ID}:
        raise Integrity("a leaf record of a lineage cache is not well-formed")
    return record
