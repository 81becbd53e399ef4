"""`recoup keygen FILE`: make a key file, or with --recovery an offline key whose public half is printed."""

from __future__ import annotations

from pathlib import Path

import click


@click.command
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--recovery", is_flag=True, help="Make an offline recovery key: FILE gets the private half, stdout the public one.")
def command(file: Path, recovery: bool) -> None:
    """Make a key in FILE (mode 0600). A file that exists is never overwritten.

    A key opens every backup of the vaults made with it, and without a key nobody can: keep two of them in different places. The
    usual pair is one key file for daily use and one offline recovery key:

    \b
      recoup keygen backup.key
      recoup keygen --recovery recovery.key > recovery.pub     (then move recovery.key to a safe place)
      recoup init --location LOCATION --key-file backup.key --recipient "$(cat recovery.pub)"
    """  # click's mark for text that is not to be wrapped is a real backspace
    from recoup.engine.keys.kek import RecipientKek, SecretKek
    from recoup.engine.keys.keyfile import create_key_file

    if not recovery:
        create_key_file(file, SecretKek.generate())
        click.echo(f"{file}: a new key. Copy it to a second safe place: without it no backup can be read.", err=True)
        return
    kek = RecipientKek.generate()
    create_key_file(file, kek)
    click.echo(f"{file}: the private half; keep it offline. The public half, for `recoup init --recipient`:", err=True)
    click.echo(kek.recipient.to_text())
