"""`recoup restore`: bring a recovery point back and compare it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from recoup.cli.options import KeyOptions, Location, key_options, location_options, output_option, parallelism_option, report_option
from recoup.errors import PARTIAL_EXIT_CODE

if TYPE_CHECKING:
    from recoup.engine.restore.outcome import Outcome
    from recoup.report import Report


@click.command()
@location_options
@key_options
@click.option("--snapshot", metavar="ID", required=True, help="Recovery point, as `recoup snapshots` shows it; may be shortened.")
@click.option(
    "--target", metavar="PATH", required=True, help="An empty or new directory; for a recovery point of a block device, a block device."
)
@click.option("--devices", is_flag=True, help="Restore device files, too. They give access to hardware of the machine.")
@click.option("--trusted-xattrs", is_flag=True, help="Restore trusted.* attributes, too. Overlay file systems, among others, obey them.")
@parallelism_option
@report_option
@output_option
def command(
    location: Location,
    keys: KeyOptions,
    snapshot: str,
    target: str,
    devices: bool,
    trusted_xattrs: bool,
    parallelism: int | None,
    report: str | None,
    output: str,
) -> int:
    """Bring a recovery point back and compare it.

    What was written is read back and compared with the recovery point before success is reported. Until then the directory holds
    a file .recoup-incomplete-…; run the same command again to finish what was interrupted. Existing data is never overwritten.

    \b
    Exit codes: 0 restored and compared, 3 the same, but the target did not keep every owner, mode or attribute (listed),
    30 objects are damaged or missing: everything else is restored, the files concerned are listed.

    \b
    Example:
      recoup restore --location file:///srv/backups --key-file backup.key --snapshot 5f0c --target /mnt/new
    """  # click's mark for text that is not to be wrapped is a real backspace
    from recoup.engine.points import find_point, open_point
    from recoup.engine.restore.attributes import Wishes
    from recoup.engine.restore.outcome import Outcome
    from recoup.engine.restore.run import restore
    from recoup.report import Progress, reporting

    outcome = Outcome()
    with reporting(report) as summary:
        try:
            unlocked = keys.unlock(location.open())
            point = open_point(unlocked, find_point(unlocked, snapshot))
            point.objects.parallelism = parallelism
            summary.id = summary.manifest = point.id
            restore(point, target, Wishes(devices, trusted_xattrs), outcome, Progress())
            if outcome.not_preserved.total:
                summary.outcome, summary.reason = "Partial", "MetadataNotPreserved"
                summary.message = f"{outcome.not_preserved.total} attributes were not kept by the target"
        finally:
            _summarise(outcome, summary)
            if summary.id:
                _print(outcome, summary, target, output)
    return PARTIAL_EXIT_CODE if outcome.not_preserved.total else 0


def _summarise(outcome: Outcome, summary: Report) -> None:
    summary.files_total, summary.bytes_written, summary.bytes_read = outcome.files, outcome.bytes_written, outcome.bytes_fetched
    summary.errors = outcome.damaged.total or outcome.not_preserved.total
    summary.first_paths = [path for path, _ in outcome.damaged.listed or outcome.not_preserved.listed][:10]


def _print(outcome: Outcome, summary: Report, target: str, output: str) -> None:
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
            "alreadyThere": outcome.already_there,
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
        click.echo(f"{outcome.files} files, {human_bytes(outcome.bytes_written)} written, {human_bytes(outcome.bytes_compared)} compared")
