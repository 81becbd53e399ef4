"""A namespace that is deleted between any two writes of a backup: it is never held up, nothing of ours stays, no claim is false.

Once the snapshot is handed over, a mover goes on by itself, and its recovery point is in the bucket although nobody is left to tell.
"""

from __future__ import annotations

import pytest

from recoup.controller.resources import JOB, NAMESPACE, POD, VOLUME_SNAPSHOT_CONTENT
from tests.faults import backup_rules_off as off
from tests.faults.driver import SNAPSHOT_KEY, SWEEP, Controller, killed_at, shop, start
from tests.faults.test_backup_faults import backups_hang, is_running_backup
from tests.faults.test_backup_flow import assert_nothing_of_ours
from tests.faults.world import World, work

STEPS = 60


def finish_without_owner(world: World) -> None:
    """What happens after the deletion: looks at an object that may be gone, the world, the periodic sweep."""
    controller = start(world)
    for _ in range(STEPS):
        controller.look(SNAPSHOT_KEY)
        world.step()
        controller.look(SWEEP)
        world.step()
        world.pass_time(seconds=20)


def namespace_deleted_after(write: int, binding: str) -> tuple[World, bool]:
    world = shop("data-0", binding=binding)
    stopped = killed_at(world, write, lambda: start(world).run(SNAPSHOT_KEY))
    world.delete_namespace("shop")
    finish_without_owner(world)
    return world, stopped


@pytest.mark.parametrize("binding", ["Immediate", "WaitForFirstConsumer"])
def test_between_any_two_writes_nothing_is_held_up_or_left(binding: str) -> None:
    write, saved = 0, 0
    while True:
        world, stopped = namespace_deleted_after(write, binding)
        assert "shop" not in [item["metadata"]["name"] for item in world.all(NAMESPACE)], f"held up, deleted before write {write}"
        assert_nothing_of_ours(world, disks=0)
        assert len(world.points) <= 1
        saved += len(world.points)
        if not stopped:
            break
        write += 1
    assert write > 10
    assert saved > 1, "from the mover's start on the recovery point is made all the same"


def mover_at_work_when_the_namespace_goes() -> None:
    world = shop("data-0")
    world.mover = backups_hang
    controller = start(world)
    controller.run(SNAPSHOT_KEY, until=lambda: any(is_running_backup(pod) for pod in world.all(POD)))
    world.delete_namespace("shop")
    world.settle()
    look_for_orphans(controller, world)
    assert len(world.all(JOB)) == 1, "it may finish"
    world.mover = work
    look_for_orphans(controller, world)
    assert [point.id for point in world.points] == ["content of data-0"]
    assert_nothing_of_ours(world, disks=0)


def look_for_orphans(controller: Controller, world: World) -> None:
    for _ in range(10):
        world.step()
        controller.look(SWEEP)


def test_a_mover_at_work_finishes_without_its_owner() -> None:
    mover_at_work_when_the_namespace_goes()


def test_without_that_rule_its_work_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    off.sweep_movers_at_work(monkeypatch)
    with pytest.raises(AssertionError, match="it may finish"):
        mover_at_work_when_the_namespace_goes()


def test_a_mover_that_never_ends_is_not_kept_for_ever() -> None:
    world = shop("data-0")
    world.mover = backups_hang
    controller = start(world)
    controller.run(SNAPSHOT_KEY, until=lambda: any(is_running_backup(pod) for pod in world.all(POD)))
    world.delete_namespace("shop")
    world.settle()
    world.pass_time(hours=25)
    look_for_orphans(controller, world)
    assert_nothing_of_ours(world, disks=0)
    assert world.all(VOLUME_SNAPSHOT_CONTENT) == []
