"""The places that the conformance suite runs on. A new adapter adds one Place."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

from recoup.engine.stores.base import Credentials, Store, StoreOptions
from recoup.engine.stores.registry import open_store

TEST_KEY = Credentials("testing", "testing-secret")


@dataclass(frozen=True)
class Place:
    """One location, empty at first: `open(**options)` gives a store on it, `missing()` one whose bucket or directory is not there."""

    url: str
    missing_url: str
    options: StoreOptions

    def open(self) -> Store:
        return open_store(self.url, self.options)

    def missing(self) -> Store:
        return open_store(self.missing_url, self.options)


def directory_place(base: Path) -> Place:
    return Place(f"file://{base}/location", f"file://{base}/not/there", StoreOptions())


@contextmanager
def moto_server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def bucket_place(endpoint: str, credentials: Credentials = TEST_KEY, ca_bundle: str | None = None) -> Place:
    """A new bucket at an S3 server, and a prefix in it."""
    bucket = f"conformance-{secrets.token_hex(6)}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        verify=ca_bundle,
        config=Config(retries={"mode": "standard", "total_max_attempts": 8}),  # a server that has just started asks for patience
    )
    client.create_bucket(Bucket=bucket)
    client.close()
    options = StoreOptions(endpoint_url=endpoint, region="us-east-1", credentials=credentials, ca_bundle=ca_bundle)
    return Place(f"s3://{bucket}/some/prefix", f"s3://no-{bucket}/some/prefix", options)
