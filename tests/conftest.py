"""For every test: the cluster's options and fixtures (tests/cluster/plugin.py), and folders too deep for Python to remove."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.cluster.plugin import cluster_node, product_image, pytest_collection_finish, pytest_configure

__all__ = ["cluster_node", "product_image", "pytest_collection_finish", "pytest_configure"]


@pytest.fixture(scope="session", autouse=True)
def deep_folders_go(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests make trees of 1,000 levels; pytest removes temporary folders by recursion and would fail on those."""
    yield
    subprocess.run(["find", tmp_path_factory.getbasetemp(), "-depth", "-mindepth", "200", "-delete"], check=True)
