"""`recoup pin`: keep recovery points, whatever retention says."""

from __future__ import annotations

import click

from recoup.cli.maintenance import MaintenanceOptions, maintenance_options
from recoup.cli.options import Location, location_options, report_option


@click.command()
@location_options
@maintenance_options
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option(
    "--reason", required=True, metavar="TEXT", help="Why, for those who ask later; it stands in the log, readable by all who read it."
)
@click.option("--renew", is_flag=True, help="Give this reason to one that is pinned already; otherwise that is refused.")
@report_option
def command(location: Location, keys: MaintenanceOptions, ids: tuple[str, ...], reason: str, renew: bool, report: str | None) -> None:
    """Keep recovery points, whatever retention says, until `recoup unpin`.

    \b
    Example:
      recoup pin --location file:///srv/backups --key-file backup.key 4f2a91c0 --reason "before the migration"
    """
    from recoup.engine.log.bodies import Pin, Unpin
    from recoup.engine.points import find_point
    from recoup.report import reporting

    with reporting(report) as summary:
        vault = keys.open(location.open())
        points = list(dict.fromkeys(find_point(vault, ident).body.manifest for ident in ids))
        for point in points:
            known = vault.log.state.pinned.get(point)
            if renew and known is not None:
                if known.body.reason == reason:
                    continue
                vault.log.append(Unpin(point, "pinned anew for another reason"), vault.keys.signer)
            vault.log.append(Pin(point, reason), vault.keys.signer)
        summary.message = f"{len(points)} recovery points are pinned"
    for point in points:
        click.echo(f"recovery point {point.hex()[:16]} is pinned")
