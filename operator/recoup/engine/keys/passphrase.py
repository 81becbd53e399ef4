"""Passphrases as KEKs: Argon2id makes the wrapping key (docs/format.md section 2, wrap type 17).

The cost is measured on the machine that makes the wrap and stored in it. Readers refuse less than a minimum, which would make
guessing cheap, and more than a maximum, by which a hostile keyring could take a reader's memory and time.
"""

from __future__ import annotations

import os
import struct
import sys
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Self

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from recoup.engine.format.derive import derive
from recoup.engine.format.envelopes import open_kwp
from recoup.engine.keys.wraps import PASSPHRASE, BadWrap, Scope, Wrap
from recoup.errors import Invalid, KeyUnavailable

SHORTEST: Final = 12
"""Characters of a new passphrase."""
_LONGEST: Final = 1024
_HEAD: Final = struct.Struct(">IIB3s16s")
_KWP_BYTES: Final = 40
_SALT_BYTES: Final = 16
_TARGET_SECONDS: Final = 1.0


class Cost(NamedTuple):
    """What one guess costs. `memory` is KiB."""

    memory: int
    iterations: int
    lanes: int

    @property
    def within_limits(self) -> bool:
        """64 MiB and 3 passes at least (the second choice of RFC 9106); 1 GiB, and 16 GiB in all passes together, at most."""
        return (
            64 << 10 <= self.memory <= 1 << 20
            and self.iterations >= 3
            and 1 <= self.lanes <= 16
            and self.memory * self.iterations <= 16 << 20
        )


LEAST: Final = Cost(128 << 10, 3, 4)
"""Of new wraps. 128 MiB also fits into a small mover or an old laptop on the day of a recovery."""
MOST: Final = 64
"""Passes that tuning chooses at most, on a machine of whatever speed."""


def stretch(passphrase: bytes, salt: bytes, cost: Cost) -> bytes:
    return Argon2id(salt=salt, length=32, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory).derive(passphrase)


def tune(clock: Callable[[], float] = time.monotonic) -> Cost:
    """As many passes as take this machine about a second, at least the minimum. Takes about as long as two guesses."""
    started = clock()
    stretch(b"measured", bytes(_SALT_BYTES), LEAST)
    one_pass = max(clock() - started, 1e-3) / LEAST.iterations
    return LEAST._replace(iterations=min(max(LEAST.iterations, round(_TARGET_SECONDS / one_pass)), MOST))


@dataclass(frozen=True, slots=True)
class PassphraseKek:
    """Wraps and unwraps. Each salt and cost is stretched once, however many sections are wrapped under it."""

    passphrase: bytes = field(repr=False)
    cost: Cost | None = None
    """Of wraps to be made; None measures when the first one is."""
    type: int = field(default=PASSPHRASE, init=False)
    proves_origin: bool = field(default=True, init=False)
    _stretched: dict[tuple[bytes, Cost], bytes] = field(default_factory=dict, init=False, repr=False, compare=False)
    _own: list[tuple[bytes, Cost]] = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def from_text(cls, text: str, cost: Cost | None = None) -> Self:
        """The same passphrase however a keyboard composes its letters (NFC). Raises Invalid if it is empty or far too long."""
        data = unicodedata.normalize("NFC", text).encode("utf-8")
        if not 0 < len(data) <= _LONGEST:
            raise Invalid(f"a passphrase has 1 to {_LONGEST} bytes", reason="InvalidKey")
        return cls(data, cost)

    @property
    def strong_enough(self) -> bool:
        """Whether a new wrap may be made with it."""
        return len(self.passphrase.decode("utf-8")) >= SHORTEST

    @property
    def id(self) -> bytes:
        """Of the wraps that this object makes: another salt is another id."""
        return derive(self._key(*self._parameters()), b"rcp1/kek-id", 16)

    def wrap(self, section_key: bytes, scope: Scope) -> Wrap:
        salt, cost = self._parameters()
        key = self._key(salt, cost)
        sealed = aes_key_wrap_with_padding(derive(key, scope.wrap_context), section_key)
        head = _HEAD.pack(cost.memory, cost.iterations, cost.lanes, bytes(3), salt)
        return Wrap(PASSPHRASE, derive(key, b"rcp1/kek-id", 16), head + sealed)

    def owns(self, wrap: Wrap) -> bool:
        if wrap.type != PASSPHRASE:
            return False
        cost, salt = parameters_of(wrap)
        return derive(self._key(salt, cost), b"rcp1/kek-id", 16) == wrap.id

    def unwrap(self, wrap: Wrap, scope: Scope) -> bytes | None:
        if not self.owns(wrap):
            return None
        cost, salt = parameters_of(wrap)
        key = self._key(salt, cost)
        opened = open_kwp(wrap.wrapped[_HEAD.size :], derive(key, scope.wrap_context))
        if opened is None:
            raise BadWrap
        return opened

    def _parameters(self) -> tuple[bytes, Cost]:
        if not self._own:
            self._own.append((os.urandom(_SALT_BYTES), self.cost or tune()))
        return self._own[0]

    def _key(self, salt: bytes, cost: Cost) -> bytes:
        key = self._stretched.get((salt, cost))
        if key is None:
            key = self._stretched[salt, cost] = stretch(self.passphrase, salt, cost)
        return key


def parameters_of(wrap: Wrap) -> tuple[Cost, bytes]:
    """(cost, salt) that a wrap states. Raises BadWrap for what no honest program writes, before any memory is taken."""
    if len(wrap.wrapped) != _HEAD.size + _KWP_BYTES:
        raise BadWrap
    memory, iterations, lanes, zero, salt = _HEAD.unpack_from(wrap.wrapped)
    cost = Cost(memory, iterations, lanes)
    if any(zero) or not cost.within_limits:
        raise BadWrap
    return cost, salt


def read_passphrase(path: str, *, new: bool = False) -> PassphraseKek:
    """The first line of a file, or the next one of stdin for `-`. Raises KeyUnavailable if it cannot be read, Invalid if it holds none.

    `new` also refuses (WeakPassphrase) what is too short to be guessed at for ever by whoever has the bucket.
    """
    try:
        line = _line_of(path)
    except OSError as error:
        raise KeyUnavailable(f"passphrase file {path} cannot be read: {error.strerror}") from None
    try:
        kek = PassphraseKek.from_text(line.decode("utf-8").rstrip("\r\n"))
    except (UnicodeDecodeError, Invalid):
        raise Invalid(f"{path} does not hold a passphrase: one line of UTF-8, at most {_LONGEST} bytes", reason="InvalidKey") from None
    if new and not kek.strong_enough:
        raise Invalid(
            f"the passphrase in {path} is shorter than {SHORTEST} characters, and whoever has the bucket may guess for ever: "
            "take six random words or more",
            reason="WeakPassphrase",
        )
    return kek


def _line_of(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.readline(_LONGEST + 3)
    with Path(path).open("rb") as file:
        return file.readline(_LONGEST + 3)
