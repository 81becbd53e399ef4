"""Each fault of the proxy really happens, seen through boto3 against a real minio: what the client is told, what the server has."""

import hashlib
import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from tests.cluster.s3.buckets import Bucket
from tests.cluster.s3.faults import (
    ACCESS_DENIED,
    EXPIRED_TOKEN,
    INTERNAL_ERROR,
    PRECONDITION_FAILED_AFTER_EFFECT,
    SLOW_DOWN,
    CorruptDownload,
    CorruptUpload,
    Delay,
    Fault,
    Hang,
    HiddenKeys,
    LostResponse,
    Reset,
    ShortList,
    StaleList,
    TruncatedBody,
)
from tests.cluster.s3.fixtures import MakeBucket
from tests.cluster.s3.proxy import FaultProxy
from tests.cluster.s3.request import Kind
from tests.cluster.s3.servers import S3Server
from tests.cluster.trouble import Trouble

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.s3
MIB = 1 << 20


@pytest.fixture
def once(bucket: Bucket, fault_proxy: FaultProxy) -> Iterator["S3Client"]:
    """A client through the proxy that never retries, so that every fault shows."""
    client = bucket.server.client(endpoint=fault_proxy.endpoint, retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=5)
    yield client
    client.close()


@pytest.fixture
def retrying(bucket: Bucket, fault_proxy: FaultProxy) -> Iterator["S3Client"]:
    """A client through the proxy with boto3's usual retries."""
    client = bucket.server.client(endpoint=fault_proxy.endpoint)
    yield client
    client.close()


def keys(bucket: Bucket) -> list[str]:
    return [entry["Key"] for entry in bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", [])]


def test_everything_passes_unchanged_and_is_counted(bucket: Bucket, fault_proxy: FaultProxy, once: "S3Client") -> None:
    body = os.urandom(3 * MIB + 17)
    once.put_object(Bucket=bucket.name, Key="a/ü b", Body=body)
    assert once.get_object(Bucket=bucket.name, Key="a/ü b")["Body"].read() == body
    assert once.get_object(Bucket=bucket.name, Key="a/ü b", Range="bytes=5-9")["Body"].read() == body[5:10]
    assert once.head_object(Bucket=bucket.name, Key="a/ü b")["ContentLength"] == len(body)
    assert once.list_objects_v2(Bucket=bucket.name)["Contents"][0]["Key"] == "a/ü b"
    once.copy_object(Bucket=bucket.name, Key="c", CopySource={"Bucket": bucket.name, "Key": "a/ü b"})
    once.delete_object(Bucket=bucket.name, Key="c")
    once.delete_objects(Bucket=bucket.name, Delete={"Objects": [{"Key": "a/ü b"}]})
    counts = fault_proxy.counts()
    assert {kind: count.requests for kind, count in counts.items()} == {
        Kind.PUT: 1,
        Kind.GET: 2,
        Kind.HEAD: 1,
        Kind.LIST: 1,
        Kind.COPY: 1,
        Kind.DELETE: 1,
        Kind.DELETE_MANY: 1,
    }
    assert counts[Kind.PUT].uploaded == len(body)
    assert counts[Kind.GET].downloaded == len(body) + 5
    assert counts[Kind.HEAD].downloaded == 0
    assert [record.status for record in fault_proxy.records()] == [200, 200, 206, 200, 200, 200, 204, 200]
    assert fault_proxy.records()[0].request.key == "a/ü b"
    fault_proxy.reset_counts()
    assert fault_proxy.counts() == {}


def test_the_second_provider_works_behind_it(versitygw_server: S3Server, make_bucket: MakeBucket) -> None:
    bucket, body = make_bucket(versitygw_server), os.urandom(3 * MIB)
    with FaultProxy(versitygw_server.endpoint) as proxy:
        client = versitygw_server.client(endpoint=proxy.endpoint)
        rule = proxy.on(LostResponse(), kind=Kind.PUT)
        client.put_object(Bucket=bucket.name, Key="k", Body=body)
        assert client.get_object(Bucket=bucket.name, Key="k")["Body"].read() == body
        assert (rule.made, proxy.counts()[Kind.PUT].requests) == (1, 2)
        client.close()


def test_multipart_and_chunked_uploads_pass(bucket: Bucket, fault_proxy: FaultProxy, once: "S3Client") -> None:
    body = os.urandom(12 * MIB)
    once.upload_fileobj(io.BytesIO(body), bucket.name, "big")
    assert bucket.client.get_object(Bucket=bucket.name, Key="big")["Body"].read() == body
    assert fault_proxy.counts()[Kind.MULTIPART].requests >= 4

    class Unseekable(io.RawIOBase):
        """boto3 can't know its length, so it sends it in chunks, with the checksum in a trailer."""

        def __init__(self) -> None:
            self.left = io.BytesIO(body)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
            return self.left.readinto(buffer)

    once.upload_fileobj(io.BufferedReader(Unseekable()), bucket.name, "stream")
    assert bucket.client.get_object(Bucket=bucket.name, Key="stream")["Body"].read() == body


def test_many_connections_at_once(bucket: Bucket, fault_proxy: FaultProxy, retrying: "S3Client") -> None:
    bodies = {f"key-{number}": os.urandom(number * 997) for number in range(200)}

    def there_and_back(key: str) -> bool:
        retrying.put_object(Bucket=bucket.name, Key=key, Body=bodies[key])
        return retrying.get_object(Bucket=bucket.name, Key=key)["Body"].read() == bodies[key]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, bodies))
    counts = fault_proxy.counts()
    assert counts[Kind.PUT].requests == counts[Kind.GET].requests == 200
    assert counts[Kind.PUT].uploaded == counts[Kind.GET].downloaded == sum(map(len, bodies.values()))


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (SLOW_DOWN, 503, "SlowDown"),
        (INTERNAL_ERROR, 500, "InternalError"),
        (EXPIRED_TOKEN, 400, "ExpiredToken"),
        (ACCESS_DENIED, 403, "AccessDenied"),
    ],
)
def test_an_error_before_the_effect(
    bucket: Bucket, fault_proxy: FaultProxy, once: "S3Client", fault: Fault, status: int, code: str
) -> None:
    rule = fault_proxy.on(fault, kind=Kind.PUT)
    with pytest.raises(ClientError) as caught:
        once.put_object(Bucket=bucket.name, Key="k", Body=b"x" * MIB)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert rule.made == 1
    assert keys(bucket) == []
    once.put_object(Bucket=bucket.name, Key="k", Body=b"x")
    assert keys(bucket) == ["k"]


@pytest.mark.parametrize("fault", [SLOW_DOWN, INTERNAL_ERROR, Reset(), LostResponse()])
def test_boto3_gets_over_it_by_retrying(bucket: Bucket, fault_proxy: FaultProxy, retrying: "S3Client", fault: Fault) -> None:
    rule = fault_proxy.on(fault, kind=Kind.PUT)
    retrying.put_object(Bucket=bucket.name, Key="k", Body=b"x" * MIB)
    assert rule.made == 1
    assert fault_proxy.counts()[Kind.PUT].requests == 2
    assert [record.fault for record in fault_proxy.records()] == [type(fault).__name__, None]
    assert keys(bucket) == ["k"]


def test_an_error_answer_to_head_has_no_body(bucket: Bucket, fault_proxy: FaultProxy, once: "S3Client") -> None:
    fault_proxy.on(ACCESS_DENIED, kind=Kind.HEAD)
    with pytest.raises(ClientError, match="403"):
        once.head_object(Bucket=bucket.name, Key="k")
    with pytest.raises(ClientError, match="404"):
        once.head_object(Bucket=bucket.name, Key="k")


def test_a_reset_before_the_effect(bucket: Bucket, fault_proxy: FaultProxy, once: "S3Client") -> None:
    fault_proxy.on(Reset(), kind=Kind.PUT)
    with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
        once.put_object(Bucket=bucket.name, Key="k", Body=b"x" * MIB)
    assert keys(bucket) == []


def test_a_lost_response_after_the_effect(bucket: Bucket, fault_proxy: FaultProxy, once: "S3Client") -> None:
    fault_proxy.on(LostResponse(), kind=Kind.PUT)
    with pytest.raises(ConnectionClosedError):
        once.put_object(Bucket=bucket.name, Key="k", Body=b"x" * MIB)
    assert fault_proxy.records()[0].status is None
    assert keys(bucket) == ["k"]


def test_a_lost_response_makes_the_retry_find_its_own_object(bucket: Bucket, fault_proxy: FaultProxy, retrying: "S3Client") -> None:
    fault_proxy.on(LostResponse(), kind=Kind.PUT)
    with pytest.raises(ClientError) as caught:
        retrying.put_object(Bucket=bucket.name, Key="k", Body=b"mine", IfNoneMatch="*")
    assert caught.value.response["Error"]["Code"] == "PreconditionFailed"
    assert bucket.client.get_object(Bucket=bucket.name, Key="k")["Body"].read() == b"mine"


def test_412_after_success(bucket: Bucket, fault_proxy: FaultProxy, once: "S3Client") -> None:
    fault_proxy.on(PRECONDITION_FAILED_AFTER_EFFECT, kind=Kind.PUT)
    with pytest.raises(ClientError) as caught:
        once.put_object(Bucket=bucket.name, Key="k", Body=b"mine", IfNoneMatch="*")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert keys(bucket) == ["k"]


def test_a_delayed_request_arrives_and_others_pass_it(bucket: Bucket, fault_proxy: FaultProxy, once: "S3Client") -> None:
    fault_proxy.on(Delay(1.0), key="^slow$")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(once.put_object, Bucket=bucket.name, Key="slow", Body=b"x")
        while not any(record.request.key == "slow" for record in fault_proxy.records()):
            assert not slow.done()
        once.put_object(Bucket=bucket.name, Key="fast", Body=b"x")
        assert keys(bucket) == ["fast"]
        slow.result()
    assert keys(bucket) == ["fast", "slow"]


def test_a_hanging_server_is_given_up_on(bucket: Bucket, fault_proxy: FaultProxy) -> None:
    impatient = bucket.server.client(endpoint=fault_proxy.endpoint, read_timeout=0.2, retries={"total_max_attempts": 1})
    fault_proxy.on(Hang(), kind=Kind.GET)
    with pytest.raises(ReadTimeoutError):
        impatient.get_object(Bucket=bucket.name, Key="k")
    impatient.close()


def test_a_truncated_body(bucket: Bucket, fault_proxy: FaultProxy, once: "S3Client") -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="k", Body=os.urandom(MIB))
    fault_proxy.on(TruncatedBody(70_000), kind=Kind.GET)
    answer = once.get_object(Bucket=bucket.name, Key="k")
    assert answer["ContentLength"] == MIB
    with pytest.raises((IncompleteReadError, ResponseStreamingError)):
        answer["Body"].read()
    assert fault_proxy.counts()[Kind.GET].downloaded == 70_000


def test_a_corrupt_download_differs_in_one_bit(bucket: Bucket, fault_proxy: FaultProxy) -> None:
    body = os.urandom(MIB)
    bucket.client.put_object(Bucket=bucket.name, Key="k", Body=body)
    unchecked = bucket.server.client(endpoint=fault_proxy.endpoint, response_checksum_validation="when_required")
    fault_proxy.on(CorruptDownload(700_001), kind=Kind.GET)
    corrupt = unchecked.get_object(Bucket=bucket.name, Key="k")["Body"].read()
    assert [(index, a ^ b) for index, (a, b) in enumerate(zip(body, corrupt, strict=True)) if a != b] == [(700_001, 1)]
    unchecked.close()


def test_a_corrupt_upload_is_refused_by_the_server(bucket: Bucket, fault_proxy: FaultProxy, once: "S3Client") -> None:
    fault_proxy.on(CorruptUpload(12), kind=Kind.PUT)
    with pytest.raises(ClientError) as caught:
        once.put_object(Bucket=bucket.name, Key="k", Body=b"x" * 100)
    assert caught.value.response["Error"]["Code"] in ("XAmzContentSHA256Mismatch", "BadDigest", "XAmzContentChecksumMismatch")
    assert keys(bucket) == []


def listed(client: "S3Client", bucket: Bucket, **more: int) -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, PaginationConfig={"PageSize": more.get("page", 1000)})
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def test_listings_hide_cut_and_keep_what_was(bucket: Bucket, fault_proxy: FaultProxy, once: "S3Client") -> None:
    for number in range(5):
        once.put_object(Bucket=bucket.name, Key=f"k{number}", Body=b"")
    fault_proxy.on(HiddenKeys("[34]$"), kind=Kind.LIST)
    assert once.list_objects_v2(Bucket=bucket.name)["KeyCount"] == 3
    fault_proxy.on(HiddenKeys("[34]$"), kind=Kind.LIST)
    assert listed(once, bucket) == ["k0", "k1", "k2"]
    fault_proxy.on(ShortList(1), kind=Kind.LIST)
    assert listed(once, bucket, page=2) == ["k0"]
    fault_proxy.on(StaleList(), kind=Kind.LIST, times=None)
    assert listed(once, bucket) == ["k0", "k1", "k2", "k3", "k4"]
    once.delete_object(Bucket=bucket.name, Key="k0")
    once.put_object(Bucket=bucket.name, Key="k5", Body=b"")
    assert listed(once, bucket) == ["k0", "k1", "k2", "k3", "k4"]
    fault_proxy.clear()
    assert listed(once, bucket) == ["k1", "k2", "k3", "k4", "k5"]


def test_rules_choose_by_kind_key_predicate_and_count(bucket: Bucket, fault_proxy: FaultProxy, once: "S3Client") -> None:
    second_pack = fault_proxy.on(INTERNAL_ERROR, kind=Kind.PUT, key="^packs/", skip=1)
    big = fault_proxy.on(SLOW_DOWN, when=lambda request: int(request.head.get("content-length") or 0) > 100, times=2)

    def put(key: str, size: int = 1) -> str:
        try:
            once.put_object(Bucket=bucket.name, Key=key, Body=b"x" * size)
        except ClientError as error:
            return error.response["Error"]["Code"]
        return "done"

    assert [put("packs/1"), put("log/1"), put("packs/2"), put("packs/3")] == ["done", "done", "InternalError", "done"]
    assert [put("a", 101), put("b", 101), put("c", 101)] == ["SlowDown", "SlowDown", "done"]
    assert (second_pack.seen, second_pack.made, big.made) == (3, 1, 2)


def test_big_bodies_stream_and_are_not_held(bucket: Bucket, fault_proxy: FaultProxy, once: "S3Client") -> None:
    """While the client has read a little of a large object, the proxy has taken little more than socket buffers from the server."""
    body = os.urandom(MIB) * 64
    once.put_object(Bucket=bucket.name, Key="k", Body=body)
    stream = once.get_object(Bucket=bucket.name, Key="k")["Body"]
    digest = hashlib.sha256(stream.read(MIB))
    assert fault_proxy.counts()[Kind.GET].downloaded < 32 * MIB
    while piece := stream.read(4 * MIB):
        digest.update(piece)
    assert digest.digest() == hashlib.sha256(body).digest()


def test_a_server_that_is_gone_looks_gone(minio_server: S3Server) -> None:
    with FaultProxy("http://127.0.0.1:9") as proxy:
        client = minio_server.client(endpoint=proxy.endpoint, retries={"total_max_attempts": 1})
        with pytest.raises(ConnectionClosedError):
            client.list_buckets()
        client.close()


def test_the_proxy_ends_with_its_threads(minio_server: S3Server) -> None:
    def own_threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "fault-proxy"]

    before = len(own_threads())
    with FaultProxy(minio_server.endpoint) as proxy:
        client = minio_server.client(endpoint=proxy.endpoint)
        client.list_buckets()
        assert len(own_threads()) == before + 2
    assert len(own_threads()) == before
    client.close()


def test_tls_in_front_is_refused_by_name() -> None:
    with pytest.raises(Trouble, match="plain HTTP"):
        FaultProxy("https://127.0.0.1:9000")
