"""`product`: Recoup on the session's cluster, installed once for all tests that need it; `team`: a namespace for one test.

Fixtures of S3 servers come from tests/cluster/s3/fixtures.py.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

import pytest
from pytest_kind import KindCluster

from tests.cluster.node import Node
from tests.cluster.s3.buckets import create_bucket
from tests.cluster.s3.fixtures import minio_on_network, versitygw_on_network
from tests.cluster.s3.servers import S3Server
from tests.e2e.cluster.locations import make_place
from tests.e2e.cluster.product import Product, api_server, await_controller, install
from tests.e2e.cluster.together import Together
from tests.e2e.cluster.world import Team

DEFAULT_CLASS = "snapshot.storage.kubernetes.io/is-default-class"
"""Set, because tests add classes of their own for the same driver."""

__all__ = ["minio_on_network", "product", "team", "together", "versitygw_on_network"]


@pytest.fixture(scope="session")
def product(
    kind_cluster: KindCluster,
    cluster_node: Node,
    product_image: str,
    minio_on_network: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Product:
    """The chart with two replicas, and one location that is Ready."""
    kind_cluster.kubectl("annotate", "--overwrite", "volumesnapshotclass", "recoup-snap", f"{DEFAULT_CLASS}=true")
    install(kind_cluster, product_image)
    kube = api_server(kind_cluster)
    await_controller(kube)
    folder = tmp_path_factory.mktemp("keys")
    place = make_place(kube, folder, "main", create_bucket(minio_on_network, "main"))
    place.wait_ready()
    return Product(kind_cluster, cluster_node, kube, minio_on_network, place, product_image, folder)


@pytest.fixture
def team(product: Product, request: pytest.FixtureRequest) -> Iterator[Team]:
    """A namespace named after the test."""
    words = re.sub("[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))[:40].strip("-")
    with product.team(f"{words}-{zlib.crc32(request.node.nodeid.encode()):08x}") as made:
        yield made


@pytest.fixture(scope="session")
def together(product: Product, request: pytest.FixtureRequest) -> Iterator[Together]:
    """The scenarios of this session, batch after batch, those of a batch running at the same time."""
    scenarios = Together(product, request.session.items)
    yield scenarios
    scenarios.end()
