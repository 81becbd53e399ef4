"""The command line and a real S3 server in trouble: ridden out where it passes, else told in words, never a false success."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.s3.buckets import Bucket
from tests.cluster.s3.faults import INTERNAL_ERROR, SLOW_DOWN, CorruptDownload, Fault, LostResponse, Reset, TruncatedBody
from tests.cluster.s3.proxy import FaultProxy
from tests.cluster.s3.request import Kind
from tests.e2e.engine.commands import Recoup, last_error, process

FAULTS: dict[str, tuple[Fault, Kind | tuple[Kind, ...]]] = {
    "throttled": (SLOW_DOWN, (Kind.GET, Kind.PUT, Kind.HEAD)),
    "errors of the server": (INTERNAL_ERROR, (Kind.GET, Kind.PUT)),
    "connections reset": (Reset(), (Kind.GET, Kind.PUT, Kind.HEAD)),
    "answers lost after the effect": (LostResponse(), Kind.PUT),
    "downloads cut short": (TruncatedBody(1000), Kind.GET),
    "bits flipped in packs on the way": (CorruptDownload(40_000), Kind.GET),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    for number in range(300):
        (folder / f"small-{number:03}").write_bytes(os.urandom(3000 + number))
    (folder / "deep/large").write_bytes(os.urandom(40 << 20))
    return folder


def same(source: Path, target: Path) -> bool:
    return subprocess.run(["diff", "-r", source, target], check=False, stdout=subprocess.DEVNULL).returncode == 0


def largest_packs(bucket: Bucket, count: int) -> list[str]:
    """The keys of the largest data packs."""
    entries = [entry for entry in bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"] if "/d/" in entry["Key"]]
    return [entry["Key"] for entry in sorted(entries, key=lambda entry: -entry["Size"])[:count]]


@pytest.mark.s3
@pytest.mark.parametrize("what", FAULTS)
def test_passing_trouble_is_ridden_out(
    on_s3: Recoup, bucket: Bucket, fault_proxy: FaultProxy, source: Path, tmp_path: Path, what: str
) -> None:
    fault, kinds = FAULTS[what]
    through = Recoup(on_s3.location, on_s3.key, ("--endpoint-url", fault_proxy.endpoint))
    reading = kinds == Kind.GET
    made = on_s3.json("backup", "--source", source) if reading else None
    if isinstance(fault, CorruptDownload):
        # Two packs, each once: whose second reading comes next is left to the threads that read.
        rules = [fault_proxy.on(fault, kind=kinds, key=pack, times=1) for pack in largest_packs(bucket, 2)]
    else:
        rules = [fault_proxy.on(fault, kind=kinds, skip=skip, times=1) for skip in (2, 5, 9, 14)]
    if made is None:
        made = through.json("backup", "--source", source)
    through("restore", "--snapshot", made["id"], "--target", tmp_path / "out")
    assert sum(rule.made for rule in rules) >= 2
    fault_proxy.clear()
    assert same(source, tmp_path / "out")
    assert on_s3.json("verify", "--level", "4")["good"]
    assert len(on_s3.json("snapshots")) == 1


@pytest.mark.s3
def test_what_a_person_must_change_is_told_with_its_code(
    on_s3: Recoup, bucket: Bucket, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = on_s3.json("backup", "--source", source)["id"]
    arguments = ("--snapshot", point, "--target", str(tmp_path / "out"))
    endpoint = ("--endpoint-url", bucket.server.endpoint)
    other_key = tmp_path / "other.key"
    process("keygen", str(other_key))

    def expect(code: int, reason: str, words: str, recoup: Recoup, *given: str) -> None:
        done = recoup.process("restore", *(given or arguments))
        assert done.returncode == code, done.stderr
        assert f"[{reason}]" in last_error(done)
        assert words in last_error(done)
        assert not (tmp_path / "out").exists()

    expect(20, "BucketNotFound", "no-such-bucket", Recoup("s3://no-such-bucket/p", on_s3.key, endpoint))
    expect(10, "LocationUnreachable", "127.0.0.1:9", Recoup(on_s3.location, on_s3.key, ("--endpoint-url", "http://127.0.0.1:9")))
    expect(20, "UnknownSnapshot", "recoup snapshots", on_s3, "--snapshot", "0" * 64, "--target", str(tmp_path / "out"))
    expect(20, "NoVault", "", Recoup(f"{bucket.url('elsewhere')}", other_key, endpoint))
    wrong = Recoup(on_s3.location, other_key, endpoint).process("restore", *arguments)
    assert wrong.returncode == 40, wrong.stderr
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    expect(20, "CredentialsRejected", "secret", on_s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "NOBODY")
    expect(20, "CredentialsRejected", "access key", on_s3)


@pytest.mark.s3
def test_a_damaged_object_is_named_with_its_path(on_s3: Recoup, bucket: Bucket, source: Path, tmp_path: Path) -> None:
    point = on_s3.json("backup", "--source", source)["id"]
    (victim,) = largest_packs(bucket, 1)
    data = bytearray(bucket.client.get_object(Bucket=bucket.name, Key=victim)["Body"].read())
    data[len(data) // 2] ^= 1
    bucket.client.put_object(Bucket=bucket.name, Key=victim, Body=bytes(data))

    done = on_s3.process("restore", "-o", "json", "--snapshot", point, "--target", tmp_path / "out", "--report", tmp_path / "report")
    assert done.returncode == 30
    assert victim.removeprefix("a/prefix/") in last_error(done)
    lost = {entry["path"] for entry in json.loads(done.stdout)["damaged"]}
    assert lost
    for path in lost:
        assert not (tmp_path / "out" / path).exists()
    assert list((tmp_path / "out").glob(".recoup-incomplete-*"))
    report = json.loads((tmp_path / "report").read_text())
    assert (report["outcome"], report["reason"], report["id"]) == ("Failed", "ObjectDamaged", point)
    assert set(report["firstPaths"]) <= lost

    checked = on_s3.process("verify", "-o", "json", "--level", "3")
    assert checked.returncode == 30
    found = json.loads(checked.stdout)
    assert [entry["object"] for entry in found["damaged"]] == [victim.removeprefix("a/prefix/")]
    assert [(entry["id"], set(entry["paths"])) for entry in found["affected"]] == [(point, lost)]


@pytest.mark.s3
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_restore_is_marked_and_finished_by_the_next(on_s3: Recoup, source: Path, tmp_path: Path, number: int) -> None:
    point = on_s3.json("backup", "--source", source)["id"]
    target, report = tmp_path / "out", tmp_path / "report"
    command = [
        sys.executable,
        "-m",
        "recoup.cli.main",
        "restore",
        "--location",
        on_s3.location,
        *on_s3.options,
        "--key-file",
        str(on_s3.key),
    ]
    command += ["--snapshot", point, "--target", str(target), "--report", str(report), "--download-limit", "8MB"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as running:
        assert running.stderr is not None
        said = ""
        for said in running.stderr:
            if not said.startswith("{") or json.loads(said)["progress"]["bytesDone"] > 0:
                break
        running.send_signal(number)
        running.communicate(timeout=60)
    assert said.startswith("{"), said
    assert running.returncode == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    assert list(target.glob(".recoup-incomplete-*"))
    assert not same(source, target)
    if number == signal.SIGTERM:
        assert json.loads(report.read_text())["outcome"] == "Cancelled"

    result = on_s3.json("restore", "--snapshot", point, "--target", target)
    assert not result["alreadyThere"]
    assert same(source, target)
    assert not list(target.rglob(".recoup-*"))
