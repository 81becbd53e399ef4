"""Records: structs as canonical MessagePack maps, and records sealed under a symmetric key (docs/format.md section 3).

Canonical = decoding and encoding again gives the same bytes, so that a record has exactly one form and nothing rides along.
Sealed records are for what stands inside log entries and keyrings; everything larger goes into sealed objects.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recoup.engine.format.derive import expand, hedge_key_of
from recoup.errors import Integrity

T = TypeVar("T")
MALFORMED: Final = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
"""What msgspec raises for bytes that it can't decode: text that is no UTF-8, and values nested without end, are not its own errors."""
_SALT_BYTES = 32
_COMMIT_BYTES = 32
_PAD = 256


def encode_record(record: msgspec.Struct) -> bytes:
    """The canonical bytes: a map of field names in the struct's order."""
    return msgspec.msgpack.encode(record)


def decode_record(data: bytes | memoryview, type_: type[T], name: str) -> T:
    """Undo `encode_record`. Raises Integrity naming `name` for anything that is not the canonical form."""
    try:
        record = msgspec.msgpack.decode(data, type=type_)
        canonical = msgspec.msgpack.encode(record) == data
    except MALFORMED as error:
        raise Integrity(f"{name} is damaged or forged: {error}") from None
    if not canonical:
        raise Integrity(f"{name} is damaged or forged: not in canonical form")
    return record


def seal_record(key: bytes, context: bytes, plain: bytes) -> bytes:
    """Seal a small record: salt 32 | commitment 32 | AES-256-GCM of (u32 length, plain, zeros to a multiple of 256)."""
    padded = len(plain).to_bytes(4, "big") + plain
    padded += bytes(-len(padded) % _PAD)
    salt = hmac.digest(hedge_key_of(key), b"salt" + os.urandom(32) + context + hashlib.sha256(padded).digest(), "sha256")
    cipher, nonce, commitment = _record_keys(key, salt, context)
    return salt + commitment + cipher.encrypt(nonce, padded, None)


def open_record(key: bytes, context: bytes, sealed: bytes, name: str) -> bytes:
    """Undo `seal_record`. Raises Integrity naming `name`."""
    salt, given = sealed[:_SALT_BYTES], sealed[_SALT_BYTES : _SALT_BYTES + _COMMIT_BYTES]
    cipher, nonce, commitment = _record_keys(key, salt, context)
    if not hmac.compare_digest(given, commitment):
        raise Integrity(f"{name} is damaged, forged, or sealed under another key")
    try:
        padded = cipher.decrypt(nonce, sealed[_SALT_BYTES + _COMMIT_BYTES :], None)
    except InvalidTag:
        raise Integrity(f"{name} is damaged or forged") from None
    length = int.from_bytes(padded[:4], "big")
    plain = padded[4 : 4 + length]
    if len(plain) != length or len(padded) != 4 + length + (-(4 + length) % _PAD) or any(padded[4 + length :]):
        raise Integrity(f"{name} is damaged or forged: padding")
    return plain


def _record_keys(key: bytes, salt: bytes, context: bytes) -> tuple[AESGCM, bytes, bytes]:
    prk = hmac.digest(salt, key, "sha512")
    material = expand(prk, b"rcp1/record" + context + b"key", 44)
    return AESGCM(material[:32]), material[32:], expand(prk, b"rcp1/record" + context + b"commit", _COMMIT_BYTES)
