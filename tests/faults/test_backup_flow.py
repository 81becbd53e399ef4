"""The hand-over of a backup from end to end in memory: what it leaves, what it tells, and that it comes to rest."""

from __future__ import annotations

import pytest

from recoup.controller.resources import JOB, POD, PV, PVC, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT
from tests.faults.driver import SNAPSHOT_KEY, condition, shop, snapshot_status, start
from tests.faults.world import World


def assert_nothing_of_ours(world: World, disks: int) -> None:
    """No child is left, and on the storage only the application's own disks."""
    for kind in (JOB, POD, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT):
        assert world.all(kind) == [], kind.kind
    assert [claim for claim in world.all(PVC) if claim["metadata"]["namespace"] == "recoup-movers"] == []
    assert len(world.all(PV)) == len(world.disks) == disks
    assert world.cuts == {}


@pytest.mark.parametrize("binding", ["Immediate", "WaitForFirstConsumer"])
def test_every_selected_volume_is_stored_and_nothing_stays_behind(binding: str) -> None:
    world = shop("data-0", "data-1", binding=binding)
    start(world).run(SNAPSHOT_KEY)
    status = snapshot_status(world)
    assert condition(status, "Ready")["status"] == "True", status
    assert condition(status, "Ready")["reason"] == "RecoveryPointStored"
    assert {volume["state"] for volume in status["volumes"]} == {"Stored"}
    assert sorted(point.id for point in world.points) == ["content of data-0", "content of data-1"]
    assert status["summary"] == {"volumes": "2/2", "size": "34", "stored": "34", "copies": "1/1"}
    assert status["copies"][0]["state"] == "Complete"
    assert condition(status, "Reconciling") == {}
    assert_nothing_of_ours(world, disks=2)


def test_a_run_that_is_over_is_left_alone() -> None:
    world = shop("data-0")
    controller = start(world)
    controller.run(SNAPSHOT_KEY)
    written, reads = len(world.kube.writes), controller.bucket.reads
    world.pass_time(hours=5)
    controller.look(SNAPSHOT_KEY)
    start(world).look(SNAPSHOT_KEY)
    assert len(world.kube.writes) == written
    assert controller.bucket.reads == reads
