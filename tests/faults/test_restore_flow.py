"""The hand-over of a restore from end to end in memory: what the user gets, what it tells, and that nothing stays behind."""

from __future__ import annotations

import pytest

from recoup.controller.resources import JOB, NODE, POD, PV, PVC
from recoup.plan.handback import OUR_LABELS
from tests.faults.driver import backed_up, condition, content_of, incident, restore_status, start
from tests.faults.world import World


def assert_only_the_users(world: World, disks: int) -> None:
    """No child is left, every disk is somebody's, and its PersistentVolume is as the class makes it."""
    assert world.all(JOB) == []
    assert world.all(POD) == []
    assert [claim for claim in world.all(PVC) if claim["metadata"]["namespace"] == "recoup-movers"] == []
    assert len(world.disks) == len(world.all(PV)) == disks
    for volume in world.all(PV):
        assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        assert not set(volume["metadata"].get("labels") or {}) & set(OUR_LABELS)


def test_the_volume_comes_back_as_it_was_recorded() -> None:
    world = backed_up("data-0", "data-1")
    start(world).run(incident(world))
    status = restore_status(world)
    assert condition(status, "Restored")["status"] == "True", status
    assert condition(status, "Ready")["status"] == "True"
    assert content_of(world, "data-0-restored") == "content of data-0"
    claim = world.get(PVC, "shop", "data-0-restored")
    assert claim["metadata"]["labels"]["app"] == "shop"
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"]["requests"]["storage"] == "1Gi"
    assert status["summary"] == {"source": "before-upgrade", "volumes": "1/1", "progress": "100 %"}
    assert status["volumes"][0]["bytesWritten"] == 7
    assert status["volumes"][0]["filesRestored"] == 3
    assert_only_the_users(world, disks=3)


def test_without_a_list_every_volume_comes_back_under_its_own_name() -> None:
    world = backed_up("data-0", "data-1")
    world.delete(world.get(PVC, "shop", "data-0"))
    world.delete(world.get(PVC, "shop", "data-1"))
    world.settle()
    start(world).run(incident(world, source={"policyRef": {"name": "shop"}}, volumes=[]))
    assert restore_status(world)["summary"]["volumes"] == "2/2"
    assert [content_of(world, name) for name in ("data-0", "data-1")] == ["content of data-0", "content of data-1"]
    assert_only_the_users(world, disks=2)


def test_what_the_request_says_wins() -> None:
    world = backed_up("data-0")
    target = {"name": "bigger", "size": "5Gi", "accessModes": ["ReadWriteMany"]}
    start(world).run(incident(world, volumes=[{"source": "data-0", "target": target}]))
    spec = world.get(PVC, "shop", "bigger")["spec"]
    assert spec["resources"]["requests"]["storage"] == "5Gi"
    assert spec["accessModes"] == ["ReadWriteMany"]


def test_a_restore_that_is_over_is_left_alone() -> None:
    world = backed_up("data-0")
    key = incident(world)
    controller = start(world)
    controller.run(key)
    written, reads = len(world.kube.writes), controller.bucket.reads
    world.pass_time(hours=5)
    controller.look(key)
    start(world).look(key)
    assert len(world.kube.writes) == written
    assert controller.bucket.reads == reads


@pytest.mark.parametrize(
    ("topology", "zone"), [(None, "a"), ({"topology.kubernetes.io/zone": "b"}, "b"), ({}, None)], ids=["recorded", "asked for", "anywhere"]
)
def test_the_mover_is_the_first_consumer_and_runs_where_the_volume_is_to_be(topology: dict[str, str] | None, zone: str | None) -> None:
    world = backed_up("data-0", binding="WaitForFirstConsumer")
    in_zone_a(world)
    add_node(world, "node-a", "a")
    add_node(world, "node-b", "b")
    target = {"name": "data-0-restored"} | ({"topology": topology} if topology is not None else {})
    key = incident(world, volumes=[{"source": "data-0", "target": target}])
    controller = start(world)
    controller.run(key, until=lambda: bool(world.all(JOB)))
    spec = world.all(JOB)[0]["spec"]["template"]["spec"]
    if zone is None:
        assert "affinity" not in spec
    else:
        terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert terms[0]["matchExpressions"][0]["values"] == [zone]
    controller.run(key)
    assert content_of(world, "data-0-restored") == "content of data-0"


def in_zone_a(world: World) -> None:
    """The recovery points were made of volumes in zone a."""
    from msgspec import structs

    terms = [{"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"]}]}]
    affinity = {"required": {"nodeSelectorTerms": terms}}
    world.points = [structs.replace(point, source=structs.replace(point.source, node_affinity=affinity)) for point in world.points]


def add_node(world: World, name: str, zone: str) -> None:
    labels = {"topology.kubernetes.io/zone": zone}
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    world.kube.put(NODE, {"metadata": {"name": name, "labels": labels}, "status": status})
