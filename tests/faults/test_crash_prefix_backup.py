"""A controller that ends after any number of its writes is followed by one that brings the run to the same end.

For every story and every k: the process is killed instead of its k-th write, a new one with no memory takes over, and in the end the
objects, the status, the storage and the bucket are those of an undisturbed run: nothing lost, doubled or left behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from recoup.controller.resources import JOB, SNAPSHOT
from tests.faults.driver import SNAPSHOT_KEY, condition, killed_at, shop, snapshot_status, start
from tests.faults.outcome import difference, outcome
from tests.faults.world import Object, World, work


def flaky(world: World, job: Object, pod: Object) -> Object | None:
    """The first attempt of every volume ends with a failure that may pass."""
    if job["metadata"]["labels"].get("recoup.dev/attempt") == "1" and "backup" in pod["spec"]["containers"][0]["args"]:
        return {"exitCode": 10, "message": json.dumps({"reason": "Unavailable", "message": "the bucket does not answer"})}
    return work(world, job, pod)


def hopeless(world: World, job: Object, pod: Object) -> Object | None:
    """Backups fail for a reason that no repetition mends."""
    if "backup" in pod["spec"]["containers"][0]["args"]:
        return {"exitCode": 40, "message": json.dumps({"reason": "KeyUnavailable", "message": "the writer's key is missing"})}
    return work(world, job, pod)


def plain() -> World:
    return shop("data-0", "data-1")


def waiting() -> World:
    return shop("data-0", binding="WaitForFirstConsumer")


def retried() -> World:
    world = shop("data-0")
    world.mover = flaky
    return world


def failing() -> World:
    world = shop("data-0", "data-1")
    world.mover = hopeless
    return world


def partial() -> World:
    """One volume of a driver that can't snapshot, one that can."""
    world = shop("data-0")
    world.add_volume("shop", "legacy", "old", driver="nfs.example.com")
    return world


def cancelled() -> World:
    """Somebody sets spec.cancel while the mover works."""
    world = shop("data-0")

    def busy(world: World, job: Object, pod: Object) -> Object | None:
        if "backup" not in pod["spec"]["containers"][0]["args"]:
            return work(world, job, pod)
        snapshot = world.get(SNAPSHOT, "shop", "before-upgrade")
        if not snapshot["spec"]["cancel"]:
            world.kube.put(SNAPSHOT, snapshot | {"spec": snapshot["spec"] | {"cancel": True}})
        return None

    world.mover = busy
    return world


MANY = 10

STORIES: dict[str, tuple[Callable[[], World], str]] = {
    "plain": (plain, "RecoveryPointStored"),
    "waiting": (waiting, "RecoveryPointStored"),
    "retried": (retried, "RecoveryPointStored"),
    "failing": (failing, "VolumeNotStored"),
    "partial": (partial, "VolumeNotCaptured"),
    "cancelled": (cancelled, "Cancelled"),
}


@pytest.mark.parametrize("story", STORIES)
def test_stopped_after_any_write_it_ends_the_same(story: str) -> None:
    make, reason = STORIES[story]
    calm = make()
    start(calm).run(SNAPSHOT_KEY)
    assert condition(snapshot_status(calm), "Ready")["reason"] == reason
    assert calm.all(JOB) == []
    assert calm.cuts == {}
    write = 0
    while True:
        world = make()
        stopped = killed_at(world, write, lambda world=world: start(world).run(SNAPSHOT_KEY))  # type: ignore[misc]
        start(world).run(SNAPSHOT_KEY)
        assert difference(outcome(world), outcome(calm)) == [], f"{story}, stopped before write {write}"
        if not stopped:
            break
        write += 1
    assert write > MANY, "every write of the story was a place to stop"


@pytest.mark.parametrize("story", ["plain", "retried"])
def test_two_controllers_at_once_end_the_same(story: str) -> None:
    """Leases switched off: two processes take turns on the same object, each with a view of its own."""
    make, _ = STORIES[story]
    calm = make()
    start(calm).run(SNAPSHOT_KEY)
    world = make()
    one, other = start(world), start(world)
    for _ in range(200):
        one.look(SNAPSHOT_KEY)
        other.look(SNAPSHOT_KEY)
        if not world.step():
            world.pass_time(seconds=5)
    one.run(SNAPSHOT_KEY)
    assert difference(outcome(world), outcome(calm)) == []
