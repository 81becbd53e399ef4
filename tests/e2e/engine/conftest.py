"""A real S3 server, and a location in a fresh bucket on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.s3.buckets import Bucket
from tests.cluster.s3.fixtures import bucket, fault_proxy, make_bucket, minio_server
from tests.e2e.engine.commands import Recoup

__all__ = ["bucket", "fault_proxy", "make_bucket", "minio_server"]


@pytest.fixture
def on_s3(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recoup:
    """The command line with the server's credentials in its environment, a vault made."""
    for name, value in bucket.server.credentials.environment().items():
        monkeypatch.setenv(name, value)
    return Recoup.make(tmp_path, bucket.url("a/prefix"), "--endpoint-url", bucket.server.endpoint)
