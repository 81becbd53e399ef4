"""Key-encryption keys: what a person or a cluster keeps outside the bucket to open a vault (docs/format.md section 2).

Here the kinds that stand in key files: a symmetric `secret`, and key pairs (X25519 or hybrid) whose public half (`recipient`) may be
handed to a cluster while the private half stays offline. Passphrases: `passphrase.py`; keys of a service: `kms.py`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Self

from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from recoup.engine.format.derive import derive
from recoup.engine.format.envelopes import (
    AES_KWP,
    HPKE_HYBRID,
    PrivateKey,
    check_public_key,
    hpke_type,
    open_hpke,
    open_kwp,
    recipient_id,
    seal_hpke,
)
from recoup.engine.keys.text import HYBRID_PRIVATE, HYBRID_RECIPIENT, KEK, RECIPIENT, RECIPIENT_PRIVATE, decode_text, encode_text
from recoup.engine.keys.wraps import BadWrap, Scope, Wrap
from recoup.errors import Invalid


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

    def wrap(self, section_key: bytes, scope: Scope) -> Wrap:
        return Wrap(AES_KWP, self.id, aes_key_wrap_with_padding(derive(self.raw, scope.wrap_context), section_key))

    def owns(self, wrap: Wrap) -> bool:
        return wrap.key == (self.type, self.id)

    def unwrap(self, wrap: Wrap, scope: Scope) -> bytes | None:
        if not self.owns(wrap):
            return None
        opened = open_kwp(wrap.wrapped, derive(self.raw, scope.wrap_context))
        if opened is None:
            raise BadWrap
        return opened


@dataclass(frozen=True, slots=True)
class Recipient:
    """The public half of an offline key: new keyrings are wrapped to it, nothing is opened with it."""

    public: bytes = field(repr=False)
    type: int = field(init=False)
    id: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", hpke_type(self.public))
        object.__setattr__(self, "id", recipient_id(self.public))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse `recouprecipient1…` or `recouphybrid1…`. Raises Invalid."""
        prefix = HYBRID_RECIPIENT if text.strip().startswith(HYBRID_RECIPIENT + "1") else RECIPIENT
        public = decode_text(prefix, text)
        try:
            check_public_key(public)
        except ValueError:
            raise Invalid(f"the {prefix}1… text is not a public key", reason="InvalidKey") from None
        return cls(public)

    @property
    def hybrid(self) -> bool:
        return self.type == HPKE_HYBRID

    def to_text(self) -> str:
        return encode_text(HYBRID_RECIPIENT if self.hybrid else RECIPIENT, self.public)

    def wrap(self, section_key: bytes, scope: Scope) -> Wrap:
        return Wrap(self.type, self.id, seal_hpke(section_key, self.public, scope.wrap_context))

    def owns(self, wrap: Wrap) -> bool:
        return wrap.key == (self.type, self.id)


@dataclass(frozen=True, slots=True)
class RecipientKek:
    """The private half of an offline key."""

    private: PrivateKey
    proves_origin: bool = field(default=False, init=False)

    @classmethod
    def generate(cls, *, hybrid: bool = False) -> Self:
        return cls(PrivateKey(os.urandom(32), hybrid))

    @property
    def type(self) -> int:
        return self.private.type

    @property
    def id(self) -> bytes:
        return self.private.id

    @property
    def recipient(self) -> Recipient:
        return Recipient(self.private.public)

    def to_text(self) -> str:
        return encode_text(HYBRID_PRIVATE if self.private.hybrid else RECIPIENT_PRIVATE, self.private.raw)

    def wrap(self, section_key: bytes, scope: Scope) -> Wrap:
        return self.recipient.wrap(section_key, scope)

    def owns(self, wrap: Wrap) -> bool:
        return wrap.key == (self.type, self.id)

    def unwrap(self, wrap: Wrap, scope: Scope) -> bytes | None:
        if not self.owns(wrap):
            return None
        opened = open_hpke(wrap.wrapped, self.private, scope.wrap_context)
        if opened is None:
            raise BadWrap
        return opened


Kek = SecretKek | RecipientKek
"""What a key file may hold."""


def kek_from_text(text: str) -> Kek:
    """Parse `recoupsecret1…`, `recoupprivate1…` or `recouphybridprivate1…`. Raises Invalid without repeating the text."""
    prefix = text.strip().partition("1")[0]
    if prefix == KEK:
        return SecretKek(decode_text(KEK, text))
    if prefix in {RECIPIENT_PRIVATE, HYBRID_PRIVATE}:
        return RecipientKek(PrivateKey(decode_text(prefix, text), hybrid=prefix == HYBRID_PRIVATE))
    if prefix in {RECIPIENT, HYBRID_RECIPIENT}:
        raise Invalid("this is the public half of a recovery key: it closes, and cannot open", reason="InvalidKey")
    raise Invalid("neither a recoupsecret1… nor a recoupprivate1… or recouphybridprivate1… text", reason="InvalidKey")
