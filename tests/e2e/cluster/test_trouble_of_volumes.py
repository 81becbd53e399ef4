"""Volumes, quotas and restores that go wrong: said where people look, nothing half-done handed over, and the next good run heals it."""

from __future__ import annotations

from typing import Any

import pytest

from recoup.controller.resources import POD, POLICY, PVC, RESTORE, SNAPSHOT, STORAGE_CLASS, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CLASS, Resource
from tests.e2e.cluster.locations import MOVERS
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.together import Scenario, Together, assert_honest, name_of
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import Team

BATCH = "trouble"
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

QUOTA = Resource("v1", "ResourceQuota", "resourcequotas")


def protected(team: Team, **policy: Any) -> None:
    team.claim("data")
    team.policy(**policy)
    team.run("write", "echo kept > /data/file; head -c 5M /dev/urandom > /data/noise", data="/data")


def heal(team: Team, product: Product) -> None:
    """The next good run: a point that restores."""
    team.snapshot("healed")
    team.wait_ready(SNAPSHOT, "healed")
    team.restore("healed", {"snapshotRef": {"name": "healed"}}, data="healed")
    team.wait_ready(RESTORE, "healed")
    assert team.run("read", "cat /healed/file", healed="/healed") == "kept\n"
    assert_honest(team, product.place)


def a_snapshot_class_that_does_not_exist(product: Product) -> None:
    with product.team("no-class") as team:
        protected(team, capture={"method": "Snapshot", "volumeSnapshotClassName": "absent"})
        team.snapshot("now")
        team.wait_over(SNAPSHOT, "now")
        team.wait_reason(SNAPSHOT, "now", "VolumeNotCaptured")
        line = team.volume("now", "data")
        assert line["reason"] == "NoVolumeSnapshotClass"
        assert "absent" in line["message"]
        assert "recoup-snap" in line["message"], "the classes that there are must be named"
        team.edit(POLICY, "policy", capture={"volumeSnapshotClassName": None})
        heal(team, product)


def a_snapshot_that_never_gets_ready(product: Product) -> None:
    """It is told while it waits, can be cancelled, and leaves nothing; its stall limit of 15 minutes is tested in tests/faults."""
    made = {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshotClass",
        "metadata": {"name": "never"},
        "driver": "csi.recoup.test",
        "deletionPolicy": "Delete",
        "parameters": {"ready": "never"},
    }
    product.kube.create(VOLUME_SNAPSHOT_CLASS, made)
    try:
        with product.team("never") as team:
            protected(team, capture={"method": "Snapshot", "volumeSnapshotClassName": "never"})
            team.snapshot("now")
            child = team.wait_child(VOLUME_SNAPSHOT)
            waiting = team.wait_reason(SNAPSHOT, "now", "Capturing")
            wait_until(
                "the volume snapshot is named",
                lambda: None if child["metadata"]["name"] in team.condition(SNAPSHOT, "now")["message"] else str(waiting),
            )
            team.edit(SNAPSHOT, "now", cancel=True)
            team.wait_over(SNAPSHOT, "now")
            team.wait_reason(SNAPSHOT, "now", "Cancelled")
            team.edit(POLICY, "policy", capture={"volumeSnapshotClassName": None})
            heal(team, product)
    finally:
        product.kubectl("delete", "volumesnapshotclass", "never")


def a_quota_that_refuses_the_movers_claim(product: Product) -> None:
    """A class of its own, so that the quota concerns this scenario only."""
    usual = product.kube.get(STORAGE_CLASS, None, "recoup-wffc")
    same = ("apiVersion", "kind", "provisioner", "parameters", "volumeBindingMode", "reclaimPolicy")
    kept: dict[str, Any] = {key: usual[key] for key in same if key in usual}
    product.kube.create(STORAGE_CLASS, {**kept, "metadata": {"name": "rationed"}})
    hard = {"rationed.storageclass.storage.k8s.io/persistentvolumeclaims": "0"}
    made = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "rationed", "namespace": MOVERS}, "spec": {"hard": hard}}
    quota = product.kube.create(QUOTA, made)
    wait_until("the quota is in force", lambda: None if product.kube.get(QUOTA, MOVERS, "rationed").get("status", {}).get("hard") else "no")
    try:
        with product.team("rationed") as team:
            team.claim("data", storage_class="rationed")
            team.policy()
            team.run("write", "echo kept > /data/file", data="/data")
            team.snapshot("now")
            told = team.wait_reason(SNAPSHOT, "now", "QuotaExceeded")
            assert "exceeded quota: rationed" in told["message"]
            assert f"PVC {team.name}/data" in told["message"]
            product.kube.delete(QUOTA, MOVERS, "rationed", uid=quota["metadata"]["uid"])
            team.wait_ready(SNAPSHOT, "now")
            heal(team, product)
    finally:
        product.kubectl("delete", "storageclass", "rationed")
        product.kubectl("-n", MOVERS, "delete", "resourcequota", "rationed", "--ignore-not-found")


def a_mover_with_too_little_memory(product: Product) -> None:
    """The kubelet kills it, there is no message of its own; three tries, then it is said which limit to raise."""
    little = {"resources": {"requests": {"memory": "32Mi"}, "limits": {"memory": "32Mi"}}}
    with product.team("hungry") as team:
        protected(team, mover=little)
        team.snapshot("now")
        team.wait_over(SNAPSHOT, "now", 420)
        team.wait_reason(SNAPSHOT, "now", "VolumeNotStored")
        line = team.volume("now", "data")
        assert line["reason"] == "MoverOutOfMemory"
        assert "spec.mover.resources.limits.memory" in line["message"]
        assert line["attempts"] == 3
        team.edit(POLICY, "policy", mover={"resources": None})
        heal(team, product)


def a_target_that_is_too_small(product: Product) -> None:
    """Refused before anything is written where it can be known; and where it turns out while writing, nothing is handed over."""
    with product.team("small") as team:
        team.claim("data")
        team.policy()
        shared = "head -c 90M /dev/urandom > /data/one; cp --reflink=always /data/one /data/two; cp --reflink=always /data/one /data/three"
        team.run("write", f"{shared}; sync; echo kept > /data/file", data="/data")
        team.snapshot("now")
        team.wait_ready(SNAPSHOT, "now")
        team.restore("refused", {"snapshotRef": {"name": "now"}}, data={"name": "copy", "size": "10Mi"})
        refused = team.wait_reason(RESTORE, "refused", "TargetTooSmall")
        assert "10Mi" in refused["message"]
        assert "256Mi" in refused["message"]
        team.restore("full", {"snapshotRef": {"name": "now"}}, data="copy")
        team.wait_reason(RESTORE, "full", "TargetTooSmall")
        assert "take a larger target" in team.condition(RESTORE, "full")["message"]
        team.wait_over(RESTORE, "full")
        assert team.find(PVC, "copy") is None
        team.restore("larger", {"snapshotRef": {"name": "now"}}, data={"name": "copy", "size": "512Mi"})
        team.wait_ready(RESTORE, "larger")
        assert (
            team.run("compare", "cmp /data/one /copy/two; cmp /data/one /copy/three; cat /copy/file", data="/data", copy="/copy")
            == "kept\n"
        )
        assert_honest(team, product.place)


def an_object_that_is_damaged(product: Product) -> None:
    """One flipped byte: the restore names the file and hands nothing over; with the byte back, all is well again."""
    with product.team("damaged") as team:
        protected(team)
        team.snapshot("now")
        team.wait_ready(SNAPSHOT, "now")
        vault = team.get(SNAPSHOT, "now")["status"]["vault"]
        client, bucket = product.place.bucket.client, product.place.bucket.name
        listed = client.list_objects_v2(Bucket=bucket, Prefix=f"{product.place.prefix}/v/{vault}/d/")["Contents"]
        largest = max(listed, key=lambda entry: entry["Size"])["Key"]
        good = client.get_object(Bucket=bucket, Key=largest)["Body"].read()
        middle = len(good) // 2
        client.put_object(Bucket=bucket, Key=largest, Body=good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
        team.restore("spoilt", {"snapshotRef": {"name": "now"}}, data="copy")
        refused = team.wait_reason(RESTORE, "spoilt", "ObjectDamaged")
        assert "noise" in refused["message"], "the damaged file must be named"
        over = team.wait_over(RESTORE, "spoilt")
        assert not [
            condition for condition in over["status"]["conditions"] if condition["type"] == "Restored" and condition["status"] == "True"
        ]
        assert team.find(PVC, "copy") is None
        client.put_object(Bucket=bucket, Key=largest, Body=good)
        heal(team, product)


def a_recovery_point_that_does_not_exist(product: Product) -> None:
    with product.team("unknown") as team:
        protected(team)
        team.restore("back", {"snapshotRef": {"name": "never-made"}}, data="copy")
        refused = team.wait_reason(RESTORE, "back", "SnapshotNotFound")
        assert f"BackupSnapshot {team.name}/never-made" in refused["message"]
        assert "kubectl recoup snapshots" in refused["message"]
        assert not team.children()
        heal(team, product)
        team.restore("taken", {"snapshotRef": {"name": "healed"}}, data="data")
        taken = team.wait_reason(RESTORE, "taken", "TargetExists")
        assert "volumes[].target.name" in taken["message"]
        assert not team.children(POD, PVC)


SCENARIOS: list[Scenario] = [
    a_mover_with_too_little_memory,
    a_snapshot_class_that_does_not_exist,
    a_snapshot_that_never_gets_ready,
    a_quota_that_refuses_the_movers_claim,
    a_target_that_is_too_small,
    an_object_that_is_damaged,
    a_recovery_point_that_does_not_exist,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name_of)
def test_trouble_of_volumes(scenario: Scenario, together: Together) -> None:
    together.finish(scenario)
