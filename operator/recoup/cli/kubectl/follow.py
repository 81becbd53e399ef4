"""Waits for a BackupSnapshot or RestoreRequest to end, showing how far it is: a bar on a terminal, lines elsewhere, on stderr.

Interrupting it stops the waiting and nothing else.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from msgspec import Struct

from recoup.cli.kubectl.cluster import Cluster, Object
from recoup.cli.kubectl.facts import condition, is_over, is_true
from recoup.controller.resources import Resource
from recoup.errors import PARTIAL_EXIT_CODE, Cancelled, Invalid, Retryable

POLL = 1.0
"""Seconds between two looks."""


class Shown(Struct, frozen=True):
    """What is shown of work under way. Bytes; `total` is 0 while it is not known."""

    text: str
    done: int = 0
    total: int = 0
    rate: str = ""
    eta: str = ""


Look = Callable[[Object], Shown]


def follow(
    cluster: Cluster, resource: Resource, name: str, look: Look, *, timeout: float | None, done: Callable[[Object], bool] = is_over
) -> Object:
    """The object once it is `done`. Raises Retryable after `timeout` seconds; the work itself goes on."""
    with _screen() as show:
        return until(cluster, resource, name, done, show=lambda thing: show(look(thing)), timeout=timeout)


def until(
    cluster: Cluster, resource: Resource, name: str, done: Callable[[Object], bool], *,
    show: Callable[[Object], None] = lambda _thing: None, timeout: float | None,
) -> Object:  # fmt: skip
    """Look again and again until `done`. Trouble with the API server is waited out."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        try:
            thing = cluster.get(resource, name)
        except Retryable as error:
            thing = None
            click.echo(f"waiting for the API server: {error}", err=True)
        if thing is not None:
            show(thing)
            if done(thing):
                return thing
        if deadline is not None and time.monotonic() >= deadline:
            why = condition(thing, "Ready").get("message") if thing else "the API server does not answer"
            raise Retryable(f"{resource.kind} {name} is not done yet ({why or 'the controller has not looked at it'})", reason="TimedOut")
        time.sleep(POLL)


def verdict(thing: Object) -> int:
    """The exit code of something that is over. Raises Cancelled, Invalid with the object's own reason and message."""
    ready = condition(thing, "Ready")
    if is_true(thing, "Ready"):
        return PARTIAL_EXIT_CODE if any(volume.get("warnings") for volume in thing["status"].get("volumes") or ()) else 0
    reason, message = str(ready.get("reason") or "Failed"), f"{thing['metadata']['name']}: {ready.get('message') or 'it failed'}"
    if reason == "Cancelled":
        raise Cancelled(message)
    if reason == "MetadataNotPreserved":
        click.echo(f"warning: {message}", err=True)
        return PARTIAL_EXIT_CODE
    raise Invalid(message, reason=reason)


@contextmanager
def _screen() -> Iterator[Callable[[Shown], None]]:
    if sys.stderr.isatty():
        with _bar() as show:
            yield show
        return
    last = [""]

    def line(shown: Shown) -> None:
        percent = f" {shown.done * 100 // shown.total} %" if shown.total else ""
        text = f"{shown.text}{percent}"
        if text != last[0]:
            rest = "".join(f"  {part}" for part in (shown.rate, f"ETA {shown.eta}" if shown.eta else "") if part)
            click.echo(text + rest, err=True)
            last[0] = text

    yield line


@contextmanager
def _bar() -> Iterator[Callable[[Shown], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TextColumn("{task.fields[pace]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=False) as progress:
        task = progress.add_task("", total=None, pace="")

        def show(shown: Shown) -> None:
            pace = "  ".join(part for part in (shown.rate, f"ETA {shown.eta}" if shown.eta else "") if part)
            progress.update(task, description=shown.text, completed=shown.done, total=shown.total or None, pace=pace)

        yield show
