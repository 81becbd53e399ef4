"""`recoup prune`: delete what no recovery point needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from recoup.cli.forget import Period
from recoup.cli.maintenance import MaintenanceOptions, maintenance_options
from recoup.cli.options import Location, location_options, output_option, parallelism_option, report_option

if TYPE_CHECKING:
    from recoup.engine.maintenance.prune import Pruned


@click.command()
@location_options
@maintenance_options
@click.option(
    "--grace",
    type=Period(),
    default="7d",
    show_default=True,
    metavar="TIME",
    help="How long objects stay condemned before they are deleted. 0h deletes in this run; a backup at work may then have to start again.",
)
@click.option(
    "--dead-after",
    type=Period(),
    default="30d",
    show_default=True,
    metavar="TIME",
    help="End backup sessions that last said so long ago that they are at work. 0h only if you know that no backup is running.",
)
@click.option("--dry-run", is_flag=True, help="Look and print, change nothing.")
@parallelism_option
@report_option
@output_option
def command(
    location: Location,
    keys: MaintenanceOptions,
    grace: timedelta,
    dead_after: timedelta,
    dry_run: bool,
    parallelism: int | None,
    report: str | None,
    output: str,
) -> None:
    """Delete what no recovery point needs, while backups go on.

    What nothing needs is condemned first, and deleted by a later run when its grace is over; what an unfinished backup may be going to
    use waits for its end. Recovery points are never touched: `recoup forget` lets go of those. Stopped at any moment, the next run
    goes on. If the log or an object set cannot be read whole, nothing is deleted.

    \b
    Examples:
      recoup prune --location file:///srv/backups --key-file backup.key
      recoup prune --location file:///srv/backups --key-file backup.key --grace 0h
    """  # click's mark for text that is not to be wrapped is a real backspace
    from recoup.engine.maintenance.prune import Wishes, prune
    from recoup.report import Progress, reporting

    with reporting(report) as summary:
        vault = keys.open(location.open())
        wishes = Wishes(grace, dead_after, dry_run, **({"threads": parallelism} if parallelism else {}))
        pruned = prune(vault.log, vault.keys, wishes, Progress())
        summary.message = _text(pruned, dry_run=dry_run)[-1]
        summary.errors = pruned.deleted.refused
        if output == "json":
            from recoup.cli.output import emit_json

            emit_json(_fields(pruned, dry_run=dry_run))
        else:
            click.echo("\n".join(_text(pruned, dry_run=dry_run)))
        if pruned.deleted.refused:
            raise _refused(pruned)


def _refused(pruned: Pruned) -> Exception:
    from recoup.errors import Denied

    done = pruned.deleted
    return Denied(f"{done.refused} objects may not be deleted here ({done.refusal}); the next run tries again", reason="DeleteRefused")


def _text(pruned: Pruned, *, dry_run: bool) -> list[str]:
    """What happened, line by line; the last one is the sum."""
    from recoup.cli.output import human_bytes

    would = "would be " if dry_run else ""
    lines = [f"{pruned.objects} objects, {human_bytes(pruned.size)}; {pruned.live_objects} are needed"]
    if pruned.checkpoints:
        lines.append(f"{pruned.checkpoints} checkpoints of the log were written")
    if pruned.index.replaced:
        lines.append(f"{pruned.index.replaced} index segments were merged into {pruned.index.written}")
    if pruned.index.damaged:
        lines.append(
            f"{pruned.index.damaged} index segments cannot be read; `recoup repack` writes them anew, until then blocks may be stored twice"
        )
    if pruned.ended_sessions:
        lines.append(f"{pruned.ended_sessions} sessions that ended long ago without saying so {would}ended")
    if pruned.condemned_objects:
        lines.append(f"{pruned.condemned_objects} objects, {human_bytes(pruned.condemned_size)}, {would}condemned")
    for one in pruned.waiting:
        why = f"waiting for {one.sessions} unfinished sessions" if one.sessions else f"to be deleted from {_time(one.due)} on"
        lines.append(f"{one.objects} objects, {human_bytes(one.size)}, condemned by entry {one.seq}: {why}")
    if pruned.given_up:
        lines.append(f"{pruned.given_up} lists of condemned objects were damaged: nothing was deleted for them, they are condemned anew")
    if pruned.strange:
        lines.append(f"{pruned.strange} names are no object's and were left alone")
    done = pruned.deleted
    if pruned.locked_objects:
        size = human_bytes(pruned.locked_size)
        lines.append(
            f"{pruned.locked_objects} objects, {size}, swept before and locked: tried again by {_time(pruned.locked_until)} at the latest"
        )
    if done.deferred:
        until = f"until {_date(done.last_until)} (the first until {_date(done.first_until)})" if done.last_until else "by a legal hold"
        lines.append(f"{done.deferred} objects, {human_bytes(done.deferred_size)}, are locked {until}: a later run deletes them")
    if done.covered:
        lines.append(
            f"{done.covered} of the deleted objects keep a version, which these credentials may not delete (s3:DeleteObjectVersion)"
        )
    if dry_run:
        return [*lines, f"{pruned.swept_objects} objects, {human_bytes(pruned.swept_size)}, would be deleted now"]
    return [*lines, f"{pruned.deleted.objects} objects deleted, {human_bytes(pruned.deleted.size)} freed"]


def _fields(pruned: Pruned, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dryRun": dry_run,
        "objects": pruned.objects,
        "bytes": pruned.size,
        "objectsLive": pruned.live_objects,
        "checkpointsWritten": pruned.checkpoints,
        "indexSegmentsMerged": pruned.index.replaced,
        "indexSegmentsWritten": pruned.index.written,
        "indexSegmentsDamaged": pruned.index.damaged,
        "sessionsEnded": pruned.ended_sessions,
        "objectsCondemned": pruned.condemned_objects,
        "bytesCondemned": pruned.condemned_size,
        "objectsSwept": pruned.swept_objects,
        "bytesSwept": pruned.swept_size,
        "objectsDeleted": pruned.deleted.objects,
        "bytesFreed": pruned.deleted.size,
        "deletesRefused": pruned.deleted.refused,
        "objectsDeferred": pruned.deleted.deferred + pruned.locked_objects,
        "bytesDeferred": pruned.deleted.deferred_size + pruned.locked_size,
        "deferredUntil": _deferred_until(pruned),
        "versionsLeft": pruned.deleted.covered,
        "listsDamaged": pruned.given_up,
        "strangeNames": pruned.strange,
        "waiting": [
            {"entry": one.seq, "objects": one.objects, "bytes": one.size, "due": _time(one.due), "sessions": one.sessions}
            for one in pruned.waiting
        ],
    }


def _deferred_until(pruned: Pruned) -> str | None:
    """When the last of what is locked can be deleted, as far as it is known; None if nothing is locked."""
    until = pruned.deleted.last_until
    dates = [*([_date(until)] if until else []), *([_time(pruned.locked_until)] if pruned.locked_objects else [])]
    return max(dates, default=None)


def _date(until: datetime | None) -> str:
    return "" if until is None else _time(round(until.timestamp() * 1000))


def _time(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "a time outside the calendar"
