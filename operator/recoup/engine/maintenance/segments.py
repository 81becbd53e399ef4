"""Reading and writing index segments with K_index alone (docs/format-data.md section 6).

Shared by those who merge them, rebuild them, or look which objects an unfinished session named.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Final

from blake3 import blake3

from recoup.engine.backup.packs import compress, put_object
from recoup.engine.browse.spool import Spool
from recoup.engine.format.derive import hedge_key_of
from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.format.names import digest_of, object_name
from recoup.engine.format.reader import ObjectReader, Opening, WrappingKey
from recoup.engine.format.sealed import ObjectBuilder, Sealing
from recoup.engine.keys.roles import VaultIdentity
from recoup.engine.records.index import decode_segment, encode_segment
from recoup.engine.records.rows import Place, Table
from recoup.engine.stores.base import Store
from recoup.errors import Integrity

FULL: Final = 8 << 20
"""Stored bytes of a segment that others are merged into, at most."""
_ROW: Final = struct.Struct(">32sI32sII")


class Segments:
    """The index segments of one vault, sealed by the keys of its generations."""

    def __init__(self, store: Store, identity: VaultIdentity, index_keys: Mapping[int, bytes]) -> None:
        self._store, self._identity, self._keys = store, identity, index_keys
        self._generation = max(index_keys)
        wrapping = tuple(WrappingKey(key) for key in index_keys.values())
        self._opening = Opening(identity.repo_id, identity.vault_id, Kind.INDEX, wrapping_keys=wrapping)

    def open(self, segment: bytes) -> ObjectReader:
        """Raises NotFound, Integrity, KeyUnavailable."""
        name = object_name(self._identity.vault_id, Kind.INDEX.area, segment)
        data = self._store.get(name)
        if digest_of(data) != segment:
            raise Integrity(f"object {name} is damaged", reason="DigestMismatch")
        return ObjectReader(data, self._opening, name)

    def tables(self, segment: bytes) -> Iterator[Table]:
        """Its tables, in order. Raises as `open`."""
        return tables_of(self.open(segment))

    def is_current(self, reader: ObjectReader) -> bool:
        """Whether its ids are those of today's writers: K_index changes with K_id."""
        return self._keys.get(reader.header.generation) == self._keys[self._generation]

    def write(self, rows: Iterable[tuple[bytes, Place]]) -> list[bytes]:
        """Put sorted rows as segments, one beginning after the one before ends, and read them back; their digests.

        Raises Integrity if what stands in the store then is not these rows.
        """
        key, written, hashed = self._keys[self._generation], list[bytes](), blake3()
        identity = self._identity
        sealing = Sealing(identity.repo_id, identity.vault_id, self._generation, Kind.INDEX, hedge_key_of(key), wrapping_key=key)
        builder: ObjectBuilder | None = None
        for table in encode_segment(_hashed(rows, hashed)):
            block = block_id(key, BlockKind.INDEX, table)
            codec, payload = compress(table, key, block, BlockKind.INDEX)
            if builder is not None and not builder.fits(len(payload)):
                written.append(self._put(builder))
                builder = None
            builder = builder or ObjectBuilder(sealing, FULL)
            builder.add(block, BlockKind.INDEX, codec, len(table), payload)
        if builder is not None:
            written.append(self._put(builder))
        again = blake3()
        for _ in _hashed((row for segment in written for table in self.tables(segment) for row in table), again):
            pass
        if again.digest() != hashed.digest():
            raise Integrity(
                "the index segments that were just written do not hold the rows that they were made of", reason="SelfCheckFailed"
            )
        return written

    def _put(self, builder: ObjectBuilder) -> bytes:
        sealed = builder.close(stored_size=None)
        put_object(self._store, sealed.name, sealed.data)
        return sealed.digest


class Sorted:
    """Rows of many segments in the order of their ids, however many there are; of one id the first that was added."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._added = 0

    def add(self, block: bytes, place: Place) -> None:
        self._spool.add(_ROW.pack(block, min(self._added, 0xFFFFFFFF), place.digest, place.incarnation, place.number))
        self._added += 1

    def rows(self, keep: Callable[[Place], bool]) -> Iterator[tuple[bytes, Place]]:
        """Of each id the first row that `keep` lets through."""
        rows = map(_ROW.unpack, self._spool.merged())
        for block, same in groupby(rows, key=lambda row: row[0]):
            places = (Place(digest, incarnation, number, 0) for _, _, digest, incarnation, number in same)
            found = next(filter(keep, places), None)
            if found is not None:
                yield block, found


def tables_of(reader: ObjectReader) -> Iterator[Table]:
    """The tables of an opened segment. Raises Integrity."""
    for number, row in enumerate(reader.table):
        if row.kind == BlockKind.INDEX:
            yield decode_segment(reader.read(number))


def _hashed(rows: Iterable[tuple[bytes, Place]], into: blake3) -> Iterator[tuple[bytes, Place]]:
    for block, place in rows:
        into.update(_ROW.pack(block, 0, place.digest, place.incarnation, place.number))
        yield block, place
