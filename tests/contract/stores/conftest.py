"""`place`: an empty location of each kind, `store`: a store on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recoup.engine.stores.base import Store
from tests.contract.stores.places import Place, bucket_place, directory_place, moto_server


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture(params=["file", "moto"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "file":
        return directory_place(tmp_path)
    return bucket_place(request.getfixturevalue("moto_endpoint"))


@pytest.fixture
def store(place: Place) -> Store:
    return place.open()
