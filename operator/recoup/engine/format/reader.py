"""Opening sealed objects (docs/format.md section 3): every byte is hostile until it has been authenticated.

Header, envelopes, commitment and block table are checked before any block is shown; each block then by itself. A failure is
errors.Integrity naming object and field; KeyUnavailable only if no key at hand is among the object's recipients. Block ids
are checked by the caller, who holds K_id.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

import zstandard
from cryptography.exceptions import InvalidTag

from recoup.engine.format.derive import ObjectKeys
from recoup.engine.format.envelopes import AES_KWP, Envelope, PrivateKey, decode_envelopes, open_hpke, open_kwp, wrapping_id
from recoup.engine.format.kinds import MAX_OBJECT_BYTES, TAG_BYTES, Codec, Kind
from recoup.engine.format.layout import (
    FRAME_BYTES,
    HEADER_BYTES,
    TRAILER_BYTES,
    BlockEntry,
    Header,
    check_frame_head,
    decode_header,
    decode_table,
    decode_trailer,
    malformed,
)
from recoup.errors import KeyUnavailable
from recoup.value import Value

Buffer = bytes | bytearray | memoryview
_SUFFIX_GUESS = 8 << 10
_PREFIX_GUESS = 1 << 10


class RangeSource(Protocol):
    """An object that is read by ranges. `read` returns exactly `length` bytes or raises."""

    @property
    def size(self) -> int: ...

    def read(self, start: int, length: int) -> Buffer: ...


@dataclass(frozen=True, slots=True)
class WrappingKey:
    """A symmetric key that may open AES-KWP envelopes."""

    raw: bytes = field(repr=False)
    id: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", wrapping_id(self.raw))


class Opening(Value, frozen=True):
    """Which objects may be opened (those of one vault and kind) and with which keys."""

    repo_id: bytes
    vault_id: bytes
    kind: Kind
    private_keys: tuple[PrivateKey, ...] = ()
    wrapping_keys: tuple[WrappingKey, ...] = ()

    def seed(self, envelopes: list[Envelope], context: bytes, name: str) -> bytes:
        """Open the first envelope that is addressed to one of our keys."""
        private = {(key.type, key.id): key for key in self.private_keys}
        wrapping = {key.id: key for key in self.wrapping_keys}
        addressed = False
        for envelope in envelopes:
            if envelope.type != AES_KWP:
                recipient = private.get((envelope.type, envelope.recipient))
                seed = open_hpke(envelope.payload, recipient, context) if recipient else None
                addressed |= recipient is not None
            else:
                wrapper = wrapping.get(envelope.recipient)
                seed = open_kwp(envelope.payload, wrapper.raw) if wrapper else None
                addressed |= wrapper is not None
            if seed is not None:
                return seed
        if addressed:
            raise malformed(name, "envelope", "the key that it names does not open it")
        raise KeyUnavailable(f"object {name} is sealed to none of the keys at hand; give the key file of its vault and generation")


class ObjectReader:
    """One opened object. `table` lists its blocks, the padding block last. Safe to read from several threads."""

    def __init__(self, data: Buffer | RangeSource, opener: Opening, name: str) -> None:
        self.name = name
        self._source: RangeSource = _Whole(memoryview(data)) if isinstance(data, (bytes, bytearray, memoryview)) else data
        size = self._source.size
        if not HEADER_BYTES + TRAILER_BYTES <= size <= MAX_OBJECT_BYTES:
            raise malformed(name, "size", f"{size} bytes")
        suffix_length = min(size, _SUFFIX_GUESS)
        suffix = self._source.read(size - suffix_length, suffix_length)
        trailer = decode_trailer(memoryview(suffix)[-TRAILER_BYTES:], size, name)
        prefix = self._prefix(trailer.header_length)
        self.header = self._check_header(prefix, trailer.header_length, opener)
        context = self.header.context()
        envelopes = decode_envelopes(memoryview(prefix)[HEADER_BYTES:], self.header.recipients, name)
        self._keys = ObjectKeys(self.header.hedge, opener.seed(envelopes, context, name), context)
        if not hmac.compare_digest(self._keys.commitment(), self.header.commitment):
            raise malformed(name, "key commitment")
        self._aad = sha256(prefix).digest()
        footer = self._footer(suffix, trailer.footer_offset, trailer.footer_length)
        self.table: Sequence[BlockEntry] = decode_table(footer, trailer.header_length, trailer.footer_offset, name)

    def read(self, number: int) -> bytes | memoryview:
        """Decrypt and decompress one block. Raises Integrity if any byte of it is not what was sealed."""
        entry = self.table[number]
        return self.open_block(number, self._source.read(entry.offset, entry.cipher_length))

    def open_block(self, number: int, cipher: Buffer) -> bytes | memoryview:
        """As `read`, for a caller that has fetched the block's range (`table[number]`) by itself."""
        entry = self.table[number]
        key, nonce = self._keys.block(number)
        try:
            frame = key.decrypt(nonce, cipher, self._aad + number.to_bytes(4, "big"))
        except InvalidTag:
            raise malformed(self.name, f"block {number}") from None
        check_frame_head(frame, entry, self.name, number)
        payload = memoryview(frame)[FRAME_BYTES:]
        if entry.codec == Codec.RAW:
            return payload
        return _decompress(payload, entry.plain_length, self.name, number)

    def check_padding(self) -> None:
        """Authenticate the padding block, which `read` of the others never touches; verification calls this."""
        last = len(self.table) - 1
        if bytes(self.read(last)).strip(b"\0"):
            raise malformed(self.name, f"block {last}", "padding is not zero")

    def _prefix(self, header_length: int) -> bytes:
        prefix = bytes(self._source.read(0, min(self._source.size, max(HEADER_BYTES, min(header_length, _PREFIX_GUESS)))))
        header = decode_header(prefix, self.name)
        if HEADER_BYTES + header.envelope_bytes != header_length:
            raise malformed(self.name, "header length", "header and trailer differ")
        if len(prefix) < header_length:
            prefix += bytes(self._source.read(len(prefix), header_length - len(prefix)))
        return prefix

    def _check_header(self, prefix: bytes, header_length: int, opener: Opening) -> Header:
        header = decode_header(prefix, self.name)
        if len(prefix) != header_length:
            raise malformed(self.name, "header", "cut short")
        if (header.repo_id, header.vault_id) != (opener.repo_id, opener.vault_id):
            raise malformed(self.name, "header vault", "the object belongs to another vault")
        if header.kind != opener.kind:
            raise malformed(self.name, "header kind", f"{header.kind.name} where {opener.kind.name} was expected")
        return header

    def _footer(self, suffix: Buffer, offset: int, length: int) -> bytes:
        known = self._source.size - len(suffix)
        cipher = memoryview(suffix)[offset - known : offset - known + length] if offset >= known else self._source.read(offset, length)
        if len(cipher) != length or length < TAG_BYTES:
            raise malformed(self.name, "footer", "cut short")
        key, nonce = self._keys.footer()
        try:
            return key.decrypt(nonce, cipher, self._aad + b"\xff\xff\xff\xff")
        except InvalidTag:
            raise malformed(self.name, "footer") from None


class _Whole:
    """A whole object in memory, read by ranges."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.size = len(data)

    def read(self, start: int, length: int) -> memoryview:
        return self._data[start : start + length]


class _Decompressors(threading.local):
    """zstd contexts are not thread-safe, and making one costs more than a small block."""

    def __init__(self) -> None:
        self.context = zstandard.ZstdDecompressor()


_decompressors = _Decompressors()


def _decompress(payload: memoryview, length: int, name: str, number: int) -> bytes:
    """Decompress one zstd frame whose own header must already claim exactly `length`: nothing larger is ever allocated."""
    try:
        if zstandard.frame_content_size(payload) != length:
            raise malformed(name, f"block {number}", "compressed frame and block table differ in length")
        plain = _decompressors.context.decompress(payload, max_output_size=length, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise malformed(name, f"block {number}", f"decompression: {error}") from None
    if len(plain) != length:
        raise malformed(name, f"block {number}", "decompressed length")
    return plain
