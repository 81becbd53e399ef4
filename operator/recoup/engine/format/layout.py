"""Fixed layouts of a sealed object: header, block table, trailer (docs/format.md section 3).

Pure bytes to struct and back. Decoders raise Integrity naming the object and the field; they trust no length they have not
checked against a limit.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from recoup.engine.format.kinds import (
    FORMAT_VERSION,
    MAX_BLOCKS,
    MAX_ENVELOPE_BYTES,
    MAX_ENVELOPES,
    MAX_FOOTER_BYTES,
    MAX_PLAIN_BYTES,
    MIN_FOOTER_BYTES,
    SUITE_AES256GCM_HKDF_SHA512,
    TAG_BYTES,
    BlockKind,
    Codec,
    Kind,
)
from recoup.errors import Integrity

_HEADER: Final = struct.Struct(">4sHH16s16s16sIBBH32s32sI12s")
_FRAME: Final = struct.Struct(">BBHI")
_ENTRY: Final = struct.Struct(">32sBBHIII")
_TRAILER: Final = struct.Struct(">IIQ8s")
HEADER_BYTES: Final = _HEADER.size
FRAME_BYTES: Final = _FRAME.size
ENTRY_BYTES: Final = _ENTRY.size
TRAILER_BYTES: Final = _TRAILER.size
_MAGIC: Final = b"RCP1"
_END: Final = b"RCP1END\n"
_NO_ID: Final = bytes(32)
_BLOCK_KINDS: Final = frozenset(int(kind) for kind in BlockKind)
_CODECS: Final = frozenset(int(codec) for codec in Codec)


def malformed(name: str, field: str, detail: str = "") -> Integrity:
    """The one message for bytes that are not what was written."""
    return Integrity(f"object {name} is damaged or forged: {field}{': ' + detail if detail else ''}")


class Header(NamedTuple):
    repo_id: bytes
    vault_id: bytes
    object_id: bytes
    generation: int
    kind: Kind
    recipients: int
    hedge: bytes
    commitment: bytes
    envelope_bytes: int

    def context(self) -> bytes:
        """`ctx`: what every key of the object is bound to."""
        return context_of(self.kind, self.repo_id, self.vault_id, self.object_id, self.generation)


class BlockEntry(NamedTuple):
    """One row of the block table: where a block lies in its object and what it becomes."""

    id: bytes
    kind: int
    codec: int
    offset: int
    cipher_length: int
    plain_length: int


class Trailer(NamedTuple):
    footer_length: int
    header_length: int
    footer_offset: int


def context_of(kind: Kind, repo_id: bytes, vault_id: bytes, object_id: bytes, generation: int) -> bytes:
    suite = SUITE_AES256GCM_HKDF_SHA512.to_bytes(2, "big")
    return b"rcp1/obj" + suite + bytes([kind]) + repo_id + vault_id + object_id + generation.to_bytes(4, "big")


def encode_header(header: Header) -> bytes:
    return _HEADER.pack(
        _MAGIC,
        FORMAT_VERSION,
        SUITE_AES256GCM_HKDF_SHA512,
        header.repo_id,
        header.vault_id,
        header.object_id,
        header.generation,
        header.kind,
        0,
        header.recipients,
        header.hedge,
        header.commitment,
        header.envelope_bytes,
        bytes(12),
    )


def decode_header(data: bytes | memoryview, name: str) -> Header:
    if len(data) < HEADER_BYTES:
        raise malformed(name, "header", "cut short")
    fields = _HEADER.unpack(data[:HEADER_BYTES])
    magic, version, suite, repo, vault, ident, generation, kind, flags, recipients, hedge, commitment, envelopes, zero = fields
    if magic != _MAGIC:
        raise malformed(name, "header magic")
    if version != FORMAT_VERSION or suite != SUITE_AES256GCM_HKDF_SHA512:
        raise malformed(name, "header version or suite", f"version {version}, suite {suite} are not known to this program")
    if flags or zero != bytes(12):
        raise malformed(name, "header reserved bytes")
    if not 1 <= recipients <= MAX_ENVELOPES or envelopes > MAX_ENVELOPE_BYTES:
        raise malformed(name, "header envelopes", f"{recipients} of {envelopes} bytes")
    try:
        known = Kind(kind)
    except ValueError:
        raise malformed(name, "header kind", str(kind)) from None
    return Header(repo, vault, ident, generation, known, recipients, hedge, commitment, envelopes)


def encode_frame_head(kind: int, codec: int, plain_length: int) -> bytes:
    return _FRAME.pack(codec, kind, 0, plain_length)


def check_frame_head(frame: bytes | memoryview, entry: BlockEntry, name: str, number: int) -> None:
    """The frame repeats codec, kind and length of its row; any difference is an error."""
    if len(frame) < FRAME_BYTES or _FRAME.unpack(frame[:FRAME_BYTES]) != (entry.codec, entry.kind, 0, entry.plain_length):
        raise malformed(name, f"block {number}", "frame and block table differ")


def footer_bytes(blocks: int) -> int:
    """Length of the padded block table's plaintext."""
    return max(MIN_FOOTER_BYTES, 1 << (4 + blocks * ENTRY_BYTES - 1).bit_length())


def encode_table(entries: list[BlockEntry]) -> bytes:
    parts = [len(entries).to_bytes(4, "big")]
    parts += [_ENTRY.pack(e.id, e.kind, e.codec, 0, e.offset, e.cipher_length, e.plain_length) for e in entries]
    return b"".join(parts).ljust(footer_bytes(len(entries)), b"\0")


def decode_table(table: bytes, start: int, end: int, name: str) -> list[BlockEntry]:
    """Decode and check the block table of an object whose blocks lie in [start, end), without gaps, padding last."""
    count = int.from_bytes(table[:4], "big")
    if not 1 <= count <= MAX_BLOCKS or len(table) != footer_bytes(count):
        raise malformed(name, "block table", f"{count} blocks")
    used = 4 + count * ENTRY_BYTES
    if table.count(0, used) != len(table) - used:
        raise malformed(name, "block table padding")
    entries: list[BlockEntry] = []
    for ident, kind, codec, zero, offset, cipher_length, plain_length in _ENTRY.iter_unpack(table[4:used]):
        number = len(entries)
        if zero or kind not in _BLOCK_KINDS or codec not in _CODECS:
            raise malformed(name, f"block table row {number}", "unknown kind or codec")
        if plain_length > MAX_PLAIN_BYTES or cipher_length < FRAME_BYTES + TAG_BYTES:
            raise malformed(name, f"block table row {number}", "length out of bounds")
        if codec == Codec.RAW and cipher_length != FRAME_BYTES + plain_length + TAG_BYTES:
            raise malformed(name, f"block table row {number}", "length of a raw block")
        padding = kind == BlockKind.PADDING
        if padding != (number == count - 1) or padding != (ident == _NO_ID) or (padding and codec != Codec.RAW):
            raise malformed(name, f"block table row {number}", "padding")
        if offset != start:
            raise malformed(name, f"block table row {number}", "offset")
        start += cipher_length
        entries.append(BlockEntry(ident, kind, codec, offset, cipher_length, plain_length))
    if start != end:
        raise malformed(name, "block table", "blocks do not end at the footer")
    return entries


def encode_trailer(trailer: Trailer) -> bytes:
    return _TRAILER.pack(*trailer, _END)


def decode_trailer(data: bytes | memoryview, size: int, name: str) -> Trailer:
    """Decode the last 24 bytes of an object of `size` bytes; every field must agree with that size."""
    if len(data) < TRAILER_BYTES:
        raise malformed(name, "trailer", "cut short")
    footer_length, header_length, footer_offset, end = _TRAILER.unpack(data[len(data) - TRAILER_BYTES :])
    if end != _END:
        raise malformed(name, "trailer magic", "the object is cut short or overwritten")
    plain = footer_length - TAG_BYTES
    if not MIN_FOOTER_BYTES <= plain <= MAX_FOOTER_BYTES or plain & (plain - 1):
        raise malformed(name, "trailer footer length", str(footer_length))
    if footer_offset + footer_length + TRAILER_BYTES != size or not HEADER_BYTES <= header_length <= footer_offset:
        raise malformed(name, "trailer offsets", "they do not fit the object's size")
    return Trailer(footer_length, header_length, footer_offset)
