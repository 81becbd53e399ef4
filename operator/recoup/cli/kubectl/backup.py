"""`kubectl recoup backup`: a recovery point now, outside the schedule."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from recoup.api.names import snapshot_name
from recoup.api.objects import API_VERSION
from recoup.cli.kubectl.cluster import Cluster, Object, cluster_options
from recoup.cli.kubectl.follow import Shown, follow, verdict
from recoup.cli.options import output_option
from recoup.controller.resources import POLICY, SNAPSHOT


@click.command()
@click.argument("policy")
@click.option("--name", metavar="NAME", help="Name of the BackupSnapshot. [default: the policy's name and the time]")
@click.option("--wait", is_flag=True, help="Wait until it is stored, showing progress.")
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0), help="With --wait, give up waiting after this long.")
@cluster_options
@output_option
def command(cluster: Cluster, policy: str, name: str | None, wait: bool, timeout: float | None, output: str) -> int:
    """Make a recovery point of the volumes of POLICY now.

    Creates a BackupSnapshot, which is all that it takes; the schedule goes on as before.

    \b
    Example:
      kubectl recoup backup shop -n shop --name before-upgrade --wait
    """
    cluster.get(POLICY, policy)
    name = name or snapshot_name(policy, datetime.now(UTC))
    metadata = {"name": name, "namespace": cluster.place}
    body = {"apiVersion": API_VERSION, "kind": SNAPSHOT.kind, "metadata": metadata, "spec": {"policyRef": {"name": policy}}}
    made = cluster.create(SNAPSHOT, body)
    if not wait:
        _print(made, output)
        return 0
    ended = follow(cluster, SNAPSHOT, name, _look, timeout=timeout)
    _print(ended, output)
    return verdict(ended)


def _look(snapshot: Object) -> Shown:
    status = snapshot.get("status") or {}
    volumes = status.get("volumes") or ()
    progress = [volume.get("progress") or {} for volume in volumes]
    stored = sum(volume["state"] == "Stored" for volume in volumes)
    words = f"{stored}/{len(volumes)} volumes stored" if volumes else "the run has not begun"
    reason = next((item.get("message") for item in status.get("conditions") or () if item["type"] == "Ready"), None)
    total = sum(item.get("bytesTotal") or 0 for item in progress)
    done = sum(item.get("bytesDone") or 0 for item in progress)
    return Shown(words if volumes else reason or words, done if total else 0, total)


def _print(snapshot: Object, output: str) -> None:
    from recoup.cli.output import emit_json

    if output == "json":
        emit_json(snapshot)
        return
    summary = (snapshot.get("status") or {}).get("summary")
    more = f"  {summary['volumes']} volumes  {summary.get('size', '-')}  {summary.get('stored', '-')} new" if summary else ""
    click.echo(f"backupsnapshot/{snapshot['metadata']['name']}{more}")
