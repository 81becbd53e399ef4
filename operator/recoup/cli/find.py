"""`recoup find`: paths in one recovery point or all, and which points hold which version of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from recoup.cli.also import also_option, unlock_somewhere
from recoup.cli.options import ByteSize, KeyOptions, Location, key_options, location_options, output_option
from recoup.errors import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recoup.engine.browse.find import Finder, Version, Wanted
    from recoup.engine.log.facts import Committed
    from recoup.engine.points import OpenPoint
    from recoup.engine.stores.base import Store
    from recoup.engine.vault import Unlocked
    from recoup.report import Progress

_TYPES = {"f": 1, "d": 2, "l": 3, "p": 4, "s": 5, "c": 6, "b": 7}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@click.command()
@location_options
@key_options
@click.option("--snapshot", "snapshots", metavar="ID", multiple=True, help="Only in this recovery point; several times. [default: in all]")
@click.option("--type", "types", type=click.Choice(list(_TYPES)), multiple=True, help="File, directory, link, pipe, socket, char, block.")
@click.option("--size", metavar="[+-]SIZE", help="Files of at least (+), at most (-) or exactly so many bytes, as +10MB.")
@click.option("--newer", metavar="TIME", help="Changed after it: 2026-11-22, 2026-11-22T23:00:00Z, or 2d for the last two days.")
@also_option
@output_option
@click.argument("globs", nargs=-1, metavar="GLOB…")
def command(
    location: Location,
    keys: KeyOptions,
    snapshots: tuple[str, ...],
    types: tuple[str, ...],
    size: str | None,
    newer: str | None,
    also: tuple[Location, ...],
    output: str,
    globs: tuple[str, ...],
) -> None:
    """Find paths by GLOB (as those of --exclude) in recovery points, and say which points hold which version.

    A version is a path's type, owner, mode, size, time and content: one line for each, followed by the points that hold it, oldest
    first. With -o json one JSON object a line. Exit code 0, also if nothing is found.

    \b
    Examples:
      recoup find --location file:///srv/backups --key-file backup.key '*.conf'
      recoup find … 'home/anna/**' --type f --size +100MB --newer 7d
      recoup find … --snapshot 5f0c letter
      recoup find … --also 's3://offsite/backups?credentials-dir=/etc/recoup/offsite' '*.conf'
    """
    from recoup.cli.entries import emit_line, entry_fields, entry_text
    from recoup.engine.browse.find import Finder
    from recoup.engine.points import find_point
    from recoup.report import Progress

    wanted = _wanted(globs, types, size, newer)
    progress = Progress()
    unlocked, store = unlock_somewhere(keys, location, also, progress.notice)
    commits = [find_point(unlocked, one) for one in snapshots] or list(unlocked.log.state.commits.values())
    try:
        for version in _search(Finder(wanted), unlocked, store, commits, progress):
            fields = entry_fields(version) | {"version": version.content.hex(), "points": list(version.points)}
            emit_line(fields, f"{entry_text(version)}\n    in {' '.join(point[:16] for point in version.points)}", output)
    finally:
        progress.end()


def _search(finder: Finder, unlocked: Unlocked, store: Store, commits: list[Committed], progress: Progress) -> Iterator[Version]:
    from recoup.engine.points import open_point

    if len(commits) == 1:
        return finder.in_point(open_point(unlocked, commits[0], store))
    progress.start("searching", files_total=len(commits))

    def opened() -> Iterator[OpenPoint]:
        for commit in commits:
            yield open_point(unlocked, commit, store)
            progress.advance(files=1)

    return finder.in_points(opened())


def _wanted(globs: tuple[str, ...], types: tuple[str, ...], size: str | None, newer: str | None) -> Wanted:
    from recoup.engine.browse.find import Wanted
    from recoup.engine.records.tree import FileType

    if not (globs or types or size or newer):
        raise Usage("say what to find: a glob, --type, --size or --newer; `recoup ls` lists everything")
    least = most = None
    if size:
        count = ByteSize(zero=True).convert(size.lstrip("+-"), None, None)
        least = count if size[0] != "-" else None
        most = count if size[0] != "+" else None
    after = _nanoseconds(newer) if newer else None
    return Wanted(globs, frozenset(FileType(_TYPES[letter]) for letter in types), least, most, after)


def _nanoseconds(text: str) -> int:
    """A time, or how long ago, as nanoseconds since 1970."""
    now = datetime.now(UTC)
    if text[:-1].isdigit() and text[-1] in _UNITS:
        return round((now.timestamp() - int(text[:-1]) * _UNITS[text[-1]]) * 10**9)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Usage(f"{text!r} is no time: write 2026-11-22, 2026-11-22T23:00:00Z, or how long ago as 12h, 7d") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 10**9)
