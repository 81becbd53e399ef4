"""`recoup unpin`: let retention decide about recovery points again."""

from __future__ import annotations

import click

from recoup.cli.maintenance import MaintenanceOptions, maintenance_options
from recoup.cli.options import Location, location_options, report_option


@click.command()
@location_options
@maintenance_options
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the log.")
@report_option
def command(location: Location, keys: MaintenanceOptions, ids: tuple[str, ...], reason: str, report: str | None) -> None:
    """Let retention decide about pinned recovery points again.

    \b
    Example:
      recoup unpin --location file:///srv/backups --key-file backup.key 4f2a91c0 --reason "the migration is done"
    """
    from recoup.engine.log.bodies import Unpin
    from recoup.engine.points import find_point
    from recoup.report import reporting

    with reporting(report) as summary:
        vault = keys.open(location.open())
        points = list(dict.fromkeys(find_point(vault, ident).body.manifest for ident in ids))
        for point in points:
            vault.log.append(Unpin(point, reason), vault.keys.signer)
        summary.message = f"{len(points)} recovery points are pinned no longer"
    for point in points:
        click.echo(f"recovery point {point.hex()[:16]} is pinned no longer")
