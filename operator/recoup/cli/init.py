"""`recoup init`: mark a location, create a vault in it, and pin the vault's fingerprint in the key files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from recoup.cli.options import Location, location_options, opening_options, output_option, recipient_option
from recoup.errors import Invalid, Usage

if TYPE_CHECKING:
    from recoup.engine.keys.given import Given
    from recoup.engine.keys.keyfile import KeyFile
    from recoup.engine.stores.base import Store
    from recoup.engine.vault import Provisioned


@click.command
@location_options
@opening_options("", "Key file; several times.")
@recipient_option
@click.option("--vault", metavar="HEX", help="Id of the new vault, 32 hex digits. [default: random]")
@click.option("--label", "labels", metavar="NAME=VALUE", multiple=True, help="Note for people, stored encrypted; several times.")
@output_option
def command(
    *, location: Location, key_files: tuple[str, ...], passphrase_files: tuple[str, ...], aws_kms: tuple[str, ...],
    recipients: tuple[str, ...], vault: str | None, labels: tuple[str, ...], output: str,
) -> None:  # fmt: skip
    """Make a location ready and create a vault in it.

    The new vault's keys are wrapped to every --key-file, --passphrase-file, --aws-kms key and --recipient: each of them opens it.
    With a hybrid recipient the content, too, is sealed to a hybrid key.

    The vault's fingerprint is added to the key files: from then on a vault under another root key is refused. stdout is a recovery
    sheet: print it and keep it with the recovery key, a restore without this key file needs it.

    \b
    Example:
      recoup init --location file:///srv/backups --key-file backup.key --recipient "$(cat recovery.pub)"
    """
    if not (key_files or passphrase_files or aws_kms or recipients):
        raise Usage(
            "no key: give --key-file FILE (made by `recoup keygen FILE`), --passphrase-file or --aws-kms, and best also --recipient PUB"
        )
    notes = _labels(labels)
    from recoup.engine.keys.given import read_keys
    from recoup.engine.unlock import parse_vault
    from recoup.engine.vault import provision

    given = read_keys(key_files, passphrase_files, aws_kms, recipients, new=True)
    files = list(given.files)
    vault_id = os.urandom(16) if vault is None else parse_vault(vault)
    store = location.open()
    if vault is None:
        _refuse_second(store, files)
    made = provision(store, given.opening, given.recipients, vault_id=vault_id, labels=notes, pinned_root=_pinned(files, vault_id))
    from recoup.engine.keys.keyfile import pin_vault

    for file in files:
        pin_vault(file, made.fingerprint)
    _show(made, store.url, given, output)


def _pinned(files: list[KeyFile], vault_id: bytes) -> bytes | None:
    return next((file.pins[vault_id] for file in files if vault_id in file.pins), None)


def _refuse_second(store: Store, files: list[KeyFile]) -> None:
    """Running init again must not make a second vault that nobody asked for."""
    from recoup.engine.vault import ensure_location, existing_vault

    ensure_location(store)
    known = existing_vault(store, [vault for file in files for vault in file.pins])
    if known is not None:
        raise Invalid(
            f"{store.url} holds vault {known.hex()} of this key already: use it as it is, or name the new one with --vault HEX",
            reason="VaultExists",
        )


def _labels(labels: tuple[str, ...]) -> dict[str, str]:
    pairs = [label.partition("=") for label in labels]
    wrong = next((name for name, separator, _ in pairs if not separator or not name), None)
    if wrong is not None:
        raise Usage(f"--label {wrong!r}: write NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _show(made: Provisioned, url: str, given: Given, output: str) -> None:
    from recoup.cli.output import emit_json

    vault = made.writer.identity.vault_id.hex()
    keys = [] if not made.created else [kek.id.hex()[:16] for kek in given.closing]
    if output == "json":
        result: dict[str, Any] = {"vault": vault, "fingerprint": made.fingerprint, "created": made.created, "keys": len(given.closing)}
        emit_json(result)
        return
    click.echo(f"vault        {vault}{'' if made.created else '  (was there already)'}")
    click.echo(f"fingerprint  {made.fingerprint}")
    click.echo(f"location     {url}")
    if keys:
        click.echo(f"opened by    {', '.join(keys)}")
    click.echo("restore      recoup snapshots --location LOCATION --key-file KEY --fingerprint FINGERPRINT")
    click.echo("             recoup restore --location LOCATION --key-file KEY --fingerprint FINGERPRINT --snapshot ID --target DIRECTORY")
    if made.created and len(keys) < 2:
        click.echo("warning: only one key opens this vault; if it is lost, every backup is. Add an offline key with --recipient.", err=True)
