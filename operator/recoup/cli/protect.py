"""`recoup protect`: keep what recovery points need locked, and in sight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from recoup.cli.maintenance import MaintenanceOptions, maintenance_options
from recoup.cli.options import Location, location_options, output_option, parallelism_option, report_option

if TYPE_CHECKING:
    from recoup.engine.maintenance.protect import Protected


@click.command()
@location_options
@maintenance_options
@click.option("--all", "everything", is_flag=True, help="Lock everything anew, whatever earlier runs say they saw to.")
@parallelism_option
@report_option
@output_option
def command(
    location: Location, keys: MaintenanceOptions, everything: bool, parallelism: int | None, report: str | None, output: str
) -> None:
    """Extend the object lock of everything that recovery points need, and put back into sight what somebody hid.

    A lock lasts for the period of --object-lock from the PUT on. Run this often, once a day for instance: when less than half of the
    period is left, everything that is needed is locked for one period from now; in between only what came since the last run is
    looked at. What is not needed any more is not extended, so that prune can delete it later. Stopped at any moment, the next run
    goes on. Delete markers and versions that were put on top of an object are removed, if these credentials may.

    \b
    Exit codes: 0 all is locked, 20 something is not (LockShortfall).

    \b
    Example:
      recoup protect --location s3://backups/prod --key-file backup.key --object-lock compliance:30d
    """  # click's mark for text that is not to be wrapped is a real backspace
    from recoup.engine.maintenance.protect import protect
    from recoup.errors import Denied
    from recoup.report import Progress, reporting

    with reporting(report) as summary:
        vault = keys.open(location.open())
        done = protect(vault.log, vault.keys, Progress(), everything=everything, **({"threads": parallelism} if parallelism else {}))
        summary.message, summary.errors = _text(done)[-1], done.held.unlocked
        if output == "json":
            from recoup.cli.output import emit_json

            emit_json(_fields(done))
        else:
            click.echo("\n".join(_text(done)))
        if done.held.unlocked:
            raise Denied(
                f"{done.held.unlocked} of {done.objects} objects are not locked as long as they should be: {done.held.refusal}",
                reason="LockShortfall",
            )


def _text(done: Protected) -> list[str]:
    """What happened, line by line; the last one is the sum."""
    held, lines = done.held, []
    if held.uncovered:
        lines.append(
            f"{held.uncovered} objects were hidden or overwritten by somebody, and are in sight again: change the credentials that can "
            "write here"
        )
    if held.hidden:
        lines.append(
            f"{held.hidden} objects are hidden or overwritten and read from older versions; what hides them is locked, or these "
            "credentials may not delete versions (s3:DeleteObjectVersion)"
        )
    if held.missing:
        lines.append(f"{held.missing} objects are not there: see `recoup verify`")
    scope = "everything was due" if done.whole else "only what came since the last run was due"
    lines.append(f"{done.objects} objects are needed, {held.extended} locks were extended ({scope})")
    until = _date(done)
    return [*lines, f"everything is locked until {until}" if until else "not everything is locked"]


def _fields(done: Protected) -> dict[str, Any]:
    held = done.held
    return {
        "objects": done.objects,
        "whole": done.whole,
        "locksExtended": held.extended,
        "lockedUntil": _date(done),
        "notLocked": held.unlocked,
        "missing": held.missing,
        "putBackIntoSight": held.uncovered,
        "hidden": held.hidden,
        "recorded": done.noted,
    }


def _date(done: Protected) -> str | None:
    from recoup.engine.evidence import time_text

    return None if done.until is None else time_text(done.until.timestamp())
