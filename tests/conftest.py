"""Options and fixtures of the cluster, for every test: see tests/cluster/plugin.py."""

from tests.cluster.plugin import cluster_node, product_image, pytest_collection_finish, pytest_configure

__all__ = ["cluster_node", "product_image", "pytest_collection_finish", "pytest_configure"]
