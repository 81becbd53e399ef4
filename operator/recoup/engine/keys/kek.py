"""Key-encryption keys: what a person or a cluster keeps outside the bucket to open a vault (docs/format.md section 2).

Two kinds so far: a symmetric `secret`, and an X25519 key pair whose public half (`recipient`) may be handed to a cluster while
the private half stays offline. Each wraps 32-byte section keys of keyrings, bound to vault, generation and section.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Protocol, Self

from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from recoup.engine.format.derive import derive
from recoup.engine.format.envelopes import AES_KWP, HPKE_X25519, PrivateKey, open_hpke, open_kwp, recipient_id, seal_hpke
from recoup.engine.keys.text import KEK, RECIPIENT, RECIPIENT_PRIVATE, decode_text, encode_text
from recoup.errors import Invalid


class Wrapper(Protocol):
    """What a section key can be wrapped to."""

    @property
    def type(self) -> int: ...

    @property
    def id(self) -> bytes: ...

    def wrap(self, section_key: bytes, context: bytes) -> bytes: ...


class Unwrapper(Protocol):
    """What opens a wrapped section key."""

    @property
    def type(self) -> int: ...

    @property
    def id(self) -> bytes: ...

    @property
    def proves_origin(self) -> bool:
        """Whether only a holder of this key can have made what it opens: true of secrets, not of public-key recipients."""

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class SecretKek:
    """32 random bytes. Wraps and unwraps; a wrap of it proves that a holder of it made the keyring."""

    raw: bytes = field(repr=False)
    type: int = field(default=AES_KWP, init=False)
    id: bytes = field(init=False)
    proves_origin: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", derive(self.raw, b"rcp1/kek-id", 16))

    @classmethod
    def generate(cls) -> Self:
        return cls(os.urandom(32))

    def to_text(self) -> str:
        return encode_text(KEK, self.raw)

    def wrap(self, section_key: bytes, context: bytes) -> bytes:
        return aes_key_wrap_with_padding(derive(self.raw, context), section_key)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes | None:
        return open_kwp(wrapped, derive(self.raw, context))


@dataclass(frozen=True, slots=True)
class Recipient:
    """The public half of an offline key: new keyrings are wrapped to it, nothing is opened with it."""

    public: bytes
    type: int = field(default=HPKE_X25519, init=False)
    id: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", recipient_id(self.public))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse `recouprecipient1…`. Raises Invalid."""
        return cls(decode_text(RECIPIENT, text))

    def to_text(self) -> str:
        return encode_text(RECIPIENT, self.public)

    def wrap(self, section_key: bytes, context: bytes) -> bytes:
        return seal_hpke(section_key, self.public, context)


@dataclass(frozen=True, slots=True)
class RecipientKek:
    """The private half of an offline key."""

    private: PrivateKey
    type: int = field(default=HPKE_X25519, init=False)
    proves_origin: bool = field(default=False, init=False)

    @classmethod
    def generate(cls) -> Self:
        return cls(PrivateKey(os.urandom(32)))

    @property
    def id(self) -> bytes:
        return self.private.id

    @property
    def recipient(self) -> Recipient:
        return Recipient(self.private.public)

    def to_text(self) -> str:
        return encode_text(RECIPIENT_PRIVATE, self.private.raw)

    def wrap(self, section_key: bytes, context: bytes) -> bytes:
        return self.recipient.wrap(section_key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes | None:
        return open_hpke(wrapped, self.private, context)


Kek = SecretKek | RecipientKek


def kek_from_text(text: str) -> Kek:
    """Parse `recoupsecret1…` or `recoupprivate1…`. Raises Invalid without repeating the text."""
    prefix = text.strip().partition("1")[0]
    if prefix == KEK:
        return SecretKek(decode_text(KEK, text))
    if prefix == RECIPIENT_PRIVATE:
        return RecipientKek(PrivateKey(decode_text(RECIPIENT_PRIVATE, text)))
    if prefix == RECIPIENT:
        raise Invalid("this is the public half of a recovery key: it closes, and cannot open", reason="InvalidKey")
    raise Invalid("neither a recoupsecret1… nor a recoupprivate1… text", reason="InvalidKey")
