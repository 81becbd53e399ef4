"""Envelopes: how the seed of an object reaches those who may open it (docs/format.md section 3).

HPKE to a public key, or AES-KWP under a symmetric key. An envelope seals 32 bytes and nothing else; what it protects is
bound to the object by the key commitment. Public keys are X25519, or hybrid: ML-KEM-768 and X25519 together, so that what is stored
today stays closed if one of the two is broken later. A public key's length says which it is.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding, aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from recoup.engine.format.derive import derive
from recoup.engine.format.layout import malformed
from recoup.errors import Invalid

HPKE_X25519: Final = 1
HPKE_HYBRID: Final = 2
AES_KWP: Final = 16
SEED_BYTES: Final = 32
X25519_BYTES: Final = 32
HYBRID_BYTES: Final = 1216
"""Of a hybrid public key: ML-KEM-768 (1184), then X25519."""
_MLKEM_BYTES: Final = HYBRID_BYTES - X25519_BYTES
_HEAD: Final = struct.Struct(">BBH16s")
_PAYLOADS: Final = {HPKE_X25519: 32 + SEED_BYTES + 16, HPKE_HYBRID: 1088 + 32 + SEED_BYTES + 16, AES_KWP: SEED_BYTES + 8}
KWP_ENVELOPE_BYTES: Final = _HEAD.size + _PAYLOADS[AES_KWP]


class Envelope(NamedTuple):
    type: int
    recipient: bytes
    payload: bytes


def hpke_type(public_key: bytes) -> int:
    """The envelope type by which one seals to a public key. Raises ValueError if its length is none of a public key."""
    if not is_public_key(public_key):
        raise ValueError(f"no public key has {len(public_key)} bytes")
    return HPKE_HYBRID if len(public_key) == HYBRID_BYTES else HPKE_X25519


def is_public_key(data: bytes) -> bool:
    return len(data) in {X25519_BYTES, HYBRID_BYTES}


def hpke_envelope_bytes(recipients: Iterable[bytes]) -> int:
    """Length of the envelopes to these public keys."""
    return sum(_HEAD.size + _PAYLOADS[hpke_type(public)] for public in recipients)


def _suite(type_: int) -> Suite:
    """HPKE base mode with HKDF-SHA256 and AES-256-GCM; the KEM is DHKEM(X25519, HKDF-SHA256) or MLKEM768-X25519."""
    return Suite(KEM.MLKEM768_X25519 if type_ == HPKE_HYBRID else KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def recipient_id(public_key: bytes) -> bytes:
    """Name a public key in an envelope."""
    return derive(public_key, b"rcp1/recipient", 16)


def wrapping_id(key: bytes) -> bytes:
    """Name a symmetric wrapping key in an envelope, without saying anything of it."""
    return derive(key, b"rcp1/wrapping", 16)


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """One private key that may open envelopes; the parsed key is kept, parsing costs more than opening.

    32 raw bytes of either kind: an X25519 key, or the seed from which SHAKE-256 makes both halves of a hybrid key. Raises Invalid
    (Unsupported) for a hybrid key where the cryptography library has no ML-KEM.
    """

    raw: bytes = field(repr=False)
    hybrid: bool = False
    key: X25519PrivateKey | MLKEM768X25519PrivateKey = field(init=False, repr=False, compare=False)
    public: bytes = field(init=False, repr=False)
    id: bytes = field(init=False)

    def __post_init__(self) -> None:
        key, public = _parse_hybrid(self.raw) if self.hybrid else _parse_x25519(self.raw)
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "public", public)
        object.__setattr__(self, "id", recipient_id(public))

    @property
    def type(self) -> int:
        return HPKE_HYBRID if self.hybrid else HPKE_X25519


def _parse_x25519(raw: bytes) -> tuple[X25519PrivateKey, bytes]:
    key = X25519PrivateKey.from_private_bytes(raw)
    return key, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _parse_hybrid(raw: bytes) -> tuple[MLKEM768X25519PrivateKey, bytes]:
    if len(raw) != SEED_BYTES:
        raise ValueError(f"the seed of a hybrid key has {SEED_BYTES} bytes")
    seeds = hashlib.shake_256(raw).digest(96)
    try:
        lattice = MLKEM768PrivateKey.from_seed_bytes(seeds[:64])
    except UnsupportedAlgorithm as error:
        raise _no_hybrid() from error
    curve, public = _parse_x25519(seeds[64:])
    return MLKEM768X25519PrivateKey(lattice, curve), lattice.public_key().public_bytes_raw() + public


def check_public_key(public: bytes) -> None:
    """Raises ValueError if nothing can be sealed to it, Invalid (Unsupported) if only this installation cannot."""
    _public_key(public)


def _public_key(public: bytes) -> X25519PublicKey | MLKEM768X25519PublicKey:
    curve = X25519PublicKey.from_public_bytes(public[-X25519_BYTES:])
    if len(public) == X25519_BYTES:
        return curve
    try:
        return MLKEM768X25519PublicKey(MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_BYTES]), curve)
    except UnsupportedAlgorithm as error:
        raise _no_hybrid() from error


def _no_hybrid() -> Invalid:
    return Invalid(
        "hybrid keys need a cryptography library with ML-KEM-768, which this one lacks: install a newer one", reason="Unsupported"
    )


def seal_hpke(seed: bytes, public_key: bytes, info: bytes) -> bytes:
    """The encapsulated key and the ciphertext: for a 32-byte seed 80 bytes, to a hybrid key 1168."""
    return _suite(hpke_type(public_key)).encrypt(seed, _public_key(public_key), info)


def open_hpke(payload: bytes, private: PrivateKey, info: bytes) -> bytes | None:
    """The seed, or None if the payload was not sealed to this key with this info."""
    try:
        return _suite(private.type).decrypt(payload, private.key, info)
    except (InvalidTag, ValueError):
        return None


def seal_envelopes(seed: bytes, info: bytes, recipients: tuple[bytes, ...], wrapping_key: bytes | None) -> bytes:
    """Seal `seed` to every public key, or under the wrapping key if there is one."""
    if wrapping_key is not None:
        payload = aes_key_wrap_with_padding(wrapping_key, seed)
        return _HEAD.pack(AES_KWP, 0, len(payload), wrapping_id(wrapping_key)) + payload
    sealed = [(hpke_type(public), recipient_id(public), seal_hpke(seed, public, info)) for public in recipients]
    return b"".join(_HEAD.pack(type_, 0, len(payload), ident) + payload for type_, ident, payload in sealed)


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
        if zero or length != _PAYLOADS.get(type_) or len(view) - position < length:
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
