"""Sorted rows of (block id, where it is): the shape that refs and index segments share (docs/format-data.md section 4).

A table is one block: objects first, then fixed-width rows sorted by id, so that a lookup is a binary search in the bytes
themselves and a million rows take no more memory than they have bytes. Pure; hostile input raises Integrity.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from recoup.engine.records.nodes import ID, MAX_NODE_BYTES, Locator, ObjectRef
from recoup.errors import Integrity

_HEAD: Final = struct.Struct(">BBHII")
_OBJECT: Final = struct.Struct(">32sI")
_ROW: Final = struct.Struct(">32sIII")
ROW_BYTES: Final = _ROW.size


class Place(NamedTuple):
    """Where a block is, and how often the trees of the point name it (0 in an index, where nobody counts)."""

    digest: bytes
    incarnation: int
    number: int
    uses: int

    @property
    def object(self) -> ObjectRef:
        return ObjectRef(self.digest, self.incarnation)

    @property
    def locator(self) -> Locator:
        return Locator(self.digest, self.incarnation, self.number)


class Table:
    """One decoded table: rows stay bytes, `find` searches them."""

    __slots__ = ("_data", "_rows", "count", "objects")

    def __init__(self, data: bytes | memoryview, what: str) -> None:
        if not _HEAD.size <= len(data) <= MAX_NODE_BYTES:
            raise Integrity(f"{what} has {len(data)} bytes, which no table has")
        level, version, zero, objects, self.count = _HEAD.unpack_from(data)
        self._rows = _HEAD.size + objects * _OBJECT.size
        if (level, version, zero) != (0, 1, 0) or len(data) != self._rows + self.count * ROW_BYTES:
            raise Integrity(f"{what} is not well-formed")
        self._data = bytes(data)
        self.objects = [ObjectRef(*pair) for pair in _OBJECT.iter_unpack(self._data[_HEAD.size : self._rows])]
        ids = [self._id(index) for index in range(self.count)]
        if any(a >= b for a, b in itertools.pairwise(ids)):
            raise Integrity(f"{what} is not sorted")

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self._data)

    def _id(self, index: int) -> bytes:
        at = self._rows + index * ROW_BYTES
        return self._data[at : at + ID]

    def find(self, block: bytes) -> Place | None:
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            if self._id(middle) < block:
                low = middle + 1
            else:
                high = middle
        if low == self.count or self._id(low) != block:
            return None
        return self._place(low)[1]

    def __iter__(self) -> Iterator[tuple[bytes, Place]]:
        return (self._place(index) for index in range(self.count))

    def _place(self, index: int) -> tuple[bytes, Place]:
        block, number_of_object, number, uses = _ROW.unpack_from(self._data, self._rows + index * ROW_BYTES)
        if number_of_object >= len(self.objects):
            raise Integrity("a row names an object outside its table")
        ref = self.objects[number_of_object]
        return block, Place(ref.digest, ref.incarnation, number, uses)


def encode_table(rows: Iterable[tuple[bytes, Place]]) -> bytes:
    """Bytes of a table; `rows` are sorted by id. Objects are numbered in the order of their first row."""
    numbers: dict[tuple[bytes, int], int] = {}
    packed: list[bytes] = []
    for block, place in rows:
        number = numbers.setdefault((place.digest, place.incarnation), len(numbers))
        packed.append(_ROW.pack(block, number, place.number, place.uses))
    objects = b"".join(_OBJECT.pack(digest, incarnation) for digest, incarnation in numbers)
    return b"".join((_HEAD.pack(0, 1, 0, len(numbers), len(packed)), objects, *packed))
