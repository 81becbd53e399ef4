"""What every store can do, whatever is behind it.

Responsible for: the Store protocol, the options that open one, and the rule for object names. Stores move bytes and know
nothing of vaults or formats (docs/format.md section 1 says what the names mean). Adapters: file.py, s3.py; opened by registry.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from recoup.errors import Integrity, Invalid
from recoup.value import Value

Buffer = bytes | bytearray | memoryview

MAX_NAME = 512
MAX_OBJECT = 256 * 2**20
"""Bytes; no object of format version 1 is larger, so a larger one is refused before memory is taken for it."""

_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}"
_NAME = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_PREFIX = re.compile(rf"(?:{_SEGMENT}/)*(?:{_SEGMENT})?")


class Store(Protocol):
    """A place that keeps objects. Names are relative to the location's prefix.

    Every method may raise Retryable (the place is away, throttles, or broke the connection, and stayed so for all retries),
    Denied (credentials or policy), Invalid (no such bucket or directory), each naming the place and the cause.
    All methods may be called from several threads at once.
    """

    @property
    def url(self) -> str:
        """The place as a person named it, without secrets."""

    def create(self, name: str, data: Buffer) -> bool:
        """Put `data` under `name` unless something is there. Atomic and durable on return. True = ours, False = exists.

        Never overwrites. After a lost answer, an object that holds exactly these bytes counts as ours.
        """

    def get(self, name: str, limit: int = MAX_OBJECT) -> bytes:
        """The whole object. Raises NotFound, and Integrity if it is larger than `limit` or shorter than the place announced."""

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """`length` bytes from `start`. A negative `start` asks for the last `-start` bytes (fewer if the object is shorter).

        Raises NotFound, and Integrity if the object ends before `start + length`.
        """

    def get_into(self, name: str, buffer: memoryview) -> int:
        """Read the whole object into the beginning of `buffer`, return its length in bytes. Integrity if it does not fit."""

    def size(self, name: str) -> int | None:
        """Length in bytes, or None if there is no such object."""

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(name, size) of the objects whose names begin with `prefix`, in byte order. A hint: absence here proves nothing."""

    def folders(self, prefix: str) -> Iterator[str]:
        """The distinct first segments of what follows `prefix`, which ends in a slash (`v/` gives the vaults). A hint, as `list`."""

    def delete(self, name: str) -> None:
        """Remove the object; one that is absent is done. Raises Denied where deletes are not allowed."""


CREDENTIAL_FILES = ("accessKeyID", "secretAccessKey", "sessionToken")
"""Names of the files of a credentials directory, which are the entries of a Secret; the last may be absent."""


@dataclass(frozen=True)
class Credentials:
    """An access key held in memory only; `repr` shows none of it."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


class Lock(Value, frozen=True):
    """Object lock: until when the provider refuses to delete or change what is put (docs/object-lock.md)."""

    mode: str
    """GOVERNANCE or COMPLIANCE."""
    period: timedelta


class StoreOptions(Value, frozen=True):
    """How to open a store. Everything but the limits concerns s3:// only.

    `credentials` beats `credentials_dir` (files `accessKeyID`, `secretAccessKey`, optional `sessionToken`, read again when they
    change), which beats the usual boto3 chain. Limits are bytes a second over all threads of the process; None = none.
    """

    endpoint_url: str | None = None
    region: str | None = None
    path_style: bool | None = None
    ca_bundle: str | None = None
    credentials_dir: str | None = None
    credentials: Credentials | None = None
    upload_limit: int | None = None
    download_limit: int | None = None
    object_lock: Lock | None = None
    """With which every object is put. Where it is given, older versions of objects must be readable."""
    patience: float | None = None
    """Seconds to go on trying a place that does not answer; None leaves it to the adapter. Less where another place could be asked."""


def check_name(name: str) -> str:
    """`name` if it is one that a store may hold: no empty, dotted or strange segment. Raises Invalid."""
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise Invalid(f"{name[:MAX_NAME]!r} is not an object name", reason="InvalidName")
    return name


def check_prefix(prefix: str) -> str:
    """`prefix` if names may begin with it. Raises Invalid."""
    if len(prefix) > MAX_NAME or not _PREFIX.fullmatch(prefix):
        raise Invalid(f"{prefix[:MAX_NAME]!r} is not a prefix of object names", reason="InvalidName")
    return prefix


def check_limit(url: str, name: str, size: int, limit: int) -> None:
    """Raise Integrity if an object of `size` bytes is larger than whoever reads it can expect."""
    if size > limit:
        raise Integrity(f"{name} at {url} is {size} bytes, more than the {limit} it may have", reason="ObjectTooLarge")


def check_length(url: str, name: str, wanted: int, got: int) -> None:
    """Raise Integrity unless `got` bytes are what was `wanted`."""
    if got != wanted:
        raise Integrity(f"{name} at {url}: {got} bytes came instead of {wanted}; the object is truncated", reason="ObjectTruncated")
