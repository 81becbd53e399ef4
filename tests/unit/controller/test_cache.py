"""The cache against a model of the server: events late, twice and out of order, lists, deletions, own writes."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoup.api.labels import MANAGED_BY, MANAGER, OWNER_UID
from recoup.controller.cache import NAME, OUR_LABEL, POLICY_NAME, REMEMBER_GONE, Cache
from recoup.controller.resources import JOB, PV, PVC, SECRET, SNAPSHOT, VOLUME_SNAPSHOT

OURS = {MANAGED_BY: MANAGER, OWNER_UID: "o1"}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self._ticks = count(1)

    def __call__(self) -> float:
        return self.now + next(self._ticks) * 1e-6


@pytest.fixture
def cache() -> Cache:
    return Cache(movers_namespace="movers", clock=Clock())


def thing(name: str, version: int, *, uid: str = "", namespace: str = "shop", labels: dict[str, str] | None = None) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": metadata | {"labels": labels or {}, "managedFields": [{"manager": "x"}]}, "spec": {"version": version}}


def versions(found: list[dict[str, Any]] | None) -> dict[str, int]:
    assert found is not None
    return {item["metadata"]["uid"]: item["spec"]["version"] for item in found}


def test_an_answer_is_a_copy_with_its_kind_and_without_what_nobody_reads(cache: Cache) -> None:
    cache.put(PVC, thing("c", 1))
    first = cache.get(PVC, "shop", "c")
    assert first is not None
    assert (first["apiVersion"], first["kind"]) == ("v1", "PersistentVolumeClaim")
    assert "managedFields" not in first["metadata"]
    first["spec"]["version"] = 99
    assert cache.get(PVC, "shop", "c") != first


def test_only_newer_versions_are_news(cache: Cache) -> None:
    assert cache.put(PVC, thing("c", 9))
    assert not cache.put(PVC, thing("c", 9))
    assert not cache.put(PVC, thing("c", 8)), "compared as numbers and not as text"
    assert cache.put(PVC, thing("c", 10))


def test_what_was_deleted_does_not_come_back_by_what_was_said_of_it_before(cache: Cache) -> None:
    cache.put(PVC, thing("c", 1))
    assert cache.drop(PVC, "uid-c", "shop", "c")
    assert not cache.put(PVC, thing("c", 2)), "the answer to a write, overtaken by the deletion"
    assert cache.get(PVC, "shop", "c") is None
    assert cache.put(PVC, thing("c", 4, uid="another")), "made anew under the name"


def test_a_deletion_of_an_earlier_one_of_the_name_takes_nothing_away(cache: Cache) -> None:
    cache.put(PVC, thing("c", 1))
    cache.put(PVC, thing("c", 5, uid="another"))
    assert not cache.drop(PVC, "uid-c", "shop", "c")
    assert not cache.put(PVC, thing("c", 3)), "nor does a late word about it"
    left = cache.get(PVC, "shop", "c")
    assert left is not None
    assert left["metadata"]["uid"] == "another"


def test_deletions_are_not_remembered_for_ever() -> None:
    clock = Clock()
    cache = Cache(movers_namespace="movers", clock=clock)
    for number in range(100):
        cache.drop(PVC, f"u{number}", "shop", "c")
    clock.now += REMEMBER_GONE + 1
    cache.drop(PVC, "last", "shop", "c")
    assert list(cache._shelves[PVC].gone) == ["last"]


def test_before_it_was_listed_a_kind_answers_no_list(cache: Cache) -> None:
    cache.put(PVC, thing("c", 1))
    assert cache.select(PVC, None, "") is None
    cache.reconcile(PVC, None, "", {"uid-c"}, began=cache.clock(), whole=True)
    assert versions(cache.select(PVC, None, "")) == {"uid-c": 1}


def test_lists_that_a_watch_by_label_cannot_answer_are_not_answered(cache: Cache) -> None:
    for resource in (JOB, VOLUME_SNAPSHOT, PV):
        cache.reconcile(resource, None, "", (), began=0, whole=True)
    assert cache.select(JOB, "movers", OUR_LABEL) == []
    assert cache.select(JOB, "shop", OUR_LABEL) is None
    assert cache.select(JOB, None, OUR_LABEL) is None
    assert cache.select(JOB, "movers", f"{OWNER_UID}=o1") is None
    assert cache.select(VOLUME_SNAPSHOT, None, f"{OUR_LABEL},{OWNER_UID}=o1") == []
    assert cache.select(VOLUME_SNAPSHOT, "shop", "") is None
    assert cache.select(PV, None, "") == []
    assert cache.select(SECRET, "shop", "") is None


def test_what_the_watch_would_not_tell_of_is_not_kept(cache: Cache) -> None:
    assert not cache.put(VOLUME_SNAPSHOT, thing("theirs", 1))
    assert not cache.put(JOB, thing("j", 1, namespace="shop", labels=OURS))
    assert not cache.put(SECRET, thing("s", 1))
    assert cache.put(JOB, thing("j", 1, namespace="movers", labels=OURS))


@pytest.mark.parametrize(
    ("namespace", "labels", "found"),
    [
        (None, "", {"a", "b", "c"}),
        ("shop", "", {"a", "b"}),
        (None, f"{OWNER_UID}=o1", {"a", "c"}),
        ("shop", f"{OUR_LABEL},{OWNER_UID}=o1", {"a"}),
        (None, OWNER_UID, {"a", "c"}),
        (None, "tier=gold", {"b"}),
        (None, f"{OWNER_UID}=nobody", set()),
    ],
)
def test_selection(cache: Cache, namespace: str | None, labels: str, found: set[str]) -> None:
    cache.put(PVC, thing("a", 1, labels=OURS))
    cache.put(PVC, thing("b", 2, labels={"tier": "gold"}))
    cache.put(PVC, thing("c", 3, namespace="other", labels=OURS))
    cache.reconcile(PVC, None, "", {"uid-a", "uid-b", "uid-c"}, began=cache.clock(), whole=True)
    assert {item["metadata"]["name"] for item in cache.select(PVC, namespace, labels) or ()} == found


def test_indexes_follow_a_change_of_labels(cache: Cache) -> None:
    cache.put(PV, thing("v", 1, namespace="", labels=OURS))
    cache.reconcile(PV, None, "", {"uid-v"}, began=cache.clock(), whole=True)
    cache.put(PV, thing("v", 2, namespace=""))
    assert cache.select(PV, None, f"{OWNER_UID}=o1") == []
    assert versions(cache.select(PV, None, "")) == {"uid-v": 2}


def test_snapshots_are_found_by_their_policy_and_anything_by_its_name(cache: Cache) -> None:
    for name, namespace, policy in (("a", "shop", "daily"), ("b", "shop", "hourly"), ("c", "blog", "daily")):
        cache.put(SNAPSHOT, thing(name, 1, namespace=namespace) | {"spec": {"version": 1, "policyRef": {"name": policy}}})
    cache.reconcile(SNAPSHOT, None, "", {"uid-a", "uid-b", "uid-c"}, began=0.0, whole=True)
    assert set(versions(cache.select(SNAPSHOT, "shop", "", f"{POLICY_NAME}=daily"))) == {"uid-a"}
    assert set(versions(cache.select(SNAPSHOT, "shop", "", f"{NAME}=b"))) == {"uid-b"}
    assert cache.select(SNAPSHOT, "shop", "", f"{NAME}=none") == []
    cache.put(SNAPSHOT, thing("a", 2) | {"spec": {"version": 2, "policyRef": {"name": "hourly"}}})
    assert cache.select(SNAPSHOT, "shop", "", f"{POLICY_NAME}=daily") == []
    cache.drop(SNAPSHOT, "uid-b", "shop", "b")
    assert set(versions(cache.select(SNAPSHOT, "shop", "", f"{POLICY_NAME}=hourly"))) == {"uid-a"}
    assert cache.select(SNAPSHOT, None, "", f"{POLICY_NAME}=daily") is None, "only within a namespace"
    assert cache.select(SNAPSHOT, "shop", "", "status.location=x") is None


def test_a_list_takes_away_what_it_lacks_but_not_what_was_learned_since_it_was_asked_for(cache: Cache) -> None:
    cache.put(PVC, thing("old", 1))
    began = cache.clock()
    cache.put(PVC, thing("young", 5))
    dropped = cache.reconcile(PVC, None, "", (), began=began, whole=True)
    assert [item["metadata"]["name"] for item in dropped] == ["old"]
    assert versions(cache.select(PVC, None, "")) == {"uid-young": 5}


def test_a_list_by_label_does_not_call_dead_what_lost_the_label(cache: Cache) -> None:
    cache.put(PV, thing("v", 1, namespace="", labels=OURS))
    cache.reconcile(PV, None, f"{OWNER_UID}=o1", (), began=cache.clock())
    assert not cache.put(PV, thing("v", 1, namespace="")), "a late word from before"
    assert cache.put(PV, thing("v", 2, namespace="")), "the event that tells how it lost it"


History = list[tuple[str, str]]
steps = st.lists(
    st.tuples(st.sampled_from(["write", "delete", "tell", "retell", "own", "list", "whole"]), st.sampled_from("abc")), max_size=40
)


@settings(max_examples=300, deadline=None)
@given(steps)
def test_in_whatever_order_it_hears_it_never_goes_back_and_ends_like_the_server(history: History) -> None:
    cache, server, revision = Cache(movers_namespace="movers", clock=Clock()), dict[str, dict[str, Any]](), count(1)
    events: list[tuple[str, dict[str, Any]]] = []
    told = 0
    newest: dict[str, int] = {}
    dead: set[str] = set()

    def hear(kind: str, obj: dict[str, Any]) -> None:
        metadata = obj["metadata"]
        if kind == "DELETED":
            cache.drop(PVC, metadata["uid"], "shop", metadata["name"])
            dead.add(metadata["uid"])
        else:
            cache.put(PVC, obj)

    for step, name in history:
        if step in ("write", "own"):
            version = next(revision)
            uid = server[name]["metadata"]["uid"] if name in server else f"uid-{name}-{version}"
            server[name] = thing(name, version, uid=uid, labels=OURS)
            events.append(("MODIFIED", server[name]))
            if step == "own":
                cache.put(PVC, server[name])
        elif step == "delete" and name in server:
            next(revision)
            events.append(("DELETED", server.pop(name)))
        elif step == "tell" and told < len(events):
            hear(*events[told])
            told += 1
        elif step == "retell" and events:
            hear(*events[len(name) * len(events) // 2 % len(events)])  # late, early, or again
        elif step in ("list", "whole"):
            began = cache.clock()
            for obj in server.values():
                cache.put(PVC, obj)
            labels = "" if step == "whole" else f"{OWNER_UID}=o1"
            cache.reconcile(PVC, None, labels, {obj["metadata"]["uid"] for obj in server.values()}, began=began, whole=step == "whole")
        for item in (cache.get(PVC, "shop", each) for each in "abc"):
            if item is not None:
                uid, version = item["metadata"]["uid"], item["spec"]["version"]
                assert uid not in dead, "deleted, and back again"
                assert version >= newest.get(uid, 0), "an older version over a newer one"
                newest[uid] = version
    for event in events[told:]:
        hear(*event)
    cache.reconcile(PVC, None, "", {obj["metadata"]["uid"] for obj in server.values()}, began=cache.clock(), whole=True)
    assert versions(cache.select(PVC, None, "")) == {obj["metadata"]["uid"]: obj["spec"]["version"] for obj in server.values()}
    assert versions(cache.select(PVC, "shop", f"{OWNER_UID}=o1")) == versions(cache.select(PVC, None, ""))
