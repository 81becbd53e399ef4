"""`recoup verify`: check that recovery points can be restored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from recoup.cli.options import KeyOptions, Location, key_options, location_options, output_option, parallelism_option, report_option

if TYPE_CHECKING:
    from recoup.engine.verify.findings import Findings
    from recoup.errors import Integrity
    from recoup.report import Report


@click.command()
@location_options
@key_options
@click.option("--level", type=click.IntRange(0, 4), default=1, show_default=True, help="How deep to look, see above.")
@click.option("--snapshot", "snapshots", metavar="ID", multiple=True, help="Only this recovery point; several times. [default: all]")
@click.option("--no-record", is_flag=True, help="Append nothing about it to the log.")
@parallelism_option
@report_option
@output_option
def command(
    location: Location,
    keys: KeyOptions,
    level: int,
    snapshots: tuple[str, ...],
    no_record: bool,
    parallelism: int | None,
    report: str | None,
    output: str,
) -> None:
    """Check that recovery points can be restored.

    \b
    Levels, each with what the ones before it do:
      0  the log: signatures, order, keyrings and rules are those it names
      1  every object is there with its size                 (one request an object)
      2  today's thirtieth of all objects is read and is what its name says
      3  every object is read and is what its name says
      4  every block is decrypted, decompressed and compared with its id, every tree is walked

    Damaged objects are named with the recovery points and paths that they cost. The result is recorded in the log if these
    credentials may do that.

    \b
    Exit codes: 0 all good, 30 something is damaged or missing.

    \b
    Example:
      recoup verify --location file:///srv/backups --key-file backup.key --level 4
    """  # click's mark for text that is not to be wrapped is a real backspace
    from recoup.engine.points import find_point
    from recoup.engine.verify.run import verify
    from recoup.report import Progress, reporting

    with reporting(report) as summary:
        unlocked = keys.unlock(location.open())
        commits = [find_point(unlocked, wanted) for wanted in snapshots] or list(unlocked.log.state.commits.values())
        findings = verify(unlocked, commits, level, Progress(), record=not no_record, threads=parallelism)
        _summarise(findings, summary)
        _print(findings, output)
        if not findings.good:
            raise _error(findings)


def _summarise(findings: Findings, summary: Report) -> None:
    summary.bytes_read, summary.files_total = findings.bytes_read, findings.files
    summary.errors = len(findings.damages) + len(findings.log)
    summary.first_paths = [f"{affected.point[:16]}: {path}" for affected in findings.affected for path in affected.paths[:3]][:10]


def _error(findings: Findings) -> Integrity:
    from recoup.errors import Integrity

    if findings.log:
        return Integrity(f"the log: {findings.log[0]}", reason=findings.log[0].split(":")[0])
    if not findings.affected:
        names = ", ".join(findings.harmless[:3])
        return Integrity(
            f"{len(findings.harmless)} damaged objects ({names}), which no restore needs: backups get slower, no more",
            reason="CacheDamaged",
        )
    damaged = next(iter(findings.damages.values()), None)
    what = (
        f"{len(findings.damages)} objects are damaged or missing (first: {damaged.name}: {damaged.message})"
        if damaged
        else findings.affected[0].whole
    )
    message = f"{what}; {len(findings.affected)} recovery points cannot be restored whole"
    return Integrity(message, reason=damaged.reason if damaged else "ObjectDamaged")


def _print(findings: Findings, output: str) -> None:
    from recoup.cli.output import emit_json, human_bytes

    if output == "json":
        emit_json(_fields(findings))
        return
    for text in findings.log:
        click.echo(f"log: {text}")
    for damage in findings.damages.values():
        note = " (not needed for a restore)" if damage.name in findings.harmless else ""
        click.echo(f"damaged: {damage.name}: {damage.message}{note}")
    for affected in findings.affected:
        if affected.whole:
            click.echo(f"recovery point {affected.point[:16]}: cannot be restored: {affected.whole}")
        for path in affected.paths:
            click.echo(f"recovery point {affected.point[:16]}: lost: {path}")
        if affected.paths_total > len(affected.paths):
            click.echo(f"recovery point {affected.point[:16]}: … and {affected.paths_total - len(affected.paths)} more")
    if findings.good:
        depth = f"{findings.objects} of {findings.objects_live} objects, {human_bytes(findings.bytes_read)} read"
        click.echo(f"level {findings.level}: {findings.points} recovery points are good ({depth if findings.level else 'log only'})")
    if findings.recorded:
        click.echo(findings.recorded)


def _fields(findings: Findings) -> dict[str, Any]:
    return {
        "level": findings.level,
        "good": findings.good,
        "points": findings.points,
        "objects": findings.objects,
        "objectsLive": findings.objects_live,
        "bytesRead": findings.bytes_read,
        "files": findings.files,
        "log": findings.log,
        "damaged": [
            {
                "object": damage.name,
                "reason": damage.reason,
                "message": damage.message,
                "neededForRestore": damage.name not in findings.harmless,
            }
            for damage in findings.damages.values()
        ],
        "affected": [
            {"id": affected.point, "whole": affected.whole, "paths": affected.paths, "pathsTotal": affected.paths_total}
            for affected in findings.affected
        ],
        "recorded": findings.recorded,
    }
