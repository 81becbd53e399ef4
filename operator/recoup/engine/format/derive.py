"""Key derivation (docs/format.md section 3): everything that turns one key into another, and nothing else.

HMAC-SHA-512 throughout. One expansion gives at most 64 bytes, so that each derived value costs one HMAC.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NO_SALT: Final = bytes(64)


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    """`Expand(PRK, info, n ≤ 64)`: the first block of HKDF-Expand with SHA-512."""
    if length > 64:
        raise ValueError("one expansion gives at most 64 bytes")
    return hmac.digest(prk, info + b"\x01", "sha512")[:length]


def derive(key: bytes, label: bytes, length: int = 32) -> bytes:
    """HKDF-SHA-512 with an empty salt: a key of its own for each label."""
    return expand(hmac.digest(_NO_SALT, key, "sha512"), label, length)


def hedge_key_of(sealing_key: bytes) -> bytes:
    """The hedge key of what a symmetric key seals."""
    return derive(sealing_key, b"hedge")


class ObjectKeys:
    """The keys of one object: the commitment, the footer's key and one key per block, each of which seals once."""

    __slots__ = ("_base", "_blocks")

    def __init__(self, hedge: bytes, seed: bytes, context: bytes) -> None:
        prk = hmac.digest(hedge, seed, "sha512")
        self._base = hmac.new(prk, context, hashlib.sha512)
        self._blocks = self._base.copy()
        self._blocks.update(b"block")

    def commitment(self) -> bytes:
        return self._expand(b"commit")[:32]

    def footer(self) -> tuple[AESGCM, bytes]:
        return _split(self._expand(b"footer"))

    def block(self, number: int) -> tuple[AESGCM, bytes]:
        state = self._blocks.copy()
        state.update(number.to_bytes(4, "big") + b"\x01")
        return _split(state.digest())

    def _expand(self, label: bytes) -> bytes:
        state = self._base.copy()
        state.update(label + b"\x01")
        return state.digest()


def _split(material: bytes) -> tuple[AESGCM, bytes]:
    return AESGCM(material[:32]), material[32:44]
