"""Wraps: a section key of a keyring, closed to one KEK and bound to its place (docs/format.md section 2).

What every kind of KEK has in common, and nothing of any one of them: `kek.py` has secrets and recipients, `passphrase.py` and
`kms.py` the rest. The numbers of the types are format.
"""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

import msgspec

from recoup.engine.format.envelopes import AES_KWP, HPKE_HYBRID, HPKE_X25519
from recoup.value import Value

PASSPHRASE: Final = 17
AWS_KMS: Final = 18
KIND_NAMES: Final = {HPKE_X25519: "recipient", HPKE_HYBRID: "hybrid", AES_KWP: "secret", PASSPHRASE: "passphrase", AWS_KMS: "awsKms"}
MAX_KEKS: Final = 32
"""A keyring that names more of them is refused: each may cost a reader a second, or a call of a service."""


class Wrap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A section key wrapped to one KEK. `type` as above, `id` names the KEK; neither is a secret."""

    type: int
    id: bytes
    wrapped: bytes

    @property
    def key(self) -> tuple[int, bytes]:
        """Which KEK it is."""
        return self.type, self.id


class Scope(Value, frozen=True):
    """Where a section stands. A wrap opens in its own scope and in no other."""

    repo_id: bytes
    vault_id: bytes
    generation: int
    section: str

    def context(self, label: bytes) -> bytes:
        return label + self.repo_id + self.vault_id + self.generation.to_bytes(4, "big") + self.section.encode("ascii")

    @property
    def wrap_context(self) -> bytes:
        return self.context(b"rcp1/wrap")

    @property
    def words(self) -> dict[str, str]:
        """The same for a key service that binds text, and shows it in its audit log."""
        return {
            "recoup/repository": self.repo_id.hex(),
            "recoup/vault": self.vault_id.hex(),
            "recoup/generation": str(self.generation),
            "recoup/section": self.section,
        }


class BadWrap(Exception):
    """The wrap names the key at hand, and is not what that key made for this scope: damaged, swapped or forged."""


class Wrapper(Protocol):
    """What a section key can be wrapped to."""

    @property
    def type(self) -> int: ...

    @property
    def id(self) -> bytes:
        """Names this KEK among those of a keyring, without saying anything of its secret. 16 bytes."""

    def wrap(self, section_key: bytes, scope: Scope) -> Wrap:
        """Raises KeyUnavailable or Retryable where a service holds the key."""

    def owns(self, wrap: Wrap) -> bool:
        """Whether the wrap is for this KEK. Asks no service. Raises BadWrap if the wrap is not even well-formed."""


@runtime_checkable
class Unwrapper(Protocol):
    """What opens wraps."""

    @property
    def proves_origin(self) -> bool:
        """Whether only a holder of this KEK can have made what it opens: true of secrets, not of recipients and services."""

    def unwrap(self, wrap: Wrap, scope: Scope) -> bytes | None:
        """The section key, or None if the wrap is for another KEK.

        Raises BadWrap; where a service holds the key also KeyUnavailable if it refuses, Retryable if it is away.
        """


class Both(Wrapper, Unwrapper, Protocol):
    """A KEK that is at hand as a whole: everything but a recipient's public half."""
