"""`recoup heal`: bring back what a location lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from recoup.cli.options import Location, location_options, output_option, parallelism_option, report_option
from recoup.cli.places import SETTINGS_HELP, PlaceType

if TYPE_CHECKING:
    from recoup.engine.healing.run import Healed
    from recoup.report import Report


@click.command(epilog=SETTINGS_HELP)
@location_options
@click.option(
    "--from", "others", metavar="URL", type=PlaceType(), required=True, multiple=True, help="A location that holds copies; several times."
)
@click.option("--vault", metavar="HEX", help="Only this vault. [default: every vault at the location]")
@click.option(
    "--check",
    type=click.Choice(["content", "presence", "recorded"]),
    default="content",
    show_default=True,
    help="Read every object; or only ask whether it is there; or take the word of `recoup verify` for what is damaged.",
)
@parallelism_option
@report_option
@output_option
def command(
    location: Location,
    others: tuple[Location, ...],
    vault: str | None,
    check: str,
    parallelism: int | None,
    report: str | None,
    output: str,
) -> None:
    """Bring back what a location lost, from other locations.

    Looks at every object that the recovery points at --location need and puts what is missing or damaged there again, with bytes
    from the first --from that has them as the digest in the name says. Needs no key; reads at the others, creates at the location,
    overwrites and deletes nothing. The home of a vault and its copies heal each other alike.

    \b
    Exit codes: 0 everything is good now, 30 something is damaged everywhere (listed with the recovery points that need it),
    10 a location did not answer, 20 a location refused.

    \b
    Example:
      recoup heal --location file:///srv/backups --from 's3://offsite/backups?credentials-dir=/etc/recoup/offsite'
    """  # click's mark for text that is not to be wrapped is a real backspace
    from recoup.cli.replicate import chosen
    from recoup.engine.healing.look import Check
    from recoup.engine.healing.run import Healed, heal
    from recoup.report import Progress, reporting

    place = location.open()
    sources = [replace(other, download_limit=location.download_limit).open() for other in others]
    results: list[Healed] = []
    with reporting(report) as summary:
        try:
            for vault_id, root in chosen(place, vault, None):
                results.append(Healed(vault_id.hex()))
                heal(place, sources, vault_id, Progress(), pinned_root=root, check=Check(check), threads=parallelism, done=results[-1])
        finally:
            _summarise(results, summary)
            _print(results, output)
        _complain(results)


def _complain(results: list[Healed]) -> None:
    from recoup.errors import Integrity

    lost = [(what, points) for result in results for what, points in result.lost.items()]
    if lost:
        points = {point for _, some in lost for point in some}
        message = f"{len(lost)} objects are damaged here and cannot be had elsewhere (first: {lost[0][0]})"
        raise Integrity(f"{message}; {len(points)} recovery points need them", reason="DamagedEverywhere")


def _summarise(results: list[Healed], summary: Report) -> None:
    summary.bytes_stored = sum(result.copied.bytes for result in results)
    summary.bytes_read = sum(result.copied.found_bytes for result in results)
    summary.errors = sum(len(result.lost) for result in results)
    summary.first_paths = [what for result in results for what in result.lost][:10]
    summary.message = f"{sum(len(result.objects) for result in results)} objects brought back"


def _print(results: list[Healed], output: str) -> None:
    from recoup.cli.output import emit_json, human_bytes

    if output == "json":
        emit_json([_fields(result) for result in results])
        return
    for result in results:
        seen = result.copied.found + len(result.objects)
        click.echo(f"vault {result.vault}: {result.points} recovery points, {seen} objects: {len(result.objects)} brought back")
        for url, objects, size in result.sources:
            if objects:
                click.echo(f"from {url}: {objects} objects, {human_bytes(size)}")
        for name in result.objects:
            click.echo(f"brought back: {name}")
        for what, points in result.lost.items():
            needed = f" (needed by {', '.join(point[:16] for point in points[:5])}{' …' if len(points) > 5 else ''})" if points else ""
            click.echo(f"lost: {what}{needed}")


def _fields(result: Healed) -> dict[str, Any]:
    return {
        "vault": result.vault,
        "points": result.points,
        "objects": result.copied.found + len(result.objects),
        "bytesRead": result.copied.found_bytes,
        "healed": result.objects,
        "sources": [{"url": url, "objects": objects, "bytes": size} for url, objects, size in result.sources],
        "lost": [{"message": what, "points": points} for what, points in result.lost.items()],
    }
