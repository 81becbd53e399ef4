"""Pods of a cluster reach the S3 servers by their addresses, and the fault proxy in front of one."""

import pytest

from tests.cluster.s3 import network
from tests.cluster.s3.proxy import FaultProxy
from tests.cluster.s3.request import Kind
from tests.cluster.s3.servers import S3Server
from tests.integration.cluster.conftest import Namespace, namespace

__all__ = ["namespace"]

pytestmark = [pytest.mark.s3, pytest.mark.cluster]
ASK = "python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).status)' {url}"


def test_pods_reach_both_servers_and_a_proxy(namespace: Namespace, minio_on_network: S3Server, versitygw_on_network: S3Server) -> None:
    assert minio_on_network.slot.network is not None
    with FaultProxy(minio_on_network.endpoint, address=network.host_address(minio_on_network.slot.network)) as proxy:
        urls = {
            "minio": f"{minio_on_network.endpoint}/minio/health/ready",
            "versitygw": f"{versitygw_on_network.endpoint}/healthy",
            "proxy": f"{proxy.endpoint}/minio/health/ready",
        }
        assert {name: namespace.run_job(name, ASK.format(url=url)).strip() for name, url in urls.items()} == dict.fromkeys(urls, "200")
        assert proxy.counts()[Kind.GET].requests == 1
