"""`recoup ls`: what a recovery point holds, streamed from its tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from recoup.cli.also import also_option, unlock_somewhere
from recoup.cli.options import KeyOptions, Location, key_options, location_options, output_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recoup.engine.points import OpenPoint
    from recoup.engine.records.manifest import Manifest
    from recoup.engine.records.tree import Entry, Path


@click.command()
@location_options
@key_options
@click.option("--long/--short", "long", default=True, show_default=True, help="With type, mode, owner, size and time, or paths alone.")
@click.option("--recursive/--no-recursive", default=True, show_default=True, help="Everything below, or one directory.")
@click.option("--errors", "show_errors", is_flag=True, help="List the source files that could not be taken, instead.")
@also_option
@output_option
@click.argument("snapshot")
@click.argument("path", required=False, default="")
def command(
    location: Location,
    keys: KeyOptions,
    snapshot: str,
    path: str,
    long: bool,
    recursive: bool,
    show_errors: bool,
    also: tuple[Location, ...],
    output: str,
) -> None:
    """List what the recovery point SNAPSHOT holds, or what is at and below PATH in it.

    Names that are not UTF-8 are shown with hexadecimal escapes. With -o json one JSON object a line.

    \b
    Examples:
      recoup ls --location file:///srv/backups --key-file backup.key 5f0c home/anna
      recoup ls … --short --no-recursive 5f0c
      recoup ls … --also 's3://offsite/backups?credentials-dir=/etc/recoup/offsite' 5f0c
    """
    from recoup.cli.entries import emit_line, entry_text, path_text
    from recoup.engine.points import find_point, open_point
    from recoup.report import Progress

    unlocked, store = unlock_somewhere(keys, location, also, Progress().notice)
    point = open_point(unlocked, find_point(unlocked, snapshot), store)
    if show_errors:
        _errors(point.manifest, output)
        return
    if point.manifest.device is not None:
        size = point.manifest.device.size
        emit_line({"path": "", "type": "device", "size": size}, f"block device, {size} bytes", output)
        return
    from recoup.engine.restore.selection import parse_path

    found, under = False, parse_path(path)
    for entry in _entries(point, under, recursive=recursive):
        found = True
        fields = _fields(entry)
        emit_line(fields, entry_text(entry) if long else path_text(entry.path), output)
    if under and not found:
        from recoup.errors import NotFound

        raise NotFound(f"recovery point {point.id[:16]} has nothing at {path}", reason="PathNotFound")


def _entries(point: OpenPoint, under: Path, *, recursive: bool) -> Iterator[Entry]:
    from recoup.engine.records.tree import iterate_tree

    for entry in iterate_tree(point.blocks.fetch, point.manifest.tree, under):
        if recursive or len(entry.parent) <= len(under):
            yield entry
        elif entry.parent[: len(under)] == under:
            return  # listings of directories come after the listing that has them


def _errors(manifest: Manifest, output: str) -> None:
    from recoup.cli.entries import emit_line

    for error in manifest.errors:
        path = error.path.decode("utf-8", "backslashreplace")
        emit_line({"path": path, "reason": error.reason, "message": error.message}, f"{path}: {error.reason}: {error.message}", output)
    if manifest.errors_total > len(manifest.errors):
        click.echo(f"… and {manifest.errors_total - len(manifest.errors)} more", err=True)


def _fields(entry: Entry) -> dict[str, object]:
    from recoup.cli.entries import entry_fields

    fields = entry_fields(entry)
    if entry.group:
        fields["hardLinkGroup"] = entry.group
    if entry.xattrs:
        fields["xattrs"] = [xattr.name.decode("utf-8", "backslashreplace") for xattr in entry.xattrs]
    return fields
