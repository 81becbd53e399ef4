"""Locations and keys that are wrong, away, or not what they claim to be: said where people look, and healed without their help."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

import pytest

from recoup.controller.resources import JOB, PVC, RESTORE, SECRET, SNAPSHOT
from tests.cluster.s3.buckets import create_bucket
from tests.cluster.s3.credentials import fresh
from tests.cluster.s3.servers import minio, versitygw
from tests.e2e.cluster.locations import MOVERS, SYSTEM, Place, recoup, secret
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.together import Scenario, Together, assert_honest, name_of
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import Team

BATCH = "trouble"
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

HEALING = 420.0
"""Seconds: a place that could not be got at is looked at every minute and probed again after two."""


def protected(team: Team, place: Place) -> None:
    """A claim with a file, and a policy."""
    team.claim("data")
    team.policy(location=place.name)
    team.run("write", "echo kept > /data/file; head -c 5M /dev/urandom > /data/noise", data="/data")


def a_bucket_that_does_not_exist(product: Product) -> None:
    with product.make_place("wrong-bucket", bucket_name="no-such-bucket") as place, product.team("wrong-bucket") as team:
        protected(team, place)
        team.snapshot("now")
        refused = place.wait_refused("BucketNotFound")
        assert "no-such-bucket" in refused["message"]
        assert "create the bucket" in refused["message"]
        told = team.wait_reason(SNAPSHOT, "now", "BucketNotFound")
        assert "BackupLocation wrong-bucket" in told["message"]
        assert not team.children()
        bucket = create_bucket(product.server, "no-such-bucket")
        place.wait_ready(HEALING)
        team.wait_ready(SNAPSHOT, "now")
        assert_honest(team, place)
        assert bucket.client.list_objects_v2(Bucket=bucket.name)["KeyCount"]


def credentials_that_are_wrong(product: Product) -> None:
    with product.make_place("wrong-credentials", credentials=fresh()) as place, product.team("wrong-credentials") as team:
        protected(team, place)
        team.snapshot("now")
        refused = place.wait_refused("CredentialsRejected")
        assert "access key" in refused["message"]
        team.wait_reason(SNAPSHOT, "now", "CredentialsRejected")
        assert not place.bucket.client.list_objects_v2(Bucket=place.bucket.name, Prefix=place.prefix + "/")["KeyCount"]
        right = product.server.credentials
        for namespace in (MOVERS, SYSTEM):
            replace_secret(product, namespace, "s3-wrong-credentials", accessKeyID=right.access_key, secretAccessKey=right.secret_key)
        place.wait_ready(HEALING)
        team.wait_ready(SNAPSHOT, "now")
        assert_honest(team, place)


def a_server_that_goes_away_and_comes_back(product: Product) -> None:
    with ExitStack() as stack:
        server, team = stack.enter_context(minio(network=True)), stack.enter_context(product.team("away"))
        place = stack.enter_context(product.make_place("away", bucket=create_bucket(server, "away")))
        place.wait_ready()
        protected(team, place)
        team.snapshot("before")
        team.wait_ready(SNAPSHOT, "before")
        with server.cut():
            team.snapshot("during")
            told = team.wait_reason(SNAPSHOT, "during", "LocationUnreachable")
            assert server.address in told["message"] or "BackupLocation away" in told["message"]
            place.wait_refused("LocationUnreachable", "Reachable")
        team.wait_ready(SNAPSHOT, "during", HEALING)
        place.wait_ready(HEALING)
        assert_honest(team, place)
        assert len(place.points(team.name)) == 2


def a_store_that_is_not_atomic(product: Product) -> None:
    with ExitStack() as stack:
        server, team = stack.enter_context(versitygw(network=True)), stack.enter_context(product.team("racy"))
        place = stack.enter_context(product.make_place("racy", bucket=create_bucket(server, "racy")))
        protected(team, place)
        team.snapshot("now")
        assert place.wait_refused("NotAtomic", "Conformant")["message"]
        team.wait_reason(SNAPSHOT, "now", "NotAtomic")
        assert not team.children()
        assert not [job for job in product.kube.list(JOB, MOVERS) if job["metadata"]["name"].startswith("racy-keys")]


def a_key_that_is_not_there_yet(product: Product) -> None:
    with product.make_place("no-key", with_key=False) as place, product.team("no-key") as team:
        place.wait_ready()
        protected(team, place)
        team.snapshot("now")
        told = team.wait_reason(SNAPSHOT, "now", "MoverNotStarted")
        wait_until(
            "the Secret is named",
            lambda: None if place.key_secret in team.condition(SNAPSHOT, "now")["message"] else str(team.condition(SNAPSHOT, "now")),
        )
        assert "keys could not be made" in told["message"] or "does not start" in told["message"] or "not started" in told["message"]
        assert not team.children()
        secret(product.kube, MOVERS, place.key_secret, key=place.key.read_text())
        team.wait_ready(SNAPSHOT, "now", HEALING)
        assert_honest(team, place)


def a_restore_with_another_key(product: Product) -> None:
    with product.make_place("wrong-key") as place, product.team("wrong-key") as team:
        place.wait_ready()
        protected(team, place)
        team.snapshot("now")
        team.wait_ready(SNAPSHOT, "now")
        other = product.folder / "other.key"
        recoup("keygen", str(other))
        replace_secret(product, MOVERS, place.key_secret, key=other.read_text())
        team.restore("locked-out", {"snapshotRef": {"name": "now"}}, data="copy")
        refused = team.wait_reason(RESTORE, "locked-out", "KeyUnavailable")
        assert "key" in refused["message"]
        team.wait_over(RESTORE, "locked-out")
        assert team.find(PVC, "copy") is None
        replace_secret(product, MOVERS, place.key_secret, key=place.key.read_text())
        team.restore("back", {"snapshotRef": {"name": "now"}}, data="copy")
        team.wait_ready(RESTORE, "back")
        assert team.run("read", "cat /copy/file", copy="/copy") == "kept\n"
        assert_honest(team, place)


def one_of_two_keys_is_missing(product: Product) -> None:
    """A restore needs one of them. With neither it says which one is wrong and which is not there, and hands nothing over."""
    cold = product.folder / "cold.key"
    recoup("keygen", str(cold))
    named = {
        name: {"name": name, "secret": {"secretRef": {"name": f"{prefix}-two-keys"}}}
        for name, prefix in (("daily", "key"), ("cold", "cold"))
    }
    with product.make_place("two-keys", encryption={"keys": list(named.values())}) as place, product.team("two-keys") as team:
        secret(product.kube, MOVERS, "cold-two-keys", key=cold.read_text())
        place.wait_ready()
        protected(team, place)
        team.snapshot("now")
        team.wait_ready(SNAPSHOT, "now")
        product.kubectl("-n", MOVERS, "delete", "secret", "cold-two-keys")
        team.restore("back", {"snapshotRef": {"name": "now"}}, data="copy")
        team.wait_ready(RESTORE, "back")
        assert team.run("read", "cat /copy/file", copy="/copy") == "kept\n"
        other = product.folder / "not-daily.key"
        recoup("keygen", str(other))
        replace_secret(product, MOVERS, place.key_secret, key=other.read_text())
        team.restore("locked-out", {"snapshotRef": {"name": "now"}}, data="again")
        refused = team.wait_reason(RESTORE, "locked-out", "KeyUnavailable")
        assert "not there to be tried: cold" in refused["message"]
        team.wait_over(RESTORE, "locked-out")
        assert team.find(PVC, "again") is None
        assert_honest(team, place)


def a_false_vault_in_place_of_the_true_one(product: Product) -> None:
    """Somebody with the bucket's credentials puts a vault of their own where the true one was: nothing is restored from it."""
    with product.make_place("planted") as place, product.team("planted") as team:
        place.wait_ready()
        protected(team, place)
        team.snapshot("now")
        team.wait_ready(SNAPSHOT, "now")
        vault = team.get(SNAPSHOT, "now")["status"]["vault"]
        plant(product, place, vault)
        team.restore("tricked", {"policyRef": {"name": "policy"}}, data="copy")
        refused = team.wait_reason(RESTORE, "tricked", "RootMismatch")
        assert "false vault" in refused["message"]
        team.wait_over(RESTORE, "tricked")
        assert team.find(PVC, "copy") is None


def plant(product: Product, place: Place, vault: str) -> None:
    """Replace everything of the vault, and the location's own descriptor, by a vault of another key made under the same id."""
    client, bucket = place.bucket.client, place.bucket.name
    key, false_prefix = product.folder / "attacker.key", f"false/{place.name}"
    recoup("keygen", str(key))
    command = [sys.executable, "-m", "recoup.cli.main", "init", "--location", f"s3://{bucket}/{false_prefix}"]
    command += ["--endpoint-url", product.server.endpoint, "--key-file", str(key), "--vault", vault]
    environment = {"AWS_SHARED_CREDENTIALS_FILE": str(product.server.credentials_file), "PATH": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{place.prefix}/"):
        for entry in page.get("Contents", ()):
            client.delete_object(Bucket=bucket, Key=entry["Key"])
    for entry in client.list_objects_v2(Bucket=bucket, Prefix=f"{false_prefix}/")["Contents"]:
        name = place.prefix + entry["Key"].removeprefix(false_prefix)
        client.copy_object(Bucket=bucket, Key=name, CopySource={"Bucket": bucket, "Key": entry["Key"]})


def a_namespace_that_the_location_is_not_for(product: Product) -> None:
    with ExitStack() as stack:
        place = stack.enter_context(product.make_place("choosy", allowedNamespaces={"matchLabels": {"zone": "eu"}}))
        team = stack.enter_context(product.team("stranger"))
        place.wait_ready()
        protected(team, place)
        team.snapshot("now")
        told = team.wait_reason(SNAPSHOT, "now", "NamespaceNotAllowed")
        assert "spec.allowedNamespaces" in told["message"]
        assert not team.children()
        team.kubectl("label", "namespace", team.name, "zone=eu")
        team.wait_ready(SNAPSHOT, "now")
        assert_honest(team, place)


def replace_secret(product: Product, namespace: str, name: str, **data: str) -> None:
    uid = product.kube.get(SECRET, namespace, name)["metadata"]["uid"]
    product.kube.delete(SECRET, namespace, name, uid=uid)
    secret(product.kube, namespace, name, **data)


SCENARIOS: list[Scenario] = [
    a_bucket_that_does_not_exist,
    credentials_that_are_wrong,
    a_server_that_goes_away_and_comes_back,
    a_store_that_is_not_atomic,
    a_key_that_is_not_there_yet,
    a_restore_with_another_key,
    one_of_two_keys_is_missing,
    a_false_vault_in_place_of_the_true_one,
    a_namespace_that_the_location_is_not_for,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name_of)
def test_trouble_of_locations(scenario: Scenario, together: Together) -> None:
    together.finish(scenario)
