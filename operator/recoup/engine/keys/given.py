"""The KEKs that a command was given, of whatever kind: files, folders of files, passphrases, names of keys in a service.

Reads files; asks no service and opens nothing. What the vault makes of them: `engine/unlock.py`, `engine/vault.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from recoup.engine.keys.kek import Recipient
from recoup.engine.keys.keyfile import KeyFile, read_key_file
from recoup.engine.keys.wraps import Both, Wrapper
from recoup.errors import KeyUnavailable
from recoup.value import Value


class Given(Value, frozen=True):
    """What opens, and what only closes."""

    files: tuple[KeyFile, ...] = ()
    others: tuple[Both, ...] = ()
    """Passphrases and keys of a service."""
    recipients: tuple[Recipient, ...] = ()

    def __or__(self, other: Given) -> Given:
        return Given(self.files + other.files, self.others + other.others, self.recipients + other.recipients)

    @property
    def opening(self) -> list[Both]:
        """Those that open a vault; what asks a service or takes a second comes last."""
        return [*(file.kek for file in self.files), *self.others]

    @property
    def closing(self) -> list[Wrapper]:
        """Those that a keyring can be wrapped to: all."""
        return [*self.opening, *self.recipients]


KEY = "key"
"""The name of the key file in each folder of a folder of keys, as in a Secret."""


def find_keys(folder: Path) -> tuple[list[Path], list[str]]:
    """The key files NAME/key of a folder, and the names of those that should be there but are not. Raises KeyUnavailable."""
    try:
        places = sorted(place for place in folder.iterdir() if place.is_dir())
    except OSError as error:
        raise KeyUnavailable(f"folder of keys {folder} cannot be read: {error.strerror}") from None
    files = [place / KEY for place in places]
    return [file for file in files if file.exists()], [file.parent.name for file in files if not file.exists()]


def read_keys(
    key_files: Iterable[str | Path] = (),
    passphrase_files: Iterable[str] = (),
    aws_kms: Iterable[str] = (),
    recipients: Iterable[str] = (),
    *,
    new: bool = False,
) -> Given:
    """Read every file named. `new` is for keys that a vault is to get: weak passphrases are refused. Raises KeyUnavailable, Invalid."""
    files = tuple(read_key_file(Path(path)) for path in key_files)
    others: list[Both] = []
    for arn in aws_kms:
        from recoup.engine.keys.kms import KmsKek  # noqa: PLC0415  # boto3 costs 0.4 s

        others.append(KmsKek.from_text(arn))
    for path in passphrase_files:
        from recoup.engine.keys.passphrase import read_passphrase  # noqa: PLC0415  # not needed by most runs

        others.append(read_passphrase(path, new=new))
    return Given(files, tuple(others), tuple(Recipient.from_text(text) for text in recipients))
