"""Bytes of a log entry (docs/format.md section 6): a fixed head, a record, a signature.

Pure. Decoding proves nothing by itself: `signed_by` checks the signature, `state.py` everything else. MIRROR and HEAL have no
signer: in the signature's place they have zeros.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple, cast

from recoup.engine.format.kinds import FORMAT_VERSION
from recoup.engine.format.names import digest_of
from recoup.engine.format.records import decode_record, encode_record
from recoup.engine.keys.signing import SIGNATURE_BYTES, SigningKey, verify
from recoup.engine.log.bodies import BODY_TYPES, Body, EntryType, Signer
from recoup.errors import Integrity

MAX_SIGNED_BYTES: Final = 56 << 10
MAX_ENTRY_BYTES: Final = 64 << 10
"""Of a MIRROR, which carries another entry."""
UNSIGNED: Final = bytes(SIGNATURE_BYTES)
_HEAD: Final = struct.Struct(">4sHBBI16s16s16sQ32sQ16sI")
HEAD_BYTES: Final = _HEAD.size
_MAGIC: Final = b"RCPE"
_PURPOSE: Final = b"rcp1/entry"


class Head(NamedTuple):
    """Everything of an entry but its body and signature."""

    type: int
    signer: int
    generation: int
    repo_id: bytes
    vault_id: bytes
    location_id: bytes
    seq: int
    previous: bytes
    """Digest of the previous valid entry; zeros for the first."""
    time: int
    """Milliseconds since 1970 by the appender's clock. Informational: no rule looks at it."""
    nonce: bytes


class Entry(NamedTuple):
    """One decoded entry. `body` is None if this version does not know the type."""

    head: Head
    body: Body | None
    digest: bytes
    signed: bytes
    signature: bytes

    @property
    def unsigned(self) -> bool:
        """Whether it is an entry of a type that nobody signs, and looks like one."""
        return self.head.signer == Signer.NOBODY and self.head.generation == 0 and self.signature == UNSIGNED

    def signed_by(self, public_key: bytes) -> bool:
        return verify(public_key, _PURPOSE, self.signed, self.signature)


def encode_entry(head: Head, body: Body, key: SigningKey | None) -> bytes:
    """Sign and encode; without a key for what nobody signs. Raises ValueError if the entry would be longer than the format allows."""
    record = encode_record(body)
    signed = _HEAD.pack(_MAGIC, FORMAT_VERSION, *head, len(record)) + record
    length, limit = len(signed) + SIGNATURE_BYTES, max_bytes(head.type)
    if length > limit:
        raise ValueError(f"a log entry of {length} bytes is longer than {limit}")
    return signed + (UNSIGNED if key is None else key.sign(_PURPOSE, signed))


def max_bytes(type_: int) -> int:
    """The longest entry of a type."""
    return MAX_ENTRY_BYTES if type_ == EntryType.MIRROR else MAX_SIGNED_BYTES


def decode_entry(data: bytes, name: str) -> Entry:
    """Decode an entry without believing it. Raises Integrity naming entry and field."""
    if not HEAD_BYTES + SIGNATURE_BYTES <= len(data) <= MAX_ENTRY_BYTES:
        raise Integrity(f"log entry {name} is damaged or forged: {len(data)} bytes")
    magic, version, *fields, body_length = _HEAD.unpack_from(data)
    if magic != _MAGIC or version != FORMAT_VERSION:
        raise Integrity(f"log entry {name} is damaged or forged: magic or version")
    if len(data) != HEAD_BYTES + body_length + SIGNATURE_BYTES:
        raise Integrity(f"log entry {name} is damaged or forged: length of its body")
    head = Head(*fields)
    if len(data) > max_bytes(head.type):
        raise Integrity(f"log entry {name} is damaged or forged: {len(data)} bytes")
    end = HEAD_BYTES + body_length
    type_ = BODY_TYPES.get(cast("EntryType", head.type))
    body = decode_record(data[HEAD_BYTES:end], type_, f"log entry {name}") if type_ else None
    return Entry(head, body, digest_of(data), data[:end], data[end:])
