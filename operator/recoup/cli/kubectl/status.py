"""`kubectl recoup status`: what is protected, what is under way, and what is not fine."""

from __future__ import annotations

import click

from recoup.cli.kubectl.cluster import Cluster, Object, clusterwide_options
from recoup.cli.kubectl.facts import age, condition, is_over, text
from recoup.cli.options import output_option
from recoup.controller.resources import LOCATION, POLICY, RESTORE, SNAPSHOT
from recoup.errors import Denied


@click.command()
@clusterwide_options
@output_option
def command(cluster: Cluster, output: str) -> None:
    """Show policies, locations and what is under way.

    Locations are shown if you may read them.
    """
    from recoup.cli.output import emit_json, emit_table

    policies = cluster.list(POLICY)
    try:
        locations = cluster.list(LOCATION)
    except Denied:
        locations = []
    working = [item for resource in (SNAPSHOT, RESTORE) for item in cluster.list(resource) if not is_over(item)]
    if output == "json":
        emit_json({"locations": locations, "policies": policies, "working": working})
        return
    if locations:
        emit_table(("LOCATION", "REACHABLE", "CONFORMANT", "KEYS", "VAULTS", "READY", "MESSAGE"), [_location(item) for item in locations])
        click.echo()
    if policies:
        columns = ("NAMESPACE", "POLICY", "SCHEDULE", "VOLUMES", "LAST GOOD", "NEXT", "READY", "MESSAGE")
        emit_table(columns, [_policy(item) for item in policies])
    else:
        click.echo("no BackupPolicy: nothing is protected here")
    if working:
        click.echo()
        emit_table(("NAMESPACE", "UNDER WAY", "VOLUMES", "PROGRESS", "SINCE", "MESSAGE"), [_work(item) for item in working])


def _location(location: Object) -> tuple[str, ...]:
    status, ready = location.get("status") or {}, condition(location, "Ready")
    return (
        location["metadata"]["name"],
        text(condition(location, "Reachable").get("status")),
        text(condition(location, "Conformant").get("reason")),
        text(status.get("keyCount")),
        text(status.get("vaultCount")),
        text(ready.get("status")),
        "" if ready.get("status") == "True" else text(ready.get("message")),
    )


def _policy(policy: Object) -> tuple[str, ...]:
    status, ready = policy.get("status") or {}, condition(policy, "Ready")
    return (
        policy["metadata"]["namespace"],
        policy["metadata"]["name"],
        text(status.get("schedule")),
        text((status.get("coverage") or {}).get("summary")),
        age((status.get("lastSuccess") or {}).get("at")),
        text(status.get("nextRun")),
        text(ready.get("status")),
        "" if ready.get("status") == "True" else text(ready.get("message")),
    )


def _work(thing: Object) -> tuple[str, ...]:
    summary = (thing.get("status") or {}).get("summary") or {}
    return (
        thing["metadata"]["namespace"],
        f"{thing['kind'].lower()}/{thing['metadata']['name']}",
        text(summary.get("volumes")),
        text(summary.get("progress")),
        age(thing["metadata"]["creationTimestamp"]),
        text(condition(thing, "Ready").get("message")),
    )
