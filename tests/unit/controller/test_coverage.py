"""The metric of coverage: from the cache at the scrape, by the replica that leads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from recoup.controller.coverage import CoverageGauges
from recoup.controller.resources import POLICY
from tests.faults.driver import shop


def scrape(*, leading: bool, protected: bool = False) -> str:
    world = shop("data-0")
    if protected:
        policy = world.get(POLICY, "shop", "shop")
        uid = next(thing["metadata"]["uid"] for thing in world.kube.objects.values() if thing["metadata"]["name"] == "data-0")
        volume = {"persistentVolumeClaim": "data-0", "uid": uid, "newestPoint": "2026-11-23T11:00:00Z"}
        world.kube.put(POLICY, policy | {"status": {"volumes": [volume]}})
    registry = CollectorRegistry()
    gauges = CoverageGauges(world.kube, movers_namespace="recoup-movers", now=lambda: world.now, is_leading=lambda: leading)
    registry.register(gauges)
    return generate_latest(registry).decode()


def test_the_leader_tells_what_each_volume_is() -> None:
    assert 'namespace="shop",persistentvolumeclaim="data-0",state="Unprotected"} 1.0' in scrape(leading=True)
    assert 'namespace="shop",persistentvolumeclaim="data-0",state="Protected"} 1.0' in scrape(leading=True, protected=True)


def test_the_other_replica_says_nothing() -> None:
    assert "data-0" not in scrape(leading=False)
