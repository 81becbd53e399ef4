"""`place`: an empty location of each kind; `atomic_place`: of each kind that is fit to be a home; `store`: a store on `place`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recoup.engine.stores.base import Credentials, Store
from tests.cluster.s3.fixtures import minio_server, versitygw_server
from tests.cluster.s3.servers import S3Server
from tests.contract.stores.places import Place, bucket_place, directory_place, moto_server

__all__ = ["minio_server", "versitygw_server"]

ATOMIC = ["file", pytest.param("minio", marks=pytest.mark.s3)]
"""Not moto: its threads look for the object and then store it, with nothing in between that keeps others out."""
EVERY = [*ATOMIC, "moto", pytest.param("versitygw", marks=pytest.mark.s3)]


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture(params=EVERY)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return make_place(request, tmp_path)


@pytest.fixture(params=ATOMIC)
def atomic_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return make_place(request, tmp_path)


@pytest.fixture
def store(place: Place) -> Store:
    return place.open()


def make_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "file":
        return directory_place(tmp_path)
    if request.param == "moto":
        return bucket_place(request.getfixturevalue("moto_endpoint"))
    server: S3Server = request.getfixturevalue(f"{request.param}_server")
    keys = server.credentials
    return bucket_place(server.endpoint, Credentials(keys.access_key, keys.secret_key), str(server.ca_file) if server.ca_file else None)
