"""Hooks around the capture, with the controller ended before any of its writes: never frozen in the end, never promised more than was."""

from __future__ import annotations

from typing import Any

import pytest

from recoup.controller.resources import SNAPSHOT, VOLUME_SNAPSHOT
from tests.faults.driver import SNAPSHOT_KEY, BucketView, Controller, condition, killed_at, shop, snapshot_status
from tests.faults.frozen_pod import POLICY, Connection, FrozenPod
from tests.faults.world import World


def quiet_shop(**policy: Any) -> World:
    world = shop("data-0", "data-1", policy=POLICY | policy)
    for handle in world.disks:
        world.disks[handle] = "in motion"
    return world


def controller(world: World, pods: Connection) -> Controller:
    return Controller(world, BucketView(world), pods=pods)


def contents(world: World) -> set[str]:
    return {point.id for point in world.points}


def promised(world: World) -> set[str]:
    return {volume["guarantee"] for volume in snapshot_status(world)["volumes"]}


def test_all_volumes_are_captured_between_the_hooks() -> None:
    world = quiet_shop()
    pod = FrozenPod(world)
    controller(world, pod.connection()).run(SNAPSHOT_KEY)
    assert pod.ran == ["lock", "unlock"]
    assert contents(world) == {"quiet"}
    assert promised(world) == {"ApplicationConsistent"}
    assert {point.consistency for point in world.points} == {"ApplicationConsistent"}
    status = snapshot_status(world)
    assert status["skew"] == "0ms"
    assert [(result["name"], result["outcome"]) for result in status["hooks"]["results"]] == [
        ("lock", "Succeeded"),
        ("unlock", "Succeeded"),
    ]
    assert condition(status, "HooksSucceeded")["status"] == "True"


def test_stopped_before_any_write_nothing_stays_frozen_and_nothing_is_promised_that_was_not() -> None:
    """The next controller thaws, and the pod's own guard comes last. Shown to fail with `_all_succeeded and released` taken for granted.

    In each case the run ends well; where the hooks were cut off with nothing captured they were run again, else the promise is less.
    """
    seen: set[str] = set()
    write = 0
    while True:
        world = quiet_shop()
        pod = FrozenPod(world)
        first = pod.connection()
        stopped = killed_at(world, write, lambda world=world, first=first: controller(world, first).run(SNAPSHOT_KEY))  # type: ignore[misc]
        first.dead = True
        controller(world, pod.connection()).run(SNAPSHOT_KEY)
        assert not pod.frozen, f"stopped before write {write}: {pod.ran}"
        pod.reach_freeze_limit()
        assert not pod.frozen
        assert condition(snapshot_status(world), "Ready")["reason"] == "RecoveryPointStored", f"stopped before write {write}"
        if "ApplicationConsistent" in promised(world):
            assert promised(world) == {"ApplicationConsistent"}
            assert contents(world) == {"quiet"}, f"stopped before write {write}: {pod.ran}"
        reason = condition(snapshot_status(world), "HooksSucceeded")["reason"]
        assert (reason == "HooksSucceeded") == (promised(world) == {"ApplicationConsistent"})
        seen.add(reason)
        assert world.cuts == {}
        if not stopped:
            break
        write += 1
    assert seen == {"HooksSucceeded", "HooksInterrupted"}, "both ends were met"


def test_a_pre_hook_that_fails_ends_the_run_before_anything_is_captured_and_the_post_hook_runs() -> None:
    world = quiet_shop()
    pod = FrozenPod(world, fails=frozenset({"lock"}))
    controller(world, pod.connection()).run(SNAPSHOT_KEY)
    assert pod.ran == ["lock", "unlock"]
    assert (world.all(VOLUME_SNAPSHOT), world.points) == ([], [])
    volumes = snapshot_status(world)["volumes"]
    assert {(volume["state"], volume["reason"]) for volume in volumes} == {("Failed", "HookFailed")}
    assert volumes[0]["message"] == "pre hook lock in pod db-0 failed, exit code 1"


def test_a_volume_snapshot_that_fails_is_followed_by_the_post_hook() -> None:
    world = quiet_shop()
    world.add_volume("shop", "legacy", "old", driver="nfs.example.com")
    pod = FrozenPod(world)
    controller(world, pod.connection()).run(SNAPSHOT_KEY)
    assert pod.ran == ["lock", "unlock"]
    states = {volume["persistentVolumeClaim"]: volume["state"] for volume in snapshot_status(world)["volumes"]}
    assert states == {"data-0": "Stored", "data-1": "Stored", "legacy": "Failed"}


def test_without_the_right_nothing_is_frozen_and_the_chart_value_is_named() -> None:
    world = quiet_shop()
    FrozenPod(world)
    Controller(world, BucketView(world)).run(SNAPSHOT_KEY)
    ready = condition(snapshot_status(world), "HooksSucceeded")
    assert ready["reason"] == "HookNotAllowed"
    assert "add it to the chart value hooks.namespaces" in ready["message"]
    assert {volume["reason"] for volume in snapshot_status(world)["volumes"]} == {"HookNotAllowed"}


@pytest.mark.parametrize("write", range(2, 12, 3))
def test_cancelled_while_frozen_it_is_thawed(write: int) -> None:
    world = quiet_shop()
    pod = FrozenPod(world)

    def cancel() -> None:
        made = world.get(SNAPSHOT, "shop", SNAPSHOT_KEY.name)
        world.kube.put(SNAPSHOT, made | {"spec": made["spec"] | {"cancel": True}})

    one = controller(world, pod.connection())
    one.run(SNAPSHOT_KEY, until=lambda: len(world.kube.writes) >= write)
    cancel()
    one.run(SNAPSHOT_KEY)
    assert not pod.frozen
    assert condition(snapshot_status(world), "Ready")["reason"] in ("Cancelled", "RecoveryPointStored")
    assert snapshot_status(world)["completedAt"]
