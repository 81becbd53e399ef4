"""The first cluster is lost: a second one that never saw it gets the chart, a location that it may only read, and a key, and has the data.

docs/second-cluster.md as a test, with the manifests of docs/examples/second-cluster.yaml. Nothing of the first cluster answers meanwhile.
It has copied everything to a place of its own, too (second-cluster-copies.yaml), from which the data comes once the first place is gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytest_kind import KindCluster

from recoup.controller.kube import ApiServer
from recoup.controller.resources import LOCATION, POLICY, RESTORE, SNAPSHOT
from tests.cluster import lifecycle
from tests.cluster.audit import Audit
from tests.cluster.s3.buckets import Bucket, create_bucket
from tests.cluster.s3.rights import restricted_credentials
from tests.cluster.s3.servers import S3Server
from tests.e2e.cluster.locations import MOVERS, SYSTEM, Place, secret
from tests.e2e.cluster.product import CONTROLLER, Product, api_server, install
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import Team, condition_missing, condition_of
from tools import bucket_policies

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"
DIGEST = "cd /data && find . -type f -print0 | sort -z | xargs -0 sha256sum"
WRITE = "for n in $(seq 40); do head -c 300000 /dev/urandom > /data/file-$n; done; mkdir /data/deep; cp /data/file-1 /data/deep/; sync"


@contextmanager
def second_cluster(product: Product) -> Iterator[KindCluster]:
    first = product.cluster
    cluster = KindCluster(f"{first.name}-b", kind_path=first.kind_path, kubectl_path=first.kubectl_path)
    cluster.create()
    try:
        cluster.load_docker_image(product.image)
        install(cluster, product.image, "controller.replicas=1")
        yield cluster
    finally:
        cluster.delete()


@contextmanager
def lost(product: Product) -> Iterator[None]:
    """The first cluster's API server is gone, and with it everything that asks it."""
    product.node.stop("kube-apiserver", force=True)
    try:
        yield
    finally:
        product.node.restart("kube-apiserver")
        wait_until("the first API server is back", lambda: None if product.kube.ready() else "not ready", 120)


def manifests(example: str, bucket: Bucket, prefix: str) -> list[dict[str, Any]]:
    """Those of the documentation, in their order, with this test's bucket."""
    found = list(yaml.safe_load_all((EXAMPLES / example).read_text().replace("${ENDPOINT}", bucket.server.endpoint)))
    location = next(item for item in found if item["kind"] == "BackupLocation")
    location["spec"]["s3"] |= {"bucket": bucket.name, "prefix": prefix, "region": bucket.server.region}
    return found


def read_only_secrets(kube: ApiServer, place: Place) -> None:
    """The three Secrets: credentials that can read and nothing else, in both namespaces, and the key."""
    for namespace, roles in ((SYSTEM, ["catalogue"]), (MOVERS, ["reader"])):
        policy = bucket_policies.policy(roles, place.bucket.name, place.prefix, conditional=False)
        given = restricted_credentials(place.bucket.server, policy)
        secret(kube, namespace, "frankfurt-s3", accessKeyID=given.access_key, secretAccessKey=given.secret_key)
    secret(kube, MOVERS, "recoup-key", key=place.key.read_text())


def own_secrets(kube: ApiServer, bucket: Bucket) -> None:
    """Credentials of the second cluster for a place that the first one knows nothing of."""
    given = bucket.server.credentials
    for namespace in (SYSTEM, MOVERS):
        secret(kube, namespace, "bunker-s3", accessKeyID=given.access_key, secretAccessKey=given.secret_key)


def stored(place: Place) -> dict[str, str]:
    """Every object below the location's prefix with what identifies its bytes."""
    pages = place.bucket.client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket.name, Prefix=f"{place.prefix}/")
    return {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", ())}


def empty(place: Place) -> None:
    """Everything at the first cluster's location goes."""
    for name in stored(place):
        place.bucket.client.delete_object(Bucket=place.bucket.name, Key=name)


def one_of_two_goes(kube: ApiServer, bunker: Place) -> None:
    """By the second cluster's own rules; it is not copied again, and the location says that all is well."""
    (vault,) = bunker.vaults("shop")
    server = bunker.bucket.server
    assert sorted(point["snapshot"] for point in bunker.points_of(vault, server)) == ["before-the-loss", "the-last-one"]
    assert condition_of(bunker.get(), "RetentionApplied")["reason"] == "EditGrace", "the example's rules wait for a day"
    bunker.edit(pullRetention={"daily": None, "monthly": None, "last": 1, "guard": "1s", "editGrace": "1s"})

    def left() -> str | None:
        names = [point["snapshot"] for point in bunker.points_of(vault, server)]
        return None if names == ["the-last-one"] else str(names)

    wait_until("the older one went", left, 180)
    wait_until("and was pruned", lambda: None if bunker.get()["status"]["vaults"][0].get("prunedAt") else str(bunker.get()["status"]), 180)
    assert bunker.get()["status"]["pullRetention"] == {"rules": "last 1, guard 1s"}
    for kind in ("RetentionApplied", "Pulled"):
        wait_until(f"{kind} is True", lambda kind=kind: condition_missing(bunker.get(), kind))  # type: ignore[misc]
    assert left() is None, "it is not copied again"


def test_a_second_cluster_restores_what_the_lost_one_had(
    product: Product, versitygw_on_network: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    bunker = create_bucket(versitygw_on_network, "bunker")
    with product.make_place("shared") as place, product.team("shop") as team:
        place.wait_ready()
        team.claim("data", storage_class="recoup-immediate")
        team.policy("shop", location="shared")
        team.run("write", WRITE, data="/data")
        team.snapshot("before-the-loss", policy="shop")
        team.wait_ready(SNAPSHOT, "before-the-loss")
        team.snapshot("the-last-one", policy="shop")
        team.wait_ready(SNAPSHOT, "the-last-one")
        wanted = team.run("digest", DIGEST, data="/data")
        uid, server = team.uid, product.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
        with second_cluster(product) as cluster, lost(product):
            kube = api_server(cluster)
            before, began = stored(place), time.monotonic()
            audit = Audit(lifecycle.find(cluster.name))
            read_only_secrets(kube, place)
            other = Team(kube, cluster, "shop", "frankfurt")
            for made in manifests("second-cluster.yaml", place.bucket, place.prefix):
                cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(made))
            other.wait_ready(RESTORE, "after-the-loss")
            with capsys.disabled():
                took = time.monotonic() - began
                print(f"\ntotal loss: {took:.1f} s from applying location and key to the restored volume")
            assert other.run("digest", DIGEST, data="/data") == wanted

            wait_until("both are shown", lambda: None if len(kube.list(SNAPSHOT, "shop")) == 2 else "not yet")
            view, _ = kube.list(SNAPSHOT, "shop")
            assert view["spec"]["origin"]["namespace"] == {"name": "shop", "uid": uid}
            assert view["spec"]["origin"]["cluster"] == server
            other.wait_ready(SNAPSHOT, view["metadata"]["name"])
            other.restore("by-name", {"snapshotRef": {"name": view["metadata"]["name"]}}, data="again")
            other.wait_ready(RESTORE, "by-name")
            assert other.run("digest-again", DIGEST, again="/data") == wanted

            jobs = [
                request.name
                for request in audit.requests()
                if (request.user, request.verb, request.resource) == (CONTROLLER, "create", "jobs")
            ]
            assert len([name for name in jobs if name.startswith("after-the-loss")]) == 1, f"it ran once: {jobs}"
            assert stored(place) == before, "nothing was written by a cluster that may only read"
            assert condition_missing(kube.get(LOCATION, None, "frankfurt"), "CatalogueRead") is None

            other.claim("own")
            other.policy("own", location="frankfurt")
            assert "ReadOnly" in other.wait_reason(POLICY, "own", "LocationReadOnly")["message"]

            own_secrets(kube, bunker)
            location, restore = manifests("second-cluster-copies.yaml", bunker, "prod")
            cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(location))
            wait_until("all is copied", lambda: condition_missing(kube.get(LOCATION, None, "bunker"), "Pulled"), 180)
            assert stored(place) == before, "copying only reads"
            one_of_two_goes(kube, Place(kube, "bunker", bunker, "prod", place.key, place.recovery))
            assert stored(place) == before, "it goes from the copy"
            empty(place)
            cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(restore))
            other.wait_ready(RESTORE, "from-the-copy")
            assert other.run("digest-of-the-copy", DIGEST, **{"from-the-copy": "/data"}) == wanted
