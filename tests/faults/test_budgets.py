"""Movers that wait for a seat: never more at once than the location takes, whatever ends the controller, and everybody's turn comes."""

from __future__ import annotations

import pytest
from msgspec import structs

from recoup.controller.resources import JOB, LOCATION, PVC, SNAPSHOT, VOLUME_SNAPSHOT, Key
from recoup.plan.observed import MoverLimits
from tests.faults.driver import AROUND, SNAPSHOT_KEY, Controller, a_location, condition, killed_at, shop, snapshot_status, start
from tests.faults.outcome import difference, outcome
from tests.faults.world import Object, World, work

VOLUMES = ("data-0", "data-1", "data-2")
SLOW = 3
"""Steps of the world for which a mover works."""


def crowded(*names: str) -> World:
    """One mover at a time, and movers that take a while; `names` of further BackupSnapshots."""
    world = shop(*VOLUMES)
    world.kube.put(LOCATION, a_location(world.now, limits={"concurrentMovers": 1}))
    for name in names:
        metadata = {"name": name, "namespace": "shop", "uid": f"uid-of-{name}"}
        world.kube.put(SNAPSHOT, {"metadata": metadata, "spec": {"policyRef": {"name": "shop"}, "trigger": "Manual", "cancel": False}})
    seen: dict[str, int] = {}

    def slow(world: World, job: Object, pod: Object) -> Object | None:
        if at_work(world) > 1:
            raise AssertionError("two movers at once")
        uid = pod["metadata"]["uid"]
        seen[uid] = seen.get(uid, 0) + 1
        return work(world, job, pod) if seen[uid] > SLOW else None

    world.mover = slow
    return world


def at_work(world: World) -> int:
    jobs = [job for job in world.all(JOB) if "backup" in job["spec"]["template"]["spec"]["containers"][0]["args"]]
    return sum(not (job.get("status") or {}).get("conditions") for job in jobs)


def volumes(world: World, name: str = "before-upgrade") -> list[Object]:
    found: list[Object] = world.get(SNAPSHOT, "shop", name)["status"]["volumes"]
    return found


def test_what_waits_was_captured_and_says_for_what() -> None:
    world = crowded()
    start(world).run(SNAPSHOT_KEY, until=lambda: at_work(world) == 1 and condition(snapshot_status(world), "Ready") != {})
    one = start(world)
    one.look(SNAPSHOT_KEY)
    waiting = [volume for volume in volumes(world) if volume["state"] == "Waiting"]
    assert [volume["reason"] for volume in waiting] == ["WaitingForMoverSlot"] * 2
    said = "waits for one of all 1 movers of BackupLocation frankfurt (its spec.limits.concurrentMovers); at work for shop/before-upgrade"
    assert {volume["message"] for volume in waiting} == {said}
    assert all(volume.get("capturedAt") for volume in volumes(world)), "its data is of its slot"
    assert [claim for claim in world.all(PVC) if claim["metadata"]["namespace"] == "recoup-movers"] != []
    ready = condition(snapshot_status(world), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "WaitingForMoverSlot")
    assert said in ready["message"]


def test_stopped_after_any_write_there_is_never_one_too_many() -> None:
    """Shown to fail (two movers at once) with share_seats granting everything."""
    calm = crowded()
    start(calm).run(SNAPSHOT_KEY)
    assert condition(snapshot_status(calm), "Ready")["reason"] == "RecoveryPointStored"
    write = 0
    while True:
        world = crowded()
        stopped = killed_at(world, write, lambda world=world: start(world).run(SNAPSHOT_KEY))  # type: ignore[misc]
        start(world).run(SNAPSHOT_KEY)
        assert difference(outcome(world), outcome(calm)) == [], f"stopped before write {write}"
        if not stopped:
            break
        write += 1
    assert write > 2 * len(VOLUMES)


@pytest.mark.parametrize("restart", [False, True])
def test_each_run_gets_its_turn_without_polling(restart: bool) -> None:
    """Four runs of three volumes, one mover at a time: a run is looked at again only when the world or the seats wake it."""
    names = ("before-upgrade", "second", "third", "fourth")
    world = crowded(*names[1:])
    controller = start(world)
    keys = [Key("BackupSnapshot", "shop", name) for name in names]
    for _ in range(20):
        for key in keys:
            controller.look(key)
        world.step()
    assert at_work(world) == 1
    controller = start(world) if restart else controller
    for key in keys:  # as at the start of a controller
        controller.look(key)
    _until_done(controller, keys)
    assert all(volume["state"] == "Stored" for name in names for volume in volumes(world, name))
    assert world.all(VOLUME_SNAPSHOT) == []


def _until_done(controller: Controller, keys: list[Key]) -> None:
    """Only runs with a mover (its events wake them) and runs that were woken are looked at; no time passes."""
    world = controller.world
    for _ in range(400):
        awake = {key for key in keys if any(is_awake(volume) for volume in volumes(world, key.name))} | set(controller.woken)
        controller.woken.clear()
        for key in sorted(awake):
            controller.look(key)
        changed = world.step()
        if not awake and not changed:
            for key in keys:
                controller.run(key)
            return


def is_awake(volume: Object) -> bool:
    return bool(volume["state"] in ("Capturing", "Uploading"))


def test_a_namespace_does_not_pile_volume_snapshots_up(monkeypatch: pytest.MonkeyPatch) -> None:
    world = crowded("second")
    one, other = SNAPSHOT_KEY, Key("BackupSnapshot", "shop", "second")
    few = structs.replace(AROUND, limits=MoverLimits(waiting_snapshots=2))
    monkeypatch.setattr("tests.faults.driver.AROUND", few)
    controller = start(world)
    controller.run(one, until=lambda: at_work(world) == 1)
    for _ in range(4):
        controller.look(other)
        world.step()
    assert {volume["state"] for volume in volumes(world, "second")} == {"Waiting"}
    assert "2 volume snapshots of namespace shop wait for a mover already (at most 2" in volumes(world, "second")[0]["message"]
    assert not any(volume.get("capturedAt") for volume in volumes(world, "second"))
    controller.run(one)
    assert controller.woken.count(other) >= 1
    controller.run(other)
    assert all(volume["state"] == "Stored" for volume in volumes(world, "second"))
