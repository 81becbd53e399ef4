"""What a writer may read again: refs, content lists, lineage caches, index segments and object sets of earlier runs.

Whole objects by GET, the last few kept open. Every block is authenticated by its object and checked against its id where it is
fetched by id. Opens no content: the keys for that are not here.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.format.names import digest_of, object_name
from recoup.engine.format.reader import ObjectReader
from recoup.engine.keys.roles import WriterKeys
from recoup.engine.records.index import decode_segment
from recoup.engine.records.nodes import Locator, ObjectRef, object_kind
from recoup.engine.records.refs import Refs
from recoup.engine.records.rows import Table
from recoup.engine.stores.base import Store
from recoup.errors import Integrity

KEPT_OBJECTS: Final = 4


class ReadBack:
    """Reads objects of area x with a writer's keys. Not thread-safe."""

    def __init__(self, store: Store, keys: WriterKeys) -> None:
        self._store = store
        self._keys = keys
        self._vault = keys.identity.vault_id
        self._id_key = keys.id_key
        self._readers: OrderedDict[ObjectRef, ObjectReader] = OrderedDict()

    def open(self, ref: ObjectRef, kind: Kind) -> ObjectReader:
        """Raises NotFound, Integrity, KeyUnavailable."""
        reader = self._readers.get(ref)
        if reader is None:
            name = object_name(self._vault, kind.area, ref.digest, ref.incarnation)
            reader = ObjectReader(self._stored(name, ref.digest), self._keys.opening(kind), name)
            self._readers[ref] = reader
            if len(self._readers) > KEPT_OBJECTS:
                self._readers.popitem(last=False)
        else:
            self._readers.move_to_end(ref)
        return reader

    def block(self, place: Locator, kind: BlockKind) -> bytes | memoryview:
        """One block by its place. Raises as `open`, and Integrity if it is of another kind."""
        reader = self.open(place.object, object_kind(kind))
        if place.number >= len(reader.table) or reader.table[place.number].kind != kind:
            raise Integrity(f"block {place.number} of object {reader.name} is no block of kind {kind.name}")
        return reader.read(place.number)

    def refs_block(self, place: Locator) -> bytes | memoryview:
        """A `FetchAt` for Refs."""
        return self.block(place, BlockKind.REFS)

    def cache_block(self, place: Locator) -> bytes | memoryview:
        return self.block(place, BlockKind.CACHE)

    def by_id(self, refs: Refs, block: bytes, kind: BlockKind) -> bytes:
        """One block by its id through refs; the id is checked. A `Fetch` once `refs` is bound."""
        plain = self.block(refs.lookup(block).locator, kind)
        if block_id(self._id_key, kind, plain) != block:
            raise Integrity(f"block {block.hex()} holds something else than its id says")
        return bytes(plain)

    def set_node(self, ref: ObjectRef) -> bytes:
        """A node of an object set; its digest is checked. A `FetchSet`."""
        return self._stored(object_name(self._vault, "x", ref.digest, ref.incarnation), ref.digest)

    def segment(self, digest: bytes) -> list[Table]:
        """The tables of an index segment. Raises as `open`."""
        reader = self.open(ObjectRef(digest), Kind.INDEX)
        return [decode_segment(reader.read(number)) for number, entry in enumerate(reader.table) if entry.kind == BlockKind.INDEX]

    def _stored(self, name: str, digest: bytes) -> bytes:
        """Bytes that are what the name says: an older object of the same kind would authenticate just as well."""
        data = self._store.get(name)
        if digest_of(data) != digest:
            raise Integrity(f"object {name} is not what its name says: it is damaged, or another one was put in its place")
        return data
