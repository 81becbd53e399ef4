"""`kubectl recoup coverage`: every PersistentVolumeClaim, and whether it is protected."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import msgspec

from recoup.cli.kubectl.cluster import Cluster, clusterwide_options
from recoup.cli.kubectl.facts import age
from recoup.cli.options import output_option
from recoup.controller.resources import POLICY, PVC
from recoup.plan.coverage import CoverageState, Covered, judge_coverage


@click.command()
@click.option(
    "--state", "states", multiple=True, type=click.Choice([str(state) for state in CoverageState]), help="Only these; repeatable."
)
@click.option("--movers-namespace", default="recoup-movers", show_default=True, help="Whose claims are Recoup's own.")
@clusterwide_options
@output_option
def command(cluster: Cluster, states: tuple[str, ...], movers_namespace: str, output: str) -> None:
    """Show which volumes are protected, stale, unprotected or excluded, the worst first.

    Protected: a BackupPolicy selects it and its newest recovery point is within objectives.rpo. Stale: it is older. Unprotected: no
    policy selects it, or there is no recovery point yet. Excluded: a policy names it in spec.selector.exclude.

    \b
    Examples:
      kubectl recoup coverage -A
      kubectl recoup coverage -A --state Unprotected -o json
    """  # click's mark for text that is not to be wrapped is a real backspace
    from recoup.cli.output import emit_json, emit_table

    found = judge_coverage(cluster.list(PVC), cluster.list(POLICY), datetime.now(UTC), movers_namespace=movers_namespace)
    shown = [one for one in found if not states or one.state in states]
    if output == "json":
        emit_json([msgspec.to_builtins(one) for one in shown])
        return
    emit_table(("NAMESPACE", "VOLUME", "STATE", "NEWEST POINT", "POLICIES", "WHY"), [_row(one) for one in shown])


def _row(one: Covered) -> tuple[str, ...]:
    newest = age(f"{one.newest:%Y-%m-%dT%H:%M:%SZ}") if one.newest else "-"
    return (one.namespace, one.claim, str(one.state), newest, ", ".join(one.policies) or "-", one.why)
