"""`recoup pin`: keep a recovery point, whatever retention says."""

from __future__ import annotations

import click

from recoup.cli.maintenance import MaintenanceOptions, maintenance_options
from recoup.cli.options import Location, location_options


@click.command()
@location_options
@maintenance_options
@click.argument("ident", metavar="ID")
@click.option(
    "--reason", required=True, metavar="TEXT", help="Why, for those who ask later; it stands in the log, readable by all who read it."
)
def command(location: Location, keys: MaintenanceOptions, ident: str, reason: str) -> None:
    """Keep a recovery point, whatever retention says, until `recoup unpin`.

    \b
    Example:
      recoup pin --location file:///srv/backups --key-file backup.key 4f2a91c0 --reason "before the migration"
    """
    from recoup.engine.log.bodies import Pin
    from recoup.engine.points import find_point

    vault = keys.open(location.open())
    point = find_point(vault, ident).body.manifest
    vault.log.append(Pin(point, reason), vault.keys.signer)
    click.echo(f"recovery point {point.hex()[:16]} is pinned")
