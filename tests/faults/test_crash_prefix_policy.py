"""A policy and a location whose controller ends after any number of its writes, or is there twice, come to the same end.

The story: a location that nobody has probed, a policy that runs when it is created and then every hour, for two hours and a half.
Whatever happens, each slot has one BackupSnapshot with one COMMIT, the ledger tells of it, the location is probed, and nothing is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any, cast

import pytest

from recoup.controller.catalogues import Catalogues
from recoup.controller.gather import Reader
from recoup.controller.gather_location import LocationReconciler
from recoup.controller.gather_policy import PolicyReconciler
from recoup.controller.gather_views import Views
from recoup.controller.ledger import FailureLedger
from recoup.controller.resources import JOB, LOCATION, PVC, SNAPSHOT, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT, Key
from recoup.controller.worker import Reconciler
from tests.faults.driver import BucketView, Controller, a_location, condition, killed_at, shop
from tests.faults.world import Object, World

POLICY_KEY, LOCATION_KEY = Key("BackupPolicy", "shop", "shop"), Key("BackupLocation", "", "frankfurt")
SLOTS = ["12:00", "13:00", "14:00"]
END = datetime.fromisoformat("2026-11-23T14:30:00Z")
MANY = 50
EVERY = 7
"""Every write up to the first recovery point is a place to stop; of the later ones, which repeat it, one in seven."""


@dataclass
class Place(BucketView):
    """The location as the controller reads it: it gets its id from the first keys Job."""

    def look(self, location: Object, *, max_age: float = 0.0) -> str | None:  # noqa: ARG002  # there is one, always fresh
        if self.outage is not None:
            raise self.outage
        return "ab" * 16 if self.world.points else None


class WholeController(Controller):
    """Reconciles all kinds that take part in a backup."""

    def _reconcilers(self, reader: Reader, ledger: FailureLedger) -> Mapping[str, Reconciler]:
        catalogues = cast("Catalogues", self.bucket)
        return {
            **super()._reconcilers(reader, ledger),
            "BackupPolicy": PolicyReconciler(reader, catalogues, ledger),
            "BackupLocation": LocationReconciler(reader, catalogues, ledger, Views(catalogues)),
        }

    def look_around(self) -> float:
        """Look at everything once, as events would have it."""
        keys = [LOCATION_KEY, POLICY_KEY]
        keys += [Key("BackupSnapshot", "shop", item["metadata"]["name"]) for item in self.world.all(SNAPSHOT)]
        return min(self.look(key) for key in keys)


def begin() -> World:
    world = shop("data-0", policy={"schedule": {"cron": "0 * * * *", "runOnCreate": True}})
    world.kube.put(LOCATION, a_location(world.now) | {"status": {}})
    world.delete(world.get(SNAPSHOT, "shop", "before-upgrade"))
    return world


def go_on(world: World, *controllers: WholeController) -> None:
    """Until the end of the story; time passes when nobody has anything to do."""
    while world.now < END:
        written = len(world.kube.writes)
        again = min(controller.look_around() for controller in controllers)
        if not world.step() and len(world.kube.writes) == written:
            world.pass_time(seconds=min(max(again, 1.0), 600.0))


def start(world: World) -> WholeController:
    return WholeController(world, Place(world))


def end_of(world: World) -> dict[str, Any]:
    """What must not depend on where a controller was stopped."""
    policy = world.kube.objects[("recoup.dev/v1alpha1", "BackupPolicy", "shop", "shop")]["status"]
    location = world.get(LOCATION, None, "frankfurt")["status"]
    snapshots = world.all(SNAPSHOT)
    return {
        "snapshots": [(item["metadata"]["name"], condition(item["status"], "Ready")["reason"]) for item in snapshots],
        "commits": sorted(point.snapshot for point in world.points),
        "ledger": [(run["slot"][11:16], run["result"], run.get("snapshot")) for run in policy["lastRuns"]],
        "policy": (condition(policy, "Ready")["reason"], policy["nextRun"], policy["coverage"], policy["lastSuccess"]["snapshot"]),
        "location": (condition(location, "Ready")["reason"], condition(location, "Conformant")["reason"], location["lastProbe"]["result"]),
        "left": [item["metadata"]["name"] for kind in (JOB, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT) for item in world.all(kind)],
        "claims": [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in world.all(PVC)],
        "cuts": dict(world.cuts),
    }


@pytest.fixture(scope="module")
def calm() -> tuple[dict[str, Any], int, int]:
    """The end of an undisturbed run, how many writes it took, and how many until the first recovery point was there."""
    world = begin()
    writes, first = 0, 0

    def note(_verb: str, _kind: str, _name: str) -> None:
        nonlocal writes, first
        writes += 1
        first = first or (writes if world.points else 0)

    world.kube.before_write = note
    go_on(world, start(world))
    return end_of(world), writes, first


def test_the_undisturbed_run_is_the_one_that_was_asked_for(calm: tuple[dict[str, Any], int, int]) -> None:
    found, writes, first = calm
    assert [slot for slot, _, _ in reversed(found["ledger"])] == SLOTS
    assert {result for _, result, _ in found["ledger"]} == {"Ran"}
    assert sorted(name for _, _, name in found["ledger"]) == sorted(name for name, _ in found["snapshots"]) == found["commits"]
    assert found["policy"][:3] == ("Protected", "2026-11-23T15:00:00Z", {"selected": 1, "protected": 1, "failed": 0, "summary": "1/1"})
    assert found["location"] == ("Usable", "Atomic", "Passed")
    assert (found["left"], found["claims"], found["cuts"]) == ([], [("shop", "data-0")], {})
    assert writes > MANY
    assert first


def test_stopped_after_any_write_it_ends_the_same(calm: tuple[dict[str, Any], int, int]) -> None:
    wanted, writes, first = calm
    for write in [*range(first), *range(first, writes, EVERY)]:
        world = begin()
        assert killed_at(world, write, lambda world=world: go_on(world, start(world)))  # type: ignore[misc]
        go_on(world, start(world))
        assert end_of(world) == wanted, f"stopped before write {write}"


def test_a_slot_that_is_not_known_by_its_snapshot_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules that make it so, switched off: a name of its own for each try, and a ledger that knows only what was written to it."""
    numbers = count()
    monkeypatch.setattr("recoup.plan.policy.snapshot_name", lambda policy, _slot: f"{policy}-{next(numbers)}")
    monkeypatch.setattr("recoup.plan.ledger._ran", lambda _timetable, _snapshots: [])
    told = set()
    for write in range(EVERY):
        world = begin()
        killed_at(world, write, lambda world=world: go_on(world, start(world)))  # type: ignore[misc]
        go_on(world, start(world))
        told |= {result for _, result, _ in end_of(world)["ledger"]}
    assert told == {"Ran", "Skipped"}


def test_two_controllers_at_once_end_the_same(calm: tuple[dict[str, Any], int, int]) -> None:
    world = begin()
    go_on(world, start(world), start(world))
    assert end_of(world) == calm[0]


def test_after_an_absence_the_newest_slot_is_run_and_the_others_are_told() -> None:
    world = begin()
    world.pass_time(hours=2, minutes=10)
    go_on(world, start(world))
    policy = world.kube.objects[("recoup.dev/v1alpha1", "BackupPolicy", "shop", "shop")]["status"]
    told = [(run["slot"][11:16], run["result"], run.get("slots", 1)) for run in policy["lastRuns"]]
    assert told == [("14:00", "Ran", 1), ("13:00", "Missed", 1), ("12:00", "Missed", 1)]
    assert len(world.points) == 1
