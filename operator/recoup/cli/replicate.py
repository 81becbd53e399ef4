"""`recoup replicate`: copy vaults to another location."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from recoup.cli.options import ByteSize, Location, output_option, parallelism_option, report_option
from recoup.cli.places import SETTINGS_HELP, PlaceType

if TYPE_CHECKING:
    from recoup.engine.replicate.run import Replicated
    from recoup.report import Report


@click.command(epilog=SETTINGS_HELP)
@click.option("--from", "source", metavar="URL", type=PlaceType(), required=True, help="Where the vault is: its home, or another copy.")
@click.option("--to", "target", metavar="URL", type=PlaceType(), required=True, help="Where the copy is, or shall be.")
@click.option("--vault", metavar="HEX", help="Only this vault. [default: every vault at the source]")
@click.option("--fingerprint", metavar="TEXT", help="Fingerprint that `recoup init` printed: copy only the vault that has it.")
@click.option("--upload-limit", metavar="SIZE", type=ByteSize(), help="Bytes a second to send at most, as 10MB or 50Mi.")
@click.option("--download-limit", metavar="SIZE", type=ByteSize(), help="Bytes a second to fetch at most, as 10MB or 50Mi.")
@click.option("--add-only", is_flag=True, help="Copy new recovery points, and change nothing about those that are there already.")
@parallelism_option
@report_option
@output_option
def command(
    source: Location,
    target: Location,
    vault: str | None,
    fingerprint: str | None,
    upload_limit: int | None,
    download_limit: int | None,
    add_only: bool,
    parallelism: int | None,
    report: str | None,
    output: str,
) -> None:
    """Copy vaults to another location.

    Needs no key: every object is compared with the digest that is its name before it counts, and every log entry with its
    signature. Reads at the source, creates at the target, overwrites and deletes nothing. Run it again after any failure, or every
    hour: it copies what is missing. The copy can be restored from with nothing but itself and a key.

    What was copied stays when it is forgotten at the source. It follows a repack there, and what is unpinned there is unpinned in the copy;
    with --add-only, for a source that somebody else controls, it does neither.

    A copy counts as verified after `recoup verify --location COPY`.

    \b
    Exit codes: 0 the copy is complete, 30 some recovery points could not be copied (listed; the others are), or source and copy
    do not belong together, 10 a location did not answer, 20 a location refused.

    \b
    Example:
      recoup replicate --from file:///srv/backups --to 's3://offsite/backups?credentials-dir=/etc/recoup/offsite'
    """  # click's mark for text that is not to be wrapped is a real backspace
    from recoup.engine.replicate.run import Replicated, replicate
    from recoup.report import Progress, reporting

    origin = replace(source, download_limit=download_limit).open()
    place = replace(target, upload_limit=upload_limit).open()
    results: list[Replicated] = []
    with reporting(report) as summary:
        try:
            for vault_id, root in chosen(origin, vault, fingerprint):
                results.append(Replicated(vault_id.hex()))
                replicate(
                    origin, place, vault_id, Progress(), pinned_root=root, threads=parallelism, done=results[-1], add_only=add_only
                )  # fmt: skip
        finally:
            _summarise(results, summary)
            _print(results, output, target.url)
        _complain(results)


def chosen(origin: Any, vault: str | None, fingerprint: str | None) -> list[tuple[bytes, bytes | None]]:
    """(vault id, pinned root key) of what is to be copied."""
    from recoup.engine.keys.text import decode_fingerprint
    from recoup.engine.unlock import parse_vault
    from recoup.engine.vault import list_vaults
    from recoup.errors import NotFound, Usage

    pinned = decode_fingerprint(fingerprint) if fingerprint is not None else None
    wanted = parse_vault(vault) if vault is not None else None
    if pinned is not None:
        if wanted not in {None, pinned[0]}:
            raise Usage(f"the fingerprint is that of vault {pinned[0].hex()}, not of {vault}")
        return [pinned]
    if wanted is not None:
        return [(wanted, None)]
    found = list_vaults(origin)
    if not found:
        raise NotFound(f"{origin.url} holds no vault", reason="NoVault")
    return [(vault_id, None) for vault_id in found]


def _complain(results: list[Replicated]) -> None:
    from recoup.errors import Integrity

    lost = [one for result in results for one in result.lost]
    if lost:
        message = f"{len(lost)} recovery points could not be copied (first: {lost[0].point[:16]}: {lost[0].message})"
        raise Integrity(f"{message}; heal the source with `recoup heal` if another copy has what is missing", reason=lost[0].reason)


def _summarise(results: list[Replicated], summary: Report) -> None:
    summary.bytes_stored = sum(result.copied.bytes for result in results)
    summary.bytes_read = sum(result.copied.bytes + result.copied.found_bytes for result in results)
    summary.errors = sum(len(result.lost) for result in results)
    summary.first_paths = [lost.point for result in results for lost in result.lost][:10]
    summary.message = f"{sum(len(result.points) for result in results)} recovery points copied"


def _print(results: list[Replicated], output: str, target: str) -> None:
    from recoup.cli.output import emit_json, human_bytes

    if output == "json":
        emit_json([_fields(result) for result in results])
        return
    for result in results:
        copied = result.copied
        what = f"{len(result.points)} recovery points copied, {copied.objects} objects, {human_bytes(copied.bytes)}"
        found = f", {copied.found} were there and are good" if copied.found else ""
        click.echo(f"vault {result.vault}: {what}{found}; {target} has {result.points_here} now")
        if result.first and result.fingerprint:
            click.echo(f"first copy of a vault with the fingerprint {result.fingerprint}: compare it with what `recoup init` printed")
        if copied.spoilt:
            click.echo(f"{copied.spoilt} objects stood there with other bytes than their names say, and were put again beside them")
        if result.forgotten:
            click.echo(f"{result.forgotten} recovery points were forgotten at the source before they were copied")
        for note in result.notes:
            click.echo(f"note: {note}")
        for lost in result.lost:
            click.echo(f"recovery point {lost.point[:16]}: not copied: {lost.objects} objects cannot be had, first: {lost.message}")


def _fields(result: Replicated) -> dict[str, Any]:
    copied = result.copied
    return {
        "vault": result.vault,
        "fingerprint": result.fingerprint,
        "first": result.first,
        "points": result.points,
        "pointsThere": result.points_here,
        "entries": result.entries,
        "forgotten": result.forgotten,
        "objects": copied.objects,
        "bytes": copied.bytes,
        "objectsFound": copied.found,
        "bytesFound": copied.found_bytes,
        "objectsSpoilt": copied.spoilt,
        "notes": result.notes,
        "lost": [{"id": one.point, "reason": one.reason, "message": one.message, "objects": one.objects} for one in result.lost],
    }
