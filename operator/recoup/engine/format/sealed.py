"""The one container: sealing blocks into an object (docs/format.md section 3); `reader.py` opens it again.

A builder stages frames in one page-aligned buffer and seals them in place when it closes, because the hedge needs all
plaintext before the first key exists: a repeated random state (a cloned VM) must not repeat a key. It does no I/O.
"""

from __future__ import annotations

import hashlib
import hmac
import mmap
import os
from dataclasses import dataclass, field

from recoup.engine.format.derive import ObjectKeys
from recoup.engine.format.envelopes import KWP_ENVELOPE_BYTES, SEED_BYTES, hpke_envelope_bytes, seal_envelopes
from recoup.engine.format.kinds import (
    ID_BYTES,
    MAX_BLOCKS,
    MAX_ENVELOPES,
    MAX_OBJECT_BYTES,
    MAX_PLAIN_BYTES,
    TAG_BYTES,
    BlockKind,
    Codec,
    Kind,
)
from recoup.engine.format.layout import (
    FRAME_BYTES,
    HEADER_BYTES,
    TRAILER_BYTES,
    BlockEntry,
    Header,
    Trailer,
    context_of,
    encode_frame_head,
    encode_header,
    encode_table,
    encode_trailer,
    footer_bytes,
)
from recoup.engine.format.names import digest_of, object_name
from recoup.engine.format.padme import padme
from recoup.engine.format.reader import Buffer, ObjectReader, Opening, RangeSource
from recoup.value import Value

__all__ = ["BlockEntry", "Buffer", "ObjectBuilder", "ObjectReader", "Opening", "RangeSource", "SealedObject", "Sealing", "new_buffer"]

_PADDING_ID = bytes(32)
_BLOCK_OVERHEAD = FRAME_BYTES + TAG_BYTES


@dataclass(frozen=True, slots=True)
class Sealing:
    """Whose objects of which kind are sealed, and to whom: public keys, or one symmetric wrapping key."""

    repo_id: bytes
    vault_id: bytes
    generation: int
    kind: Kind
    hedge_key: bytes = field(repr=False)
    recipients: tuple[bytes, ...] = ()
    wrapping_key: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        symmetric = self.wrapping_key is not None
        if symmetric != self.kind.readable_by_writer or symmetric == bool(self.recipients) or len(self.recipients) > MAX_ENVELOPES:
            raise ValueError(f"objects of kind {self.kind.name} are not sealed this way")

    @property
    def header_length(self) -> int:
        """Bytes of header and envelopes, which the first block follows."""
        return HEADER_BYTES + (KWP_ENVELOPE_BYTES if self.wrapping_key is not None else hpke_envelope_bytes(self.recipients))

    @property
    def envelope_count(self) -> int:
        return 1 if self.wrapping_key is not None else len(self.recipients)


class SealedObject(Value, frozen=True):
    """A finished object. `data` is a view of the builder's buffer: put it before the buffer is used again."""

    digest: bytes
    data: memoryview
    blocks: int
    """Blocks without the padding block."""
    kind: Kind
    vault_id: bytes

    @property
    def name(self) -> str:
        return object_name(self.vault_id, self.kind.area, self.digest)


def new_buffer(capacity: int) -> memoryview:
    """A page-aligned buffer of `capacity` bytes; kernel copies into unaligned memory are several times slower."""
    return memoryview(mmap.mmap(-1, max(capacity, 1)))[:capacity]


class ObjectBuilder:
    """Stages frames, then seals them in place. Not thread-safe, but reserved views may be filled by other threads."""

    def __init__(self, sealing: Sealing, capacity: int, buffer: memoryview | None = None) -> None:
        """Build an object of at most `capacity` stored bytes, in `buffer` if given (at least that long)."""
        smallest = sealing.header_length + _BLOCK_OVERHEAD + footer_bytes(1) + TAG_BYTES + TRAILER_BYTES
        if not smallest <= capacity <= MAX_OBJECT_BYTES:
            raise ValueError(f"an object of kind {sealing.kind.name} has {smallest} to {MAX_OBJECT_BYTES} bytes, not {capacity}")
        self.sealing = sealing
        self.capacity = capacity
        self._buffer = new_buffer(capacity) if buffer is None else buffer
        if len(self._buffer) < capacity:
            raise ValueError("the buffer is smaller than the capacity")
        self._position = sealing.header_length
        self._entries: list[BlockEntry] = []
        self._closed = False

    @property
    def blocks(self) -> int:
        return len(self._entries)

    @property
    def used(self) -> int:
        """Stored bytes if it were closed now, without padding."""
        return self._size_with(0, 0)

    def fits(self, payload_length: int) -> bool:
        """Whether one more block with a payload of that many bytes leaves room for padding block, footer and trailer."""
        return self.blocks + 2 <= MAX_BLOCKS and self._size_with(1, payload_length + _BLOCK_OVERHEAD) <= self.capacity

    def reserve(self, block_id: bytes, kind: int, codec: int, plain_length: int, payload_length: int) -> tuple[int, memoryview]:
        """Stage one block: its number, and the view into which its payload must be written before `close`."""
        if self._closed or not self.fits(payload_length):
            raise ValueError("the object is closed or full: ask fits() first")
        if len(block_id) != len(_PADDING_ID) or block_id == _PADDING_ID or kind == BlockKind.PADDING or plain_length > MAX_PLAIN_BYTES:
            raise ValueError("not a block that an object may hold")
        if codec == Codec.RAW and payload_length != plain_length:
            raise ValueError("a raw block's payload is its plaintext")
        return self._stage(block_id, kind, codec, plain_length, payload_length)

    def add(self, block_id: bytes, kind: int, codec: int, plain_length: int, payload: Buffer) -> int:
        """Stage one block by copying its payload; returns its number."""
        number, view = self.reserve(block_id, kind, codec, plain_length, len(payload))
        view[:] = payload
        return number

    def close(self, *, stored_size: int | None) -> SealedObject:
        """Seal everything staged. The stored size is exactly `stored_size`, or the next Padmé size (at most the capacity)."""
        if self._closed:
            raise ValueError("the object is closed already")
        base = self.used
        size = min(padme(base), self.capacity) if stored_size is None else stored_size
        if not base <= size <= self.capacity or size - base > MAX_PLAIN_BYTES:
            raise ValueError(f"{base} bytes cannot be padded to {size}")
        blocks = self.blocks
        _, padding = self._stage(_PADDING_ID, BlockKind.PADDING, Codec.RAW, size - base, size - base)
        padding[:] = bytes(len(padding))
        self._closed = True
        self._seal()
        data = self._buffer[:size]
        return SealedObject(digest_of(data), data, blocks, self.sealing.kind, self.sealing.vault_id)

    def _size_with(self, more_blocks: int, more_bytes: int) -> int:
        footer = footer_bytes(self.blocks + more_blocks + 1) + TAG_BYTES
        return self._position + more_bytes + _BLOCK_OVERHEAD + footer + TRAILER_BYTES

    def _stage(self, block_id: bytes, kind: int, codec: int, plain_length: int, payload_length: int) -> tuple[int, memoryview]:
        offset = self._position
        payload = offset + FRAME_BYTES
        self._buffer[offset:payload] = encode_frame_head(kind, codec, plain_length)
        self._position = payload + payload_length + TAG_BYTES
        self._entries.append(BlockEntry(block_id, kind, codec, offset, self._position - offset, plain_length))
        return len(self._entries) - 1, self._buffer[payload : payload + payload_length]

    def _seal(self) -> None:
        """Hedge, keys, header, then every frame in place, footer, trailer (the order of docs/format.md section 3)."""
        sealing, buffer, entries = self.sealing, self._buffer, self._entries
        table = encode_table(entries)
        object_id, seed = os.urandom(ID_BYTES), os.urandom(SEED_BYTES)
        hedge = self._hedge(object_id, table)
        context = context_of(sealing.kind, sealing.repo_id, sealing.vault_id, object_id, sealing.generation)
        keys = ObjectKeys(hedge, seed, context)
        envelopes = seal_envelopes(seed, context, sealing.recipients, sealing.wrapping_key)
        header = Header(
            sealing.repo_id,
            sealing.vault_id,
            object_id,
            sealing.generation,
            sealing.kind,
            sealing.envelope_count,
            hedge,
            keys.commitment(),
            len(envelopes),
        )
        prefix = encode_header(header) + envelopes
        buffer[: len(prefix)] = prefix
        aad = hashlib.sha256(prefix).digest()
        for number, entry in enumerate(entries):
            key, nonce = keys.block(number)
            end = entry.offset + entry.cipher_length
            frame = buffer[entry.offset : end - TAG_BYTES]
            key.encrypt_into(nonce, frame, aad + number.to_bytes(4, "big"), buffer[entry.offset : end])
        key, nonce = keys.footer()
        offset, end = self._position, self._position + len(table) + TAG_BYTES
        key.encrypt_into(nonce, table, aad + b"\xff\xff\xff\xff", buffer[offset:end])
        buffer[end : end + TRAILER_BYTES] = encode_trailer(Trailer(end - offset, len(prefix), offset))

    def _hedge(self, object_id: bytes, table: bytes) -> bytes:
        frames = hashlib.sha256()
        for entry in self._entries:
            frames.update(self._buffer[entry.offset : entry.offset + entry.cipher_length - TAG_BYTES])
        return hedge_of(self.sealing, object_id, frames.digest(), hashlib.sha256(table).digest())


def hedge_of(sealing: Sealing, object_id: bytes, frames_digest: bytes, table_digest: bytes) -> bytes:
    """What ties the keys of an object to its plaintext, so that a repeated random seed never repeats a key."""
    message = b"hedge" + object_id + bytes([sealing.kind]) + sealing.generation.to_bytes(4, "big") + frames_digest + table_digest
    return hmac.digest(sealing.hedge_key, message, "sha256")
