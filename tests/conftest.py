"""Options and fixtures of the cluster, for every test: see tests/cluster/plugin.py. And the removal of trees a thousand levels deep."""

import sys
from collections.abc import Generator

import pytest
from hypothesis import settings

from tests.cluster.plugin import cluster_node, product_image, pytest_collection_finish, pytest_configure

__all__ = ["cluster_node", "product_image", "pytest_collection_finish", "pytest_configure", "pytest_sessionfinish"]

DEEPEST = 10_000

settings.register_profile("untimed", deadline=None)  # how long an example takes says more of the machine than of what is tested
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish() -> Generator[None, object, object]:
    """Pytest removes the folders of earlier sessions by a function that calls itself for each level; only here it may go that deep."""
    sys.setrecursionlimit(DEEPEST)
    return (yield)
