"""The S3 store in trouble: lost answers, throttling, resets in the middle, changed credentials, hopeless places. Against moto, with
faults injected between botocore and the socket.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse, HTTPHeaders
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError

import recoup.engine.stores.s3 as adapter
from recoup.engine.stores.base import Credentials, StoreOptions
from recoup.engine.stores.registry import open_store
from recoup.engine.stores.s3 import S3Store
from recoup.engine.stores.s3_client import DirectoryCredentials
from recoup.errors import Denied, Invalid, NotFound, Retryable
from tests.contract.stores.places import bucket_place, moto_server

Send = Callable[[Any], AWSResponse]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_server() as address:
        yield address


class Faulty:
    """Stands where botocore's HTTP session stands; each scripted fault spoils one request, then all is well."""

    def __init__(self, real: Send, faults: list[str]) -> None:
        self.real, self.faults, self.sent = real, faults, 0

    def __call__(self, request: Any) -> AWSResponse:
        self.sent += 1
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "lost before":
            raise EndpointConnectionError(endpoint_url=request.url)
        if fault.isdigit():
            return _answer(request, int(fault), b"")
        if fault.startswith("code "):
            status, code = fault.split()[1:]
            return _answer(request, int(status), f"<Error><Code>{code}</Code><Message>told so</Message></Error>".encode())
        answer = self.real(request)
        if fault == "lost after":
            raise ConnectionClosedError(endpoint_url=request.url)
        if fault == "cut":
            source = answer.raw._fp
            answer.raw._fp = _Cut(source)
        return answer


class _Cut:
    """Ends in the middle of a body."""

    def __init__(self, source: Any) -> None:
        self._source, self._left = source, 1000

    def readinto(self, view: memoryview) -> int:
        count = self._source.readinto(view[: self._left])
        self._left -= count
        return int(count)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def _answer(request: Any, status: int, body: bytes) -> AWSResponse:
    class Raw:
        def stream(self) -> Iterator[bytes]:
            yield body

    return AWSResponse(request.url, status, HTTPHeaders(), Raw())


@pytest.fixture
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    monkeypatch.setattr(adapter, "wait_random_exponential", lambda **_: lambda _state: 0.0)
    opened = bucket_place(endpoint).open()
    assert isinstance(opened, S3Store)
    return opened


def spoil(store: S3Store, *faults: str) -> Faulty:
    client: Any = store._client
    session = client._endpoint.http_session
    real = session.send.real if isinstance(session.send, Faulty) else session.send
    faulty = Faulty(real, list(faults))
    session.send = faulty
    return faulty


@pytest.mark.parametrize(
    "fault", ["lost before", "500", "503", "429", "code 503 SlowDown", "code 409 ConditionalRequestConflict", "code 400 RequestTimeout"]
)
def test_passing_trouble_is_ridden_out(store: S3Store, fault: str) -> None:
    faulty = spoil(store, fault, fault)
    assert store.create("a", b"data")
    assert faulty.sent == 3
    spoil(store, fault)
    assert store.get("a") == b"data"
    spoil(store, fault)
    assert store.size("a") == 4
    spoil(store, fault)
    assert list(store.list("")) == [("a", 4)]


def test_a_lost_answer_of_a_create_is_still_ours(store: S3Store) -> None:
    faulty = spoil(store, "lost after")
    assert store.create("a", b"our data")
    assert store.get("a") == b"our data"
    assert faulty.sent > 2


def test_a_lost_answer_does_not_make_anothers_object_ours(store: S3Store) -> None:
    assert store.create("a", b"anothers")
    spoil(store, "lost before")
    assert not store.create("a", b"our data")
    assert store.get("a") == b"anothers"


def test_without_the_right_to_read_a_doubtful_create_is_not_claimed(store: S3Store) -> None:
    spoil(store, "lost after", "", "403")
    assert not store.create("a", b"our data")


def test_a_large_body_is_sent_again_whole(store: S3Store) -> None:
    data = bytearray(os.urandom(3 * 2**20))
    spoil(store, "lost before", "503")
    assert store.create("a", memoryview(data))
    assert store.get("a") == data


def test_a_download_cut_in_the_middle_is_fetched_again(store: S3Store) -> None:
    data = os.urandom(200_000)
    store.create("a", data)
    buffer = memoryview(bytearray(300_000))
    spoil(store, "cut", "cut")
    assert store.get_into("a", buffer) == len(data)
    assert buffer[: len(data)] == data


def test_trouble_that_stays_ends_the_patience(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "PATIENCE", 0.2)
    store.create("a", b"")
    spoil(store, *["503"] * 10_000)
    with pytest.raises(Retryable) as caught:
        store.get("a")
    assert caught.value.reason == "Throttled"


def test_nobody_listening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "PATIENCE_FIRST", 0.2)
    store = open_store("s3://bucket/p", StoreOptions(endpoint_url="http://127.0.0.1:9", credentials=Credentials("a", "b")))
    with pytest.raises(Retryable) as caught:
        store.get("recoup")
    assert caught.value.reason == "LocationUnreachable"
    assert "bucket bucket at http://127.0.0.1:9" in str(caught.value)


def test_an_endpoint_that_is_no_url() -> None:
    with pytest.raises(Invalid) as caught:
        open_store("s3://bucket/p", StoreOptions(endpoint_url="minio:9000")).get("recoup")
    assert caught.value.reason == "InvalidLocation"


def test_no_credentials_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(Denied) as caught:
        open_store("s3://bucket/p", StoreOptions(endpoint_url="http://127.0.0.1:9")).get("recoup")
    assert caught.value.reason == "CredentialsMissing"


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        ("code 404 NoSuchBucket", Invalid, "BucketNotFound"),
        ("code 404 NoSuchKey", NotFound, "ObjectNotFound"),
        ("code 403 AccessDenied", Denied, "AccessDenied"),
        ("403", Denied, "AccessDenied"),
        ("code 403 InvalidAccessKeyId", Denied, "CredentialsRejected"),
        ("code 403 SignatureDoesNotMatch", Denied, "CredentialsRejected"),
        ("code 400 ExpiredToken", Denied, "CredentialsRejected"),
        ("code 403 RequestTimeTooSkewed", Invalid, "ClockSkewed"),
        ("code 400 InvalidArgument", Invalid, "RequestRefused"),
        ("code 501 NotImplemented", Invalid, "RequestRefused"),
    ],
)
def test_lasting_refusals_are_told_at_once(store: S3Store, fault: str, kind: type[Exception], reason: str) -> None:
    faulty = spoil(store, fault)
    with pytest.raises(kind) as caught:
        store.get("some/object")
    assert getattr(caught.value, "reason", "") == reason
    assert "bucket conformance-" in str(caught.value)
    assert faulty.sent == 1


def write_secret(directory: Path, key: str, secret: str, token: str | None = None) -> None:
    for name, value in (("accessKeyID", key), ("secretAccessKey", secret), ("sessionToken", token)):
        path = directory / name
        if value is None:
            path.unlink(missing_ok=True)
        else:
            path.with_suffix(".new").write_text(value + "\n")
            path.with_suffix(".new").rename(path)


def test_credentials_follow_their_files(tmp_path: Path) -> None:
    write_secret(tmp_path, "key1", "secret1")
    credentials = DirectoryCredentials(str(tmp_path))
    assert tuple(credentials.get_frozen_credentials())[:3] == ("key1", "secret1", None)
    write_secret(tmp_path, "key2", "secret2", "token2")
    assert tuple(credentials.get_frozen_credentials())[:3] == ("key2", "secret2", "token2")
    assert not credentials.refresh()
    write_secret(tmp_path, "key3", "secret3")
    assert credentials.refresh()
    assert tuple(credentials.get_frozen_credentials())[:3] == ("key3", "secret3", None)


def test_credentials_files_that_are_missing_or_empty(tmp_path: Path) -> None:
    (tmp_path / "accessKeyID").write_text("key")
    (tmp_path / "secretAccessKey").write_text("\n")
    with pytest.raises(Denied) as caught:
        DirectoryCredentials(str(tmp_path))
    assert caught.value.reason == "CredentialsMissing"
    assert "secretAccessKey" in str(caught.value)


def test_rejected_credentials_are_read_again_once(store: S3Store, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_secret(tmp_path, "key1", "secret1")
    options = StoreOptions(endpoint_url=endpoint, region="us-east-1", credentials_dir=str(tmp_path))
    followed = open_store(store.url, options)
    assert isinstance(followed, S3Store)
    rejected = spoil(followed, "code 403 InvalidAccessKeyId")
    with pytest.raises(Denied):
        followed.create("a", b"x")
    assert rejected.sent == 1  # the same credentials again would be refused again

    rejected = spoil(followed, "code 403 ExpiredToken")
    real = DirectoryCredentials.get_frozen_credentials

    def change_behind_its_back(self: DirectoryCredentials) -> Any:
        frozen = real(self)
        if frozen.access_key == "key1":
            write_secret(tmp_path, "key2", "secret2")
        return frozen

    monkeypatch.setattr(DirectoryCredentials, "get_frozen_credentials", change_behind_its_back)
    assert followed.create("a", b"x")
    assert rejected.sent == 2


def test_secrets_do_not_show(tmp_path: Path) -> None:
    credentials = Credentials("the-key", "the-secret", "the-token")
    for text in (repr(credentials), repr(StoreOptions(credentials=credentials))):
        assert "the-" not in text
