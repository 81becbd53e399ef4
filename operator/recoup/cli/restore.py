"""`recoup restore`: bring a recovery point back and compare it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from recoup.cli.also import also_option, sources_of, tell_sources, unlock_somewhere
from recoup.cli.options import KeyOptions, Location, key_options, location_options, output_option, parallelism_option, report_option
from recoup.errors import PARTIAL_EXIT_CODE, Usage

if TYPE_CHECKING:
    from recoup.engine.points import OpenPoint
    from recoup.engine.restore.orders import Orders
    from recoup.engine.restore.outcome import Outcome
    from recoup.engine.stores.failover import FailoverStore
    from recoup.report import Progress, Report


@click.command()
@location_options
@key_options
@click.option("--snapshot", metavar="ID", required=True, help="Recovery point, as `recoup snapshots` shows it; may be shortened.")
@click.option(
    "--target",
    metavar="PATH",
    required=True,
    help="A directory (new, empty, or see --existing). Of a block device: a block device, or an empty file for its image.",
)
@click.option("--include", metavar="GLOB", multiple=True, help="Only these paths; several times. Globs as those of a backup's --exclude.")
@click.option("--exclude", metavar="GLOB", multiple=True, help="Not these paths, also if they are included; several times.")
@click.option("--into", metavar="SUBDIR", default="", help="Directory below the target to restore into; made if it is absent.")
@click.option(
    "--map", "maps", metavar="OLD=NEW", multiple=True, help="Put what is at OLD to NEW below the target; several times. NEW may be `.`."
)
@click.option(
    "--existing",
    type=click.Choice(["fail", "merge", "overwrite", "mirror"]),
    default="fail",
    show_default=True,
    help="What becomes of a target that is not empty, see above.",
)
@click.option("--plan", is_flag=True, help="Only say what would be fetched, written, replaced and deleted. Changes nothing.")
@click.option("--devices", is_flag=True, help="Restore device files, too. They give access to hardware of the machine.")
@click.option("--trusted-xattrs", is_flag=True, help="Restore trusted.* attributes, too. Overlay file systems, among others, obey them.")
@also_option
@parallelism_option
@report_option
@output_option
def command(
    location: Location,
    keys: KeyOptions,
    snapshot: str,
    target: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    into: str,
    maps: tuple[str, ...],
    existing: str,
    plan: bool,
    devices: bool,
    trusted_xattrs: bool,
    also: tuple[Location, ...],
    parallelism: int | None,
    report: str | None,
    output: str,
) -> int:
    """Bring a recovery point back and compare it.

    What was written is read back and compared with the recovery point before success is reported. Until then the directory holds
    a file .recoup-incomplete-…; run the same command again to finish what was interrupted: what is there and right is neither
    fetched nor written again.

    \b
    What becomes of a target that is not empty (--existing):
      fail       it is refused, unless it holds exactly this recovery point already
      merge      what is missing comes, what differs is replaced, what is only there stays
      overwrite  as merge, and a directory gives way, too, where the recovery point has something else
      mirror     as overwrite, and what the recovery point does not have is deleted at the end
    Files and devices are compared block by block with what is there; only what differs is fetched and written. Links in the target
    are never followed. Look first with --plan.

    \b
    Exit codes: 0 restored and compared, 3 the same, but the target did not keep every owner, mode or attribute (listed),
    30 objects are damaged or missing: everything else is restored, the files concerned are listed.

    \b
    Examples:
      recoup restore --location file:///srv/backups --key-file backup.key --snapshot 5f0c --target /mnt/new
      recoup restore … --snapshot 5f0c --target /mnt/new --include home/anna --include '*.conf' --map home/anna=anna
      recoup restore … --snapshot 5f0c --target /srv/data --existing mirror --plan
      recoup restore … --snapshot 5f0c --target /mnt/new --also 's3://offsite/backups?credentials-dir=/etc/recoup/offsite'
    """  # click's mark for text that is not to be wrapped is a real backspace
    from recoup.engine.points import find_point, open_point
    from recoup.engine.restore.attributes import Wishes
    from recoup.engine.restore.orders import Existing, Orders
    from recoup.engine.restore.selection import Choice
    from recoup.report import Progress, reporting

    choice = Choice(include, exclude, tuple(_move(text) for text in maps))
    orders, progress = Orders(Wishes(devices, trusted_xattrs), choice, Existing(existing), into), Progress()
    with reporting(report) as summary:
        unlocked, store = unlock_somewhere(keys, location, also, progress.notice)
        point = open_point(unlocked, find_point(unlocked, snapshot), store)
        point.objects.parallelism = parallelism
        summary.id = summary.manifest = point.id
        return _plan(point, target, orders, output) if plan else _restore(point, target, orders, progress, summary, store, output)


def _restore(point: OpenPoint, target: str, orders: Orders, progress: Progress, summary: Report, store: FailoverStore, output: str) -> int:
    """Restore, say what came of it also if it fails, and return the exit code."""
    from recoup.engine.restore.outcome import Outcome
    from recoup.engine.restore.run import restore

    outcome = Outcome()
    try:
        restore(point, target, orders, outcome, progress)
        if outcome.not_preserved.total:
            summary.outcome, summary.reason = "Partial", "MetadataNotPreserved"
            summary.message = f"{outcome.not_preserved.total} attributes were not kept by the target"
        summary.message = "; ".join(filter(None, (summary.message, tell_sources(store))))
    finally:
        _summarise(outcome, summary)
        _print(outcome, summary, target, output, store)
    return PARTIAL_EXIT_CODE if outcome.not_preserved.total else 0


def _move(text: str) -> tuple[str, str]:
    old, separator, new = text.partition("=")
    if not old or not separator or not new:
        raise Usage(f"--map {text!r}: write OLD=NEW, both below the root, as home/anna=old/anna; NEW may be `.`")
    return old, new


def _plan(point: OpenPoint, target: str, orders: Orders, output: str) -> int:
    from recoup.cli.forecast import print_forecast
    from recoup.engine.restore.run import foresee
    from recoup.report import Progress

    print_forecast(foresee(point, target, orders, Progress()), output)
    return 0


def _summarise(outcome: Outcome, summary: Report) -> None:
    summary.files_total, summary.bytes_written, summary.bytes_read = outcome.files, outcome.bytes_written, outcome.bytes_fetched
    summary.errors = outcome.damaged.total or outcome.not_preserved.total
    summary.first_paths = [path for path, _ in outcome.damaged.listed or outcome.not_preserved.listed][:10]


def _print(outcome: Outcome, summary: Report, target: str, output: str, store: FailoverStore) -> None:
    from recoup.cli.output import emit_json, human_bytes

    lists: dict[str, list[tuple[str, str]]] = {
        "damaged": outcome.damaged.listed,
        "metadataNotPreserved": outcome.not_preserved.listed,
        "notRestored": outcome.not_restored.listed,
    }
    if output == "json":
        result: dict[str, Any] = {
            "id": summary.id,
            "target": target,
            "filesTotal": outcome.files,
            "directories": outcome.directories,
            "bytesWritten": outcome.bytes_written,
            "bytesCompared": outcome.bytes_compared,
            "bytesFetched": outcome.bytes_fetched,
            "bytesKept": outcome.bytes_kept,
            "deleted": outcome.deleted,
            "alreadyThere": outcome.already_there,
            "sources": sources_of(store),
        }
        emit_json(result | {name: [{"path": path, "reason": reason} for path, reason in paths] for name, paths in lists.items()})
        return
    for title, paths in (
        ("damaged", outcome.damaged),
        ("not kept by the target", outcome.not_preserved),
        ("not restored", outcome.not_restored),
    ):
        for path, reason in paths.listed:
            click.echo(f"{title}: {path}: {reason}")
        if paths.total > len(paths.listed):
            click.echo(f"{title}: … and {paths.total - len(paths.listed)} more")
    if outcome.already_there:
        click.echo(f"{target} holds {summary.id[:16]} already: compared, nothing written")
    elif outcome.files or outcome.directories:
        kept = f", {human_bytes(outcome.bytes_kept)} were there already" if outcome.bytes_kept else ""
        gone = f", {outcome.deleted} entries deleted" if outcome.deleted else ""
        written = f"{human_bytes(outcome.bytes_written)} written, {human_bytes(outcome.bytes_compared)} compared"
        click.echo(f"{outcome.files} files, {written}{kept}{gone}")
    if sources := tell_sources(store):
        click.echo(sources)
