"""Which recovery point a RestoreRequest means: a table of sources against a small vault."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recoup.api.backuplocation import S3, BackupLocation, BackupLocationSpec, BackupLocationStatus, Encryption, Grant, NamespaceRef, Vault
from recoup.api.objects import ObjectMeta, Reference, decode
from recoup.api.restorerequest import RestoreRequest
from recoup.plan.access import Namespace, Refusal
from recoup.plan.observed import Catalogue, ClaimRecord, Point
from recoup.plan.restore_source import Chosen, SourceVault, choose_points, location_name, source_vault

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
UIDS = {"data-0": "uid-0", "data-1": "uid-1"}


def point(
    run: int, claim: str, *, policy: str = "shop", expected: tuple[str, ...] = ("uid-0", "uid-1"), namespace_uid: str = "shop-uid"
) -> Point:
    record = ClaimRecord(namespace_uid=namespace_uid, persistent_volume_claim=claim, persistent_volume_claim_uid=UIDS[claim])
    manifest = f"{run}{claim[-1]}" * 32
    return Point(
        id=manifest, session=f"{run}{claim}", manifest=manifest, taken_at=NOON + timedelta(hours=run), policy=policy, snapshot=f"run-{run}",
        snapshot_uid=f"run-uid-{run}", source=record, volumes_expected=expected,
    )  # fmt: skip


VAULT = SourceVault("ab" * 16, "shop", "shop-uid", "")
POINTS = (
    point(1, "data-0"), point(1, "data-1"),
    point(2, "data-0"), point(2, "data-1"),
    point(3, "data-0"),  # data-1 failed
    point(4, "data-0", policy="other", expected=("uid-0",)),
)  # fmt: skip


def request(source: dict[str, Any], *volumes: str, **status: Any) -> RestoreRequest:
    spec: dict[str, Any] = {"source": source} | ({"volumes": [{"source": name} for name in volumes]} if volumes else {})
    metadata = {"name": "incident", "namespace": "shop", "uid": "uid"}
    return decode(RestoreRequest, {"metadata": metadata, "spec": spec, "status": status})


def choose(asked: RestoreRequest, snapshot_uid: str = "run-uid-1", points: tuple[Point, ...] = POINTS) -> Chosen | Refusal:
    snapshot = {"metadata": {"uid": snapshot_uid}}
    return choose_points(asked, snapshot, Catalogue(vault=VAULT.id, points=points), VAULT)


def as_of(hours: float) -> str:
    return (NOON + timedelta(hours=hours)).isoformat()


POLICY = {"policyRef": {"name": "shop"}}


@pytest.mark.parametrize(
    ("asked", "run", "volumes"),
    [
        pytest.param(request({"snapshotRef": {"name": "run-1"}}), "run-1", {"data-0", "data-1"}, id="a snapshot"),
        pytest.param(request(POLICY), "run-2", {"data-0", "data-1"}, id="the newest with all its volumes"),
        pytest.param(request(POLICY, "data-0"), "run-3", {"data-0"}, id="the newest that has the volume asked for"),
        pytest.param(request(POLICY, "data-0", "data-1"), "run-2", {"data-0", "data-1"}, id="the newest that has both"),
        pytest.param(request(POLICY | {"asOf": as_of(1.5)}), "run-1", {"data-0", "data-1"}, id="not newer than"),
        pytest.param(request(POLICY | {"asOf": as_of(2)}), "run-2", {"data-0", "data-1"}, id="as new as"),
        pytest.param(request({"policyRef": {"name": "other"}}), "run-4", {"data-0"}, id="another policy"),
        pytest.param(
            request({"location": "l", "namespace": {"name": "shop"}, "policy": "shop"}), "run-2", {"data-0", "data-1"}, id="by location"
        ),
        pytest.param(request({"location": "l", "namespace": {"name": "shop"}, "id": "2121"}), "run-2", {"data-1"}, id="by id"),
    ],
)
def test_the_point_that_is_meant(asked: RestoreRequest, run: str, volumes: set[str]) -> None:
    chosen = choose(asked)
    assert isinstance(chosen, Chosen), chosen
    assert chosen.snapshot == run
    assert {found.source.persistent_volume_claim for found in chosen.points} >= volumes


@pytest.mark.parametrize(
    ("asked", "reason", "words"),
    [
        pytest.param(request(POLICY | {"asOf": as_of(0)}), "NoRecoveryPoint", "not newer than 2026-11-23T12:00:00", id="too old"),
        pytest.param(request({"policyRef": {"name": "none"}}), "NoRecoveryPoint", "policy none", id="no such policy"),
        pytest.param(request(POLICY, "data-9"), "NoRecoveryPoint", "data-9", id="no such volume"),
        pytest.param(request({"location": "l", "namespace": {"name": "shop"}, "id": "ffff"}), "NoRecoveryPoint", "ffff", id="no such id"),
        pytest.param(request({"location": "l", "namespace": {"name": "shop"}, "id": ""}), "AmbiguousId", "more digits", id="ambiguous id"),
    ],
)
def test_what_is_not_there_is_said(asked: RestoreRequest, reason: str, words: str) -> None:
    refusal = choose(asked)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason
    assert words in refusal.message


def test_an_incomplete_run_alone_says_how_to_have_what_it_has() -> None:
    refusal = choose(request(POLICY), points=(point(3, "data-0"),))
    assert isinstance(refusal, Refusal)
    assert "name the volumes that it has in spec.volumes" in refusal.message


def test_a_snapshot_without_a_stored_volume() -> None:
    refusal = choose(request({"snapshotRef": {"name": "run-9"}}), snapshot_uid="run-uid-9")
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "NoRecoveryPoint"


def test_points_of_another_namespace_in_the_vault_are_not_looked_at() -> None:
    planted = point(9, "data-0", expected=("uid-0",), namespace_uid="another")
    chosen = choose(request(POLICY), points=(*POINTS, planted))
    assert isinstance(chosen, Chosen)
    assert chosen.snapshot == "run-2"


def location(*vaults: Vault, grants: tuple[Grant, ...] = ()) -> BackupLocation:
    spec = BackupLocationSpec(s3=S3(bucket="b", credentials_secret_ref=Reference(name="c")), encryption=Encryption(keys=()), grants=grants)
    return BackupLocation(metadata=ObjectMeta(name="l", uid="l-uid"), spec=spec, status=BackupLocationStatus(vaults=vaults))


MINE = Vault(id="1" * 32, namespace="shop", namespace_uid="shop-uid", fingerprint="f1")
OLD = Vault(id="2" * 32, namespace="shop", namespace_uid="old-uid", fingerprint="f2")
READER = Namespace(name="shop", uid="shop-uid")
BY_NAME = {"location": "l", "namespace": {"name": "shop"}, "policy": "shop"}


@pytest.mark.parametrize(
    ("asked", "place", "vault"),
    [
        pytest.param(request(POLICY), location(MINE, OLD), MINE.id, id="one's own, by policy"),
        pytest.param(request(BY_NAME), location(MINE, OLD), MINE.id, id="one's own, by name"),
        pytest.param(request(BY_NAME), location(OLD), None, id="an earlier namespace of the name"),
        pytest.param(
            request(BY_NAME),
            location(OLD, grants=(Grant(source=NamespaceRef(namespace="shop"), to=NamespaceRef(namespace="shop")),)),
            OLD.id,
            id="an earlier namespace of the name, granted",
        ),
        pytest.param(
            request({"location": "l", "namespace": {"name": "shop", "uid": "shop-uid"}, "policy": "p"}), location(OLD, MINE), MINE.id,
            id="one's own, by uid",
        ),
    ],
)  # fmt: skip
def test_whose_vault_is_read(asked: RestoreRequest, place: BackupLocation, vault: str | None) -> None:
    found = source_vault(asked, READER, place)
    assert (found.id if isinstance(found, SourceVault) else None) == vault


def test_the_pinned_fingerprint_comes_along() -> None:
    found = source_vault(request(POLICY), READER, location(MINE))
    assert isinstance(found, SourceVault)
    assert found.fingerprint == "f1"


@pytest.mark.parametrize(
    ("source", "plan", "snapshot", "name"),
    [
        ({"location": "l"}, None, None, "l"),
        ({"location": "l"}, {"location": "settled"}, None, "settled"),
        ({"snapshotRef": {"name": "s"}}, None, {"status": {"location": "home"}}, "home"),
        ({"snapshotRef": {"name": "s"}}, None, {"status": {}}, None),
        ({"snapshotRef": {"name": "s"}}, None, None, None),
        ({"policyRef": {"name": "p"}}, None, None, None),
    ],
)
def test_which_location_to_read(source: Any, plan: Any, snapshot: Any, name: str | None) -> None:
    asked = {"spec": {"source": source}, "status": {"plan": plan} if plan else {}}
    assert location_name(asked, snapshot, None) == name
