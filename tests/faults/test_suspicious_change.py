"""A source that is lost, and a controller that ends after any number of its writes: the same is said, and no forget Job is made meanwhile.

The story: a policy that runs every hour and keeps one recovery point. Its volume is found empty at 13:00; somebody accepts it at 15:30.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from msgspec import structs

from recoup.controller.resources import JOB, SNAPSHOT
from recoup.plan.observed import Catalogue
from recoup.plan.upkeep import is_upkeep
from recoup.suspicion import Earlier, Figures
from tests.faults.driver import condition, killed_at, shop
from tests.faults.test_crash_prefix_policy import Place, WholeController
from tests.faults.world import Object, World, work

LOST_AT = "shop-20261123t130000z"
ACCEPTED = datetime.fromisoformat("2026-11-23T15:30:00Z")
END = datetime.fromisoformat("2026-11-23T16:30:00Z")
EVERY = 4
"""One write in so many is a place to stop: each hour is like the one before, and is met at another point of it."""
FULL, EMPTY = Earlier(30, 1 << 30, 1 << 31, 1 << 30), Figures(0, 0, 0, 0, Earlier(30, 1 << 30, 1 << 31, 1 << 30))


@dataclass
class Vault:
    """What backup and forget movers leave in the log."""

    forgotten: set[str] = field(default_factory=set)
    forgets: list[tuple[datetime, list[str]]] = field(default_factory=list)

    def work(self, world: World, job: Object, pod: Object) -> Object | None:
        arguments = pod["spec"]["containers"][0]["args"]
        if arguments[0] != "forget":
            told = work(world, job, pod)
            world.points[:] = [self._with_figures(point) for point in world.points]
            return told
        self.forgets.append((world.now, arguments))
        newest = max(world.points, key=lambda point: point.taken_at)
        self.forgotten |= {point.manifest for point in world.points if point is not newest}
        world.points[:] = [newest]
        return {"exitCode": 0, "message": '{"version": 1, "outcome": "Succeeded"}'}

    @staticmethod
    def _with_figures(point: Any) -> Any:
        figures = EMPTY if point.snapshot == LOST_AT else Figures(30, 1 << 30, 0, 0, FULL)
        if point.figures is not None:
            return point
        return structs.replace(point, figures=figures, files_total=figures.files, bytes_total=figures.bytes_total, bytes_stored=0)


@dataclass
class Logbook(Place):
    """The location as the controller reads it, with what was forgotten."""

    vault: Vault = field(default_factory=Vault)

    def has_maintenance(self, vault: str) -> bool:
        return self.has_keys(vault)

    def read(self, location: Object, vault: str, *, max_age: float = 0.0) -> Catalogue:
        found = super().read(location, vault, max_age=max_age)
        told = structs.replace(found, forgotten=frozenset(self.vault.forgotten))
        self.held[location["metadata"]["name"], vault] = told
        return told


def begin(vault: Vault) -> World:
    world = shop("data-0", policy={"schedule": {"cron": "0 * * * *", "runOnCreate": True}, "retention": {"last": 1, "editGrace": "1s"}})
    world.delete(world.get(SNAPSHOT, "shop", "before-upgrade"))
    world.mover = vault.work
    return world


def go_on(world: World, *controllers: WholeController) -> None:
    while world.now < END:
        written = len(world.kube.writes)
        lost = next((item for item in world.all(SNAPSHOT) if item["metadata"]["name"] == LOST_AT), None)
        if world.now >= ACCEPTED and lost and "accept" not in lost["spec"]:
            world.kube.put(SNAPSHOT, lost | {"spec": lost["spec"] | {"accept": {"by": "ann", "reason": "moved"}}})
        again = min(controller.look_around() for controller in controllers)
        if not world.step() and len(world.kube.writes) == written:
            world.pass_time(seconds=min(max(again, 1.0), 600.0))


def end_of(world: World, vault: Vault) -> dict[str, Any]:
    status = world.kube.objects[("recoup.dev/v1alpha1", "BackupPolicy", "shop", "shop")]["status"]
    told = {
        item["metadata"]["name"]: [one["status"] for one in item["status"]["conditions"] if one["type"] == "Suspicious"]
        for item in world.all(SNAPSHOT)
    }
    return {
        "snapshots": told,
        "points": sorted(point.snapshot for point in world.points),
        "held": [at for at, _ in vault.forgets if datetime.fromisoformat("2026-11-23T13:01:00Z") < at < ACCEPTED],
        "accepting": ["--accept" in arguments for at, arguments in vault.forgets if at >= ACCEPTED],
        "applied": condition(status, "RetentionApplied")["reason"],
        "suspicious": status.get("suspicious", []),
        "left": [job["metadata"]["name"] for job in world.all(JOB) if is_upkeep(job) and "forget" not in job["metadata"]["name"]],
    }


def start(world: World, vault: Vault) -> WholeController:
    return WholeController(world, Logbook(world, vault=vault))


@pytest.fixture(scope="module")
def calm() -> tuple[dict[str, Any], int]:
    """The end of an undisturbed run, and how many writes it took."""
    vault = Vault()
    world = begin(vault)
    writes = 0

    def note(_verb: str, _kind: str, _name: str) -> None:
        nonlocal writes
        writes += 1

    world.kube.before_write = note
    go_on(world, start(world, vault))
    return end_of(world, vault), writes


def test_the_undisturbed_run_holds_and_lets_go_when_it_is_accepted(calm: tuple[dict[str, Any], int]) -> None:
    found, writes = calm
    assert found["held"] == []
    assert found["accepting"][0] is True
    assert found["points"] == ["shop-20261123t160000z"]
    assert found["snapshots"] == {"shop-20261123t160000z": []}
    assert (found["applied"], found["suspicious"], found["left"]) == ("Applied", [], [])
    assert writes > 3 * EVERY


def test_stopped_after_any_write_it_ends_the_same(calm: tuple[dict[str, Any], int]) -> None:
    wanted, writes = calm
    for write in range(0, writes, EVERY):
        vault = Vault()
        world = begin(vault)
        assert killed_at(world, write, lambda world=world, vault=vault: go_on(world, start(world, vault)))  # type: ignore[misc]  # bound now
        go_on(world, start(world, vault))
        assert end_of(world, vault) == wanted, f"stopped before write {write}"


def test_two_controllers_at_once_end_the_same(calm: tuple[dict[str, Any], int]) -> None:
    vault = Vault()
    world = begin(vault)
    go_on(world, start(world, vault), start(world, vault))
    assert end_of(world, vault) == calm[0]


def test_without_the_hold_the_good_point_would_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule that keeps it, switched off."""
    monkeypatch.setattr("recoup.plan.policy_upkeep.find_suspects", lambda _policy, _snapshots, _logs, _accepted: ())
    vault = Vault()
    world = begin(vault)
    go_on(world, start(world, vault))
    assert end_of(world, vault)["held"] != []
