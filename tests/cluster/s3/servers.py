"""Start and stop real S3 servers: minio (atomic create-if-absent) and versitygw (a second provider, not atomic).

A server listens on loopback (fast, no root needed) or, with `network=True`, in a network of its own that clusters reach.
Credentials are random per server. `minio()` and `versitygw()` are the entrances; rights.py restricts, buckets.py makes buckets.
"""

import os
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import boto3
import botocore.session
from botocore.config import Config
from botocore.loaders import Loader, create_loader

from tests.cluster import programs
from tests.cluster.s3 import network, slots, tls
from tests.cluster.s3.credentials import Credentials, fresh
from tests.cluster.trouble import Trouble

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Provider = Literal["minio", "versitygw"]
REGION = "us-east-1"
START_SECONDS = 60
NETWORK_PORT = 9000
HEALTH: Mapping[Provider, str] = {"minio": "/minio/health/ready", "versitygw": "/healthy"}


@dataclass(frozen=True)
class S3Server:
    """A running server. All of it lies in its slot's folder and goes with it."""

    provider: Provider
    endpoint: str
    credentials: Credentials
    slot: slots.Slot
    ca_file: Path | None = None
    region: str = REGION
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False, compare=False)

    @property
    def address(self) -> str:
        """`host:port` as clients use it, without a scheme."""
        return self.endpoint.split("//", 1)[1]

    @property
    def credentials_file(self) -> Path:
        """The administrator's keys for AWS_SHARED_CREDENTIALS_FILE; mode 0600."""
        return self.slot.folder / "credentials"

    @property
    def log(self) -> Path:
        return self.slot.folder / "server.log"

    def client(self, credentials: Credentials | None = None, *, endpoint: str | None = None, **config: Any) -> "S3Client":
        """Make a boto3 client of the server, or of a proxy in front of it; `config` as botocore's Config takes it."""
        return self.session(credentials).client(
            "s3",
            endpoint_url=endpoint or self.endpoint,
            verify=str(self.ca_file) if self.ca_file else None,
            config=Config(s3={"addressing_style": "path"}, **{"retries": {"mode": "standard", "total_max_attempts": 3}, **config}),
        )

    def session(self, credentials: Credentials | None = None) -> boto3.Session:
        """A boto3 session that knows these keys only: nothing of the caller's environment or files."""
        keys, core = credentials or self.credentials, botocore.session.Session()
        core.register_component("data_loader", _loader())
        return boto3.Session(keys.access_key, keys.secret_key, keys.session_token, self.region, core)

    def stop(self) -> None:
        """Stop the server and remove all it had."""
        slots.release(self.slot)
        if self.process:
            self.process.wait()

    def cut(self) -> AbstractContextManager[None]:
        """Make the server unreachable for a while, as by a dead network. Only with a network of its own."""
        if self.slot.network is None:
            raise Trouble(f"{self.endpoint} has no network of its own to cut", step="start it with network=True")
        return network.cut(self.slot.network)


@cache
def _loader() -> Loader:
    """One for all sessions: reading the service descriptions anew is most of what a client costs."""
    return create_loader()


@contextmanager
def minio(*, network: bool = False, secure: bool = False) -> Iterator[S3Server]:
    """Run minio for the duration: everyday home, create-if-absent is atomic, object lock, users with policies."""
    with running("minio", networked=network, secure=secure) as server:
        yield server


@contextmanager
def versitygw(*, network: bool = False, secure: bool = False) -> Iterator[S3Server]:
    """Run versitygw on a POSIX folder for the duration: create-if-absent answers 412 but is not atomic under races."""
    with running("versitygw", networked=network, secure=secure) as server:
        yield server


@contextmanager
def running(provider: Provider, *, networked: bool, secure: bool) -> Iterator[S3Server]:
    server = start(provider, networked=networked, secure=secure)
    try:
        yield server
    finally:
        server.stop()


def start(provider: Provider, *, networked: bool, secure: bool, detached: bool = False) -> S3Server:
    """Start a server that answers before this returns; the caller stops it. Raise Trouble with the log's end.

    A detached one owns its slot itself and so outlives this process; otherwise it is cleaned once this process is dead.
    """
    binary = programs.program(provider)
    slot = slots.claim(networked=networked)
    try:
        host = "127.0.0.1"
        if slot.network is not None:
            network.create(slot.network)
            host = network.server_address(slot.network)
        ca_file = tls.write_certificates(slot.folder / "certs", (host,)) if secure else None
        unstarted = S3Server(provider, "", fresh(), slot, ca_file)
        unstarted.credentials.write(unstarted.credentials_file, REGION)
        return _start_on_free_port(unstarted, binary, host, detached=detached)
    except BaseException:
        slots.release(slot)
        raise


def _start_on_free_port(unstarted: S3Server, binary: Path, host: str, *, detached: bool) -> S3Server:
    """On loopback another program may take the port between the choice and the start: choose again, a few times."""
    scheme = "https" if unstarted.ca_file else "http"
    for _ in range(5):
        port = NETWORK_PORT if unstarted.slot.network is not None else _free_port()
        server = replace(unstarted, endpoint=f"{scheme}://{host}:{port}")
        process = _spawn(server, binary, detached=detached)
        if _answers(server, process):
            return replace(server, process=process)
        if process.poll() is None or "in use" not in server.log.read_text(errors="replace"):
            break
    slots.stop_processes(unstarted.slot.folder)
    process.wait()
    tail = "\n".join(server.log.read_text(errors="replace").splitlines()[-10:])
    raise Trouble(f"{server.provider} did not answer at {server.endpoint} within {START_SECONDS} s:\n{tail}")


def _spawn(server: S3Server, binary: Path, *, detached: bool) -> "subprocess.Popen[bytes]":
    slot = server.slot
    command = [*(network.inside(slot.network) if slot.network is not None else []), str(binary), *_arguments(server)]
    with server.log.open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=slot.folder,
            env=_environment(server),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(slot.lock,) if detached else (),
        )


def _arguments(server: S3Server) -> list[str]:
    folder = server.slot.folder
    certificates = folder / "certs"
    if server.provider == "minio":
        secure = ["--certs-dir", str(certificates)] if server.ca_file else []
        return ["server", "--quiet", "--address", server.address, *secure, str(_made(folder / "data"))]
    secure = ["--cert", str(certificates / "public.crt"), "--key", str(certificates / "private.key")] if server.ca_file else []
    options = ["--quiet", "--keep-alive", "--port", server.address, "--health", HEALTH["versitygw"], "--region", REGION, *secure]
    folders = ["--versioning-dir", str(_made(folder / "versions")), str(_made(folder / "data"))]
    return [*options, "--iam-dir", str(_made(folder / "iam")), "posix", *folders]


def _environment(server: S3Server) -> dict[str, str]:
    keys = server.credentials
    inherited = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(server.slot.folder)}
    if server.provider == "minio":
        return inherited | {
            "MINIO_ROOT_USER": keys.access_key,
            "MINIO_ROOT_PASSWORD": keys.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }
    return inherited | {"ROOT_ACCESS_KEY": keys.access_key, "ROOT_SECRET_KEY": keys.secret_key}


def _answers(server: S3Server, process: "subprocess.Popen[bytes]") -> bool:
    """Wait until the server says it is healthy; False once it has ended or the time is over."""
    trust = ssl.create_default_context(cafile=str(server.ca_file)) if server.ca_file else None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
    for _ in range(START_SECONDS * 50):
        try:
            with opener.open(server.endpoint + HEALTH[server.provider], timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            try:
                process.wait(timeout=0.02)  # the pause between questions, cut short when the server ends
            except subprocess.TimeoutExpired:
                continue
            return False
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
