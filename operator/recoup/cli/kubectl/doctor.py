"""`kubectl recoup doctor`: is everything there that backups and restores need? Each finding says what to do."""

from __future__ import annotations

import click

from recoup.cli.kubectl.checks import Finding, Level, examine
from recoup.cli.kubectl.cluster import Cluster, whole_cluster_options
from recoup.cli.options import output_option
from recoup.errors import Invalid


@click.command()
@click.option("--system-namespace", default="recoup-system", show_default=True, help="Where the controller runs.")
@click.option("--movers-namespace", default="recoup-movers", show_default=True, help="Where movers run.")
@whole_cluster_options
@output_option
def command(cluster: Cluster, system_namespace: str, movers_namespace: str, output: str) -> None:
    """Check the installation: resources, controller, snapshots, locations, policies, leftovers.

    What you may not read is said to be unknown. Exit code 20 if something fails.
    """
    findings = examine(cluster, system_namespace=system_namespace, movers_namespace=movers_namespace)
    _print(findings, output)
    failed = [finding for finding in findings if finding.level is Level.FAIL]
    if failed:
        raise Invalid(f"{len(failed)} of {len(findings)} checks failed", reason="NotHealthy")


def _print(findings: list[Finding], output: str) -> None:
    from recoup.cli.output import emit_json, emit_table

    if output == "json":
        emit_json([{"check": item.check, "level": item.level.value, "message": item.message} for item in findings])
        return
    emit_table(("", "CHECK", "FINDING"), [(item.level.value, item.check, item.message) for item in findings])
