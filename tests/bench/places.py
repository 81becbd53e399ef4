"""Where the tools keep their repositories: a directory, or a bucket of a minio on loopback whose requests are counted.

The bucket's requests pass a proxy in a process of its own (python -m tests.bench.places), the same for every tool.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from tests.bench.measure import tree_size
from tests.cluster.s3.buckets import Bucket, create_bucket, delete_bucket
from tests.cluster.s3.proxy import FaultProxy
from tests.cluster.s3.servers import S3Server, minio


@dataclass(frozen=True)
class Usage:
    """What a repository takes, and how many requests were made of it. None: requests are not counted there."""

    stored: int
    objects: int
    requests: int | None


class Place(ABC):
    """One repository's place."""

    @abstractmethod
    def usage(self) -> Usage: ...

    @abstractmethod
    def remove(self) -> None: ...


@dataclass(frozen=True)
class DirectoryPlace(Place):
    path: Path

    def usage(self) -> Usage:
        return Usage(*tree_size(self.path), None)

    def remove(self) -> None:
        shutil.rmtree(self.path)


@dataclass(frozen=True)
class BucketPlace(Place):
    bucket: Bucket
    counter: Counter

    @property
    def endpoint(self) -> str:
        """Where the tools find the server: behind the proxy."""
        return self.counter.endpoint

    def usage(self) -> Usage:
        pages = self.bucket.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket.name)
        sizes = [entry["Size"] for page in pages for entry in page.get("Contents", [])]
        return Usage(sum(sizes), len(sizes), self.counter.requests())

    def remove(self) -> None:
        delete_bucket(self.bucket)


class Counter:
    """The counting proxy, in a process of its own, so that it takes no time of this one."""

    def __init__(self, server: str) -> None:
        command = [sys.executable, "-m", "tests.bench.places", server]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = self._ask(None)

    def requests(self) -> int:
        """Requests since the proxy began."""
        return int(self._ask("count"))

    def stop(self) -> None:
        self._process.communicate()

    def _ask(self, question: str | None) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if question is not None:
            self._process.stdin.write(question + "\n")
            self._process.stdin.flush()
        return str(json.loads(self._process.stdout.readline()))


class Store(ABC):
    """A kind of place, ready to make some."""

    name: ClassVar[str]
    about: ClassVar[str]

    @abstractmethod
    def place(self, home: Path) -> Place:
        """A new place for one repository; `home` is the tool's own directory."""


class DirectoryStore(Store):
    name = "dir"
    about = "a directory"

    def place(self, home: Path) -> Place:
        return DirectoryPlace(home / "repository")


class BucketStore(Store):
    name = "s3"
    about = "a bucket of minio on loopback, through a proxy that counts requests"

    def __init__(self, server: S3Server, counter: Counter) -> None:
        self._server, self._counter = server, counter

    def place(self, home: Path) -> Place:  # noqa: ARG002  # buckets have names of their own
        return BucketPlace(create_bucket(self._server), self._counter)


STORES: Final[dict[str, type[Store]]] = {store.name: store for store in (DirectoryStore, BucketStore)}


@contextmanager
def open_store(name: str) -> Iterator[Store]:
    """A kind of place by name (dir, s3) for the duration."""
    if name == DirectoryStore.name:
        yield DirectoryStore()
        return
    with minio() as server:
        counter = Counter(server.endpoint)
        try:
            yield BucketStore(server, counter)
        finally:
            counter.stop()


def _serve(server: str) -> None:
    """Say the proxy's address, then a count for every line, until the input ends."""
    with FaultProxy(server) as proxy:
        print(json.dumps(proxy.endpoint), flush=True)
        for _ in sys.stdin:
            print(json.dumps(sum(count.requests for count in proxy.counts().values())), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
