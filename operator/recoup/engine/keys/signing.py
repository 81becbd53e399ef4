"""Ed25519 signatures, each bound to what it is for, so that no signed bytes mean something else elsewhere."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private Ed25519 key; its repr shows the public half only."""

    raw: bytes = field(repr=False)
    public: bytes = field(init=False)

    def __post_init__(self) -> None:
        public = Ed25519PrivateKey.from_private_bytes(self.raw).public_key()
        object.__setattr__(self, "public", public.public_bytes(Encoding.Raw, PublicFormat.Raw))

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(os.urandom(32))

    def sign(self, purpose: bytes, message: bytes) -> bytes:
        """Sign `purpose ‖ 0x00 ‖ message`."""
        return Ed25519PrivateKey.from_private_bytes(self.raw).sign(purpose + b"\0" + message)


def verify(public: bytes, purpose: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is one of `public` over `purpose ‖ 0x00 ‖ message`. Never raises on hostile bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, purpose + b"\0" + message)
    except (InvalidSignature, ValueError):
        return False
    return True
