"""A line of a few megabits to a real S3 server: no timeout is for a whole object, and what was sent before a kill stays sent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recoup.engine.stores.base import StoreOptions
from recoup.engine.stores.s3 import S3Store
from tests.cluster.s3.buckets import Bucket
from tests.cluster.s3.fixtures import MakeBucket, minio_on_network
from tests.cluster.s3.network import slow_uploads
from tests.cluster.s3.servers import S3Server
from tests.e2e.engine.commands import Recoup, run

__all__ = ["minio_on_network"]

pytestmark = pytest.mark.s3
MEGABIT = 10**6
MIB = 1 << 20


@pytest.fixture
def far(minio_on_network: S3Server, make_bucket: MakeBucket) -> Bucket:
    return make_bucket(minio_on_network)


@pytest.fixture
def there(far: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recoup:
    for name, value in far.server.credentials.environment().items():
        monkeypatch.setenv(name, value)
    return Recoup.make(tmp_path, far.url("p"), "--endpoint-url", far.server.endpoint)


def number_of(bucket: Bucket) -> int:
    return int(bucket.server.address.split(".")[2])


def packs(bucket: Bucket) -> list[int]:
    listed = bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", [])
    return [entry["Size"] for entry in listed if "/d/" in entry["Key"]]


def test_an_object_may_take_longer_than_any_timeout(far: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """12 MiB at 8 Mbit/s take 12 s; the socket's timeout of 5 s is for a piece. In one piece the object was sent again and again."""
    for name, value in far.server.credentials.environment().items():
        monkeypatch.setenv(name, value)
    store = S3Store(far.name, "p", StoreOptions(endpoint_url=far.server.endpoint))
    data = memoryview(os.urandom(12 * MIB))
    sent: list[str] = []
    put = store._put

    def counted(name: str, body: memoryview) -> None:
        sent.append(name)
        put(name, body)

    monkeypatch.setattr(store, "_put", counted)
    with slow_uploads(number_of(far), 8 * MEGABIT):
        assert store.create("object", data)
    assert sent == ["object"], "it was sent once"
    assert store.get("object") == data


@pytest.mark.long
def test_one_megabit_a_second_works_and_resumes(there: Recoup, far: Bucket, tmp_path: Path) -> None:
    """Killed when two packs have arrived; the next run sends the others, each small enough for such a line."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(18):
        (source / f"f{number}").write_bytes(os.urandom(MIB))
    program = [sys.executable, "-c", "import recoup.engine.backup.resume as r; r.LEAST_OBJECTS = 1; import recoup.cli.main as m; m.main()"]
    command = [*program, "backup", "--location", there.location, *there.options, "--key-file", str(there.key), "--source", str(source)]
    with slow_uploads(number_of(far), MEGABIT):
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            assert running.stderr is not None
            while len(opens(far)) < 4:
                assert running.poll() is None
                running.stderr.readline()
            running.send_signal(signal.SIGKILL)
        sent = len(packs(far))
        assert sent >= 2
        point = there.json("backup", "--source", source)
    assert any("not sent again" in note for note in point["notes"])
    assert max(packs(far)) <= 6 * MIB
    assert sum(packs(far)) <= 18 * MIB + 3 * 6 * MIB
    there("restore", "--snapshot", point["id"], "--target", tmp_path / "out")
    assert run("ls", "--location", there.location, *there.options, "--key-file", str(there.key), point["id"]).count("\n") == 18
    for path in source.iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert json.loads(there("verify", "-o", "json", "--level", "3"))["good"]


def opens(bucket: Bucket) -> list[str]:
    listed = bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", [])
    return [entry["Key"] for entry in listed if "/log/" in entry["Key"]]
