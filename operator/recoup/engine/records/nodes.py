"""What all records share: how bytes become structs, where an object's block is, limits (docs/format-data.md section 1).

Records are MessagePack arrays in the field order of their structs, or fixed-width rows where they are searched by bytes.
Must not do I/O: whoever walks a record gives a `Fetch`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from recoup.engine.format.kinds import BlockKind, Kind
from recoup.errors import Integrity

ID: Final = 32
"""Bytes of a block id, unit id or object digest."""
MAX_NODE_BYTES: Final = 1 << 20
"""No leaf or inner node of any record is longer, so that a reader's memory is bounded."""
MAX_LEVELS: Final = 8

Fetch = Callable[[bytes, BlockKind], bytes | memoryview]
"""Plaintext of the block with this id and kind, its id already checked against the plaintext. Raises Integrity."""

_OBJECT_KINDS: Final = {
    BlockKind.DATA: Kind.DATA,
    BlockKind.XATTR: Kind.DATA,
    BlockKind.TREE: Kind.TREE,
    BlockKind.CONTENT: Kind.REFS,
    BlockKind.DEVICE_MAP: Kind.REFS,
    BlockKind.REFS: Kind.REFS,
    BlockKind.MANIFEST: Kind.MANIFEST,
    BlockKind.INDEX: Kind.INDEX,
    BlockKind.CACHE: Kind.CACHE,
}

T = TypeVar("T")


def object_kind(kind: BlockKind) -> Kind:
    """The kind of the objects that hold blocks of this kind."""
    return _OBJECT_KINDS[kind]


class Locator(msgspec.Struct, frozen=True, array_like=True, order=True):
    """One block of one stored object, for records that stand outside the refs: refs and caches themselves.

    An empty digest in a node means the object that the node is in; `resolved` puts it in.
    """

    digest: bytes
    incarnation: int
    number: int

    def resolved(self, parent: Locator) -> Locator:
        """The place that is meant, read in the node at `parent`. Raises Integrity if it is none."""
        if not self.digest:
            return Locator(parent.digest, parent.incarnation, self.number).checked()
        return self.checked()

    def checked(self) -> Locator:
        if len(self.digest) != ID or self.incarnation < 0 or self.number < 0:
            raise Integrity("a locator names no block of an object")
        return self

    @property
    def object(self) -> ObjectRef:
        return ObjectRef(self.digest, self.incarnation)


class ObjectRef(msgspec.Struct, frozen=True, array_like=True, order=True):
    """One incarnation of one stored object."""

    digest: bytes
    incarnation: int = 0


_encoder = msgspec.msgpack.Encoder()


def encode(record: Any) -> bytes:
    """Canonical bytes of a record."""
    return _encoder.encode(record)


def decoder(kind: type[T]) -> Callable[[bytes | memoryview, str], T]:
    """A function that decodes one record of type `kind`; the second argument names it in errors."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def decode_checked(data: bytes | memoryview, what: str) -> T:
        if len(data) > MAX_NODE_BYTES:
            raise Integrity(f"{what} has {len(data)} bytes, more than the {MAX_NODE_BYTES} that the format allows")
        try:
            return decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Integrity(f"{what} is not well-formed: {error}") from None

    return decode_checked


def split_ids(data: bytes, what: str) -> list[bytes]:
    """A concatenation of ids as a list. Raises Integrity if it is no whole number of them."""
    if len(data) % ID:
        raise Integrity(f"{what}: {len(data)} bytes are no whole number of ids")
    return [data[at : at + ID] for at in range(0, len(data), ID)]


def level_of(data: bytes | memoryview, what: str) -> int:
    """The level of a node: 0 is a leaf. Every node is an array whose first element it is, so that the first bytes show it."""
    if len(data) < 2 or not (0x90 <= data[0] <= 0x9F) or data[1] > MAX_LEVELS:
        raise Integrity(f"{what} is neither a leaf nor an inner node")
    return int(data[1])
