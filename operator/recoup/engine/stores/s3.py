"""A location in a bucket: s3://bucket/prefix, on AWS or any server that honours `If-None-Match: *`.

Responsible for: each call with bounded retries and jitter, lost answers resolved by content, credentials followed when they change,
and downloads into the caller's buffer. Error texts are in s3_errors.py, client settings in s3_client.py. Whether a server really
is atomic is asked by engine/probe.py, not assumed here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay, stop_all, wait_random_exponential

from recoup.engine.stores.base import MAX_OBJECT, Buffer, StoreOptions, check_length, check_limit, check_name, check_prefix
from recoup.engine.stores.limits import CHUNK, LimitedBody, Limiter
from recoup.engine.stores.s3_client import CONNECT_TIMEOUT, Bodies, DirectoryCredentials, make_client
from recoup.engine.stores.s3_errors import FOREIGN, REJECTED, code_of, translate
from recoup.errors import Denied, Invalid, NotFound, Retryable

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

Result = TypeVar("Result")

PATIENCE_FIRST = 15.0
"""Seconds to go on trying a place that has not answered yet: a wrong endpoint shall be told soon."""
PATIENCE = 120.0
"""Seconds to ride out the trouble of a place that has answered before."""
PUT_TRIES = 3
"""Attempts at sending an object at least: on a slow line one may take longer than patience lasts."""
COPY_FREE = 64 * 1024
"""Bytes below which a copy of the body costs less than avoiding it."""


class S3Store:
    def __init__(self, bucket: str, prefix: str, options: StoreOptions) -> None:
        self._bucket, self._options = bucket, options
        self._prefix = f"{check_name(prefix)}/" if prefix else ""
        self._endpoint = options.endpoint_url or "AWS"
        self._bodies = Bodies()
        self._upload, self._download = Limiter(options.upload_limit), Limiter(options.download_limit)
        self._lock = threading.Lock()
        self._made: dict[bool, S3Client] = {}
        self._directories: list[DirectoryCredentials] = []
        self._patient = False
        """An upload ran into a timeout: the line is slow, or something on the way holds back; the next ones get more time."""
        self._answered = False
        self._skew: float | None = None

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def create(self, name: str, data: Buffer) -> bool:
        doubtful = False  # an earlier attempt may have had its effect although no answer came

        def put() -> bool:
            nonlocal doubtful
            begun = time.monotonic()
            try:
                self._put(check_name(name), data)
            except Exception as error:
                code, status = code_of(error)
                if status == 412 or code == "PreconditionFailed":
                    return doubtful and self._holds(name, data)
                doubtful = doubtful or status == 0 or status >= 500
                self._patient = self._patient or (not status and time.monotonic() - begun > CONNECT_TIMEOUT)
                raise
            return True

        return self._call(name, put, tries=PUT_TRIES)

    def get(self, name: str, limit: int = MAX_OBJECT) -> bytes:
        def fetch() -> bytes:
            answer = self._client.get_object(**self._target(name))
            length = answer["ContentLength"]
            with closing(answer["Body"]) as body:
                check_limit(self.url, name, length, limit)
                return self._read(name, body, length)

        return self._call(name, fetch)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        wanted = f"bytes={start}" if start < 0 else f"bytes={start}-{start + length - 1}"

        def fetch() -> bytes:
            answer = self._client.get_object(**self._target(name), Range=wanted)
            got = answer["ContentLength"]
            with closing(answer["Body"]) as body:
                if start < 0:
                    check_limit(self.url, name, got, -start)
                else:
                    check_length(self.url, name, length, got)
                return self._read(name, body, got)

        return self._call(name, fetch) if length > 0 else b""

    def get_into(self, name: str, buffer: memoryview) -> int:
        def fetch() -> int:
            answer = self._client.get_object(**self._target(name))
            length = answer["ContentLength"]
            body = answer["Body"]
            try:
                check_limit(self.url, name, length, len(buffer))
                self._read_into(body, buffer[:length])
                body._raw_stream.release_conn()  # type: ignore[attr-defined]  # noqa: SLF001  # read past urllib3, so it must be told
            except BaseException:
                body.close()
                raise
            return length

        return self._call(name, fetch)

    def size(self, name: str) -> int | None:
        try:
            return self._call(name, lambda: self._client.head_object(**self._target(name))["ContentLength"])
        except NotFound:
            return None

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        for page in self._pages(prefix, ""):
            for entry in page.get("Contents", []):
                yield entry["Key"][len(self._prefix) :], entry["Size"]

    def folders(self, prefix: str) -> Iterator[str]:
        start = len(self._prefix) + len(prefix)
        for page in self._pages(prefix, "/"):
            for entry in page.get("CommonPrefixes", []):
                yield entry["Prefix"][start:-1]

    def delete(self, name: str) -> None:
        try:
            self._call(name, lambda: self._client.delete_object(Bucket=self._bucket, Key=self._key(name)))
        except NotFound:
            return

    def clock_skew(self) -> float | None:
        """Seconds by which the server's clock is ahead of ours, from its last answer (±1 s); None before any answer."""
        return self._skew

    def refuses_wrong_checksum(self, name: str) -> bool:
        """Whether the server refuses an object that comes with the CRC-32 of another one."""

        def put() -> bool:
            try:
                self._client.put_object(
                    Bucket=self._bucket, Key=self._key(name), Body=b"damaged on its way", ChecksumCRC32="AAAAAA==", IfNoneMatch="*"
                )
            except Exception as error:
                if code_of(error)[1] == 400:
                    return True
                raise
            return False

        return self._call(name, put)

    # -- requests --------------------------------------------------------------------------------------------------------

    @property
    def _client(self) -> S3Client:
        return self._client_with(patience=False)

    def _client_with(self, *, patience: bool) -> S3Client:
        with self._lock:
            if patience not in self._made:
                try:
                    client, directory = make_client(self._options, self._bodies, patient=patience)
                except ValueError as error:  # botocore's word for an endpoint that is no URL
                    raise Invalid(f"{self.url}: {error}", reason="InvalidLocation") from error
                client.meta.events.register("after-call.s3", self._note_answer)
                self._made[patience] = client
                self._directories += [directory] if directory is not None else []
            return self._made[patience]

    def _key(self, name: str) -> str:
        return self._prefix + check_name(name)

    def _target(self, name: str) -> Any:
        """What a request for an object names."""
        return {"Bucket": self._bucket, "Key": self._key(name)}

    def _conditions(self, _view: memoryview) -> Any:
        """What a PUT demands besides that nothing is overwritten."""
        return {}

    def _put(self, name: str, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        body: Any = data if isinstance(data, bytes) else bytes(view) if len(view) < COPY_FREE else b""
        if self._upload.limit is not None:
            body = LimitedBody(view, self._upload)
        elif len(view) and not len(body):
            self._bodies.view = view
        client = self._client_with(patience=self._patient and len(view) >= COPY_FREE)
        try:
            client.put_object(Bucket=self._bucket, Key=self._key(name), Body=body, IfNoneMatch="*", **self._conditions(view))
        finally:
            self._bodies.view = None

    def _holds(self, name: str, data: Buffer) -> bool:
        """Whether the object that is there is ours. Where we may not read, it counts as another's: the caller decides by its content."""
        try:
            view = memoryview(data).cast("B")
            return self.size(name) == len(view) and self.get(name) == view
        except (Denied, NotFound):
            return False

    def _read(self, name: str, body: Any, length: int) -> bytes:
        if self._download.limit is None:
            data: bytes = body.read()
        else:
            buffer = bytearray(length)
            self._read_into(body, memoryview(buffer))
            data = bytes(buffer)
        check_length(self.url, name, length, len(data))
        return data

    def _read_into(self, body: Any, buffer: memoryview) -> None:
        """Fill `buffer` from the socket. Past urllib3, whose own readinto() copies (2.3 against 1.2 GB/s)."""
        source = body._raw_stream._fp  # noqa: SLF001  # urllib3 copies what it hands out
        done, step = 0, CHUNK if self._download.limit else len(buffer)
        while done < len(buffer):
            count = source.readinto(buffer[done : done + step])
            if not count:
                raise ConnectionError(f"the answer ended after {done} of {len(buffer)} bytes")
            self._download.take(count)
            done += count

    def _pages(self, prefix: str, delimiter: str) -> Iterator[dict[str, Any]]:
        request: Any = {"Bucket": self._bucket, "Prefix": self._prefix + check_prefix(prefix), "Delimiter": delimiter}
        while True:
            page: dict[str, Any] = self._call(prefix, lambda: dict(self._client.list_objects_v2(**request)))
            yield page
            token = request["ContinuationToken"] = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or not token:
                return

    # -- retries ---------------------------------------------------------------------------------------------------------

    def _call(self, name: str, request: Callable[[], Result], *, tries: int = 1) -> Result:
        """Run one idempotent request until it succeeds, fails for good, or patience ends. Translates every foreign error.

        A place that has answered before gets `tries` attempts, however long they take.
        """
        patience = PATIENCE if self._answered else PATIENCE_FIRST
        if self._options.patience is not None:
            patience = min(patience, self._options.patience)
        retrying = Retrying(
            retry=retry_if_exception_type(Retryable),
            stop=stop_all(stop_after_delay(patience), stop_after_attempt(tries if self._answered else 1)),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            reraise=True,
        )
        result: Result = retrying(self._attempt, name, request)
        return result

    def _attempt(self, name: str, request: Callable[[], Result], *, again: bool = False) -> Result:
        try:
            return request()
        except FOREIGN as error:
            if not again and code_of(error)[0] in REJECTED:
                changed = [directory.refresh() for directory in self._directories]
                if any(changed):
                    return self._attempt(name, request, again=True)
            raise translate(error, name=name, bucket=self._bucket, endpoint=self._endpoint) from error

    def _note_answer(self, http_response: Any, **_: Any) -> None:
        self._answered = True
        date = http_response.headers.get("date")
        if date:
            self._skew = parsedate_to_datetime(date).timestamp() - time.time()
