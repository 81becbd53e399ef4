"""`recoup cat`: the bytes of one file of a recovery point on stdout."""

from __future__ import annotations

import sys

import click

from recoup.cli.also import also_option, unlock_somewhere
from recoup.cli.options import ByteSize, KeyOptions, Location, key_options, location_options


@click.command()
@location_options
@key_options
@click.option("--offset", type=ByteSize(zero=True), default=0, help="Begin at this byte. [default: 0]")
@click.option("--length", type=ByteSize(), help="Write so many bytes at most. [default: all]")
@also_option
@click.argument("snapshot")
@click.argument("path", required=False, default="")
def command(
    location: Location, keys: KeyOptions, snapshot: str, path: str, offset: int, length: int | None, also: tuple[Location, ...]
) -> None:
    """Write the file at PATH in the recovery point SNAPSHOT to stdout.

    Holes come as zeros. Only what is asked for is fetched, so that a piece of a large file is cheap. Without PATH the recovery point
    is of a block device, or of one file. Every block is compared with its id before it is written; if one is damaged, what came before
    it has been written, and the exit code is 30. With --also a damaged one comes from the next location that has it.

    \b
    Examples:
      recoup cat --location file:///srv/backups --key-file backup.key 5f0c home/anna/letter
      recoup cat … 5f0c var/log/syslog --offset 1GiB --length 64KiB | less
      recoup cat … 5f0c home/anna/letter --also 's3://offsite/backups?credentials-dir=/etc/recoup/offsite'
    """
    from recoup.engine.browse.lookup import find_content
    from recoup.engine.browse.reading import ContentReader
    from recoup.engine.points import find_point, open_point
    from recoup.engine.restore.selection import parse_path
    from recoup.report import Progress

    unlocked, store = unlock_somewhere(keys, location, also, Progress().notice)
    point = open_point(unlocked, find_point(unlocked, snapshot), store)
    content, kind = find_content(point, parse_path(path))
    if content is None:
        return
    end = content.size if length is None else offset + length
    for piece in ContentReader(point).read(content, offset, end, kind):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
