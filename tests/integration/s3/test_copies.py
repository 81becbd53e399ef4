"""Copies on real S3 servers, by the command line: from a directory to minio, from there to a place that is not atomic, and a restore
that goes on when minio is stopped in its middle.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest

from tests.cluster.s3.buckets import Bucket, create_bucket
from tests.cluster.s3.fixtures import MakeBucket
from tests.cluster.s3.servers import S3Server, minio
from tests.e2e.engine.commands import Recoup, process, run
from tests.unit.engine.backup.volume import picture

pytestmark = pytest.mark.s3


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    rng = random.Random(5)
    for number in range(40):
        (source / f"f{number}").write_bytes(rng.randbytes(1 << 20))
    return source


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Recoup:
    home = Recoup.make(tmp_path_factory.mktemp("home"))
    home("backup", "--source", source)
    return home


def place(bucket: Bucket, folder: Path) -> str:
    """The bucket as one URL, with its credentials in a directory."""
    keys = bucket.server.credentials
    secrets = folder / f"credentials-{bucket.name}"
    secrets.mkdir(exist_ok=True)
    (secrets / "accessKeyID").write_text(keys.access_key)
    (secrets / "secretAccessKey").write_text(keys.secret_key)
    settings = {"endpoint-url": bucket.server.endpoint, "credentials-dir": str(secrets), "region": "us-east-1"}
    return f"{bucket.url('copies')}?{urlencode(settings)}"


def options(url: str) -> list[str]:
    """The same for a command that takes one location."""
    plain, _, query = url.partition("?")
    return ["--location", plain, *(text for name, value in parse_qsl(query) for text in (f"--{name}", value))]


def test_from_a_directory_to_minio_to_a_place_that_is_not_atomic(
    home: Recoup, source: Path, bucket: Bucket, versitygw_server: S3Server, make_bucket: MakeBucket, tmp_path: Path
) -> None:
    first, second = place(bucket, tmp_path), place(make_bucket(versitygw_server), tmp_path)
    done = json.loads(run("replicate", "--from", home.location, "--to", first, "-o", "json"))
    assert [len(vault["points"]) for vault in done] == [1]
    assert json.loads(run("replicate", "--from", first, "--to", second, "-o", "json"))[0]["points"] == done[0]["points"]
    again = json.loads(run("replicate", "--from", home.location, "--to", second, "-o", "json"))[0]
    assert (again["points"], again["objects"]) == ([], 0)
    for url in (first, second):
        key = ["--key-file", str(home.key)]
        run("verify", *options(url), *key, "--level", "4")
        point = json.loads(run("snapshots", *options(url), *key, "-o", "json"))[0]["id"]
        target = tmp_path / f"restored-{url == first}"
        run("restore", *options(url), *key, "--snapshot", point, "--target", str(target))
        assert picture(target) == picture(source)


def test_killed_in_the_middle_it_goes_on(home: Recoup, bucket: Bucket, tmp_path: Path) -> None:
    url = place(bucket, tmp_path)
    arguments = ["replicate", "--from", home.location, "--to", url, "-o", "json"]
    command = [sys.executable, "-m", "recoup.cli.main", *arguments, "--upload-limit", "8MB", "--parallelism", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as slow:
        assert slow.stderr is not None
        for line in slow.stderr:
            if json.loads(line)["progress"]["bytesDone"]:
                break
        slow.send_signal(signal.SIGKILL)
    done = json.loads(run(*arguments))[0]
    assert len(done["points"]) == 1
    assert done["objectsFound"] > 0
    run("verify", *options(url), "--key-file", str(home.key), "--level", "3")


@pytest.fixture
def mortal() -> Iterator[S3Server]:
    """A minio of our own, to be stopped."""
    with minio() as server:
        yield server


def test_a_restore_goes_on_elsewhere_when_minio_is_stopped(home: Recoup, source: Path, mortal: S3Server, tmp_path: Path) -> None:
    url = place(create_bucket(mortal), tmp_path)
    run("replicate", "--from", home.location, "--to", url)
    point = home.json("snapshots")[0]["id"]
    target = tmp_path / "restored"
    command = [sys.executable, "-m", "recoup.cli.main", "restore", *options(url), "--key-file", str(home.key), "--snapshot", point]
    command += ["--target", str(target), "--also", home.location, "--download-limit", "10MB", "--parallelism", "1", "-o", "json"]
    notices: list[str] = []
    stopped = False
    assert mortal.process is not None
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as restore:
        assert restore.stderr is not None
        assert restore.stdout is not None
        for text in restore.stderr:
            line: dict[str, Any] = json.loads(text)
            if "notice" in line:
                notices.append(line["notice"])
            elif not stopped and line["progress"]["phase"] == "restoring" and line["progress"]["bytesDone"]:
                mortal.process.kill()
                mortal.process.wait()
                stopped = True
        result = json.loads(restore.stdout.read())
    assert restore.returncode == 0
    assert picture(target) == picture(source)
    gone, kept = result["sources"]
    assert gone["objects"] > 0
    assert kept["objects"] > 0
    assert gone["failures"] > 0
    assert any("left out for now" in notice for notice in notices)


def test_a_home_that_is_away_from_the_beginning(home: Recoup, source: Path, bucket: Bucket, tmp_path: Path) -> None:
    url = place(bucket, tmp_path)
    run("replicate", "--from", home.location, "--to", url)
    point = home.json("snapshots")[0]["id"]
    target = tmp_path / "restored"
    away = ["--location", f"file://{tmp_path}/not/mounted", "--key-file", str(home.key)]
    alone = process("restore", *away, "--snapshot", point, "--target", str(target))
    assert alone.returncode == 20
    run("restore", *away, "--snapshot", point, "--target", str(target), "--also", url)
    assert picture(target) == picture(source)


def test_settings_in_a_location_are_checked(tmp_path: Path) -> None:
    for bad in ("s3://b/p?colour=red", "s3://b/p?region", "s3://b/p?credentials-dir=/not/there", "s3://b/p?path-style=perhaps"):
        done = process("replicate", "--from", f"file://{tmp_path}", "--to", bad)
        assert done.returncode == 2, done.stderr
