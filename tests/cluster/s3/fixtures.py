"""pytest fixtures of S3 servers and buckets. In a conftest.py: `from tests.cluster.s3.fixtures import *`.

`minio_server` and `versitygw_server` listen on loopback, one of each per session. `minio_on_network` and
`versitygw_on_network` have a network of their own (root), for clusters. `bucket` and `make_bucket` are on minio.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.cluster.s3.buckets import Bucket, create_bucket, delete_bucket
from tests.cluster.s3.proxy import FaultProxy
from tests.cluster.s3.servers import S3Server, minio, versitygw

__all__ = [
    "bucket",
    "fault_proxy",
    "make_bucket",
    "minio_on_network",
    "minio_server",
    "versitygw_on_network",
    "versitygw_server",
]

MakeBucket = Callable[..., Bucket]


@pytest.fixture(scope="session")
def minio_server() -> Iterator[S3Server]:
    with minio() as server:
        yield server


@pytest.fixture(scope="session")
def versitygw_server() -> Iterator[S3Server]:
    with versitygw() as server:
        yield server


@pytest.fixture(scope="session")
def minio_on_network() -> Iterator[S3Server]:
    with minio(network=True) as server:
        yield server


@pytest.fixture(scope="session")
def versitygw_on_network() -> Iterator[S3Server]:
    with versitygw(network=True) as server:
        yield server


@pytest.fixture
def make_bucket() -> Iterator[MakeBucket]:
    """`make_bucket(server, versioned=…, object_lock=…)`: fresh buckets, gone after the test."""
    made: list[Bucket] = []

    def make(server: S3Server, *, versioned: bool = False, object_lock: bool = False) -> Bucket:
        made.append(create_bucket(server, versioned=versioned, object_lock=object_lock))
        return made[-1]

    yield make
    for bucket in made:
        delete_bucket(bucket)


@pytest.fixture
def bucket(minio_server: S3Server, make_bucket: MakeBucket) -> Bucket:
    """A fresh bucket on minio."""
    return make_bucket(minio_server)


@pytest.fixture
def fault_proxy(minio_server: S3Server) -> Iterator[FaultProxy]:
    """A proxy in front of minio that forwards until told to make faults."""
    with FaultProxy(minio_server.endpoint) as proxy:
        yield proxy
