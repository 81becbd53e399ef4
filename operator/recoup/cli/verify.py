"""`recoup verify`: check that recovery points can be restored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from recoup.cli.options import KeyOptions, Location, key_options, location_options, output_option, parallelism_option, report_option
from recoup.cli.places import SETTINGS_HELP, PlaceType
from recoup.errors import Usage

PURPOSE_LIMIT = 200

if TYPE_CHECKING:
    from recoup.engine.vault import Unlocked
    from recoup.engine.verify.findings import Findings
    from recoup.errors import Integrity
    from recoup.report import Report


@click.command(epilog=SETTINGS_HELP)
@location_options
@key_options
@click.option("--level", type=click.IntRange(0, 4), default=1, show_default=True, help="How deep to look, see above.")
@click.option("--snapshot", "snapshots", metavar="ID", multiple=True, help="Only this recovery point; several times. [default: all]")
@click.option(
    "--heal-from",
    "others",
    metavar="URL",
    type=PlaceType(),
    multiple=True,
    help="A location that holds copies: what is damaged is brought back from there, and looked at again; several times.",
)
@click.option("--round", "purpose", metavar="TEXT", default="", help="Record this as what the run was made for.")
@click.option("--no-record", is_flag=True, help="Append nothing about it to the log.")
@parallelism_option
@report_option
@output_option
def command(
    location: Location,
    keys: KeyOptions,
    level: int,
    snapshots: tuple[str, ...],
    others: tuple[Location, ...],
    purpose: str,
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
      2  a part of all objects is read and is what its name says: what is due since the last time, each object once in 30 days
      3  every object is read and is what its name says
      4  every block is decrypted, decompressed and compared with its id, every tree is walked

    Damaged objects are named with the recovery points and paths that they cost. What was once damaged is read and opened at every level.
    The result is recorded in the log if these credentials may do that: `recoup evidence` shows it.

    \b
    Exit codes: 0 all good (now, with --heal-from), 30 something is damaged or missing.

    \b
    Examples:
      recoup verify --location file:///srv/backups --key-file backup.key --level 4
      recoup verify --location file:///srv/backups --key-file backup.key --heal-from file:///mnt/offsite/backups
    """  # click's mark for text that is not to be wrapped is a real backspace
    from recoup.engine.points import find_point
    from recoup.engine.verify.run import verify
    from recoup.report import Progress, reporting

    if others and no_record:
        raise Usage("--heal-from needs the log to say what is damaged: leave --no-record out")
    check_purpose(purpose)
    with reporting(report) as summary:
        unlocked = keys.unlock(location.open())
        healer = _healer(unlocked, location, others, parallelism) if others else None
        commits = [find_point(unlocked, wanted) for wanted in snapshots] or list(unlocked.log.state.commits.values())
        findings = verify(unlocked, commits, level, Progress(), record=not no_record, threads=parallelism, healer=healer, purpose=purpose)
        _summarise(findings, summary)
        _print(findings, output)
        if not findings.good:
            raise _error(findings)


def check_purpose(purpose: str) -> None:
    """Raises Usage if --round is too long for an entry of the log."""
    if len(purpose) > PURPOSE_LIMIT:
        raise Usage(f"--round has {len(purpose)} characters, at most {PURPOSE_LIMIT} are recorded")


def _healer(unlocked: Unlocked, location: Location, others: tuple[Location, ...], threads: int | None) -> Callable[[], object]:
    """What brings back the objects that the log calls damaged, from these locations."""
    from recoup.engine.healing.look import Check
    from recoup.engine.healing.run import heal
    from recoup.report import Progress

    sources = [replace(other, download_limit=location.download_limit).open() for other in others]
    identity, store = unlocked.identity, unlocked.log.store
    return lambda: heal(
        store, sources, identity.vault_id, Progress(), pinned_root=identity.root_public, check=Check.RECORDED, threads=threads
    )


def _summarise(findings: Findings, summary: Report) -> None:
    summary.bytes_read, summary.files_total = findings.bytes_read, findings.files
    summary.errors = len(findings.damages) + len(findings.log)
    summary.message = f"{findings.healed} of {findings.found_objects} damaged objects brought back" if findings.found_objects else ""
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
    if findings.healing:
        how = "" if findings.healing == "Tried" else f" ({findings.healing})"
        click.echo(f"healing: {findings.healed} of {findings.found_objects} damaged objects brought back{how}")
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
        "healing": findings.healing,
        "objectsHealed": findings.healed,
        "recorded": findings.recorded,
    }
