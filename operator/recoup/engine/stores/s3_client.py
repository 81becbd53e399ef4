"""The S3 client: botocore tuned as measured (docs/benchmarks.md), and credentials that follow their files.

Responsible for: connection settings, checksums and signing of payloads, a request body that is not copied, and credentials read
from a directory or given in memory. What the calls mean is s3.py's.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, cast

import botocore.session
from botocore.config import Config
from botocore.credentials import Credentials as BotoCredentials
from botocore.credentials import ReadOnlyCredentials

from recoup.engine.stores import s3_models
from recoup.engine.stores.base import CREDENTIAL_FILES, Credentials, StoreOptions
from recoup.engine.stores.limits import LimitedBody, Limiter
from recoup.errors import Denied

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

CONNECT_TIMEOUT = 5
"""Seconds also for each piece of a body to be taken: 128 KiB."""
READ_TIMEOUT = 30
PATIENT = (60, 300)
"""The same two for uploads on a slow line, where what was sent may still stand in buffers on the way."""

_UNLIMITED = Limiter(None)


class Bodies(threading.local):
    """Hands a memoryview to botocore without the copy that its parameter check would force.

    The call says Body=b"" and the thread's `view` takes its place just before signing; the payload is not part of the signature. It
    is sent in pieces, because a timeout is for one call of the socket: the whole body in one would have to be gone in that time.
    """

    view: memoryview | None = None

    def put_in_place(self, request: Any, **_: Any) -> None:
        """Handler of before-sign.s3.PutObject."""
        if self.view is not None:
            request.data = LimitedBody(self.view, _UNLIMITED)


class DirectoryCredentials(BotoCredentials):
    """Credentials in the files of a directory (a mounted Secret), read again whenever one of them changes."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._guard = threading.Lock()
        self._stamp: tuple[object, ...] = ()
        self._read_files()
        super().__init__(self.access_key, self.secret_key, self.token)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        with self._guard:
            if self._stamp != self._stat():
                self._read_files()
            return ReadOnlyCredentials(self.access_key, self.secret_key, self.token)

    def refresh(self) -> bool:
        """Read the files now, whatever their times say. True if the credentials are others than before."""
        with self._guard:
            before = (self.access_key, self.secret_key, self.token)
            self._read_files()
            return before != (self.access_key, self.secret_key, self.token)

    def _stat(self) -> tuple[object, ...]:
        stamps: list[object] = []
        for file in CREDENTIAL_FILES:
            try:
                info = os.stat(os.path.join(self._directory, file))
                stamps.append((info.st_ino, info.st_mtime_ns, info.st_size))
            except OSError:
                stamps.append(None)
        return tuple(stamps)

    def _read_files(self) -> None:
        """Read the three files from one directory, so that a Secret swapped in between cannot mix two pairs."""
        stamp = self._stat()
        root = os.path.join(self._directory, "..data")  # the kubelet's symbolic link to the current version
        folder = os.open(root if os.path.isdir(root) else self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.access_key, self.secret_key = (self._one(folder, file) or self._missing(file) for file in CREDENTIAL_FILES[:2])
            self.token = self._one(folder, CREDENTIAL_FILES[2])
        finally:
            os.close(folder)
        self._stamp = stamp
        self.account_id = None
        self.method = "directory"

    def _one(self, folder: int, file: str) -> str | None:
        try:
            fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return None
        with os.fdopen(fd) as stream:
            return stream.read(64 * 1024).strip() or None

    def _missing(self, file: str) -> str:
        raise Denied(f"credentials directory {self._directory} has no file {file}, or it is empty", reason="CredentialsMissing")


def make_client(options: StoreOptions, bodies: Bodies, *, patient: bool = False) -> tuple[S3Client, DirectoryCredentials | None]:
    """A client that never retries by itself (s3.py does), and the credentials if they come from a directory."""
    session = botocore.session.Session()
    session.register_component("data_loader", s3_models.loader())
    directory = None
    if options.credentials is not None:
        session._credentials = _in_memory(options.credentials)  # type: ignore[attr-defined]  # noqa: SLF001  # no public setter takes an object
    elif options.credentials_dir is not None:
        directory = session._credentials = DirectoryCredentials(options.credentials_dir)  # type: ignore[attr-defined]  # noqa: SLF001  # no public setter, as above
    path_style = options.path_style if options.path_style is not None else options.endpoint_url is not None
    config = Config(
        signature_version="s3v4",
        retries={"total_max_attempts": 1},
        connect_timeout=PATIENT[0] if patient else CONNECT_TIMEOUT,
        read_timeout=PATIENT[1] if patient else READ_TIMEOUT,
        max_pool_connections=32,
        tcp_keepalive=True,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if path_style else "auto", "payload_signing_enabled": False},
    )
    region = options.region or session.get_config_variable("region") or "us-east-1"
    client = session.create_client("s3", region_name=region, endpoint_url=options.endpoint_url, verify=options.ca_bundle, config=config)
    client.meta.events.register("before-sign.s3.PutObject", bodies.put_in_place)
    return cast("S3Client", client), directory


def _in_memory(credentials: Credentials) -> BotoCredentials:
    return BotoCredentials(credentials.access_key_id, credentials.secret_access_key, credentials.session_token)
