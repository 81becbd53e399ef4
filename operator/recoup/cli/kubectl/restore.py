"""`kubectl recoup restore`: a RestoreRequest from the command line, its plan, and a progress bar."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import click

from recoup.api.durations import parse_duration
from recoup.api.names import slot_text
from recoup.api.objects import API_VERSION
from recoup.cli.kubectl.cluster import Cluster, Object, cluster_options
from recoup.cli.kubectl.facts import condition, is_over, is_true
from recoup.cli.kubectl.follow import follow, until, verdict
from recoup.cli.kubectl.restore_view import finish, look, print_plan
from recoup.cli.options import output_option
from recoup.controller.resources import RESTORE
from recoup.errors import Invalid, RecoupError, Usage

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
@click.option("--plan", is_flag=True, help="Have the controller plan it and stop there: nothing is restored.")
@click.option("--approval", is_flag=True, help="Have it wait for approval when the plan is made.")
@click.option(
    "--approve", metavar="NAME", help="Approve the plan of this RestoreRequest as it is shown; nothing else but --wait goes with it."
)
@click.option(
    "--standby", is_flag=True, help="Keep the new volumes at the policy's newest recovery point, until --promote hands them over."
)
@click.option("--promote", metavar="NAME", help="Hand the volumes of this standby over; nothing else but --wait goes with it.")
@click.option("--dry-run", is_flag=True, help="Print the RestoreRequest as YAML, for `kubectl apply` or Git, and do nothing.")
@click.option("--wait", is_flag=True, help="Wait until it is restored and compared, showing progress.")
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0), help="With --wait, give up waiting after this long.")
@cluster_options
@output_option
def command(
    cluster: Cluster, snapshot: str | None, policy: str | None, as_of: str | None, location: str | None, source_namespace: str | None,
    source_uid: str | None, point: str | None, volumes: tuple[str, ...], storage_class: str | None, include: tuple[str, ...],
    exclude: tuple[str, ...], into: str | None, size: str | None, name: str | None, plan: bool,
    approval: bool, approve: str | None, standby: bool, promote: str | None, dry_run: bool, wait: bool, timeout: float | None, output: str,
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
      kubectl recoup restore --policy shop --volume data-0=copy --plan
      kubectl recoup restore --policy shop --name standby --standby
      kubectl recoup restore --promote standby --wait
      kubectl recoup restore -n shop-recovered --location frankfurt --source-namespace shop --policy shop --wait
    """
    if approve is not None or promote is not None:
        if any((snapshot, policy, location, volumes, include, exclude, into, plan, approval, standby, dry_run, approve and promote)):
            raise Usage("--approve NAME and --promote NAME are about a RestoreRequest that exists: what it restores is settled already")
        changed = _approve(cluster, approve) if approve is not None else _promote(cluster, promote or "")
        return _end(cluster, changed, wait=wait, timeout=timeout, output=output)
    if plan and (approval or wait):
        raise Usage("--plan stops when the plan is made: --approval and --wait do not go with it")
    if standby and (plan or approval or snapshot or point or as_of):
        raise Usage("--standby follows a policy: give --policy, with --location or without, and neither a moment nor a plan to approve")
    source = _source(
        cluster.place, snapshot=snapshot, policy=policy, as_of=as_of, location=location, whose=source_namespace, uid=source_uid, point=point
    )
    chosen = {"storageClassName": storage_class, "size": size}
    spec: Object = {"source": source} | _volumes(volumes, {field: value for field, value in chosen.items() if value})
    spec |= _paths(include, exclude, into) | ({"plan": "Only"} if plan else {"plan": "ApprovalRequired"} if approval else {})
    spec |= {"mode": "Standby"} if standby else {}
    metadata = {"name": name or f"restore-{slot_text(datetime.now(UTC))}", "namespace": cluster.place}
    request: Object = {"apiVersion": API_VERSION, "kind": RESTORE.kind, "metadata": metadata, "spec": spec}
    if dry_run:
        import yaml

        click.echo(yaml.safe_dump(request, sort_keys=False), nl=False)
        return 0
    cluster.create(RESTORE, request)
    name = request["metadata"]["name"]
    resolved = until(cluster, RESTORE, name, lambda thing: is_true(thing, "Resolved") or is_over(thing), timeout=timeout or PLAN_WITHIN)
    return _end(cluster, resolved, wait=wait, timeout=timeout, output=output)


def _end(cluster: Cluster, resolved: Object, *, wait: bool, timeout: float | None, output: str) -> int:
    """Show the plan; follow the restore if that is asked for; the exit code."""
    if output != "json":
        print_plan(resolved)
    if not is_true(resolved, "Resolved"):
        verdict(resolved)
    if not wait:
        return finish(resolved, output, 0)
    asked = resolved["metadata"].get("generation", 0)  # a standby is Ready before it is promoted, too: what counts is the answer to this
    done = partial(_is_done, asked)
    ended = follow(cluster, RESTORE, resolved["metadata"]["name"], look, done=done, timeout=timeout)
    return finish(ended, output, verdict(ended))


def _is_done(asked: int, request: Object) -> bool:
    observed = (request.get("status") or {}).get("observedGeneration", 0)
    return observed >= asked and is_over(request)


def _approve(cluster: Cluster, name: str) -> Object:
    """Allow the plan that the request has now."""
    request = cluster.get(RESTORE, name)
    plan = (request.get("status") or {}).get("plan")
    if request["spec"].get("plan") != "ApprovalRequired":
        raise Invalid(f"RestoreRequest {name} does not wait for approval: its spec.plan is {request['spec'].get('plan', 'Auto')}")
    if not plan:
        why = condition(request, "Ready").get("message") or "the controller has not looked at it"
        raise Invalid(f"RestoreRequest {name} has no plan yet: {why}")
    return cluster.patch(RESTORE, request, {"spec": {"approve": plan["digest"]}})


def _promote(cluster: Cluster, name: str) -> Object:
    """Have a standby handed over."""
    request = cluster.get(RESTORE, name)
    if request["spec"].get("mode") != "Standby":
        raise Invalid(f"RestoreRequest {name} is no standby: its spec.mode is {request['spec'].get('mode', 'NewVolume')}")
    return cluster.patch(RESTORE, request, {"spec": {"promote": True}})


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
