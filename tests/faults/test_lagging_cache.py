"""The cache lags behind the cluster, by every number of changes that a story is sensitive to: the end is that of one that does not.

A lag of n holds back the newest n changes of every kind for as long as something goes on, so kinds are behind by different times and a
child may be missing, or still seem to be there, at any point of the story. Shown to fail by hand with its check off: without the cache
learning from our own writes, without the second look before a bad end (finality.is_final), without asking for Jobs that a status expects
(gather.jobs_and_pods). The fresh look before a snapshot is taken, the owner read before a create and the volumes that a status names have
tests of their own (tests/unit/controller/test_gather_lag.py, test_worker.py), shown in the same way.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.driver import (
    RESTORE_KEY,
    SNAPSHOT_KEY,
    SWEEP,
    backed_up,
    condition,
    incident,
    killed_at,
    restore_status,
    snapshot_status,
    start,
)
from tests.faults.outcome import difference, outcome
from tests.faults.test_crash_prefix_backup import STORIES
from tests.faults.world import World

LAGS = (1, 2, 3, 5, 8)


def restored(binding: str) -> World:
    world = backed_up("data-0", binding=binding)
    incident(world)
    return world


RESTORES: dict[str, Callable[[], World]] = {
    "immediate": lambda: restored("Immediate"),
    "first-consumer": lambda: restored("WaitForFirstConsumer"),
}


@pytest.mark.parametrize("lag", LAGS)
@pytest.mark.parametrize("story", STORIES)
def test_a_backup_ends_the_same_however_late_its_controller_hears(story: str, lag: int) -> None:
    make, reason = STORIES[story]
    calm = make()
    start(calm).run(SNAPSHOT_KEY)
    world = make()
    start(world, lag=lag).run(SNAPSHOT_KEY)
    assert condition(snapshot_status(world), "Ready")["reason"] == reason
    assert difference(outcome(world), outcome(calm)) == []


@pytest.mark.parametrize("lag", LAGS)
@pytest.mark.parametrize("story", RESTORES)
def test_a_restore_ends_the_same_however_late_its_controller_hears(story: str, lag: int) -> None:
    calm = RESTORES[story]()
    start(calm).run(RESTORE_KEY)
    world = RESTORES[story]()
    start(world, lag=lag).run(RESTORE_KEY)
    assert condition(restore_status(world), "Ready")["reason"] == "Restored"
    assert difference(outcome(world), outcome(calm)) == []


@pytest.mark.parametrize("lag", [1, 3])
@pytest.mark.parametrize("story", ["plain", "retried"])
def test_stopped_after_any_write_a_lagging_one_goes_on(story: str, lag: int) -> None:
    make, _ = STORIES[story]
    calm = make()
    start(calm).run(SNAPSHOT_KEY)
    write, stopped = 0, True
    while stopped:
        world = make()
        stopped = killed_at(world, write, lambda world=world: start(world, lag=lag).run(SNAPSHOT_KEY))  # type: ignore[misc]
        start(world, lag=lag).run(SNAPSHOT_KEY)
        assert difference(outcome(world), outcome(calm)) == [], f"{story}, stopped before write {write}"
        write += 1


@pytest.mark.parametrize("lags", [(0, 2), (1, 5), (5, 1), (3, 3), (8, 0)])
@pytest.mark.parametrize("story", ["plain", "retried", "waiting"])
def test_two_that_hear_late_do_not_undo_each_others_work(story: str, lags: tuple[int, int]) -> None:
    """Leases switched off: what one does, the other hears of late."""
    make, _ = STORIES[story]
    calm = make()
    start(calm).run(SNAPSHOT_KEY)
    world = make()
    pair = [start(world, lag=lag) for lag in lags]
    for _ in range(200):
        for one in pair:
            one.look(SNAPSHOT_KEY)
        if not world.step():
            world.pass_time(seconds=5)
    start(world).run(SNAPSHOT_KEY)
    start(world).run(SWEEP)
    assert difference(outcome(world), outcome(calm)) == []


@pytest.mark.parametrize("lags", [(0, 2), (1, 5), (5, 1), (3, 3), (8, 0)])
@pytest.mark.parametrize("story", RESTORES)
def test_two_that_hear_late_restore_once(story: str, lags: tuple[int, int]) -> None:
    calm = RESTORES[story]()
    start(calm).run(RESTORE_KEY)
    world = RESTORES[story]()
    pair = [start(world, lag=lag) for lag in lags]
    for _ in range(200):
        for one in pair:
            one.look(RESTORE_KEY)
        if not world.step():
            world.pass_time(seconds=5)
    start(world).run(RESTORE_KEY)
    start(world).run(SWEEP)
    assert difference(outcome(world), outcome(calm)) == []
