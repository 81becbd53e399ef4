"""`recoup keygen FILE`: make a key file, or with --recovery an offline key whose public half is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from recoup.errors import Usage

if TYPE_CHECKING:
    from recoup.engine.keys.kek import Kek


@click.command
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--recovery", is_flag=True, help="Make an offline recovery key: FILE gets the private half, stdout the public one.")
@click.option("--hybrid", is_flag=True, help="With --recovery: ML-KEM-768 and X25519 together, against quantum computers to come.")
def command(file: Path, recovery: bool, hybrid: bool) -> None:
    """Make a key in FILE (mode 0600). A file that exists is never overwritten.

    A key opens every backup of the vaults made with it, and without a key nobody can: keep two of them in different places. The
    usual pair is one key file for daily use and one offline recovery key:

    \b
      recoup keygen backup.key
      recoup keygen --recovery recovery.key > recovery.pub     (then move recovery.key to a safe place)
      recoup init --location LOCATION --key-file backup.key --recipient "$(cat recovery.pub)"

    What has to be known to come back with it is printed with each vault by `recoup init`: keep that sheet with the key.
    """  # click's mark for text that is not to be wrapped is a real backspace
    if hybrid and not recovery:
        raise Usage("--hybrid is for recovery keys; a secret key needs none of it: quantum computers do not help against AES-256")
    from recoup.engine.keys.kek import RecipientKek, SecretKek
    from recoup.engine.keys.keyfile import create_key_file

    if not recovery:
        secret = SecretKek.generate()
        create_key_file(file, secret)
        _say(file, secret, "a new key. Copy it to a second safe place: without it no backup can be read.")
        return
    kek = RecipientKek.generate(hybrid=hybrid)
    create_key_file(file, kek)
    _say(file, kek, "the private half; keep it offline. The public half, for `recoup init --recipient`:")
    click.echo(kek.recipient.to_text())


def _say(file: Path, kek: Kek, text: str) -> None:
    click.echo(f"{file}: key {kek.id.hex()[:16]}: {text}", err=True)
