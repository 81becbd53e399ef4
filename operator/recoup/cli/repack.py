"""`recoup repack`: move what is needed out of packs that are mostly waste."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from recoup.cli.options import KeyOptions, Location, key_options, location_options, output_option, report_option

if TYPE_CHECKING:
    from recoup.engine.maintenance.repack import Repacked


@click.command()
@location_options
@key_options
@click.option(
    "--waste",
    type=click.IntRange(1, 99),
    default=25,
    show_default=True,
    metavar="PERCENT",
    help="Move what is needed out of packs of whose blocks at least so much is not.",
)
@click.option("--dry-run", is_flag=True, help="Look and print, change nothing.")
@report_option
@output_option
def command(location: Location, keys: KeyOptions, waste: int, dry_run: bool, report: str | None, output: str) -> None:
    """Move what is needed out of packs that are mostly waste.

    Blocks that recovery points need are read, written into new packs, read back, and every recovery point is told where they are now.
    What the old packs held is freed by the next `recoup prune`; this command deletes nothing. Works at the vault's home only.

    \b
    Example:
      recoup repack --location file:///srv/backups --key-file backup.key --waste 30
    """  # click's mark for text that is not to be wrapped is a real backspace
    from recoup.engine.maintenance.repack import repack
    from recoup.report import Progress, reporting

    with reporting(report) as summary:
        done = repack(keys.unlock(location.open()), waste / 100, Progress(), dry_run=dry_run)
        summary.message = _text(done, dry_run=dry_run)
        summary.bytes_stored = 0 if dry_run else done.moved
        if output == "json":
            from recoup.cli.output import emit_json

            emit_json(_fields(done, dry_run=dry_run))
        else:
            click.echo(summary.message)


def _text(done: Repacked, *, dry_run: bool) -> str:
    from recoup.cli.output import human_bytes

    share = 100 * done.wasted / done.size if done.size else 0
    text = f"{done.packs} packs, {share:.0f} % of their blocks not needed; "
    would = "would be " if dry_run else ""
    text += f"{human_bytes(done.moved)} of {done.wasteful} packs {would}moved, {human_bytes(done.freed)} for the next prune"
    if done.segments_damaged:
        text += f"; {done.segments_damaged} index segments cannot be read" + (
            "" if dry_run else ", what they said was read from packs again"
        )
    return text + (f"; {done.skipped} points of older keys left alone" if done.skipped else "")


def _fields(done: Repacked, *, dry_run: bool) -> dict[str, int | bool]:
    return {
        "dryRun": dry_run,
        "packs": done.packs,
        "packsWasteful": done.wasteful,
        "bytesOfBlocks": done.size,
        "bytesNotNeeded": done.wasted,
        "bytesMoved": done.moved,
        "bytesToFree": done.freed,
        "points": done.points,
        "indexSegmentsDamaged": done.segments_damaged,
        "blocksIndexed": done.blocks_indexed,
        "pointsSkipped": done.skipped,
    }
