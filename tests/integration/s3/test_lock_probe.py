"""`recoup doctor --object-lock`: what a real server does with locked objects, and what is said of one that does not keep its promise."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from recoup.cli.main import run
from recoup.engine.stores.s3_versioned import VersionedS3Store
from recoup.engine.stores.versions import Version
from recoup.errors import Denied
from tests.cluster.s3.buckets import Bucket
from tests.cluster.s3.credentials import Credentials
from tests.cluster.s3.fixtures import MakeBucket
from tests.cluster.s3.rights import restricted_credentials
from tests.cluster.s3.servers import S3Server

pytestmark = pytest.mark.s3
Doctor = Callable[..., dict[str, str]]


@pytest.fixture
def bucket(minio_server: S3Server, make_bucket: MakeBucket) -> Bucket:
    return make_bucket(minio_server, object_lock=True)


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Findings about the lock by message, as reasons or `passed`."""

    def ask(bucket: Bucket, keys: Credentials | None = None, code: int = 0) -> dict[str, str]:
        for name, value in (keys or bucket.server.credentials).environment().items():
            monkeypatch.setenv(name, value)
        place = ["--location", bucket.url("p"), "--endpoint-url", bucket.server.endpoint, "--path-style"]
        assert run(["doctor", *place, "--object-lock", "governance:30d", "-o", "json"]) == code
        findings: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["findings"]
        return {each["message"]: each["reason"] or each["verdict"] for each in findings if each["check"] == "object lock"}

    return ask


def test_a_lock_that_holds(bucket: Bucket, doctor: Doctor) -> None:
    assert list(doctor(bucket).values()) == ["passed"] * 4
    [only] = bucket.client.list_object_versions(Bucket=bucket.name)["Versions"]
    head = bucket.client.head_object(Bucket=bucket.name, Key=only["Key"], VersionId=only["VersionId"])
    assert (head["ObjectLockRetainUntilDate"] - only["LastModified"]).total_seconds() < 300


def test_what_an_earlier_probe_left_is_removed(bucket: Bucket, doctor: Doctor) -> None:
    doctor(bucket)
    [before] = bucket.client.list_object_versions(Bucket=bucket.name)["Versions"]
    bucket.client.put_object_retention(
        Bucket=bucket.name, Key=before["Key"], VersionId=before["VersionId"], Retention={}, BypassGovernanceRetention=True
    )
    doctor(bucket)
    [after] = bucket.client.list_object_versions(Bucket=bucket.name)["Versions"]
    assert after["Key"] != before["Key"]


def test_a_bucket_without_object_lock(minio_server: S3Server, make_bucket: MakeBucket, doctor: Doctor) -> None:
    assert list(doctor(make_bucket(minio_server), code=20).values()) == ["ObjectLockMissing"]


def test_a_server_that_deletes_what_is_locked(bucket: Bucket, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VersionedS3Store, "delete_version", lambda _self, _version: None)
    assert list(doctor(bucket, code=20).values()) == ["passed", "LockIgnored"]


def test_a_lock_that_cannot_be_extended(bucket: Bucket, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: object, _version: Version, _until: object, _mode: str) -> None:
        raise Denied("not allowed", reason="AccessDenied")

    monkeypatch.setattr(VersionedS3Store, "hold_version", refuse)
    assert list(doctor(bucket, code=20).values()) == ["passed", "passed", "ExtensionDenied"]


@pytest.mark.parametrize(
    ("method", "told"),
    [("histories", ["VersionsDenied"]), ("read_version", ["passed", "passed", "passed", "VersionsUnreadable"])],
)
def test_versions_that_may_not_be_read(
    bucket: Bucket, doctor: Doctor, method: str, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Denied("not allowed", reason="AccessDenied")

    monkeypatch.setattr(VersionedS3Store, method, refuse)
    assert list(doctor(bucket, code=20).values()) == told


@pytest.mark.parametrize(
    ("without", "told", "code"),
    [
        ("s3:PutObjectRetention", ["AccessDenied"], 20),
        ("s3:DeleteObjectVersion", ["passed", "LockUntried", "passed", "passed"], 0),
        ("s3:DeleteObject", ["passed", "LockUntried", "passed", "HidingUntried"], 0),
    ],
)
def test_a_right_that_is_missing_is_named(bucket: Bucket, doctor: Doctor, without: str, told: list[str], code: int) -> None:
    """On minio: it takes ListBucket for ListBucketVersions, GetObject for GetObjectVersion, and wants DeleteObject for versions, too."""
    actions = {
        "s3:ListBucket", "s3:ListBucketVersions", "s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:PutObjectRetention",
        "s3:GetObjectRetention", "s3:DeleteObject", "s3:DeleteObjectVersion",
    }  # fmt: skip
    resources = [f"arn:aws:s3:::{bucket.name}", f"arn:aws:s3:::{bucket.name}/*"]
    statement = {"Effect": "Allow", "Action": sorted(actions - {without}), "Resource": resources}
    keys = restricted_credentials(bucket.server, {"Version": "2012-10-17", "Statement": [statement]})
    assert list(doctor(bucket, keys, code).values()) == told
