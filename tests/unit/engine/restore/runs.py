"""Restores of the tests: with orders as short as a command line, and the bytes that a target's file system was really given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recoup.engine.restore.attributes import Wishes
from recoup.engine.restore.orders import Existing, Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.run import restore
from recoup.engine.restore.selection import Choice
from recoup.report import Progress
from tests.unit.engine.restore.forge import Forger


def orders(
    existing: str = "fail",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    maps: Sequence[tuple[str, str]] = (),
    into: str = "",
) -> Orders:
    return Orders(Wishes(), Choice(tuple(include), tuple(exclude), tuple(maps)), Existing(existing), into)


def bring(forger: Forger, point: str, target: Path, told: Orders | None = None) -> Outcome:
    outcome = Outcome()
    restore(forger.open(point), str(target), told or orders(), outcome, Progress(quiet=True))
    return outcome
