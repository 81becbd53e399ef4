"""Two locations of two providers: each recovery point is copied, the home is lost, the copy gives everything back, the home returns."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from recoup.controller.resources import POLICY, RESTORE, SNAPSHOT
from tests.cluster.s3.buckets import create_bucket
from tests.cluster.s3.servers import minio, versitygw
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import Team, condition_missing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SUMS = "cd {0} && find . -type f | sort | xargs sha256sum"


def wait_condition(team: Team, kind: str, status: str, *, snapshot: str | None = None) -> str:
    """Wait for a condition of the policy, or of a snapshot; returns its message."""
    resource, name = (SNAPSHOT, snapshot) if snapshot else (POLICY, "policy")
    wait_until(f"{name}: {kind}={status}", lambda: condition_missing(team.find(resource, name), kind, status=status))
    return str(team.condition(resource, name, kind)["message"])


def columns(team: Team, kind: str, name: str) -> list[str]:
    return team.kubectl("get", kind, name, "--no-headers").split()


def test_the_copy_gives_back_what_the_home_has_lost(product: Product) -> None:
    with ExitStack() as stack:
        near, far = stack.enter_context(minio(network=True)), stack.enter_context(versitygw(network=True))
        team = stack.enter_context(product.team("places"))
        home = stack.enter_context(product.make_place("near", bucket=create_bucket(near, "near")))
        copy = stack.enter_context(product.make_place("far", bucket=create_bucket(far, "far"), region="test-2"))
        team.claim("data")
        team.run("write", "mkdir /data/d && echo kept > /data/d/file && head -c 5M /dev/urandom > /data/noise", data="/data")
        before = team.run("sums", SUMS.format("/data"), data="/data")
        home.wait_ready()
        copy.wait_refused("NotAtomic", "Conformant")
        objectives = {"minCopies": 2, "minRegions": 2, "minProviders": 2}
        team.policy(locations=[{"name": "near"}, {"name": "far"}], objectives=objectives)
        team.snapshot("now")
        team.wait_ready(SNAPSHOT, "now")

        assert wait_condition(team, "Replicated", "True", snapshot="now") == "2 of 2 locations hold it"
        ledger = team.get(SNAPSHOT, "now")["status"]["copies"]
        assert [(line["location"], line["state"], line["region"], line["provider"]) for line in ledger] == [
            ("near", "Complete", "test-1", near.provider), ("far", "Complete", "test-2", far.provider),
        ]  # fmt: skip
        assert wait_condition(team, "CopiesMet", "True") == "BackupSnapshot now is at near, far"
        assert wait_condition(team, "Replicated", "True")
        assert "2/2" in columns(team, "backuppolicy", "policy")
        assert "2/2" in columns(team, "backupsnapshot", "now")
        vault = team.get(SNAPSHOT, "now")["status"]["vault"]
        assert vault in far_vaults(copy.bucket.client.list_objects_v2(Bucket=copy.bucket.name, Prefix=f"{copy.prefix}/v/", Delimiter="/"))

        with near.cut():
            team.restore("from-copy", {"snapshotRef": {"name": "now"}}, data="copy")
            found = team.wait_ready(RESTORE, "from-copy")
            assert found["status"]["plan"]["readFrom"] == "far"
            assert columns(team, "restorerequest", "from-copy")[2] == "far"
            assert team.run("compare", SUMS.format("/copy"), copy="/copy") == before
            home.wait_refused("LocationUnreachable", "Reachable")
        home.wait_ready()
        team.restore("from-home", {"snapshotRef": {"name": "now"}}, data="again")
        assert team.wait_ready(RESTORE, "from-home")["status"]["plan"]["readFrom"] == "near"
        team.restore("picked", {"location": "far", "namespace": {"name": team.name}, "policy": "policy"}, data="picked")
        assert team.wait_ready(RESTORE, "picked")["status"]["plan"]["readFrom"] == "far"
        assert team.run("compare-picked", SUMS.format("/picked"), picked="/picked") == before
        team.wait_clean()


def far_vaults(listed: object) -> set[str]:
    """Ids of the vaults under a location's prefix."""
    prefixes = listed.get("CommonPrefixes", ()) if isinstance(listed, dict) else ()
    return {entry["Prefix"].rstrip("/").rpartition("/")[2] for entry in prefixes}
