"""A controller that ends after any number of its writes of a restore is followed by one that brings it to the same end.

At no moment, in no prefix, is a volume that was filled without an object that holds it: the data are never lost in between.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from recoup.controller.resources import JOB, PVC, RESTORE
from tests.faults.driver import SWEEP, Controller, backed_up, condition, incident, killed_at, restore_status, start
from tests.faults.outcome import difference, outcome
from tests.faults.test_restore_flow import assert_only_the_users
from tests.faults.world import Object, World, work

MANY = 6
STEPS = 40


def flaky(world: World, job: Object, pod: Object) -> Object | None:
    if job["metadata"]["labels"].get("recoup.dev/attempt") == "1" and pod["spec"]["containers"][0]["args"][0] == "restore":
        return {"exitCode": 10, "message": json.dumps({"reason": "Unavailable", "message": "the bucket does not answer"})}
    return work(world, job, pod)


def damaged(world: World, job: Object, pod: Object) -> Object | None:
    if pod["spec"]["containers"][0]["args"][0] == "restore":
        return {"exitCode": 30, "message": json.dumps({"reason": "IntegrityError", "message": "object d/…/1f is damaged (orders/1.txt)"})}
    return work(world, job, pod)


def taken(world: World, job: Object, pod: Object) -> Object | None:
    """Somebody makes a PVC of the target's name while the mover works."""
    if "data-0-restored" not in [claim["metadata"]["name"] for claim in world.all(PVC)]:
        world.add_volume("shop", "data-0-restored", "somebody's")
    return work(world, job, pod)


def cancel(world: World, job: Object, pod: Object) -> Object | None:
    """Somebody sets spec.cancel while the mover works."""
    request = world.get(RESTORE, "shop", "incident")
    if not request["spec"]["cancel"]:
        world.kube.put(RESTORE, request | {"spec": request["spec"] | {"cancel": True}})
    return None


def make(mover: Callable[[World, Object, Object], Object | None] | None, binding: str = "Immediate", **more: Any) -> Callable[[], World]:
    def story() -> World:
        world = backed_up("data-0", "data-1", binding=binding)
        both = [{"source": name, "target": {"name": f"{name}-restored"}} for name in ("data-0", "data-1")]
        incident(world, volumes=both if mover is None else both[:1], **more)
        world.mover = mover
        return world

    return story


STORIES = {
    "plain": (make(None), "Restored", 4),
    "waiting": (make(None, "WaitForFirstConsumer"), "Restored", 4),
    "of a part": (make(None, paths={"include": ["etc"]}), "Restored", 4),
    "retried": (make(flaky), "Restored", 3),
    "damaged": (make(damaged), "IntegrityError", 2),
    "taken": (make(taken), "TargetExists", 3),
    "cancelled": (make(cancel), "Cancelled", 2),
}


def run(world: World) -> None:
    from tests.faults.driver import RESTORE_KEY

    start(world).run(RESTORE_KEY)


@pytest.mark.parametrize("story", STORIES)
def test_stopped_after_any_write_it_ends_the_same(story: str) -> None:
    begin, reason, disks = STORIES[story]
    calm = begin()
    run(calm)
    assert condition(restore_status(calm), "Ready")["reason"] == reason, restore_status(calm)
    assert_only_the_users(calm, disks)
    write = 0
    while True:
        world = begin()
        stopped = killed_at(world, write, lambda world=world: run(world))  # type: ignore[misc]
        run(world)
        assert difference(outcome(world), outcome(calm)) == [], f"{story}, stopped before write {write}"
        if not stopped:
            break
        write += 1
    assert write > MANY, "every write of the story was a place to stop"


@pytest.mark.parametrize("story", ["plain", "retried"])
def test_two_controllers_at_once_end_the_same(story: str) -> None:
    from tests.faults.driver import RESTORE_KEY

    begin, _, _ = STORIES[story]
    calm, world = begin(), begin()
    run(calm)
    one, other = start(world), start(world)
    for _ in range(200):
        one.look(RESTORE_KEY)
        other.look(RESTORE_KEY)
        if not world.step():
            world.pass_time(seconds=5)
    one.run(RESTORE_KEY)
    assert difference(outcome(world), outcome(calm)) == []


@pytest.mark.parametrize("what", ["request", "namespace"])
def test_deleted_between_any_two_writes_it_leaves_a_whole_volume_or_none(what: str) -> None:
    """No finalizer holds the request or its namespace; the sweep finishes a hand-over that had begun for good, and removes the rest."""
    write, whole = 0, 0
    while True:
        world = make(None)()
        stopped = killed_at(world, write, lambda world=world: run(world))  # type: ignore[misc]
        if what == "request":
            world.delete(world.get(RESTORE, "shop", "incident"))
        else:
            world.delete_namespace("shop")
        controller = start(world)
        look_for_orphans(controller, world)
        restored = [claim for claim in world.all(PVC) if claim["metadata"]["name"].endswith("-restored")]
        whole += len(restored)
        for claim in restored:
            assert claim["status"]["phase"] == "Bound", f"a claim without a volume, deleted before write {write}"
        assert_only_the_users(world, disks=len(restored) + (2 if what == "request" else 0))
        if not stopped:
            break
        write += 1
    assert write > MANY
    assert whole > 0 or what == "namespace"


def look_for_orphans(controller: Controller, world: World) -> None:
    for _ in range(STEPS):
        world.step()
        controller.look(SWEEP)


def test_a_filled_volume_is_held_by_something_at_every_moment() -> None:
    """From the mover's end on there is one disk with the data, after every write and every act of the world."""
    world = make(None)()
    from tests.faults.driver import RESTORE_KEY

    controller, filled = start(world), 0
    for _ in range(200):
        controller.look(RESTORE_KEY)
        world.step()
        states = [volume["state"] for volume in restore_status(world).get("volumes", [])]
        if states and all(state in ("HandingOver", "Restored") for state in states):
            filled += 1
            assert sorted(world.disks.values()).count("content of data-0") == 2
            assert sorted(world.disks.values()).count("content of data-1") == 2
    assert filled > 3
    assert world.all(JOB) == []
