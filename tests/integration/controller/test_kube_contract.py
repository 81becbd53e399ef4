"""What the controller takes for granted of an API server: the same tests on the stand-in and on a real kube-apiserver."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from kubernetes.client import Configuration

from recoup.controller import failures
from recoup.controller.kube import ApiServer, Kube
from recoup.controller.resources import LEASE, NAMESPACE, PVC, SECRET, SNAPSHOT, VOLUME_SNAPSHOT, Resource
from tests.fakes.memory_kube import MemoryKube
from tests.integration.controller.conftest import ControlPlane
from tests.integration.controller.process import install

_numbers = count()


@pytest.fixture(params=["memory", "server"])
def kube(request: pytest.FixtureRequest) -> Iterator[Kube]:
    if request.param == "memory":
        yield MemoryKube()
    else:
        plane: ControlPlane = request.getfixturevalue("control_plane")
        yield plane.kube()


@pytest.fixture
def namespace(kube: Kube) -> str:
    name = f"contract-{next(_numbers)}"
    kube.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


def claim(namespace: str, name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": name, "namespace": namespace, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def test_an_absent_object_is_gone(kube: Kube, namespace: str) -> None:
    with pytest.raises(failures.Gone):
        kube.get(PVC, namespace, "nobody")
    with pytest.raises(failures.Gone):
        kube.delete(PVC, namespace, "nobody", uid="x")
    with pytest.raises(failures.Gone):
        kube.patch(PVC, namespace, "nobody", {"metadata": {"labels": {"a": "b"}}})
    with pytest.raises(failures.Gone):
        kube.log_tail(namespace, "nobody")


def test_create_returns_what_the_server_made_of_it_and_a_second_one_is_refused(kube: Kube, namespace: str) -> None:
    made = kube.create(PVC, claim(namespace, "data"))
    assert made["metadata"]["uid"]
    assert made["metadata"]["resourceVersion"]
    with pytest.raises(failures.AlreadyExists):
        kube.create(PVC, claim(namespace, "data"))


def test_list_finds_by_label_across_namespaces_and_names_the_kind(kube: Kube, namespace: str) -> None:
    label = f"recoup.dev/test-{namespace}"
    kube.create(PVC, claim(namespace, "one", {label: "x"}))
    kube.create(PVC, claim(namespace, "two", {label: "y"}))
    kube.create(PVC, claim(namespace, "three"))
    assert [obj["metadata"]["name"] for obj in kube.list(PVC, labels=f"{label}=x")] == ["one"]
    assert {obj["metadata"]["name"] for obj in kube.list(PVC, namespace, labels=label)} == {"one", "two"}
    assert kube.list(PVC, namespace, labels=label)[0]["kind"] == "PersistentVolumeClaim"
    assert [obj["metadata"]["name"] for obj in kube.list(PVC, namespace, fields="metadata.name=three")] == ["three"]


def test_a_list_of_metadata_shows_no_content(kube: Kube, namespace: str) -> None:
    metadata = {"name": "s", "namespace": namespace, "labels": {"recoup.dev/test": "metadata"}}
    kube.create(SECRET, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"key": "c2VjcmV0"}})
    (found,) = kube.list_metadata(SECRET, namespace, labels="recoup.dev/test=metadata")
    assert found["metadata"]["name"] == "s"
    assert "data" not in found


def test_delete_hits_exactly_the_object_that_was_meant(kube: Kube, namespace: str) -> None:
    lease = kube.create(
        LEASE, {"apiVersion": LEASE.api_version, "kind": "Lease", "metadata": {"namespace": namespace, "name": "l"}, "spec": {}}
    )
    with pytest.raises(failures.Conflict):
        kube.delete(LEASE, namespace, "l", uid="another")
    kube.delete(LEASE, namespace, "l", uid=lease["metadata"]["uid"])
    with pytest.raises(failures.Gone):
        kube.get(LEASE, namespace, "l")


@pytest.mark.parametrize("stale", ["uid", "resourceVersion"])
def test_a_patch_on_another_state_of_the_object_conflicts(kube: Kube, namespace: str, stale: str) -> None:
    made = kube.create(PVC, claim(namespace, "data"))
    preconditions = {field: made["metadata"][field] for field in ("uid", "resourceVersion")}
    kube.patch(PVC, namespace, "data", {"metadata": {**preconditions, "labels": {"a": "1"}}})
    fresh = kube.get(PVC, namespace, "data")
    assert fresh["metadata"]["labels"] == {"a": "1"}
    preconditions = {field: fresh["metadata"][field] for field in ("uid", "resourceVersion")} | {stale: "1"}
    with pytest.raises(failures.Conflict):
        kube.patch(PVC, namespace, "data", {"metadata": {**preconditions, "labels": {"a": "2"}}})


def test_null_in_a_patch_removes(kube: Kube, namespace: str) -> None:
    kube.create(PVC, claim(namespace, "data", {"a": "1", "b": "2"}))
    patched = kube.patch(PVC, namespace, "data", {"metadata": {"labels": {"a": None}}})
    assert patched["metadata"]["labels"] == {"b": "2"}


def test_a_finalizer_holds_a_deleted_object_until_it_is_removed(kube: Kube, namespace: str) -> None:
    obj = claim(namespace, "data")
    obj["metadata"]["finalizers"] = ["recoup.dev/test"]
    made = kube.create(PVC, obj)
    kube.delete(PVC, namespace, "data", uid=made["metadata"]["uid"])
    held = kube.get(PVC, namespace, "data")
    assert held["metadata"]["deletionTimestamp"]
    kube.patch(PVC, namespace, "data", {"metadata": {"finalizers": None}})
    with pytest.raises(failures.Gone):
        kube.get(PVC, namespace, "data")


def test_a_terminating_namespace_refuses_new_objects_as_such(kube: Kube, namespace: str) -> None:
    found = kube.get(NAMESPACE, None, namespace)
    if isinstance(kube, MemoryKube):
        found["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
        kube.put(NAMESPACE, found)
    else:
        kube.delete(NAMESPACE, None, namespace, uid=found["metadata"]["uid"])  # no controller here: it stays terminating
    with pytest.raises(failures.NamespaceTerminating):
        kube.create(PVC, claim(namespace, "late"))


def test_a_kind_that_is_not_installed_is_gone_on_a_server(control_plane: ControlPlane) -> None:
    with pytest.raises(failures.Gone):
        control_plane.kube().list(VOLUME_SNAPSHOT)


def test_an_unknown_field_is_rejected_with_its_path(control_plane: ControlPlane) -> None:
    kube = control_plane.kube()
    lease = {
        "apiVersion": LEASE.api_version,
        "kind": "Lease",
        "metadata": {"namespace": "default", "name": "typo"},
        "spec": {"holder": "x"},
    }
    with pytest.raises(failures.Rejected, match=r"spec\.holder"):
        kube.create(LEASE, lease)


def test_a_quota_says_that_it_is_a_quota(control_plane: ControlPlane) -> None:
    kube = control_plane.kube()
    kube.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "full"}})
    quota = Resource("v1", "ResourceQuota", "resourcequotas")
    spec = {"hard": {"persistentvolumeclaims": "0"}}
    made = kube.create(
        quota, {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": "full"}, "spec": spec}
    )
    status = {"hard": spec["hard"], "used": {"persistentvolumeclaims": "0"}}  # what the quota controller would write
    kube.apply_status(quota, made, status)
    with pytest.raises(failures.QuotaExceeded, match="exceeded quota"):
        kube.create(PVC, claim("full", "data"))


def test_a_server_that_is_away_is_retryable() -> None:
    kube = ApiServer(Configuration(host="https://127.0.0.1:1"))
    assert not kube.ready()
    with pytest.raises(failures.Unavailable):
        kube.get(NAMESPACE, None, "default")


def test_a_long_list_comes_in_pages_and_complete(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recoup.controller.kube.LIST_CHUNK", 3)
    calls: list[str] = []
    kube = control_plane.kube()
    kube._on_call = lambda verb, kind, _code: calls.append(f"{verb} {kind}")
    kube.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "pages"}})
    for number in range(10):
        kube.create(PVC, claim("pages", f"c{number}"))
    calls.clear()
    assert len(kube.list(PVC, "pages")) == 10
    assert calls == ["GET PersistentVolumeClaim"] * 4


def test_a_status_is_exactly_what_we_last_said_whatever_others_add(control_plane: ControlPlane) -> None:
    """Server-side apply with conditions as a list-map: ours that we drop go, another manager's stay, the order does not matter."""
    kube = control_plane.kube()
    install(kube, "status")
    spec = {"policyRef": {"name": "p"}}
    metadata = {"name": "s", "namespace": "status"}
    made = kube.create(SNAPSHOT, {"apiVersion": SNAPSHOT.api_version, "kind": "BackupSnapshot", "metadata": metadata, "spec": spec})

    def condition(kind: str, status: str = "True") -> dict[str, Any]:
        return {"type": kind, "status": status, "reason": "R", "message": "m", "lastTransitionTime": "2026-11-23T12:00:00Z"}

    def seen() -> dict[str, Any]:
        return kube.get(SNAPSHOT, "status", "s")

    kube.apply_status(SNAPSHOT, made, {"conditions": [condition("Ready"), condition("Stalled")], "location": "here"})
    foreign = {"status": {"conditions": [*seen()["status"]["conditions"], condition("Foreign")]}}
    path = SNAPSHOT.path("status", "s", "status")
    kube._json("PATCH", SNAPSHOT, path, foreign, query={"fieldManager": "somebody"}, media="application/merge-patch+json")
    after = kube.apply_status(SNAPSHOT, seen(), {"conditions": [condition("Ready", "False")]})["status"]
    assert {c["type"]: c["status"] for c in after["conditions"]} == {"Ready": "False", "Foreign": "True"}
    assert "location" not in after
    same = kube.apply_status(SNAPSHOT, before := seen(), {"conditions": [condition("Ready", "False")]})
    assert same["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    with pytest.raises(failures.Rejected, match="typo"):
        kube.apply_status(SNAPSHOT, before, {"typo": 1})


def test_a_status_never_lands_on_an_object_made_anew_under_the_name(control_plane: ControlPlane) -> None:
    kube = control_plane.kube()
    install(kube, "status")
    wanted: dict[str, Any] = {
        "apiVersion": SNAPSHOT.api_version,
        "kind": "BackupSnapshot",
        "metadata": {"name": "again", "namespace": "status"},
        "spec": {"policyRef": {"name": "p"}},
    }
    first = kube.create(SNAPSHOT, wanted)
    kube.delete(SNAPSHOT, "status", "again", uid=first["metadata"]["uid"])
    kube.create(SNAPSHOT, wanted)
    with pytest.raises(failures.Conflict):
        kube.apply_status(SNAPSHOT, first, {"location": "of the first"})
    assert not kube.get(SNAPSHOT, "status", "again").get("status")
