"""`recoup keys`: who opens a vault, and changing it. `shred` is in keys_shred.py.

Every change writes keyrings and one or more log entries, and no data object.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from recoup.cli.keys_shred import shred_command
from recoup.cli.options import KeyOptions, Location, key_options, location_options, opening_options, output_option, recipient_option
from recoup.errors import Usage

if TYPE_CHECKING:
    from recoup.engine.keys.describe import Listed
    from recoup.engine.keys.given import Given
    from recoup.engine.rekey import Rekeyed
    from recoup.engine.vault import Unlocked

SHOWN = 16
"""Digits of a key's id in tables; four or more that fit one key only are taken everywhere."""


@click.group()
def command() -> None:
    """Who opens a vault: list, add, remove and replace keys, begin a new generation, shred.

    A vault's own keys stand in its keyrings, wrapped to each of its key-encryption keys: key files, passphrases, recovery keys, AWS
    KMS keys. Any one of them opens everything. Keep two that cannot be lost together.
    """


command.add_command(shred_command)


def _new_keys(function: Callable[..., Any]) -> Callable[..., Any]:
    """--new-key-file, --new-passphrase-file, --new-aws-kms, --recipient: hands the command `new`, a function that reads them."""

    @functools.wraps(function)
    def call(*args: Any, **values: Any) -> Any:
        names = ("new_key_files", "new_passphrase_files", "new_aws_kms", "recipients")
        given = [values.pop(name) for name in names]

        def read() -> Given:
            from recoup.engine.keys.given import read_keys

            return read_keys(*given, new=True)

        return function(*args, new=read if any(given) else None, **values)

    return recipient_option(opening_options("new-", "Key file to add, made by `recoup keygen`; several times.")(call))


@command.command("list")
@location_options
@key_options
@output_option
def list_command(location: Location, keys: KeyOptions, output: str) -> None:
    """Show which keys open which generations. Needs no key; a key given is marked.

    Without the vault's fingerprint (a key file carries it) the list is what the location says, and is marked so.

    \b
    Example:
      recoup keys list --location file:///srv/backups --key-file backup.key
    """
    from recoup.cli.output import emit_json, emit_table
    from recoup.engine.keys.describe import list_keks
    from recoup.engine.keys.keyring import decode_keyring
    from recoup.engine.unlock import find_vault
    from recoup.engine.vault import read_keyring

    given = keys.read()
    log = find_vault(location.open(), given.files, vault=keys.vault, fingerprint=keys.fingerprint)
    keyrings = {}
    for generation in log.state.keyrings:
        name, data = read_keyring(log, generation)
        keyrings[generation] = decode_keyring(data, name)[1]
    listed = list_keks(keyrings, given.closing)
    pinned = log.state.pinned_root is not None
    if output == "json":
        identity = log.state.require_identity()
        vault: dict[str, Any] = {"vault": identity.vault_id.hex(), "fingerprint": identity.fingerprint, "fingerprintKnown": pinned}
        emit_json(vault | {"generation": log.state.generation, "keys": [_fields(kek) for kek in listed]})
        return
    emit_table(("ID", "KIND", "GENERATIONS", "AT HAND", "DETAIL"), [_row(kek) for kek in listed])
    if not pinned:
        click.echo("note: the vault's fingerprint was not given; this is what the location says, whoever wrote it", err=True)
    _warn(len(listed))


@command.command("add")
@location_options
@key_options
@_new_keys
@output_option
def add_command(location: Location, keys: KeyOptions, new: Callable[[], Given] | None, output: str) -> None:
    """Let another key open the vault, with everything that is in it already.

    \b
    Example: a passphrase beside a key file
      recoup keys add --location file:///srv/backups --key-file backup.key --new-passphrase-file phrase.txt
    """
    from recoup.engine.rekey import add_keks

    old, added = keys.read(), _required(new)
    given = old | added
    unlocked = keys.unlock(location.open(), given)
    _show(unlocked, given, added, add_keks(unlocked.log, given.opening, added.closing), output)


@command.command("remove")
@location_options
@key_options
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@output_option
def remove_command(location: Location, keys: KeyOptions, ids: tuple[str, ...], output: str) -> None:
    """Take the keys ID… out: they open the vault no more.

    At least one key that you give must be left. Whoever has a removed key and kept a copy of an old keyring can still read what was
    stored so far and what is stored next: if a key may have leaked, use `recoup keys new-generation --leaked`.

    \b
    Example:
      recoup keys remove --location file:///srv/backups --key-file backup.key 4f1c22
    """
    from recoup.engine.rekey import remove_keks

    given = keys.read()
    unlocked = keys.unlock(location.open(), given)
    done = remove_keks(unlocked.log, given.opening, _find(unlocked, ids))
    _show(unlocked, given, None, done, output)


@command.command("rotate")
@location_options
@key_options
@_new_keys
@click.option("--replace", "ids", metavar="ID", multiple=True, help="The key to replace; several times. [default: those given to open it]")
@output_option
def rotate_command(location: Location, keys: KeyOptions, new: Callable[[], Given] | None, ids: tuple[str, ...], output: str) -> None:
    """Replace a key by another one in one step. No data is written again.

    As with `remove`, a key that may have leaked needs `recoup keys new-generation --leaked`.

    \b
    Example:
      recoup keygen new.key
      recoup keys rotate --location file:///srv/backups --key-file old.key --new-key-file new.key
    """
    from recoup.engine.rekey import owned_ids, remove_keks

    old, added = keys.read(), _required(new)
    given = old | added  # an interrupted run may have put the new key in force already
    unlocked = keys.unlock(location.open(), given)
    out = _find(unlocked, ids) if ids else owned_ids(unlocked.log, old.opening)
    _show(unlocked, given, added, remove_keks(unlocked.log, given.opening, out, added.closing), output)


@command.command("new-generation")
@location_options
@key_options
@_new_keys
@click.option("--leaked", is_flag=True, help="A key may be in wrong hands: replace everything but the vault's identity.")
@output_option
def generation_command(location: Location, keys: KeyOptions, new: Callable[[], Given] | None, leaked: bool, output: str) -> None:
    """Give the vault new keys of its own for all that is stored from here on.

    Exactly the new keys open the vault then, its old generations included; without any, those that you open it with. Bring every
    key that is to stay: of a recovery key --recipient with its public half is enough. Backups that are under way are refused and
    have to be run again; movers in a cluster need their Secrets made anew (docs/keys.md).

    With --leaked nothing that is stored is found again by content: the next backup of each volume is a full one. What was stored
    before stays readable for whoever holds the leaked key and can read the location.

    \b
    Example: old.key may have been copied
      recoup keygen new.key
      recoup keys new-generation --leaked --location file:///srv/backups --key-file old.key --new-key-file new.key \\
          --recipient "$(cat recovery.pub)"
    """
    from recoup.engine.rekey import new_generation

    old = keys.read()
    added = old if new is None else new()
    given = old | added
    unlocked = keys.unlock(location.open(), given)
    done = new_generation(unlocked.log, given.opening, added.closing, leaked=leaked)
    _show(unlocked, given, added, done, output)


def _required(new: Callable[[], Given] | None) -> Given:
    if new is None:
        raise Usage("which key? give --new-key-file FILE, --new-passphrase-file FILE, --new-aws-kms ARN or --recipient PUB")
    return new()


def _find(unlocked: Unlocked, ids: tuple[str, ...]) -> list[bytes]:
    from recoup.engine.rekey import find_kek

    return [find_kek(unlocked.log, text) for text in ids]


def _show(unlocked: Unlocked, given: Given, added: Given | None, done: Rekeyed, output: str) -> None:
    from recoup.cli.output import emit_json, emit_table
    from recoup.engine.keys.describe import list_keks
    from recoup.engine.keys.keyfile import pin_vault

    for file in added.files if added is not None else ():
        pin_vault(file, unlocked.fingerprint)
    listed = list_keks(done.keyrings, given.closing)
    kept = [{"name": left.name, "version": left.version, "until": str(left.until or ""), "reason": left.reason} for left in done.kept]
    if output == "json":
        emit_json(
            {
                "fingerprint": unlocked.fingerprint,
                "generation": done.generation,
                "keys": [_fields(kek) for kek in listed],
                "keyringsWritten": done.put,
                "keyringsRemoved": list(done.removed),
                "keyringsKept": kept,
                "dataObjectsWritten": 0,
            }
        )
        return
    emit_table(("ID", "KIND", "GENERATIONS", "AT HAND", "DETAIL"), [_row(kek) for kek in listed])
    click.echo(
        f"generation {done.generation}; {done.put} keyrings written, {len(done.removed)} old ones removed, no data written again", err=True
    )
    for left in done.kept:
        until = f" until {left.until:%Y-%m-%d}" if left.until else ""
        click.echo(f"warning: old keyring {left.name} is still there{until} ({left.reason}): the keys taken out still open it", err=True)
    _warn(len(listed))
    if any(kek.kind == "hybrid" for kek in listed) and not unlocked.log.state.certificates[done.generation].hybrid:
        click.echo("note: content is sealed to an X25519 key still; `recoup keys new-generation` makes that hybrid, too", err=True)


def _fields(kek: Listed) -> dict[str, Any]:
    return {"id": kek.id, "kind": kek.kind, "detail": kek.detail, "generations": list(kek.generations), "atHand": kek.at_hand}


def _row(kek: Listed) -> tuple[str, ...]:
    generations = ", ".join(map(str, kek.generations))
    return kek.id[:SHOWN], kek.kind, generations, "yes" if kek.at_hand else "", kek.detail


def _warn(count: int) -> None:
    if count < 2:
        click.echo("warning: only one key opens this vault; if it is lost, every backup is. Add another with `recoup keys add`.", err=True)
