"""`recoup unpin`: let retention decide about a recovery point again."""

from __future__ import annotations

import click

from recoup.cli.maintenance import MaintenanceOptions, maintenance_options
from recoup.cli.options import Location, location_options


@click.command()
@location_options
@maintenance_options
@click.argument("ident", metavar="ID")
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the log.")
def command(location: Location, keys: MaintenanceOptions, ident: str, reason: str) -> None:
    """Let retention decide about a pinned recovery point again.

    \b
    Example:
      recoup unpin --location file:///srv/backups --key-file backup.key 4f2a91c0 --reason "the migration is done"
    """
    from recoup.engine.log.bodies import Unpin
    from recoup.engine.points import find_point

    vault = keys.open(location.open())
    point = find_point(vault, ident).body.manifest
    vault.log.append(Unpin(point, reason), vault.keys.signer)
    click.echo(f"recovery point {point.hex()[:16]} is pinned no longer")
