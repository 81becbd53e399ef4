"""Object lock against somebody who holds the bucket's keys for writing and deleting: whatever is done to data, log, keyring and
descriptors, every locked recovery point comes back, byte for byte.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from recoup.cli.main import run as run_here
from recoup.engine.log.follow import Log
from recoup.engine.stores.s3_versioned import VersionedS3Store
from tests.cluster.s3.buckets import Bucket
from tests.cluster.s3.fixtures import MakeBucket
from tests.cluster.s3.servers import S3Server
from tests.e2e.engine.commands import Recoup, last_error
from tests.unit.engine.backup.volume import picture

pytestmark = pytest.mark.s3


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source, rng = tmp_path / "source", random.Random(3)
    (source / "deep" / "er").mkdir(parents=True)
    for number in range(12):
        (source / "deep" / f"f{number}").write_bytes(rng.randbytes(rng.choice((10, 5000, 200_000))))
    (source / "deep" / "er" / "large").write_bytes(rng.randbytes(20 << 20))
    return source


@pytest.fixture
def bucket(minio_server: S3Server, make_bucket: MakeBucket) -> Bucket:
    return make_bucket(minio_server, object_lock=True)


def vault_in(bucket: Bucket, folder: Path, *more: str) -> Recoup:
    keys, secrets = bucket.server.credentials, folder / "credentials"
    secrets.mkdir(exist_ok=True)
    (secrets / "accessKeyID").write_text(keys.access_key)
    (secrets / "secretAccessKey").write_text(keys.secret_key)
    options = ("--endpoint-url", bucket.server.endpoint, "--credentials-dir", str(secrets), *more)
    return Recoup.make(folder, bucket.url("p"), *options)


def listed(bucket: Bucket) -> list[dict[str, Any]]:
    pages = bucket.client.get_paginator("list_object_versions").paginate(Bucket=bucket.name)
    return [dict(entry) for page in pages for entry in page.get("Versions", [])]


def delete_for_good(bucket: Bucket) -> set[str]:
    """Try to delete every version of everything; the keys of which one was refused."""
    refused = set()
    for entry in listed(bucket):
        try:
            bucket.client.delete_object(Bucket=bucket.name, Key=entry["Key"], VersionId=entry["VersionId"])
        except ClientError:
            refused.add(entry["Key"])
    return refused


def attack(bucket: Bucket, rng: random.Random) -> str:
    """Hide or overwrite everything that is there, and put junk behind the log; the key of that."""
    client, first = bucket.client, {entry["Key"]: entry["VersionId"] for entry in listed(bucket)}
    keys = sorted(first)

    def body_of(key: str) -> bytes:
        return client.get_object(Bucket=bucket.name, Key=key, VersionId=first[key])["Body"].read()

    bodies = [body_of(key) for key in rng.sample(keys, 3)]

    def put(key: str, body: bytes) -> None:
        client.put_object(Bucket=bucket.name, Key=key, Body=body)

    def swap(key: str) -> None:
        put(key, rng.choice(bodies))

    def change(key: str) -> None:
        body = bytearray(body_of(key) or b"x")
        body[rng.randrange(len(body))] ^= 1
        put(key, bytes(body))

    def cover(key: str) -> None:
        put(key, b"junk")
        client.delete_object(Bucket=bucket.name, Key=key)

    ways: list[Callable[[str], Any]] = [
        lambda key: client.delete_object(Bucket=bucket.name, Key=key),
        lambda key: put(key, b""),
        lambda key: put(key, rng.randbytes(100_000)),
        cover,
        swap,
        change,
    ]
    for key in keys:
        rng.choice(ways)(key)
    log = max(key for key in keys if "/log/" in key)
    behind = f"{log[:-16]}{int(log[-16:], 16) + 1:016x}"
    put(behind, b"squatted")
    return behind


@pytest.mark.parametrize("seed", range(2))
def test_with_the_keys_of_the_bucket_nobody_makes_a_locked_point_unrestorable(
    bucket: Bucket, source: Path, tmp_path: Path, seed: int
) -> None:
    """Attack, restore, go on behind the junk, delete what can be deleted, attack again. Everything stays hidden while it is restored."""
    rng = random.Random(seed)
    vault = vault_in(bucket, tmp_path, "--object-lock", "governance:2d")
    pictures, junk = {}, ""
    for turn in range(2):
        (source / "new").write_bytes(rng.randbytes(300_000))
        pictures[vault.json("backup", "--source", source)["id"]] = picture(source)
        keys = {entry["Key"] for entry in listed(bucket)}
        assert delete_for_good(bucket) == keys - {key for key in keys if "/checkpoint/" in key}
        assert not junk or junk in keys
        junk = attack(bucket, rng)
        for point, wanted in pictures.items():
            target = tmp_path / f"{turn}-{point[:8]}"
            vault("restore", "--snapshot", point, "--target", target)
            assert picture(target) == wanted
    verified = vault.process("verify", "--level", "4")
    assert "2 points good" in verified.stdout
    assert "LogDamaged" in last_error(verified)  # the junk in the log, and nothing else


@pytest.mark.parametrize("held", [True, False])
def test_what_was_passed_over_is_locked_or_its_deletion_would_cut_the_log(
    bucket: Bucket, source: Path, tmp_path: Path, held: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Junk takes the next place of the log, a backup goes on behind it, the junk is deleted for good. Without the lock on it, the check
    that is off in one of the two, the new recovery point is beyond the end of the log.
    """
    vault = vault_in(bucket, tmp_path, "--object-lock", "governance:2d")
    vault("backup", "--source", source)
    log = max(entry["Key"] for entry in listed(bucket) if "/log/" in entry["Key"])
    behind = f"{log[:-16]}{int(log[-16:], 16) + 1:016x}"
    bucket.client.put_object(Bucket=bucket.name, Key=behind, Body=b"squatted")
    common = ["--location", vault.location, *vault.options, "--key-file", str(vault.key)]
    with monkeypatch.context() as off:
        if not held:
            off.setattr(Log, "_hold_lost", lambda _: None)
        assert run_here(["backup", *common, "--source", str(source)]) == 0
    capsys.readouterr()
    assert (behind in delete_for_good(bucket)) is held
    assert len(vault.json("snapshots")) == (2 if held else 1)


def test_with_the_recovery_of_versions_off_it_is_lost(
    bucket: Bucket, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same attack with the check off: the vault is not even found. With it on, the same command restores."""
    vault = vault_in(bucket, tmp_path, "--object-lock", "governance:2d")
    point = vault.json("backup", "--source", source)["id"]
    attack(bucket, random.Random(7))
    without = tuple(word for word in vault.options if word not in {"--object-lock", "governance:2d"})
    common = ["--location", vault.location, *without, "--key-file", str(vault.key), "--snapshot", point]
    with monkeypatch.context() as off:
        off.setattr(VersionedS3Store, "keeps_versions", property(lambda _: False))
        off.setattr(VersionedS3Store, "_instead", lambda _self, _name, _limit, error: (_ for _ in ()).throw(error))
        off.setattr(VersionedS3Store, "_recover", lambda *_: None)
        off.setattr(VersionedS3Store, "_first", lambda *_: None)
        assert run_here(["restore", *common, "--target", str(tmp_path / "off")]) != 0
    capsys.readouterr()
    assert run_here(["restore", *common, "--target", str(tmp_path / "on")]) == 0
    assert picture(tmp_path / "on") == picture(source)


def test_everything_that_is_written_is_locked_for_the_period(bucket: Bucket, source: Path, tmp_path: Path) -> None:
    begun = datetime.now(UTC)
    vault = vault_in(bucket, tmp_path, "--object-lock", "governance:2d")
    vault("backup", "--source", source)
    entries = listed(bucket)
    assert {entry["Key"].split("/")[3] for entry in entries if "/v/" in entry["Key"]} >= {"log", "keyring", "descriptor", "d", "m", "x"}
    for entry in entries:
        head = bucket.client.head_object(Bucket=bucket.name, Key=entry["Key"], VersionId=entry["VersionId"])
        assert head["ObjectLockMode"] == "GOVERNANCE"
        assert timedelta(days=2, minutes=-1) < head["ObjectLockRetainUntilDate"] - begun < timedelta(days=2, minutes=10)


def test_a_bucket_without_object_lock_is_refused_before_anything_is_stored(
    minio_server: S3Server, make_bucket: MakeBucket, tmp_path: Path
) -> None:
    plain = make_bucket(minio_server)
    with pytest.raises(AssertionError, match="ObjectLockMissing"):
        vault_in(plain, tmp_path, "--object-lock", "compliance:1d")
    assert not listed(plain)


def test_a_directory_has_no_object_lock(tmp_path: Path) -> None:
    vault = Recoup.make(tmp_path)
    done = vault.process("snapshots", "--object-lock", "compliance:30d")
    assert done.returncode == 2
    assert "no object lock" in last_error(done)
