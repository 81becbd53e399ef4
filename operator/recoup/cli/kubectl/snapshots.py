"""`kubectl recoup snapshots`: the recovery points that the cluster knows, newest first."""

from __future__ import annotations

import click

from recoup.api.quantities import to_quantity
from recoup.cli.kubectl.cluster import Cluster, Object, clusterwide_options
from recoup.cli.kubectl.facts import age, condition, text
from recoup.cli.options import output_option
from recoup.controller.resources import SNAPSHOT


@click.command()
@click.option("--policy", metavar="NAME", help="Only those of this policy.")
@click.option("--volumes", is_flag=True, help="One line a volume.")
@clusterwide_options
@output_option
def command(cluster: Cluster, policy: str | None, volumes: bool, output: str) -> None:
    """List recovery points, newest first.

    READY is True for a point with all its volumes; the others can be restored volume by volume where a volume is Stored. Points whose
    objects are gone are still in their location: restore them by --location and --source-namespace, or list them with
    `recoup snapshots` and a key.
    """
    from recoup.cli.output import emit_json, emit_table

    found = [item for item in cluster.list(SNAPSHOT) if policy in (None, item["spec"]["policyRef"]["name"])]
    found.sort(key=_taken, reverse=True)
    if output == "json":
        emit_json(found)
        return
    if volumes:
        columns = ("NAMESPACE", "NAME", "VOLUME", "STATE", "FILES", "SIZE", "STORED", "ID", "REASON")
        emit_table(columns, [row for item in found for row in _volume_rows(item)], right=("FILES", "SIZE", "STORED"))
        return
    emit_table(("NAMESPACE", "NAME", "POLICY", "TAKEN", "VOLUMES", "SIZE", "STORED", "READY", "REASON"), [_row(item) for item in found])


def _taken(snapshot: Object) -> str:
    return str((snapshot.get("status") or {}).get("takenAt") or snapshot["metadata"]["creationTimestamp"])


def _row(snapshot: Object) -> tuple[str, ...]:
    metadata, status = snapshot["metadata"], snapshot.get("status") or {}
    summary, ready = status.get("summary") or {}, condition(snapshot, "Ready")
    return (
        metadata["namespace"],
        metadata["name"],
        snapshot["spec"]["policyRef"]["name"],
        age(status.get("takenAt")),
        text(summary.get("volumes")),
        text(summary.get("size")),
        text(summary.get("stored")),
        text(ready.get("status")),
        text(ready.get("reason")),
    )


def _volume_rows(snapshot: Object) -> list[tuple[str, ...]]:
    metadata = snapshot["metadata"]
    return [
        (
            metadata["namespace"],
            metadata["name"],
            volume["persistentVolumeClaim"],
            volume["state"],
            text(volume.get("filesTotal")),
            _size(volume.get("bytesTotal")),
            _size(volume.get("bytesStored")),
            text((volume.get("manifest") or "")[:16]),
            text(volume.get("reason")),
        )
        for volume in (snapshot.get("status") or {}).get("volumes") or ()
    ]


def _size(count: int | None) -> str:
    return "-" if count is None else to_quantity(count)
