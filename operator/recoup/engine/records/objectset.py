"""Object sets: every object that one recovery point needs (docs/format-data.md section 5).

What validator, replicator and sweeper read without a key: plain objects of area x, named by the digest of their bytes, with a
random nonce each so that equal sets of two points do not share names. Sharded by the first byte of the digest.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from recoup.engine.format.kinds import Area
from recoup.engine.records.nodes import ID, ObjectRef
from recoup.errors import Integrity

MAGIC: Final = b"RCPS"
NONCE: Final = 16
MAX_SET_BYTES: Final = 1 << 20
_HEAD: Final = struct.Struct(">4sBBBB16sI")
_ROW: Final = struct.Struct(">32sIcQI")
_CHILD: Final = struct.Struct(">BB32sI")
_AREAS: Final[dict[bytes, Area]] = {b"d": "d", b"m": "m", b"x": "x"}


class Member(NamedTuple):
    """One object of a set."""

    digest: bytes
    incarnation: int
    area: Area
    size: int
    """Stored bytes: what a HEAD must answer."""
    blocks: int
    """How many of its blocks the point's refs name; when it falls to 0 the object leaves the set."""

    @property
    def object(self) -> ObjectRef:
        return ObjectRef(self.digest, self.incarnation)


class Shard(NamedTuple):
    """A child of the root: the members whose digests begin with a byte from `low` to `high`."""

    low: int
    high: int
    digest: bytes
    incarnation: int

    @property
    def object(self) -> ObjectRef:
        return ObjectRef(self.digest, self.incarnation)


FetchSet = Callable[[ObjectRef], bytes]
"""Stored bytes of a node of the set (area x), its digest already checked. Raises Integrity."""


def encode_leaf(members: Iterable[Member], low: int, high: int, nonce: bytes) -> bytes:
    """Stored bytes of one shard; members sorted by (digest, incarnation)."""
    rows = [_ROW.pack(m.digest, m.incarnation, m.area.encode(), m.size, m.blocks) for m in members]
    return _HEAD.pack(MAGIC, 1, 0, low, high, nonce, len(rows)) + b"".join(rows)


def encode_root(shards: Iterable[Shard], nonce: bytes) -> bytes:
    """Stored bytes of the root; the shards cover all first bytes, in order."""
    rows = [_CHILD.pack(*shard) for shard in shards]
    return _HEAD.pack(MAGIC, 1, 1, 0, 255, nonce, len(rows)) + b"".join(rows)


def decode_root(data: bytes, what: str) -> list[Shard]:
    """The shards of a root. Raises Integrity unless they cover every first byte exactly once."""
    rows = _rows(data, 1, 0, 255, _CHILD, what)
    shards = [Shard(*row) for row in rows]
    expected = 0
    for shard in shards:
        if shard.low != expected or shard.high < shard.low:
            raise Integrity(f"{what}: its shards do not cover every digest once")
        expected = shard.high + 1
    if expected != 256:
        raise Integrity(f"{what}: its shards do not cover every digest once")
    return shards


def decode_leaf(data: bytes, low: int, high: int, what: str) -> list[Member]:
    """The members of a shard. Raises Integrity unless they are sorted and lie in it."""
    members = []
    last = (b"", -1)
    for digest, incarnation, area, size, blocks in _rows(data, 0, low, high, _ROW, what):
        if area not in _AREAS or not low <= digest[0] <= high or (digest, incarnation) <= last:
            raise Integrity(f"{what}: a member is out of order or in the wrong shard")
        last = (digest, incarnation)
        members.append(Member(digest, incarnation, _AREAS[area], size, blocks))
    return members


def iterate_set(fetch: FetchSet, root: ObjectRef) -> Iterator[Member]:
    """All members in the order of their digests. Memory is one shard."""
    for shard in decode_root(fetch(root), "an object set's root"):
        yield from decode_leaf(fetch(shard.object), shard.low, shard.high, "an object set's shard")


def set_nodes(fetch: FetchSet, root: ObjectRef) -> Iterator[ObjectRef]:
    """The objects that the set itself consists of: its root and its shards."""
    yield root
    for shard in decode_root(fetch(root), "an object set's root"):
        yield shard.object


def _rows(data: bytes, level: int, low: int, high: int, row: struct.Struct, what: str) -> Iterator[tuple]:  # type: ignore[type-arg]  # of what `row` says
    if not _HEAD.size <= len(data) <= MAX_SET_BYTES:
        raise Integrity(f"{what} has {len(data)} bytes, which no object set's node has")
    magic, version, found, found_low, found_high, _, count = _HEAD.unpack_from(data)
    if (magic, version, found, found_low, found_high) != (MAGIC, 1, level, low, high) or len(data) != _HEAD.size + count * row.size:
        raise Integrity(f"{what} is not well-formed")
    return row.iter_unpack(data[_HEAD.size :])


assert _ROW.size == ID + 17
