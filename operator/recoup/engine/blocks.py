"""From a block's id to its plaintext, checked: the one way in which restore, verification and listing read content.

Responsible for: opening stored objects of a vault (whole, or by ranges when little of one is wanted), keeping the last few that hold
metadata, and comparing every plaintext with its keyed id before anybody sees it. docs/format.md sections 3 and 4.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.format.names import digest_of, object_name
from recoup.engine.format.reader import ObjectReader
from recoup.engine.keys.roles import ReaderKeys
from recoup.engine.records.nodes import Locator, ObjectRef, object_kind
from recoup.engine.records.refs import Refs
from recoup.engine.stores.base import Store
from recoup.errors import Integrity, NotFound

MISSING = "ObjectMissing"
KEPT_OBJECTS = 4
"""Metadata objects kept open: walking a tree alternates between its leaves and their companions."""
RANGED_BELOW = 512 << 10
"""Fewer wanted bytes of an object than this are read by ranges, which take three requests more."""


class Objects:
    """Opens the sealed objects of one vault at one location."""

    def __init__(self, store: Store, keys: ReaderKeys) -> None:
        self.store, self.keys = store, keys
        self.parallelism: int | None = None
        """How many to fetch at the same time, if somebody said so."""
        self.fetched = 0
        """Bytes fetched so far (whole objects; ranges are not counted)."""

    def name(self, kind: Kind, ref: ObjectRef) -> str:
        return object_name(self.keys.identity.vault_id, kind.area, ref.digest, ref.incarnation)

    def whole(self, kind: Kind, ref: ObjectRef, buffer: memoryview | None = None) -> ObjectReader:
        """The object by one request, into `buffer` if given, which must then outlive the reader. Raises Integrity if it is missing."""
        name = self.name(kind, ref)
        try:
            data: bytes | memoryview = self.store.get(name) if buffer is None else buffer[: self.store.get_into(name, buffer)]
        except NotFound as error:
            raise missing(name, self.store.url) from error
        self.fetched += len(data)
        # Content is compared with its ids. What leads to it must be the very object: an older manifest is sealed just as rightly.
        if kind is not Kind.DATA and digest_of(data) != ref.digest:
            raise Integrity(f"object {name} is damaged, or another object was put in its place: its digest is not its name")
        return ObjectReader(data, self.keys.opening(kind), name)

    def ranged(self, kind: Kind, ref: ObjectRef) -> ObjectReader:
        """The object opened by its head and tail; blocks are fetched one by one."""
        name = self.name(kind, ref)
        size = self.store.size(name)
        if size is None:
            raise missing(name, self.store.url)
        return ObjectReader(_Ranges(self.store, name, size), self.keys.opening(kind), name)


class _Ranges:
    def __init__(self, store: Store, name: str, size: int) -> None:
        self._store, self._name, self.size = store, name, size

    def read(self, start: int, length: int) -> bytes:
        try:
            return self._store.get_range(self._name, start, length)
        except NotFound as error:
            raise missing(self._name, self._store.url) from error


class Blocks:
    """Blocks of one recovery point by id. `fetch` and `fetch_at` are what the records ask for; both are safe for several threads."""

    def __init__(self, objects: Objects, id_key: bytes, refs_root: Locator, keep: int = KEPT_OBJECTS) -> None:
        self.objects, self.id_key = objects, id_key
        self._keep = keep
        self._lock = threading.RLock()
        self._open: OrderedDict[tuple[Kind, ObjectRef], ObjectReader] = OrderedDict()
        self.refs = Refs(self.fetch_at, refs_root)

    def fetch(self, block: bytes, kind: BlockKind) -> bytes | memoryview:
        """Plaintext of a block by id. Raises Integrity unless it is what the id says."""
        place = self.refs.lookup(block)
        return self._twice(object_kind(kind), place.object, lambda reader: read_checked(reader, place.number, block, kind, self.id_key))

    def fetch_at(self, locator: Locator) -> bytes | memoryview:
        """Plaintext of a block of refs, which is named by its place. Raises Integrity unless it is what its own table says."""
        ref = ObjectRef(locator.digest, locator.incarnation)
        return self._twice(Kind.REFS, ref, lambda reader: read_named(reader, locator.number, BlockKind.REFS, self.id_key))

    def _twice(self, kind: Kind, ref: ObjectRef, read: Callable[[ObjectReader], bytes | memoryview]) -> bytes | memoryview:
        """Read a block; if it is damaged, once more from a fresh copy: the damage may have been on the way."""
        with self._lock:
            try:
                return read(self._reader(kind, ref))
            except Integrity as error:
                if error.reason == MISSING:
                    raise
                self._open.pop((kind, ref), None)
                return read(self._reader(kind, ref))

    def _reader(self, kind: Kind, ref: ObjectRef) -> ObjectReader:
        key = (kind, ref)
        reader = self._open.get(key)
        if reader is None:
            reader = self._open[key] = self.objects.whole(kind, ref)
            if len(self._open) > self._keep:
                self._open.popitem(last=False)
        else:
            self._open.move_to_end(key)
        return reader


def read_checked(reader: ObjectReader, number: int, block: bytes, kind: BlockKind, id_key: bytes) -> bytes | memoryview:
    """Block `number` of an object, which must be `block` by its table and by its content. Raises Integrity."""
    if not 0 <= number < len(reader.table) or reader.table[number].id != block:
        raise Integrity(f"object {reader.name}: block {number} is not the one that the refs name")
    return read_named(reader, number, kind, id_key)


def read_named(reader: ObjectReader, number: int, kind: BlockKind, id_key: bytes) -> bytes | memoryview:
    """Block `number` of an object, which must be of `kind` and have the id that the object's table gives it. Raises Integrity."""
    if not 0 <= number < len(reader.table) or reader.table[number].kind != kind:
        raise Integrity(f"object {reader.name} has no block {number} of kind {kind.name}")
    plain = reader.read(number)
    if block_id(id_key, kind, plain) != reader.table[number].id:
        raise Integrity(f"object {reader.name}: block {number} is not what its id says: whoever wrote it did not follow the format")
    return plain


def missing(name: str, url: str) -> Integrity:
    return Integrity(f"object {name} is missing at {url}", reason=MISSING)
