"""`recoup stats`: how much each recovery point takes, alone and together with others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from recoup.cli.also import also_option, unlock_somewhere
from recoup.cli.options import KeyOptions, Location, key_options, location_options, output_option

if TYPE_CHECKING:
    from recoup.engine.browse.stats import VaultUsage
    from recoup.engine.catalogue import Point


@click.command()
@location_options
@key_options
@also_option
@output_option
def command(location: Location, keys: KeyOptions, also: tuple[Location, ...], output: str) -> None:
    """Say how much each recovery point takes: what only it needs, and what it shares with others.

    SIZE is what the files of the point have. UNIQUE is what no other recovery point needs: forgetting that point alone, and then
    pruning, frees it. SHARED is needed by other points, too, and counts for each of them, so that the column does not add up;
    the total counts every object once. Counted by whole stored objects. With --also what is missing at the location is counted as a
    copy has it.

    \b
    Examples:
      recoup stats --location file:///srv/backups --key-file backup.key
      recoup stats … --also 's3://offsite/backups?credentials-dir=/etc/recoup/offsite'
    """
    from recoup.engine.browse.stats import usage
    from recoup.engine.catalogue import points_of
    from recoup.report import Progress

    progress = Progress()
    unlocked, store = unlock_somewhere(keys, location, also, progress.notice)
    try:
        total = usage(store, unlocked.identity.vault_id, list(unlocked.log.state.commits.values()), progress)
    finally:
        progress.end()
    _print(total, {point.id: point for point in points_of(unlocked.log.state, unlocked.reader)}, output)


def _print(total: VaultUsage, points: dict[str, Point], output: str) -> None:
    from recoup.cli.output import emit_json, emit_table, human_bytes
    from recoup.cli.snapshots import SHOWN, time_text

    records = {one.id: points[one.id].record for one in total.points}
    logical = sum(record.bytes_total for record in records.values() if record is not None)
    if output == "json":
        rows = [
            {
                "id": one.id,
                "bytesTotal": record.bytes_total if record is not None else None,
                "filesTotal": record.files if record is not None else None,
                "objects": one.objects,
                "bytesStored": one.bytes,
                "uniqueObjects": one.unique_objects,
                "uniqueBytes": one.unique_bytes,
                "sharedBytes": one.shared_bytes,
            }
            for one, record in ((one, records[one.id]) for one in total.points)
        ]
        whole: dict[str, Any] = {"points": len(rows), "bytesTotal": logical, "objects": total.objects, "bytesStored": total.bytes}
        emit_json({"recoveryPoints": rows, "total": whole})
        return
    columns = ("ID", "TIME", "FILES", "SIZE", "UNIQUE", "SHARED")
    table = []
    for one in total.points:
        record = records[one.id]
        about = ("", "", "") if record is None else (time_text(record.finished) or "", str(record.files), human_bytes(record.bytes_total))
        table.append((one.id[:SHOWN], *about, human_bytes(one.unique_bytes), human_bytes(one.shared_bytes)))
    emit_table(columns, table, right=columns[2:])
    ratio = f", {logical / total.bytes:.1f} times less than their files" if total.bytes and logical else ""
    click.echo(f"{len(table)} recovery points take {human_bytes(total.bytes)} in {total.objects} objects{ratio}")
