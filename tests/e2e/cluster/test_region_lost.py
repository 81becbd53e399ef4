"""The region of the home is lost in the middle of a backup; another cluster restores from the other provider; then the region is back.

Two clusters, two S3 providers: the home is minio, the replica versitygw. What is told is looked at before, meanwhile and afterwards. When
the home returns, it lacks objects that it had: nobody does anything about that, nor about the backup that was caught.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from recoup.controller.kube import ApiServer
from recoup.controller.resources import LOCATION, POLICY, RESTORE, SNAPSHOT
from tests.cluster.s3.buckets import create_bucket
from tests.cluster.s3.servers import minio, versitygw
from tests.e2e.cluster.locations import MOVERS, SYSTEM, Place, secret
from tests.e2e.cluster.product import Product, api_server
from tests.e2e.cluster.test_second_cluster import second_cluster
from tests.e2e.cluster.test_verification import Store
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import Object, Team, condition_missing

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(1500)]

SUMS = "cd {0} && find . -type f | sort | xargs sha256sum"
SLOW = "256Ki"
"""Bytes a second: the cut comes while the mover uploads."""
OBJECTIVES = {"minCopies": 2, "minRegions": 2, "minProviders": 2}


def copies(team: Team, name: str) -> dict[str, str]:
    """The ledger: what it says of each location."""
    lines: list[Object] = (team.get(SNAPSHOT, name).get("status") or {}).get("copies", [])
    return {line["location"]: line["state"] for line in lines}


def everywhere(team: Team, name: str, home: Place, copy: Place) -> None:
    wait_until(f"{name} is everywhere", lambda: condition_missing(team.find(SNAPSHOT, name), "Replicated"), 300)
    assert copies(team, name) == {home.name: "Complete", copy.name: "Complete"}


def uploads(team: Team, name: str) -> str | None:
    volumes = (team.get(SNAPSHOT, name).get("status") or {}).get("volumes", [])
    return None if any(volume["state"] == "Uploading" for volume in volumes) else str(volumes)


def read_elsewhere(kube: ApiServer, copy: Place, home: Place, namespace: str) -> Place:
    """The replica as a location of the second cluster, which may only read it, with the key of the home that it never knew."""
    keys = copy.bucket.server.credentials
    for where in (SYSTEM, MOVERS):
        secret(kube, where, "far-s3", accessKeyID=keys.access_key, secretAccessKey=keys.secret_key)
    secret(kube, MOVERS, "home-key", key=home.key.read_text())
    spec = {
        "accessMode": "ReadOnly",
        "s3": copy.get()["spec"]["s3"] | {"credentialsSecretRef": {"name": "far-s3"}},
        "encryption": {"keys": [{"name": "daily", "secret": {"secretRef": {"name": "home-key"}}}]},
        "catalogue": {"adopt": [{"from": {"namespace": namespace}, "to": {"namespace": namespace}}]},
    }
    kube.create(LOCATION, {"apiVersion": "recoup.dev/v1alpha1", "kind": "BackupLocation", "metadata": {"name": copy.name}, "spec": spec})
    return Place(kube, copy.name, copy.bucket, copy.prefix, home.key, home.recovery)


@contextmanager
def both_regions(product: Product) -> Iterator[tuple[Place, Place, Team]]:
    with ExitStack() as stack:
        near, far = stack.enter_context(minio(network=True)), stack.enter_context(versitygw(network=True))
        team = stack.enter_context(product.team("region"))
        home = stack.enter_context(product.make_place("region-near", bucket=create_bucket(near, "near"), region="test-1"))
        copy = stack.enter_context(product.make_place("region-far", bucket=create_bucket(far, "far"), region="test-2"))
        home.wait_ready()
        copy.wait_refused("NotAtomic", "Conformant")
        yield home, copy, team


def restored(team: Team, name: str, source: Object, place: str) -> str:
    """Restore `data` as a claim of the restore's name from that location; what is in it."""
    team.restore(name, source, data={"name": name, "storageClassName": "recoup-immediate"})
    assert team.wait_ready(RESTORE, name, 300)["status"]["plan"]["readFrom"] == place
    return team.run(f"sums-{name}", SUMS.format("/data"), **{name: "/data"})


def test_a_lost_region_costs_nothing_and_refills_when_it_is_back(product: Product) -> None:
    with both_regions(product) as (home, copy, team), second_cluster(product) as cluster:
        kube = api_server(cluster)
        other = Team(kube, cluster, team.name, copy.name)
        other.begin()
        team.claim("data", storage_class="recoup-immediate")
        kept = team.run("write", "mkdir /data/d && head -c 3M /dev/urandom > /data/d/noise; " + SUMS.format("/data"), data="/data")
        team.policy(locations=[{"name": home.name}, {"name": copy.name}], objectives=OBJECTIVES)
        team.snapshot("kept")
        team.wait_ready(SNAPSHOT, "kept")
        everywhere(team, "kept", home, copy)
        wait_until("the objectives are met", lambda: condition_missing(team.find(POLICY, "policy"), "CopiesMet"))
        far = read_elsewhere(kube, copy, home, team.name)
        wait_until("the other cluster lists it", lambda: None if kube.list(SNAPSHOT, team.name) else "not yet", 180)
        vault = str(team.get(SNAPSHOT, "kept")["status"]["vault"])
        needed = {name.replace(copy.prefix, home.prefix, 1) for name in Store(copy, vault).names()}

        home.edit(limits={"uploadBandwidth": SLOW})
        caught = team.run("more", "head -c 14M /dev/urandom > /data/more; " + SUMS.format("/data"), data="/data")
        team.snapshot("caught")
        wait_until("its mover is at work", lambda: uploads(team, "caught"))
        with home.bucket.server.cut():
            home.wait_refused("LocationUnreachable", "Reachable")
            assert copies(team, "kept") == {home.name: "Complete", copy.name: "Complete"}, "what is known of the home is not taken back"
            assert copies(team, "caught") == {home.name: "Writing", copy.name: "Pending"}, "nobody claims more than is known"
            assert team.condition(SNAPSHOT, "caught")["status"] != "True"
            wait_until("nor does the policy", lambda: said_unknown(team))
            source = {"location": copy.name, "namespace": {"name": team.name}, "policy": "policy"}
            assert restored(other, "elsewhere", source, copy.name) == kept, "the other cluster, from the other provider"
            assert restored(team, "same-cluster", {"policyRef": {"name": "policy"}}, copy.name) == kept
            assert "completedAt" not in team.get(SNAPSHOT, "caught")["status"], "it waits for its home"

        home.wait_ready()
        home.edit(limits={"uploadBandwidth": None})
        store = Store(home, vault)
        gone = [name for name in store.names() if name in needed and "/d/" in name]
        assert gone
        for name in gone:
            store.delete(name)
        team.wait_ready(SNAPSHOT, "caught", 600)
        everywhere(team, "caught", home, copy)
        team.edit(POLICY, "policy", verification={"schedule": {"every": "1m"}, "level": 2})
        wait_until("what it lost is back", lambda: lacking(store, gone), 420)
        for kind in ("Verified", "Replicated", "CopiesMet"):
            wait_until(f"{kind} is True", lambda kind=kind: condition_missing(team.find(POLICY, "policy"), kind), 300)  # type: ignore[misc]
        assert restored(team, "from-home", {"snapshotRef": {"name": "kept"}}, home.name) == kept
        wait_until("the other cluster lists both", lambda: None if len(kube.list(SNAPSHOT, team.name)) == 2 else "one", 180)
        assert condition_missing(far.get(), "CatalogueRead") is None
        assert restored(other, "caught", source, copy.name) == caught


def said_unknown(team: Team) -> str | None:
    """The policy does not say that all is replicated while nobody can know."""
    told = team.condition(POLICY, "policy", "Replicated")
    return None if told["status"] != "True" and told["message"] else str(told)


def lacking(store: Store, names: list[str]) -> str | None:
    """Objects that are not there, nor under a later incarnation of their name."""
    there = store.names()
    missing = [name for name in names if not any(found.startswith(name) for found in there)]
    return f"{len(missing)} of {len(names)} are missing" if missing else None
