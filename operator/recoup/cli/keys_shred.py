"""`recoup keys shred`: destroy a vault's keys at every location that is named, and leave a receipt."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recoup.cli.options import KeyOptions, Location, key_options, location_options, output_option
from recoup.cli.places import PlaceType
from recoup.errors import PARTIAL_EXIT_CODE, Usage

if TYPE_CHECKING:
    from recoup.engine.keys.signing import SigningKey
    from recoup.engine.log.follow import Log
    from recoup.engine.shred import Shredded

_ALSO = "Another location that holds a copy; several times. It may carry its own settings, as s3://bucket/prefix?credentials-dir=DIR."


@click.command("shred")
@location_options
@key_options
@click.option("--also", "others", metavar="URL", type=PlaceType(), multiple=True, help=_ALSO)
@click.option("--confirm", metavar="FINGERPRINT", help="The vault's fingerprint; asked for on a terminal.")
@click.option(
    "--receipt", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write the receipt there, as JSON; a new file."
)
@output_option
def shred_command(
    *, location: Location, keys: KeyOptions, others: tuple[Location, ...], confirm: str | None, receipt: Path | None, output: str
) -> int:
    """Destroy the keys of a vault at all its locations. Nobody can restore anything of it afterwards, not even with its keys.

    What is stored opens only with the keyrings, and these are destroyed with all their versions; the data that is left is noise and
    may be deleted at leisure. The receipt names what was destroyed where, and what could not be: a version under object lock opens
    for its keys until the lock ends. Destroy the key files, too; recoup does not touch them.

    Interrupted, it is finished by running the same command again.

    \b
    Exit codes: 0 nothing is left, 3 something could not be destroyed (see the receipt).

    \b
    Example:
      recoup keys shred --location s3://here/backups --also s3://there/backups --key-file backup.key --receipt shredded.json
    """
    from recoup.engine.shred import shred

    if receipt is not None and receipt.exists():
        raise Usage(f"{receipt} exists already; name a new file for the receipt")
    logs, signer = _open(location, keys, others)
    _confirm(logs[0].state.require_identity().fingerprint, confirm)
    done = shred(logs, signer, datetime.now(UTC))
    _show(done, receipt, output)
    return 0 if done.complete else PARTIAL_EXIT_CODE


def _open(location: Location, keys: KeyOptions, others: tuple[Location, ...]) -> tuple[list[Log], SigningKey | None]:
    """The logs of all places, and the key that signs; None if an earlier run got so far that no keyring is left to open."""
    from recoup.engine.log.follow import Log
    from recoup.engine.shred import begun
    from recoup.engine.unlock import find_vault
    from recoup.errors import KeyUnavailable, NotFound

    given = keys.read()
    home = find_vault(location.open(), given.files, vault=keys.vault, fingerprint=keys.fingerprint)
    try:
        unlocked = keys.unlock(home.store, given)
        home, signer = unlocked.log, unlocked.reader.signer
    except KeyUnavailable:
        if home.state.pinned_root is None or not begun(home):
            raise
        signer = None
    identity = home.state.require_identity()
    logs = [home]
    for place in others:
        log = Log(place.open(), identity.vault_id, root_public=identity.root_public)
        if not log.follow().next_seq:
            raise NotFound(f"{place.url} holds no copy of vault {identity.vault_id.hex()}; nothing was destroyed", reason="NoVault")
        log.state.require_identity()
        logs.append(log)
    return logs, signer


def _confirm(fingerprint: str, given: str | None) -> None:
    if given is None:
        if not sys.stdin.isatty():
            raise Usage(f"this destroys every recovery point of the vault for good: confirm with --confirm {fingerprint}")
        given = click.prompt("This destroys every recovery point of the vault for good. Its fingerprint, to confirm", err=True)
    if given.strip() != fingerprint:
        raise Usage(f"that is not the fingerprint of this vault, which is {fingerprint}; nothing was destroyed")


def _show(done: Shredded, receipt: Path | None, output: str) -> None:
    import msgspec

    from recoup.cli.output import emit_json

    fields: dict[str, Any] = msgspec.to_builtins(done.statement) | {"signedAt": list(done.signed_at), "notCovered": list(NOT_COVERED)}
    if receipt is not None:
        with receipt.open("xb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(fields), indent=2) + b"\n")
    if output == "json":
        emit_json(fields)
        return
    click.echo(f"vault        {done.statement.fingerprint}")
    for place in done.statement.places:
        click.echo(f"{place.url}: {place.destroyed_total} keyrings destroyed")
        for left in place.remaining:
            until = f" until {left.until}" if left.until else ""
            click.echo(f"{place.url}: NOT destroyed: {left.name} {left.version}: {left.reason}{until}")
    for entry in done.signed_at:
        click.echo(f"recorded     {entry}")
    if not done.signed_at:
        click.echo("note: an interrupted run had destroyed the keys that sign; what it began with stands in the logs", err=True)
    for text in NOT_COVERED:
        click.echo(f"still to do: {text}", err=True)


NOT_COVERED = (
    "copies of the location that were not named (other replicas, backups of the bucket, snapshots of its file system)",
    "the key files, passphrases and recovery keys themselves: destroy them where nothing else needs them",
    "in a cluster, the Secrets writer-, maintenance- and catalogue-<vault>: they open hashed paths, sizes and point lists, no content",
)
"""What no program at this end can destroy."""
