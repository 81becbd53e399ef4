"""`kubectl recoup restore`: a RestoreRequest from the command line, its plan, and a progress bar."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from recoup.api.durations import parse_duration
from recoup.api.names import slot_text
from recoup.api.objects import API_VERSION
from recoup.cli.kubectl.cluster import Cluster, Object, cluster_options
from recoup.cli.kubectl.facts import condition, is_over, is_true, text
from recoup.cli.kubectl.follow import Shown, follow, until, verdict
from recoup.cli.options import output_option
from recoup.controller.resources import RESTORE
from recoup.errors import RecoupError, Usage

PLAN_WITHIN = 60.0
"""Seconds to wait for the controller's plan when nobody asked for more."""


@click.command()
@click.option("--from", "snapshot", metavar="SNAPSHOT", help="A BackupSnapshot of the namespace.")
@click.option("--policy", metavar="NAME", help="The newest recovery point of a policy; with --location, of what the policy was called.")
@click.option("--as-of", metavar="TIME", help="With --policy: not newer than this, as 2026-11-22T23:00:00Z, or 2h for two hours ago.")
@click.option("--location", metavar="NAME", help="Read a BackupLocation directly: for another namespace, or one that is gone.")
@click.option("--source-namespace", metavar="NAME", help="With --location: whose recovery points. [default: your namespace's name]")
@click.option("--source-uid", metavar="UID", help="With --location: which one, if several namespaces had that name.")
@click.option("--id", "point", metavar="ID", help="With --location: the recovery point of one volume, as `recoup snapshots` shows it.")
@click.option("--volume", "volumes", metavar="SOURCE[=TARGET]", multiple=True, help="Restore this PVC, as that one. [default: all]")
@click.option("--storage-class", metavar="NAME", help="StorageClass of the volumes named by --volume. [default: as recorded]")
@click.option("--include", metavar="GLOB", multiple=True, help="Only these paths of each volume; several times.")
@click.option("--exclude", metavar="GLOB", multiple=True, help="Not these paths, also if they are included; several times.")
@click.option("--into", metavar="FOLDER", help="Folder of the new volume to restore into.")
@click.option(
    "--size",
    metavar="QUANTITY",
    help="Size of the volumes named by --volume, smaller ones only with --include or --exclude. [default: as recorded]",
)
@click.option("--name", metavar="NAME", help="Name of the RestoreRequest. [default: restore- and the time]")
@click.option("--dry-run", is_flag=True, help="Print the RestoreRequest as YAML, for `kubectl apply` or Git, and do nothing.")
@click.option("--wait", is_flag=True, help="Wait until it is restored and compared, showing progress.")
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0), help="With --wait, give up waiting after this long.")
@cluster_options
@output_option
def command(
    cluster: Cluster, snapshot: str | None, policy: str | None, as_of: str | None, location: str | None, source_namespace: str | None,
    source_uid: str | None, point: str | None, volumes: tuple[str, ...], storage_class: str | None, include: tuple[str, ...],
    exclude: tuple[str, ...], into: str | None, size: str | None, name: str | None, dry_run: bool,
    wait: bool, timeout: float | None, output: str,
) -> int:  # fmt: skip
    """Restore volumes into your namespace, as new PersistentVolumeClaims.

    Existing claims are never written to: give another target name, or delete the claim first. The plan that the controller made is
    printed; what was written is compared with the recovery point before it counts as restored. Interrupting --wait does not stop the
    restore; `kubectl patch restorerequest NAME --type merge -p '{"spec":{"cancel":true}}'` does.

    \b
    Examples:
      kubectl recoup restore --from shop-20261123t041500z --volume data-0=data-0-restored --wait
      kubectl recoup restore --policy shop --as-of 2h --wait
      kubectl recoup restore --policy shop --volume data-0=found --size 1Gi --include 'orders/*.csv' --into from-yesterday --wait
      kubectl recoup restore -n shop-recovered --location frankfurt --source-namespace shop --policy shop --wait
    """
    source = _source(
        cluster.place, snapshot=snapshot, policy=policy, as_of=as_of, location=location, whose=source_namespace, uid=source_uid, point=point
    )
    chosen = {"storageClassName": storage_class, "size": size}
    spec: Object = {"source": source} | _volumes(volumes, {field: value for field, value in chosen.items() if value})
    spec |= _paths(include, exclude, into)
    metadata = {"name": name or f"restore-{slot_text(datetime.now(UTC))}", "namespace": cluster.place}
    request: Object = {"apiVersion": API_VERSION, "kind": RESTORE.kind, "metadata": metadata, "spec": spec}
    if dry_run:
        import yaml

        click.echo(yaml.safe_dump(request, sort_keys=False), nl=False)
        return 0
    cluster.create(RESTORE, request)
    name = request["metadata"]["name"]
    resolved = until(cluster, RESTORE, name, lambda thing: is_true(thing, "Resolved") or is_over(thing), timeout=timeout or PLAN_WITHIN)
    if output != "json":
        _print_plan(resolved)
    if not is_true(resolved, "Resolved"):
        verdict(resolved)
    if not wait:
        return _finish(resolved, output, 0)
    ended = follow(cluster, RESTORE, name, _look, timeout=timeout)
    return _finish(ended, output, verdict(ended))


def _source(
    namespace: str, *, snapshot: str | None, policy: str | None, as_of: str | None, location: str | None, whose: str | None,
    uid: str | None, point: str | None,
) -> Object:  # fmt: skip
    if location is None:
        if uid or whose or point:
            raise Usage("--source-namespace, --source-uid and --id go with --location")
        if (snapshot is None) == (policy is None):
            raise Usage("say what to restore: --from SNAPSHOT, or --policy NAME (with --as-of or without), or --location NAME …")
        if snapshot is not None and as_of is not None:
            raise Usage("--as-of goes with --policy; a snapshot is of its own time")
        source: Object = {"snapshotRef": {"name": snapshot}} if snapshot else {"policyRef": {"name": policy}}
    else:
        if snapshot is not None:
            raise Usage("--from names a BackupSnapshot of your namespace; with --location give --policy or --id")
        if (policy is None) == (point is None):
            raise Usage("with --location give exactly one of --policy and --id")
        source = {"location": location, "namespace": {"name": whose or namespace} | ({"uid": uid} if uid else {})}
        source |= {"policy": policy} if policy else {"id": point}
    return source | ({"asOf": _time(as_of)} if as_of else {})


def _time(given: str) -> str:
    """A point in time, or how long ago."""
    try:
        when = datetime.fromisoformat(given)
        if when.tzinfo is None:
            raise Usage(f"--as-of {given}: give the time zone, too, as {given}Z for UTC or {given}+01:00")
    except ValueError:
        try:
            when = datetime.now(UTC) - parse_duration(given)
        except RecoupError:
            raise Usage(f"--as-of {given}: write a time as 2026-11-22T23:00:00Z, or a length of time as 2h or 3d") from None
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _volumes(volumes: tuple[str, ...], target: Object) -> Object:
    if target and not volumes:
        raise Usage("--storage-class and --size go with --volume: name the volumes that they are for")
    asked: list[Object] = []
    for volume in volumes:
        claim, equals, name = volume.partition("=")
        if not claim or (equals and not name):
            raise Usage(f"--volume {volume}: write SOURCE, or SOURCE=TARGET")
        asked.append({"source": claim, "target": ({"name": name} if name else {}) | target})
    return {"volumes": asked} if asked else {}


def _paths(include: tuple[str, ...], exclude: tuple[str, ...], into: str | None) -> Object:
    paths: Object = ({"include": list(include)} if include else {}) | ({"exclude": list(exclude)} if exclude else {})
    paths |= {"into": into} if into else {}
    return {"paths": paths} if paths else {}


def _print_plan(request: Object) -> None:
    from recoup.cli.output import emit_table, human_bytes

    plan = (request.get("status") or {}).get("plan")
    if not plan:
        return
    point = plan.get("snapshot") or plan.get("policy") or "the recovery point"
    click.echo(f"{point} of {plan['takenAt']}, namespace {plan['namespace']}, from BackupLocation {plan['location']}")
    part = bool((request["spec"].get("paths") or {}).keys() & {"include", "exclude"})
    rows = [
        (
            volume["source"],
            volume["target"],
            volume["size"],
            f"{'≤ ' if part else ''}{human_bytes(volume['bytes'])}",
            f"{'≤ ' if part else ''}{text(volume.get('files'))}",
            text(volume.get("storageClassName")),
        )
        for volume in plan["volumes"]
    ]
    emit_table(("VOLUME", "NEW CLAIM", "SIZE", "DATA", "FILES", "STORAGECLASS"), rows, right=("SIZE", "DATA", "FILES"))


def _look(request: Object) -> Shown:
    status = request.get("status") or {}
    summary, volumes = status.get("summary") or {}, status.get("volumes") or ()
    total = sum(volume.get("bytesTotal") or 0 for volume in volumes)
    done = sum(volume.get("bytesDone") or 0 for volume in volumes)
    words = f"{summary.get('volumes', '0')} volumes restored"
    if condition(request, "Ready").get("reason") not in (None, "Restoring", "Restored"):
        words += f", {condition(request, 'Ready')['reason']}"
    return Shown(words, done, total, summary.get("rate", ""), summary.get("eta", ""))


def _finish(request: Object, output: str, code: int) -> int:
    from recoup.cli.output import emit_json

    if output == "json":
        emit_json(request)
    else:
        took = (request.get("status") or {}).get("duration")
        done = "restored and compared" if code == 0 and took else "under way" if code == 0 else "handed over with reservations"
        click.echo(f"restorerequest/{request['metadata']['name']} {done}{f' in {took}' if took else ''}")
    return code
