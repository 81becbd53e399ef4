"""What `kubectl recoup restore` shows: the controller's plan, how far the restore is, and how it ended."""

from __future__ import annotations

import click

from recoup.cli.kubectl.cluster import Object
from recoup.cli.kubectl.facts import condition, text
from recoup.cli.kubectl.follow import Shown


def print_plan(request: Object) -> None:
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
    if plan.get("eta"):
        click.echo(f"about {plan['eta']}: {plan['etaBasis']}")
    if request["spec"].get("plan", "Auto") != "Auto":
        click.echo(f"digest {plan['digest']}")


def look(request: Object) -> Shown:
    status = request.get("status") or {}
    summary, volumes = status.get("summary") or {}, status.get("volumes") or ()
    total = sum(volume.get("bytesTotal") or 0 for volume in volumes)
    done = sum(volume.get("bytesDone") or 0 for volume in volumes)
    words = f"{summary.get('volumes', '0')} volumes restored"
    if condition(request, "Ready").get("reason") not in (None, "Restoring", "Restored", "Standby"):
        words += f", {condition(request, 'Ready')['reason']}"
    return Shown(words, done, total, summary.get("rate", ""), summary.get("eta", ""))


def finish(request: Object, output: str, code: int) -> int:
    from recoup.cli.output import emit_json

    if output == "json":
        emit_json(request)
    else:
        took = (request.get("status") or {}).get("duration")
        done = "restored and compared" if code == 0 and took else _unfinished(request) if code == 0 else "handed over with reservations"
        click.echo(f"restorerequest/{request['metadata']['name']} {done}{f' in {took}' if took else ''}")
    return code


def _unfinished(request: Object) -> str:
    reason = condition(request, "Ready").get("reason")
    if reason == "ApprovalRequired":
        return f"waits for approval: kubectl recoup restore --approve {request['metadata']['name']}"
    if reason == "Standby":
        return f"stands by; hand it over with: kubectl recoup restore --promote {request['metadata']['name']}"
    return "planned, and nothing restored" if reason == "Planned" else "under way"
