"""`recoup diff`: what changed between two recovery points, or between one and a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from recoup.cli.also import also_option, unlock_somewhere
from recoup.cli.options import KeyOptions, Location, key_options, location_options, output_option
from recoup.errors import DIFFERENT_EXIT_CODE, Usage

if TYPE_CHECKING:
    from recoup.engine.browse.diff import Change

_SIGNS = {"added": "+", "removed": "-", "type": "T", "content": "M", "metadata": "m"}


@click.command()
@location_options
@key_options
@click.option(
    "--directory", metavar="DIR", type=click.Path(exists=True, file_okay=False), help="Compare A with this directory, instead of B."
)
@click.option("--path", default="", help="Only what is at and below this path (of two recovery points).")
@also_option
@output_option
@click.argument("snapshot_a", metavar="A")
@click.argument("snapshot_b", metavar="[B]", required=False)
def command(
    location: Location,
    keys: KeyOptions,
    directory: str | None,
    path: str,
    also: tuple[Location, ...],
    output: str,
    snapshot_a: str,
    snapshot_b: str | None,
) -> int:
    """Say what changed from the recovery point A to B, or from A to what is in a directory now.

    \b
    Each line begins with what changed:
      +  added       -  removed       T  another type
      M  content (and what else)      m  owner, mode, mtime or attributes only
    Parts of the trees that both points share are not read. A directory is compared by content, not by time; nothing in it is changed.
    With -o json one JSON object a line.

    \b
    Exit codes: 0 the same, 4 different.

    \b
    Examples:
      recoup diff --location file:///srv/backups --key-file backup.key 5f0c 77aa
      recoup diff … 5f0c --directory /srv/data
      recoup diff … --also 's3://offsite/backups?credentials-dir=/etc/recoup/offsite' 5f0c 77aa
    """
    from recoup.cli.entries import emit_line
    from recoup.engine.browse.diff import diff_points
    from recoup.engine.browse.directory import diff_directory
    from recoup.engine.points import find_point, open_point
    from recoup.report import Progress

    if (snapshot_b is None) == (directory is None):
        raise Usage("give a second recovery point, or --directory DIR")
    if directory is not None and path:
        raise Usage("--path is for two recovery points; with --directory everything is compared")
    progress = Progress()
    unlocked, store = unlock_somewhere(keys, location, also, progress.notice)
    old = open_point(unlocked, find_point(unlocked, snapshot_a), store)
    if directory is not None:
        changes = diff_directory(old, directory, progress)
    else:
        assert snapshot_b is not None
        changes = diff_points(old, open_point(unlocked, find_point(unlocked, snapshot_b), store), path)
    different = False
    try:
        for change in changes:
            different = True
            emit_line(_fields(change), _text(change), output)
    finally:
        progress.end()
    return DIFFERENT_EXIT_CODE if different else 0


def _fields(change: Change) -> dict[str, Any]:
    from recoup.cli.entries import entry_fields, path_text

    fields: dict[str, Any] = {"change": change.kind.value, "path": path_text(change.path), "metadata": list(change.metadata)}
    for name, entry in (("old", change.old), ("new", change.new)):
        if entry is not None:
            fields[name] = entry_fields(entry)
    return fields


def _text(change: Change) -> str:
    from recoup.cli.entries import TYPES, path_text

    text = f"{_SIGNS[change.kind.value]} {path_text(change.path)}"
    old, new = change.old, change.new
    details = list(change.metadata)
    if old is not None and new is not None:
        if change.kind.value == "type":
            details.append(f"{TYPES[old.type]} → {TYPES[new.type]}")
        elif old.size != new.size:
            details.insert(0, f"{old.size} → {new.size} bytes")
    return f"{text} ({', '.join(details)})" if details else text
