"""Verifications and drills whose controller ends after any number of its writes, or is there twice: each slot is done once.

The story: a policy that runs when it is created, is verified every hour and drilled every two, for three hours. Whatever happens, the log
has one verification for each slot that came when there was a point, and one drill; what they say stands in the status, and no Job is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from recoup.controller.resources import JOB, SNAPSHOT
from recoup.plan.observed import Catalogue, DrillRun, VerificationRun
from recoup.plan.upkeep import is_upkeep
from tests.faults.driver import condition, killed_at, shop
from tests.faults.test_crash_prefix_policy import Place, WholeController
from tests.faults.world import Object, World, work

END = datetime.fromisoformat("2026-11-23T15:10:00Z")
EVERY = 3
"""One write in so many is a place to stop: what repeats from slot to slot is met at another point of it each time."""


@dataclass
class Record:
    """The evidence in the log."""

    verifications: list[VerificationRun] = field(default_factory=list)
    drills: list[DrillRun] = field(default_factory=list)
    fails: int = 0
    """So many verifications to come end before they have appended anything."""

    def work(self, world: World, job: Object, pod: Object) -> Object | None:
        """Plays the movers of the world, and those of verification and drills besides."""
        arguments = pod["spec"]["containers"][0]["args"]
        command = arguments[0]
        if command not in ("verify", "drill"):
            return work(world, job, pod)
        if command == "verify" and self.fails:
            self.fails -= 1
            return {
                "exitCode": 10,
                "message": '{"version": 1, "outcome": "Failed", "reason": "Unavailable", "message": "the store is away"}',
            }
        turn = arguments[arguments.index("--round") + 1]
        if command == "verify":
            level = int(arguments[arguments.index("--level") + 1])
            self.verifications.append(
                VerificationRun(round=turn, started=world.now, ended=world.now, level=level, points=len(world.points))
            )
        else:
            point = arguments[arguments.index("--snapshot") + 1]
            self.drills.append(DrillRun(round=turn, point=point, ended=world.now, passed=True, seconds=3.0))
        return {"exitCode": 0, "message": '{"version": 1, "outcome": "Succeeded"}'}


@dataclass
class Logbook(Place):
    """The location as the controller reads it, with its evidence."""

    record: Record = field(default_factory=Record)

    def read(self, location: Object, vault: str, *, max_age: float = 0.0) -> Catalogue:
        found = super().read(location, vault, max_age=max_age)
        points = tuple(found.points)
        return Catalogue(
            vault=vault,
            fingerprint=found.fingerprint,
            points=points,
            verifications=tuple(self.record.verifications),
            drills=tuple(self.record.drills),
        )


def begin(record: Record) -> World:
    verification = {"schedule": {"every": "1h"}, "level": 3, "drill": {"schedule": {"every": "2h"}}}
    world = shop("data-0", policy={"schedule": {"cron": "0 0 1 1 *", "runOnCreate": True}, "verification": verification})
    world.delete(world.get(SNAPSHOT, "shop", "before-upgrade"))
    world.mover = record.work
    return world


def start(world: World, record: Record) -> WholeController:
    return WholeController(world, Logbook(world, record=record))


def go_on(world: World, *controllers: WholeController) -> None:
    while world.now < END:
        written = len(world.kube.writes)
        again = min(controller.look_around() for controller in controllers)
        if not world.step() and len(world.kube.writes) == written:
            world.pass_time(seconds=min(max(again, 1.0), 600.0))


def end_of(world: World, record: Record) -> Mapping[str, Any]:
    status = world.kube.objects[("recoup.dev/v1alpha1", "BackupPolicy", "shop", "shop")]["status"]
    return {
        "verifications": [run.round for run in record.verifications],
        "drills": [drill.round for drill in record.drills],
        "verified": (condition(status, "Verified")["status"], [line["location"] for line in status["verifications"]]),
        "drilled": (condition(status, "Drilled")["reason"], status["lastDrill"]["result"]),
        "points": len(world.points),
        "left": [job["metadata"]["name"] for job in world.all(JOB) if is_upkeep(job)],
    }


@pytest.fixture(scope="module")
def calm() -> tuple[Mapping[str, Any], int]:
    """The end of an undisturbed run, and how many writes it took."""
    record = Record()
    world = begin(record)
    writes = 0

    def note(_verb: str, _kind: str, _name: str) -> None:
        nonlocal writes
        writes += 1

    world.kube.before_write = note
    go_on(world, start(world, record))
    return end_of(world, record), writes


def test_the_undisturbed_run_is_the_one_that_was_asked_for(calm: tuple[Mapping[str, Any], int]) -> None:
    found, writes = calm
    assert [turn[9:13] for turn in found["verifications"]] == ["1300", "1400", "1500"]
    assert [turn[9:13] for turn in found["drills"]] == ["1400"]
    assert found["verified"] == ("True", ["frankfurt"])
    assert found["drilled"] == ("DrillPassed", "Passed")
    assert found["left"] == []
    assert writes > 3 * EVERY


def test_stopped_after_any_write_it_ends_the_same(calm: tuple[Mapping[str, Any], int]) -> None:
    wanted, writes = calm
    for write in range(0, writes, EVERY):
        record = Record()
        world = begin(record)
        assert killed_at(world, write, lambda world=world, record=record: go_on(world, start(world, record)))  # type: ignore[misc]  # bound now
        go_on(world, start(world, record))
        assert end_of(world, record) == wanted, f"stopped before write {write}"


def test_two_controllers_at_once_end_the_same(calm: tuple[Mapping[str, Any], int]) -> None:
    record = Record()
    world = begin(record)
    go_on(world, start(world, record), start(world, record))
    assert end_of(world, record) == calm[0]


def test_a_slot_that_the_log_does_not_know_would_be_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule that makes each slot happen once, switched off."""
    monkeypatch.setattr("recoup.plan.verification.is_done", lambda _place, _slot, _level: False)
    record = Record()
    world = begin(record)
    go_on(world, start(world, record))
    assert len(record.verifications) > len({run.round for run in record.verifications})


def test_a_place_that_is_away_for_a_while_costs_a_try_a_minute_and_no_slot(calm: tuple[Mapping[str, Any], int]) -> None:
    record = Record(fails=5)
    world = begin(record)
    go_on(world, start(world, record))
    assert record.fails == 0
    assert end_of(world, record)["verifications"] == calm[0]["verifications"]
