"""`recoup doctor`: probe a location before anything relies on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec
from msgspec import structs

from recoup.cli.options import Location, location_options, output_option, report_option

if TYPE_CHECKING:
    from recoup.engine.probe import Finding, Probe


@click.command()
@location_options
@report_option
@output_option
def command(location: Location, report: str | None, output: str) -> None:
    """Probe a location: is it reachable, atomic, complete, on time?

    Writes some small objects under probe/ in the location, lets several writers race for the same names, reads, lists and deletes
    them again. A place that tells two writers that both created an object (NotAtomic) cannot be the home of a vault. Takes seconds,
    at most about a minute and a half.

    With --object-lock it also tries whether the lock refuses to delete, can be extended, and lets hidden versions be read. What it puts for
    that is locked for a minute only, whatever the period; the next probe removes it.

    \b
    Exit codes: 0 fit to be a home, 20 not fit or not accessible, 10 out of reach.

    \b
    Example:
      recoup doctor --location s3://backups/prod --endpoint-url https://s3.example.org --object-lock compliance:30d
    """
    from recoup.engine.probe import probe
    from recoup.errors import Invalid
    from recoup.report import reporting

    with reporting(report) as summary:
        result = probe(structs.replace(location, object_lock=None).open())
        if location.object_lock is not None:
            result.findings += _try_lock(location)
        _print(result, output)
        failure = result.first_failure()
        if failure is not None:
            raise Invalid(f"{result.url}: {failure.message}", reason=failure.reason)
        summary.message = f"one winner in each of {result.races} races; {len(result.findings)} checks"


def _try_lock(location: Location) -> list[Finding]:
    from recoup.engine.probe_lock import BRIEF, try_lock

    assert location.object_lock is not None
    brief = structs.replace(location, object_lock=structs.replace(location.object_lock, period=BRIEF))
    return try_lock(structs.replace(location, object_lock=None).open(), brief.open())


def _print(result: Probe, output: str) -> None:
    from recoup.cli.output import emit_json, emit_table

    if output == "json":
        emit_json(
            {
                "location": result.url,
                "conformant": result.conformant,
                "races": result.races,
                "leftBehind": result.left_behind,
                "clockSkew": result.clock_skew,
                "findings": [msgspec.structs.asdict(finding) for finding in result.findings],
            }
        )
        return
    rows = [(finding.check, finding.reason or finding.verdict, finding.message) for finding in result.findings]
    emit_table(("CHECK", "RESULT", "WHAT IT MEANS"), rows)
