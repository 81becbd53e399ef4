"""`recoup ls`: what a recovery point holds, streamed from its tree."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from recoup.cli.options import KeyOptions, Location, key_options, location_options, output_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recoup.engine.points import OpenPoint
    from recoup.engine.records.manifest import Manifest
    from recoup.engine.records.tree import Entry

_LETTERS = {1: stat.S_IFREG, 2: stat.S_IFDIR, 3: stat.S_IFLNK, 4: stat.S_IFIFO, 5: stat.S_IFSOCK, 6: stat.S_IFCHR, 7: stat.S_IFBLK}


@click.command()
@location_options
@key_options
@click.option("--errors", "show_errors", is_flag=True, help="List the source files that could not be taken, instead.")
@output_option
@click.argument("snapshot")
@click.argument("path", required=False, default="")
def command(location: Location, keys: KeyOptions, snapshot: str, path: str, show_errors: bool, output: str) -> None:
    """List what the recovery point SNAPSHOT holds, or what is at and below PATH in it.

    Names that are not UTF-8 are shown with hexadecimal escapes. With -o json one JSON object a line.

    \b
    Example:
      recoup ls --location file:///srv/backups --key-file backup.key 5f0c home/anna
    """
    from recoup.engine.points import find_point, open_point

    unlocked = keys.unlock(location.open())
    point = open_point(unlocked, find_point(unlocked, snapshot))
    if show_errors:
        _errors(point.manifest, output)
        return
    if point.manifest.device is not None:
        _line(
            {"path": "", "type": "device", "size": point.manifest.device.size}, f"block device, {point.manifest.device.size} bytes", output
        )
        return
    found = False
    for entry in _entries(point, path):
        found = True
        fields = _fields(entry)
        _line(fields, _text(entry, fields), output)
    if path and not found:
        from recoup.errors import NotFound

        raise NotFound(f"recovery point {point.id[:16]} has nothing at {path}", reason="PathNotFound")


def _entries(point: OpenPoint, path: str) -> Iterator[Entry]:
    import os

    from recoup.engine.records.tree import iterate_tree

    under = tuple(part for part in os.fsencode(path).split(b"/") if part not in {b"", b"."})
    return iterate_tree(point.blocks.fetch, point.manifest.tree, under)


def _errors(manifest: Manifest, output: str) -> None:
    for error in manifest.errors:
        path = error.path.decode("utf-8", "backslashreplace")
        _line({"path": path, "reason": error.reason, "message": error.message}, f"{path}: {error.reason}: {error.message}", output)
    if manifest.errors_total > len(manifest.errors):
        click.echo(f"… and {manifest.errors_total - len(manifest.errors)} more", err=True)


def _fields(entry: Entry) -> dict[str, Any]:
    from recoup.engine.records.tree import FileType, printable

    fields: dict[str, Any] = {
        "path": printable(entry.path),
        "type": entry.type.name.lower(),
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "mtime": _time(entry.mtime),
    }
    if entry.type is FileType.SYMLINK:
        fields["target"] = entry.target.decode("utf-8", "backslashreplace")
    if entry.group:
        fields["hardLinkGroup"] = entry.group
    if entry.xattrs:
        fields["xattrs"] = [xattr.name.decode("utf-8", "backslashreplace") for xattr in entry.xattrs]
    return fields


def _text(entry: Entry, fields: dict[str, Any]) -> str:
    mode = stat.filemode(_LETTERS[entry.type] | entry.mode)
    target = f" -> {fields['target']}" if "target" in fields else ""
    return f"{mode} {entry.uid:>6} {entry.gid:>6} {entry.size:>14} {fields['mtime'][:19]} {fields['path']}{target}"


def _line(fields: dict[str, Any], text: str, output: str) -> None:
    import sys

    import msgspec

    sys.stdout.write((msgspec.json.encode(fields).decode() if output == "json" else text) + "\n")


def _time(nanoseconds: int) -> str:
    try:
        whole = datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"@{nanoseconds / 10**9:.9f}"
    return f"{whole}.{nanoseconds % 10**9:09}Z"
