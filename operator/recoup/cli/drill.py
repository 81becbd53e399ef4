"""`recoup drill`: prove that a recovery point comes back, and keep the evidence."""

from __future__ import annotations

import click

from recoup.cli.options import KeyOptions, Location, key_options, location_options, output_option, parallelism_option, report_option
from recoup.cli.verify import check_purpose


@click.command()
@location_options
@key_options
@click.option("--snapshot", metavar="ID", required=True, help="Recovery point, as `recoup snapshots` shows it; may be shortened.")
@click.option(
    "--target",
    metavar="PATH",
    required=True,
    help="Scratch: a new or empty directory. Of a block device: a block device to be overwritten, or an empty file.",
)
@click.option("--round", "purpose", metavar="TEXT", default="", help="Record this as what the drill was made for.")
@parallelism_option
@report_option
@output_option
def command(
    location: Location,
    keys: KeyOptions,
    snapshot: str,
    target: str,
    purpose: str,
    parallelism: int | None,
    report: str | None,
    output: str,
) -> None:
    """Restore a recovery point to scratch, compare it, and sign what came of it.

    What was written is read back and compared with the recovery point. Whether it came whole, how long it took and when is appended to
    the log of the location, signed with the vault's verifier key: `recoup evidence` shows it. No other location is asked: it is this
    copy that is tried. What was restored stays at the target; it is yours to look at, and to delete.

    \b
    Exit codes: 0 restored and compared, 30 something is damaged or missing; both are recorded. Otherwise nothing is.

    \b
    Example:
      recoup drill --location s3://offsite/backups --key-file backup.key --snapshot 5f0c --target /scratch/drill
    """  # click's mark for text that is not to be wrapped is a real backspace
    from recoup.cli.output import emit_json, human_bytes, human_seconds
    from recoup.engine.drill import drill
    from recoup.engine.points import find_point
    from recoup.engine.restore.outcome import Outcome
    from recoup.report import Progress, reporting

    check_purpose(purpose)
    outcome = Outcome()
    with reporting(report) as summary:
        unlocked = keys.unlock(location.open())
        commit = find_point(unlocked, snapshot)
        summary.id = summary.manifest = commit.body.manifest.hex()
        try:
            done = drill(unlocked, commit, target, outcome, Progress(), purpose=purpose, threads=parallelism)
        finally:
            summary.files_total, summary.bytes_written, summary.bytes_read = outcome.files, outcome.bytes_written, outcome.bytes_fetched
            summary.errors = outcome.damaged.total
            summary.first_paths = [path for path, _ in outcome.damaged.listed][:10]
    if output == "json":
        emit_json({"id": summary.id, "seconds": done.seconds, "files": done.files, "bytes": done.bytes, "recorded": True})
        return
    took = f"{done.files} files, {human_bytes(done.bytes)} in {human_seconds(done.seconds)}"
    click.echo(f"{summary.id[:16]}: restored and compared: {took}; recorded in the log of {location.url}")
