"""Key files: one KEK per file as text, with the fingerprints of the vaults it belongs to (docs/format.md section 2).

A key file is created once with mode 0600 and never overwritten; the only later change is a fingerprint line at its end. Lines
that begin with `#` are comments.
"""

from __future__ import annotations

import os
from pathlib import Path

from recoup.engine.keys.kek import Kek, RecipientKek, kek_from_text
from recoup.engine.keys.text import FINGERPRINT, decode_fingerprint
from recoup.errors import Invalid, KeyUnavailable
from recoup.value import Value

_MAX_BYTES = 1 << 20
_KEK_HEAD = """\
# Recoup key-encryption key. Whoever has it can read every backup made with it; without it (or another key of the
# same vaults) nobody can. Keep at least two keys in different places.
"""
_RECOVERY_HEAD = """\
# Recoup recovery key, the private half. Keep it offline. Give only its public half to clusters:
# {recipient}
"""
_PINS_HEAD = """\
# Vaults that this key opens. A vault of the same id under another root key is refused.
"""


class KeyFile(Value, frozen=True):
    """What a key file says."""

    path: Path
    kek: Kek
    pins: dict[bytes, bytes]
    """Root public key by vault id."""


def create_key_file(path: Path, kek: Kek) -> None:
    """Write a new key file with mode 0600. Raises Invalid if anything is there already, or the folder cannot be written."""
    head = _RECOVERY_HEAD.format(recipient=kek.recipient.to_text()) if isinstance(kek, RecipientKek) else _KEK_HEAD
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise Invalid(f"{path} exists already; a key file is never overwritten: choose another name", reason="KeyFileExists") from None
    except OSError as error:
        raise Invalid(f"{path} cannot be created: {error.strerror}", reason="KeyFileNotWritable") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        os.fchmod(descriptor, 0o600)
        file.write(f"{head}# Its id in `recoup keys list`: {kek.id.hex()[:16]}\n{kek.to_text()}\n")
        file.flush()
        os.fsync(descriptor)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_key_file(path: Path) -> KeyFile:
    """Read a key file. Raises KeyUnavailable if it cannot be read, Invalid if it is not one; never repeats its content."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise KeyUnavailable(f"key file {path} cannot be read: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise Invalid(f"{path} is not a key file: it is longer than {_MAX_BYTES} bytes", reason="InvalidKey")
    keks: list[Kek] = []
    pins: dict[bytes, bytes] = {}
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            if text.startswith(FINGERPRINT + "1"):
                vault, root = decode_fingerprint(text)
                pins[vault] = root
            else:
                keks.append(kek_from_text(text))
        except Invalid as error:
            raise Invalid(f"{path} line {number}: {error}", reason="InvalidKey") from None
    if len(keks) != 1:
        raise Invalid(
            f"{path} holds {len(keks)} keys; a key file holds exactly one (make one with: recoup keygen FILE)", reason="InvalidKey"
        )
    return KeyFile(path, keks[0], pins)


def pin_vault(key_file: KeyFile, fingerprint: str) -> None:
    """Add the fingerprint to the key file, once. Raises Invalid if the file pins another root key for the vault, or is read-only."""
    vault, root = decode_fingerprint(fingerprint)
    known = read_key_file(key_file.path).pins
    if known.get(vault, root) != root:
        raise Invalid(f"{key_file.path} pins another root key for vault {vault.hex()}", reason="RootMismatch")
    if vault in known:
        return
    text = fingerprint if known else _PINS_HEAD + fingerprint
    try:
        with key_file.path.open("rb+") as file:
            ends = file.read().endswith(b"\n")
            file.write(("" if ends else "\n").encode() + f"{text}\n".encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Invalid(f"{key_file.path} cannot be written: {error.strerror}", reason="KeyFileNotWritable") from None
