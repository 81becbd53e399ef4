"""Envelopes: how the seed of an object reaches those who may open it (docs/format.md section 3).

HPKE to a public key, or AES-KWP under a symmetric key. An envelope seals 32 bytes and nothing else; what it protects is
bound to the object by the key commitment.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding, aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from recoup.engine.format.derive import derive
from recoup.engine.format.layout import malformed

HPKE_X25519: Final = 1
AES_KWP: Final = 16
SEED_BYTES: Final = 32
_HEAD: Final = struct.Struct(">BBH16s")
_HPKE_PAYLOAD: Final = 32 + SEED_BYTES + 16
_KWP_PAYLOAD: Final = SEED_BYTES + 8
HPKE_ENVELOPE_BYTES: Final = _HEAD.size + _HPKE_PAYLOAD
KWP_ENVELOPE_BYTES: Final = _HEAD.size + _KWP_PAYLOAD


class Envelope(NamedTuple):
    type: int
    recipient: bytes
    payload: bytes


def hpke_suite() -> Suite:
    """HPKE base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM."""
    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def recipient_id(public_key: bytes) -> bytes:
    """Name an X25519 public key (32 raw bytes) in an envelope."""
    return derive(public_key, b"rcp1/recipient", 16)


def wrapping_id(key: bytes) -> bytes:
    """Name a symmetric wrapping key in an envelope, without saying anything of it."""
    return derive(key, b"rcp1/wrapping", 16)


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """One private key that may open envelopes; the parsed key is kept, parsing costs more than opening."""

    raw: bytes = field(repr=False)
    key: X25519PrivateKey = field(init=False, repr=False, compare=False)
    public: bytes = field(init=False)
    id: bytes = field(init=False)

    def __post_init__(self) -> None:
        key = X25519PrivateKey.from_private_bytes(self.raw)
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "public", public)
        object.__setattr__(self, "id", recipient_id(public))


def seal_hpke(seed: bytes, public_key: bytes, info: bytes) -> bytes:
    """The encapsulated key and the ciphertext, 80 bytes for a 32-byte seed."""
    return hpke_suite().encrypt(seed, X25519PublicKey.from_public_bytes(public_key), info)


def open_hpke(payload: bytes, private: PrivateKey, info: bytes) -> bytes | None:
    """The seed, or None if the payload was not sealed to this key with this info."""
    try:
        return hpke_suite().decrypt(payload, private.key, info)
    except (InvalidTag, ValueError):
        return None


def seal_envelopes(seed: bytes, info: bytes, recipients: tuple[bytes, ...], wrapping_key: bytes | None) -> bytes:
    """Seal `seed` to every public key, or under the wrapping key if there is one."""
    if wrapping_key is not None:
        payload = aes_key_wrap_with_padding(wrapping_key, seed)
        return _HEAD.pack(AES_KWP, 0, len(payload), wrapping_id(wrapping_key)) + payload
    sealed = [(recipient_id(public), seal_hpke(seed, public, info)) for public in recipients]
    return b"".join(_HEAD.pack(HPKE_X25519, 0, len(payload), ident) + payload for ident, payload in sealed)


def decode_envelopes(data: bytes | memoryview, count: int, name: str) -> list[Envelope]:
    """Decode exactly `count` envelopes that fill `data`."""
    view = bytes(data)
    envelopes: list[Envelope] = []
    position = 0
    for number in range(count):
        if len(view) - position < _HEAD.size:
            raise malformed(name, f"envelope {number}", "cut short")
        type_, zero, length, recipient = _HEAD.unpack_from(view, position)
        position += _HEAD.size
        expected = {HPKE_X25519: _HPKE_PAYLOAD, AES_KWP: _KWP_PAYLOAD}.get(type_)
        if zero or length != expected or len(view) - position < length:
            raise malformed(name, f"envelope {number}", f"type {type_}, {length} bytes")
        envelopes.append(Envelope(type_, recipient, view[position : position + length]))
        position += length
    if position != len(view):
        raise malformed(name, "envelopes", "bytes after the last one")
    return envelopes


def open_kwp(payload: bytes, wrapping_key: bytes) -> bytes | None:
    """The seed, or None if the payload is not intact under this key."""
    try:
        return aes_key_unwrap_with_padding(wrapping_key, payload)
    except (InvalidUnwrap, ValueError):
        return None
