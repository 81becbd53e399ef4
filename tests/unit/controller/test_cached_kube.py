"""Reads from the cache, and what it learns: from reads, writes and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from recoup.api.labels import MANAGED_BY, MANAGER, OWNER_UID
from recoup.controller import failures
from recoup.controller.cache import OUR_LABEL, POLICY_NAME, Cache
from recoup.controller.cache_check import CacheCheck
from recoup.controller.cached_kube import CachedKube
from recoup.controller.resources import JOB, PVC, SECRET, SNAPSHOT, VOLUME_SNAPSHOT, Resource
from tests.fakes.memory_kube import MemoryKube
from tests.faults.lagging_watch import steady_clock

OURS = {MANAGED_BY: MANAGER, OWNER_UID: "o1"}


class Stage:
    """A server, and a cache that was filled from it."""

    def __init__(self) -> None:
        self.api = MemoryKube()
        self.api.put(PVC, claim("data"))
        self.cache = Cache(movers_namespace="movers", clock=steady_clock())
        self.news: list[tuple[str, str | None, str]] = []
        self.check = CacheCheck(self.api, self.cache, movers_namespace="movers", every=600, news=self._note)
        for resource in (PVC, JOB, SNAPSHOT, VOLUME_SNAPSHOT):
            self.check.compare(resource)
        self.kube = CachedKube(self.api, self.cache)
        self.api.reads = 0

    def _note(self, resource: Resource, event: str | None, obj: dict[str, Any]) -> None:
        self.news.append((resource.kind, event, obj["metadata"]["name"]))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def claim(name: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop", "labels": OURS, **metadata}, "spec": {"size": 1}}


def test_the_snapshots_of_a_policy_are_known_and_can_be_asked_of_the_server(stage: Stage) -> None:
    for name, policy in (("a", "daily"), ("b", "hourly")):
        spec = {"policyRef": {"name": policy}}
        stage.kube.create(SNAPSHOT, {"metadata": {"name": name, "namespace": "shop"}, "spec": spec})
    stage.api.reads = 0
    for kube, reads in ((stage.kube, 0), (stage.kube.server, 1)):
        assert [item["metadata"]["name"] for item in kube.list(SNAPSHOT, "shop", fields=f"{POLICY_NAME}=daily")] == ["a"]
        assert stage.api.reads == reads


def test_what_is_known_costs_no_request(stage: Stage) -> None:
    assert stage.kube.get(PVC, "shop", "data")["spec"] == {"size": 1}
    assert len(stage.kube.list(PVC, "shop")) == 1
    assert stage.kube.list(JOB, "movers", labels=OUR_LABEL) == []
    assert stage.api.reads == 0


def test_that_something_is_absent_is_asked_of_the_server(stage: Stage) -> None:
    stage.api.put(PVC, claim("new"))
    assert stage.kube.get(PVC, "shop", "new")["metadata"]["name"] == "new"
    with pytest.raises(failures.Gone):
        stage.kube.get(PVC, "shop", "none")
    assert stage.api.reads == 2
    assert len(stage.kube.list(PVC, "shop")) == 2, "and what was found is known from then on"
    assert stage.api.reads == 2


def test_kinds_that_are_not_watched_are_read_each_time(stage: Stage) -> None:
    stage.api.put(SECRET, {"metadata": {"name": "s", "namespace": "shop"}})
    for _ in range(2):
        stage.kube.get(SECRET, "shop", "s")
    assert stage.api.reads == 2


def test_the_way_to_the_server_is_always_open_and_teaches_the_cache(stage: Stage) -> None:
    stage.api.put(PVC, claim("data", uid=stage.kube.get(PVC, "shop", "data")["metadata"]["uid"]) | {"spec": {"size": 2}})
    assert stage.kube.get(PVC, "shop", "data")["spec"] == {"size": 1}
    assert stage.kube.server.get(PVC, "shop", "data")["spec"] == {"size": 2}
    assert stage.kube.get(PVC, "shop", "data")["spec"] == {"size": 2}
    stage.api.objects.clear()
    assert stage.kube.server.list(PVC, labels=f"{OWNER_UID}=o1") == []
    assert stage.kube.list(PVC) == []


def test_own_writes_are_read_at_once(stage: Stage) -> None:
    stage.kube.create(PVC, claim("mine") | {"apiVersion": "v1", "kind": "PersistentVolumeClaim"})
    made = stage.kube.get(PVC, "shop", "mine")
    stage.kube.patch(PVC, "shop", "mine", {"spec": {"size": 7}})
    assert stage.kube.get(PVC, "shop", "mine")["spec"]["size"] == 7
    stage.kube.delete(PVC, "shop", "mine", uid=made["metadata"]["uid"])
    assert [item["metadata"]["name"] for item in stage.kube.list(PVC)] == ["data"]
    assert stage.api.reads == 0


def test_a_deletion_that_takes_time_is_seen_as_such(stage: Stage) -> None:
    made = stage.kube.create(PVC, claim("mine", finalizers=["protection"]) | {"apiVersion": "v1", "kind": "PersistentVolumeClaim"})
    stage.kube.delete(PVC, "shop", "mine", uid=made["metadata"]["uid"])
    assert stage.kube.get(PVC, "shop", "mine")["metadata"]["deletionTimestamp"]
    assert stage.api.reads == 0


def test_a_status_is_read_back_as_written(stage: Stage) -> None:
    metadata = {"name": "run", "namespace": "shop"}
    made = stage.kube.create(SNAPSHOT, {"apiVersion": SNAPSHOT.api_version, "kind": SNAPSHOT.kind, "metadata": metadata, "spec": {}})
    stage.kube.apply_status(SNAPSHOT, made, {"vault": "v"})
    assert stage.kube.get(SNAPSHOT, "shop", "run")["status"] == {"vault": "v"}


def test_a_refusal_that_shows_the_cache_to_be_behind_mends_it(stage: Stage) -> None:
    seen = stage.kube.get(PVC, "shop", "data")
    stage.api.put(PVC, claim("data") | {"spec": {"size": 2}})
    with pytest.raises(failures.Conflict):
        stage.kube.patch(PVC, "shop", "data", {"metadata": {"resourceVersion": seen["metadata"]["resourceVersion"]}})
    assert stage.kube.get(PVC, "shop", "data")["spec"] == {"size": 2}
    stage.api.put(PVC, claim("unheard-of"))
    with pytest.raises(failures.AlreadyExists):
        stage.kube.create(PVC, claim("unheard-of"))
    assert len(stage.kube.list(PVC, "shop")) == 2
    stage.api.objects.clear()
    with pytest.raises(failures.Gone):
        stage.kube.patch(PVC, "shop", "data", {})
    with pytest.raises(failures.Gone):
        stage.kube.delete(PVC, "shop", "unheard-of", uid=next(iter(stage.kube.list(PVC, "shop")))["metadata"]["uid"])
    assert stage.kube.list(PVC, "shop") == []


def test_a_delete_of_another_under_the_name_shows_that_one(stage: Stage) -> None:
    uid = stage.kube.get(PVC, "shop", "data")["metadata"]["uid"]
    stage.api.objects.clear()
    stage.api.put(PVC, claim("data"))
    with pytest.raises(failures.Conflict):
        stage.kube.delete(PVC, "shop", "data", uid=uid)
    assert stage.kube.get(PVC, "shop", "data")["metadata"]["uid"] != uid


def test_a_comparison_finds_what_the_watch_has_missed_and_passes_it_on(stage: Stage) -> None:
    stage.news.clear()
    stage.api.objects.clear()
    stage.api.put(PVC, claim("new"))
    assert stage.check.compare(PVC) == 2
    assert stage.news == [(PVC.kind, None, "new"), (PVC.kind, "DELETED", "data")]
    stage.news.clear()
    assert stage.check.compare(PVC) == 0
    assert stage.news == []
