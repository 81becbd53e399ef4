"""Object lists: what CONDEMN and SWEEP are about (docs/format-data.md section 5).

Plain objects of area x, like the nodes of object sets, with a random nonce each. One list is at most MAX_ROWS long; an entry names
as many as it takes, and together they are sorted.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from recoup.engine.format.kinds import Area
from recoup.engine.records.nodes import ObjectRef
from recoup.errors import Integrity

MAGIC: Final = b"RCPL"
MAX_ROWS: Final = 16_384
_NONCE: Final = 16
_HEAD: Final = struct.Struct(">4sBBH16sI")
_ROW: Final = struct.Struct(">32sIcQ")
MAX_LIST_BYTES: Final = _HEAD.size + MAX_ROWS * _ROW.size
_AREAS: Final[dict[bytes, Area]] = {b"d": "d", b"m": "m", b"x": "x"}


class Listed(NamedTuple):
    """One object as it stands at the location."""

    digest: bytes
    incarnation: int
    area: Area
    size: int
    """Stored bytes, as the listing said."""

    @property
    def object(self) -> ObjectRef:
        return ObjectRef(self.digest, self.incarnation)


def encode_list(rows: Iterable[Listed]) -> bytes:
    """Stored bytes of one list; rows sorted by (digest, incarnation), at most MAX_ROWS."""
    packed = [_ROW.pack(row.digest, row.incarnation, row.area.encode(), row.size) for row in rows]
    if len(packed) > MAX_ROWS:
        raise ValueError(f"an object list of {len(packed)} rows is longer than {MAX_ROWS}")
    return _HEAD.pack(MAGIC, 1, 0, 0, os.urandom(_NONCE), len(packed)) + b"".join(packed)


def decode_list(data: bytes, what: str) -> list[Listed]:
    """The rows. Raises Integrity unless they are sorted and well-formed."""
    if not _HEAD.size <= len(data) <= MAX_LIST_BYTES:
        raise Integrity(f"{what} has {len(data)} bytes, which no object list has")
    magic, version, zero, more, _, count = _HEAD.unpack_from(data)
    if (magic, version, zero, more) != (MAGIC, 1, 0, 0) or len(data) != _HEAD.size + count * _ROW.size:
        raise Integrity(f"{what} is not well-formed")
    rows: list[Listed] = []
    last = (b"", -1)
    for digest, incarnation, area, size in _ROW.iter_unpack(data[_HEAD.size :]):
        if area not in _AREAS or (digest, incarnation) <= last:
            raise Integrity(f"{what}: an object is out of order or in no area")
        last = (digest, incarnation)
        rows.append(Listed(digest, incarnation, _AREAS[area], size))
    return rows
