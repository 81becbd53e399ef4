"""Blocks into objects: compression with its check, packs of one fixed size, and the objects of metadata.

Says where every block went (`Ledger`). Packs are filled by the workers of a Pipeline; objects of metadata by the main thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import zstandard
from msgspec import field

from recoup.engine.backup.pace import Pace
from recoup.engine.backup.pipeline import Pipeline
from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import MAX_BLOCKS, Area, BlockKind, Codec, Kind
from recoup.engine.format.sealed import ObjectBuilder, SealedObject, Sealing, new_buffer
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.objectset import Member
from recoup.engine.records.rows import Place
from recoup.engine.stores.base import Store
from recoup.errors import Denied, Integrity
from recoup.value import Record

LEVEL: Final = 3
PACK_BYTES: Final = 16 << 20
META_BYTES: Final = 4 << 20
"""Stored bytes of a full object of trees, refs or caches."""


class _Codecs(threading.local):
    """zstd contexts are not thread-safe, and making one costs more than a small block."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True, write_checksum=False).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_codecs = _Codecs()


def compress(plain: memoryview | bytes, id_key: bytes, block: bytes, kind: BlockKind) -> tuple[Codec, memoryview | bytes]:
    """The payload of a block: compressed, or raw if that gains less than 1 %.

    What was compressed is decompressed again and must have the block's id: a fault of memory or library shows before anything
    depends on it. Raises Integrity.
    """
    packed = _codecs.compress(plain)
    if len(packed) > len(plain) * 0.99:
        return Codec.RAW, plain
    if block_id(id_key, kind, _codecs.decompress(packed, max_output_size=len(plain))) != block:
        raise Integrity(
            f"block {block.hex()} did not come back from its compression as it was: memory or processor of this machine is faulty",
            reason="SelfCheckFailed",
        )
    return Codec.ZSTD, packed


class Ledger(Record):
    """Where the blocks of this run went, and which objects it stored. `place` is known once the block's object is sealed."""

    places: dict[bytes, int] = field(default_factory=dict)
    """Block id to number of its object times MAX_BLOCKS, plus number in it: one small integer, since there are as many as blocks.
    Nodes of caches are not among them, nobody asks for those by id."""
    digests: list[bytes] = field(default_factory=list)
    """Digest of each object by its number; empty until it is sealed."""
    members: dict[ObjectRef, Member] = field(default_factory=dict)
    """Every object stored by this run; `blocks` is 0."""
    stored: int = 0
    """Bytes of all of them."""
    keep_fresh: bool = False
    """Somebody takes the blocks of every object that was sealed (`take_fresh`)."""
    _fresh: dict[bytes, list[tuple[bytes, int]]] = field(default_factory=dict)
    """Blocks of objects that were sealed and not yet taken by `take_fresh`."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def new_object(self) -> int:
        with self._lock:
            self.digests.append(b"")
            return len(self.digests) - 1

    def sealed(self, number: int, sealed: SealedObject, blocks: list[tuple[bytes, int]]) -> None:
        with self._lock:
            self.digests[number] = sealed.digest
            if self.keep_fresh:
                self._fresh[sealed.digest] = blocks
            if sealed.kind is not Kind.CACHE:
                base = number * MAX_BLOCKS
                self.places.update((block, base + index) for block, index in blocks)
        self.note(sealed.digest, sealed.kind.area, len(sealed.data))

    def take_fresh(self, digest: bytes) -> list[tuple[bytes, int]]:
        """(block, number) of all blocks of a sealed object, once."""
        with self._lock:
            return self._fresh.pop(digest)

    def note(self, digest: bytes, area: Area, size: int) -> None:
        """Remember that this run stored an object."""
        with self._lock:
            self.members[ObjectRef(digest, 0)] = Member(digest, 0, area, size, 0)
            self.stored += size

    def place(self, block: bytes) -> Place | None:
        found = self.places.get(block)
        return self._place(found) if found is not None else None

    def data_rows(self) -> list[tuple[bytes, Place]]:
        """(block, place) of everything in packs."""
        packs = {number for number, digest in enumerate(self.digests) if self.members[ObjectRef(digest)].area == "d"}
        return [(block, self._place(at)) for block, at in self.places.items() if at // MAX_BLOCKS in packs]

    def _place(self, at: int) -> Place:
        return Place(self.digests[at // MAX_BLOCKS], 0, at % MAX_BLOCKS, 0)


class PackWriter:
    """Packs of data blocks, at most `buffers` of them in memory: one is filling, the others are sealed or on their way.

    `add` is called by many threads; a full pack is sealed by the thread that found it full.
    """

    def __init__(self, pipeline: Pipeline, sealing: Sealing, ledger: Ledger, pace: Pace, pack_bytes: int, buffers: int) -> None:
        self._pipeline = pipeline
        self._sealing = sealing
        self._ledger = ledger
        self._pace = pace
        self._most = pack_bytes
        self._lock = threading.Lock()
        self._builder: ObjectBuilder | None = None
        self._buffer: memoryview | None = None
        self._number = 0
        self._blocks: list[tuple[bytes, int]] = []
        self._free: list[memoryview] = []
        self._unmade = buffers
        self.plain = 0
        """Bytes of all blocks that were added, before they were compressed."""

    def add(self, block: bytes, kind: BlockKind, codec: Codec, plain_length: int, payload: memoryview | bytes) -> None:
        full: Callable[[], None] | None = None
        with self._lock:
            if self._builder is not None and not self._builder.fits(len(payload)):
                full = self._detach(self._builder.capacity)
            if self._builder is None:
                self._begin()
            assert self._builder is not None
            number = self._builder.add(block, kind, codec, plain_length, payload)
            self._blocks.append((block, number))
            self.plain += plain_length
        if full is not None:
            full()

    def finish(self) -> None:
        """Seal the last pack, filled to its Padmé size. Call when no thread adds any more."""
        with self._lock:
            last = self._detach(None) if self._builder is not None else None
        if last is not None:
            last()

    def _begin(self) -> None:
        self._pipeline.wait_for(lambda: bool(self._free) or self._unmade > 0)
        if self._free:
            self._buffer = self._free.pop()
        else:
            self._unmade -= 1
            self._buffer = new_buffer(self._most)
        self._builder = ObjectBuilder(self._sealing, self._pace.pack_bytes(), self._buffer)
        self._number = self._ledger.new_object()

    def _detach(self, stored_size: int | None) -> Callable[[], None]:
        builder, buffer, number, blocks = self._builder, self._buffer, self._number, self._blocks
        assert builder is not None and buffer is not None  # noqa: PT018  # for the type checker
        self._builder, self._blocks = None, []

        def seal() -> None:
            sealed = builder.close(stored_size=stored_size)
            self._ledger.sealed(number, sealed, blocks)
            self._pipeline.put(sealed, lambda: self._pipeline.changed(lambda: self._free.append(buffer)))

        return seal


class MetaWriter:
    """Objects of one kind of metadata, filled by the main thread; each is put when it is full or finished."""

    def __init__(self, pipeline: Pipeline, sealing: Sealing, ledger: Ledger, id_key: bytes, *, capacity: int = META_BYTES) -> None:
        self._pipeline = pipeline
        self._sealing = sealing
        self._ledger = ledger
        self._id_key = id_key
        self._capacity = capacity
        self._builder: ObjectBuilder | None = None
        self._number = 0
        self._blocks: list[tuple[bytes, int]] = []

    def add(self, kind: BlockKind, plain: bytes, block: bytes | None = None) -> tuple[bytes, int, int]:
        """Stage one block: (its id, number of its object in the ledger, number in the object)."""
        block = block_id(self._id_key, kind, plain) if block is None else block
        codec, payload = compress(plain, self._id_key, block, kind)
        if self._builder is not None and not self._builder.fits(len(payload)):
            self.finish()
        if self._builder is None:
            self._builder = ObjectBuilder(self._sealing, max(self._capacity, len(payload) + (64 << 10)))
            self._number = self._ledger.new_object()
        number = self._builder.add(block, kind, codec, len(plain), payload)
        self._blocks.append((block, number))
        return block, self._number, number

    @property
    def open_object(self) -> int | None:
        """Number of the object that is being filled."""
        return self._number if self._builder is not None else None

    def make_room(self, length: int) -> None:
        """Make sure that a block of `length` bytes goes into the object that is open then, if any."""
        if self._builder is not None and not self._builder.fits(length):
            self.finish()

    def finish(self) -> bytes:
        """Seal and put what is staged; its digest, empty if there was nothing."""
        builder, self._builder = self._builder, None
        if builder is None:
            return b""
        sealed = builder.close(stored_size=None)
        self._ledger.sealed(self._number, sealed, self._blocks)
        self._blocks = []
        self._pipeline.put(sealed, lambda: None)
        return sealed.digest


def put_object(store: Store, name: str, data: memoryview | bytes) -> None:
    """Put one object. What stands under its name already can only be itself, after a lost response. Raises Integrity if it is not."""
    if store.create(name, data):
        return
    try:
        size = store.size(name)
    except Denied:
        # A writer need not be allowed to read packs. The name is the digest of bytes sealed a moment ago, which nobody else has.
        return
    if size != len(data):
        raise Integrity(f"{name} exists at {store.url} with other bytes than its name says: somebody else wrote it")
