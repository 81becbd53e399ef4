"""`recoup init`: mark a location, create a vault in it, and pin the vault's fingerprint in the key files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recoup.cli.options import Location, location_options, output_option
from recoup.errors import Invalid, Usage

if TYPE_CHECKING:
    from recoup.engine.keys.keyfile import KeyFile
    from recoup.engine.stores.base import Store


@click.command
@location_options
@click.option(
    "--key-file", "key_files", metavar="FILE", multiple=True, type=click.Path(exists=True, dir_okay=False), help="Key file; several times."
)
@click.option("--recipient", "recipients", metavar="PUB", multiple=True, help="Public half of an offline recovery key; several times.")
@click.option("--vault", metavar="HEX", help="Id of the new vault, 32 hex digits. [default: random]")
@click.option("--label", "labels", metavar="NAME=VALUE", multiple=True, help="Note for people, stored encrypted; several times.")
@output_option
def command(
    location: Location, key_files: tuple[str, ...], recipients: tuple[str, ...], vault: str | None, labels: tuple[str, ...], output: str
) -> None:
    """Make a location ready and create a vault in it.

    The new vault's keys are wrapped to every --key-file and --recipient. Its fingerprint is printed and added to the key files:
    from then on a vault under another root key is refused. Print it out with the recovery key; a restore without this key file
    needs it.
    """
    if not key_files and not recipients:
        raise Usage("no key: give --key-file FILE (made by `recoup keygen FILE`), and best also --recipient PUB")
    notes = _labels(labels)
    from recoup.engine.keys.kek import Recipient
    from recoup.engine.keys.keyfile import pin_vault, read_key_file
    from recoup.engine.unlock import parse_vault
    from recoup.engine.vault import provision

    files = [read_key_file(Path(path)) for path in key_files]
    offline = [Recipient.from_text(text) for text in recipients]
    vault_id = os.urandom(16) if vault is None else parse_vault(vault)
    store = location.open()
    if vault is None:
        _refuse_second(store, files)
    made = provision(store, [file.kek for file in files], offline, vault_id=vault_id, labels=notes, pinned_root=_pinned(files, vault_id))
    for file in files:
        pin_vault(file, made.fingerprint)
    _show({"vault": vault_id.hex(), "fingerprint": made.fingerprint, "created": made.created, "keys": len(files) + len(offline)}, output)


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


def _show(result: dict[str, Any], output: str) -> None:
    from recoup.cli.output import emit_json

    if output == "json":
        emit_json(result)
        return
    click.echo(f"vault        {result['vault']}{'' if result['created'] else '  (was there already)'}")
    click.echo(f"fingerprint  {result['fingerprint']}")
    if result["keys"] < 2:
        click.echo("warning: only one key opens this vault; if it is lost, every backup is. Add an offline key with --recipient.", err=True)
