"""Seats handed out to looks at the same time, to those who were woken, and by a controller that has just begun."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recoup.controller.gather import Reader
from recoup.controller.resources import JOB, POD, VOLUME_SNAPSHOT, Key
from recoup.controller.seats import LONGEST_LOOK, OFFERED_FOR, Seats
from recoup.plan.budgets import Request, share_seats
from recoup.plan.observed import MoverLimits, Seat, Surroundings
from tests.fakes.memory_kube import MemoryKube

Object = dict[str, Any]
AROUND = Surroundings(image="recoup:test")
START = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


class House:
    """Seats over an API server in memory; what is woken is noted, and time passes when a test says so."""

    def __init__(self, **limits: int) -> None:
        self.time = 1000.0
        self.kube = MemoryKube(now=lambda: "2026-11-23T02:00:00Z")
        self.woken: list[str] = []
        reader = Reader(self.kube, AROUND, clock=lambda: self.time)
        self.seats = Seats(reader, MoverLimits(**limits), clock=lambda: self.time, wake=lambda key: self.woken.append(key.name))

    def ask(self, run: str, *volumes: str, minute: int = 0, limit: int = 1, namespace: str = "shop") -> list[str]:
        """One look at a run that is ready to start the movers of these volumes; returns those that may start."""
        requests = [
            Request(
                job=f"{run}-{volume}", run_uid=run, volume_uid=volume, namespace=namespace, run=run,
                since=START + timedelta(minutes=minute), location="frankfurt", limit=limit,
            )
            for volume in volumes
        ]  # fmt: skip
        return [volume for volume, seat in self.seats.ask(Key("BackupSnapshot", namespace, run), run, requests).items() if seat.granted]

    def start(self, run: str, volume: str, namespace: str = "shop") -> None:
        self.kube.put(JOB, {"metadata": {"name": f"{run}-{volume}", "namespace": "recoup-movers", "labels": labels(run, volume, namespace)},
                            "spec": {"template": {"spec": {}}}})  # fmt: skip

    def end(self, run: str, volume: str) -> None:
        job = self.kube.get(JOB, "recoup-movers", f"{run}-{volume}")
        self.kube.put(JOB, job | {"status": {"conditions": [{"type": "Complete", "status": "True"}]}})


def labels(run: str, volume: str, namespace: str = "shop") -> dict[str, str]:
    return {
        "app.kubernetes.io/managed-by": "recoup",
        "recoup.dev/owner-namespace": namespace,
        "recoup.dev/owner-name": run,
        "recoup.dev/owner-uid": run,
        "recoup.dev/volume": volume,
        "recoup.dev/location": "frankfurt",
    }


def test_a_seat_is_kept_until_the_job_is_seen_and_freed_when_it_ends() -> None:
    house = House()
    assert house.ask("one", "data") == ["data"]
    assert house.ask("two", "data") == [], "its Job is being made"
    house.start("one", "data")
    assert house.ask("one") == []
    assert house.ask("two", "data") == []
    house.end("one", "data")
    house.ask("one")
    assert house.woken == ["two"], "woken by the look that saw the mover end, and once"
    assert house.ask("two", "data") == ["data"]


def slowly(decide: Callable[..., dict[str, Seat]]) -> Callable[..., dict[str, Seat]]:
    """Between reading who works and the decision others come in, if they can."""

    def wait(*given: Any) -> dict[str, Seat]:
        threading.Event().wait(0.005)
        return decide(*given)

    return wait


def test_looks_at_the_same_time_count_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty runs ask at once from as many threads as there are workers; three may start, and three do.

    Shown to fail with the lock taken out of `ask`.
    """
    house = House()
    gate = threading.Barrier(8)
    monkeypatch.setattr("recoup.controller.seats.share_seats", slowly(share_seats))

    def look(number: int) -> list[str]:
        if number < 8:
            gate.wait(30)
        return house.ask(f"run-{number}", "data", limit=3)

    with ThreadPoolExecutor(8) as pool:
        started = [volume for found in pool.map(look, range(40)) for volume in found]
    assert len(started) == 3


def test_the_one_that_was_first_is_not_overtaken_while_its_turn_is_offered() -> None:
    house = House()
    house.start("busy", "data")
    assert house.ask("first", "data", minute=1) == []
    house.end("busy", "data")
    assert house.ask("late", "data", minute=2) == [], "the seat is the first one's"
    assert house.woken == ["first"]
    assert house.ask("late", "data", minute=2) == []
    assert house.woken == ["first"], "nobody is woken twice for one seat"
    assert house.ask("first", "data", minute=1) == ["data"]


def test_one_that_does_not_come_loses_its_turn() -> None:
    """A BackupSnapshot that was deleted while it waited is never looked at again."""
    house = House()
    house.start("busy", "data")
    house.ask("deleted", "data", minute=1)
    house.end("busy", "data")
    assert house.ask("late", "data", minute=2) == []
    house.time += OFFERED_FOR + 1
    assert house.ask("late", "data", minute=2) == ["data"]


def test_a_seat_whose_job_was_never_made_is_free_again() -> None:
    house = House()
    assert house.ask("failed", "data") == ["data"]
    house.time += LONGEST_LOOK + 1
    assert house.ask("other", "data") == ["data"]


def test_a_new_controller_counts_what_the_one_before_started() -> None:
    house = House()
    house.start("before", "data")
    assert house.ask("now", "data") == []


def test_uncaptured_runs_are_counted_and_woken_when_a_mover_starts() -> None:
    house = House(waiting_snapshots=2)
    for run in ("one", "two"):
        house.kube.put(VOLUME_SNAPSHOT, {"metadata": {"name": run, "namespace": "shop", "labels": labels(run, "data")}})
    key = Key("BackupSnapshot", "shop", "three")
    assert house.seats.waiting_snapshots(key, "three") == 2
    assert house.seats.waiting_snapshots(Key("BackupSnapshot", "blog", "other"), "other") == 0
    assert house.ask("one", "data") == ["data"]
    assert house.woken == ["three"]
    house.start("one", "data")
    assert house.seats.waiting_snapshots(key, "three") == 1
    assert house.kube.list(POD) == []
