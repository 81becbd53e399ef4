"""How `recoup restore --plan` is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from recoup.cli.output import emit_json, human_bytes, human_seconds

if TYPE_CHECKING:
    from recoup.engine.restore.forecast import Forecast, Tally
    from recoup.engine.restore.outcome import Notes


def print_forecast(forecast: Forecast, output: str) -> None:
    """The plan as JSON, or for people."""
    if output == "json":
        emit_json(_fields(forecast))
        return
    rows = (
        ("new", forecast.new, "written"),
        ("replaced", forecast.replaced, "written"),
        ("changed in place", forecast.changed, "written"),
        ("attributes only", forecast.attributes, "stay"),
        ("the same already", forecast.same, "stay"),
    )
    for title, tally, verb in rows:
        if tally.files:
            click.echo(f"{title}: {tally.files} files, {human_bytes(tally.bytes)} {verb}")
    for title, notes in (("overwritten", forecast.overwritten), ("deleted", forecast.deleted), ("conflict", forecast.conflicts)):
        for path, reason in notes.listed[:20]:
            click.echo(f"{title}: {path}: {reason}")
        if notes.total > min(20, len(notes.listed)):
            click.echo(f"{title}: … and {notes.total - min(20, len(notes.listed))} more (all of up to 1000 with -o json)")
    where = f"{human_bytes(forecast.fetch_bytes)} in {forecast.packs} packs from {forecast.source}"
    speed = (
        f", about {human_seconds(forecast.eta)} at {human_bytes(forecast.rate)}/s, as measured with one of them" if forecast.rate else ""
    )
    click.echo(f"to fetch: {where}{speed}")
    click.echo("nothing was changed: this is a plan")


def _fields(forecast: Forecast) -> dict[str, Any]:
    return {
        "target": forecast.target,
        "new": _tally(forecast.new),
        "replaced": _tally(forecast.replaced),
        "changedInPlace": _tally(forecast.changed),
        "attributesOnly": _tally(forecast.attributes),
        "same": _tally(forecast.same),
        "bytesWritten": forecast.bytes_written,
        "overwritten": _notes(forecast.overwritten),
        "deleted": _notes(forecast.deleted),
        "conflicts": _notes(forecast.conflicts),
        "fetch": [{"location": forecast.source, "bytes": forecast.fetch_bytes, "packs": forecast.packs}],
        "rate": round(forecast.rate),
        "eta": round(forecast.eta, 1),
    }


def _tally(tally: Tally) -> dict[str, int]:
    return {"files": tally.files, "bytes": tally.bytes}


def _notes(notes: Notes) -> dict[str, Any]:
    return {"total": notes.total, "listed": [{"path": path, "reason": reason} for path, reason in notes.listed]}
