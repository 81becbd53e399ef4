"""What an S3 request is about: bucket, key and kind, read from its first line; and the record kept of it."""

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qsl, unquote

from tests.cluster.s3.wire import Head


class Kind(StrEnum):
    """What a request does, as providers count and price them."""

    PUT = "PUT"
    GET = "GET"
    HEAD = "HEAD"
    LIST = "LIST"
    DELETE = "DELETE"
    DELETE_MANY = "DELETE_MANY"
    COPY = "COPY"
    MULTIPART = "MULTIPART"
    OTHER = "OTHER"


LISTING = {"list-type", "prefix", "delimiter", "versions", "max-keys", "marker", "continuation-token", "start-after", "encoding-type"}
PARTS = {"uploads", "uploadId", "partNumber"}
PARAMETERS = {"versionId", "x-id"}
"""Query names that don't change what a request on an object is about; so do `response-…`."""


@dataclass(frozen=True)
class Request:
    """One request as rules match it. Path-style addresses only, as the clients here use."""

    method: str
    bucket: str
    key: str
    query: dict[str, str]
    kind: Kind
    head: Head


@dataclass
class Record:
    """One request as it went. `status` is what the client was told; None if it was told nothing."""

    request: Request
    fault: str | None = None
    status: int | None = None
    uploaded: int = 0
    downloaded: int = 0


def parse_request(head: Head) -> Request:
    method, target, _ = head.first
    path, _, query_text = target.partition("?")
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    query = dict(parse_qsl(query_text, keep_blank_values=True))
    return Request(method, bucket, key, query, _kind(method, bucket, key, query, head), head)


def _kind(method: str, bucket: str, key: str, query: dict[str, str], head: Head) -> Kind:
    names = {name for name in query if name not in PARAMETERS and not name.startswith("response-")}
    if not key:
        if method == "GET" and bucket and (not names or names & LISTING) and "uploads" not in names:
            return Kind.LIST
        return Kind.DELETE_MANY if method == "POST" and "delete" in names else Kind.OTHER
    if names & PARTS:
        return Kind.MULTIPART
    if names or method not in ("PUT", "GET", "HEAD", "DELETE"):
        return Kind.OTHER
    if method == "PUT" and head.get("x-amz-copy-source"):
        return Kind.COPY
    return Kind(method)
