"""`recoup snapshots`: the recovery points of a vault, from its log alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from recoup.cli.options import KeyOptions, Location, key_options, location_options, output_option

if TYPE_CHECKING:
    from recoup.engine.catalogue import Point

SHOWN = 16
"""Digits of an id in the table; all of them are in the JSON."""


@click.command()
@location_options
@key_options
@output_option
def command(location: Location, keys: KeyOptions, output: str) -> None:
    """List the recovery points of a vault, oldest first.

    ERRORS counts source files that could not be read; `recoup ls --errors` lists them. VERIFIED is the highest level of a
    verification that found the point good. The ids in the table are shortened; every command takes them so.

    \b
    Example:
      recoup snapshots --location file:///srv/backups --key-file backup.key
    """
    from recoup.cli.output import emit_json, emit_table
    from recoup.engine.catalogue import points_of

    unlocked = keys.unlock(location.open())
    points = points_of(unlocked.log.state, unlocked.reader)
    if output == "json":
        emit_json([_fields(point) for point in points])
        return
    columns = ("ID", "TIME", "SOURCE", "FILES", "SIZE", "ERRORS", "VERIFIED")
    emit_table(columns, [_row(point) for point in points], right=("FILES", "SIZE", "ERRORS"))
    state = unlocked.log.state
    if state.invalid:
        click.echo(f"warning: {state.invalid} entries of the log do not count, the last because {state.complaints[-1][1]}", err=True)


def _fields(point: Point) -> dict[str, Any]:
    record = point.record
    fields: dict[str, Any] = {
        "id": point.id,
        "session": point.session,
        "policyUid": point.policy_uid,
        "slot": point.slot,
        "persistentVolumeClaimUid": point.pvc_uid,
        "verifiedLevel": point.verified_level,
        "verifiedAt": time_text(point.verified_at),
    }
    if record is None:
        return fields | {"record": None}
    return fields | {
        "time": time_text(record.finished),
        "started": time_text(record.started),
        "kind": record.kind,
        "source": _decoded(record.source),
        "policy": record.policy,
        "snapshot": record.snapshot,
        "consistency": record.consistency,
        "filesTotal": record.files,
        "bytesTotal": record.bytes_total,
        "bytesRead": record.bytes_read,
        "bytesStored": record.bytes_stored,
        "errors": record.errors,
        "tool": record.tool,
    }


def _row(point: Point) -> tuple[str, ...]:
    from recoup.cli.output import human_bytes

    record, verified = point.record, "" if point.verified_level is None else f"V{point.verified_level} {time_text(point.verified_at)}"
    if record is None:
        return (point.id[:SHOWN], "", "(its record cannot be opened)", "", "", "", verified)
    size = human_bytes(record.bytes_total)
    return (
        point.id[:SHOWN],
        time_text(record.finished) or "",
        origin(record.source),
        str(record.files),
        size,
        str(record.errors),
        verified,
    )


def origin(source: str) -> str:
    """A volume as namespace/name, anything else as host:path."""
    from recoup.report import printable

    fields = _decoded(source)
    if not isinstance(fields, dict):
        return printable(str(fields))
    claim = fields.get("persistentVolumeClaim")
    if claim:
        return printable(f"{fields.get('namespace', '')}/{claim}")
    return printable(f"{fields.get('host', '')}:{fields.get('path', '')}".removeprefix(":"))


def _decoded(source: str) -> Any:
    try:
        return json.loads(source)
    except (ValueError, RecursionError):
        return source


def time_text(milliseconds: int | None) -> str | None:
    """UTC to the second; times outside the calendar come from a forged record and stay numbers."""
    if milliseconds is None:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(milliseconds)
