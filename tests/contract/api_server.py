"""A Kubernetes API server with its etcd and nothing else, on loopback, for what only a real one can judge: schemas and CEL.

Started and stopped within one test session; no node, no controllers, no pods (tests/cluster has those).
"""

import json
import secrets
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.programs import program

START_SECONDS = 120.0


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]

    @property
    def message(self) -> str:
        """What a user of kubectl reads when a request is refused."""
        return str(self.body.get("message", ""))


@dataclass(frozen=True)
class ApiServer:
    url: str
    token: str
    trust: ssl.SSLContext

    def request(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, content_type: str = "application/json", accept: str = ""
    ) -> Answer:
        """One request; a refusal is an Answer too."""
        data = None if body is None else json.dumps(body).encode()
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": content_type,
            "Accept": accept or "application/json",
        }
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, context=self.trust, timeout=30) as answer:
                return Answer(answer.status, json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, json.load(error))


def wait_for(happened: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Look until it happened. Raises TimeoutError that says what was awaited."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.05)


@contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    """A running server that forgets everything at the end."""
    etcd_port, peer_port, port = _free_ports(3)
    token = secrets.token_hex(16)
    (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    subprocess.run(["openssl", "genrsa", "-out", folder / "sa.key", "2048"], check=True, capture_output=True)
    etcd = [str(program("etcd")), f"--data-dir={folder}/etcd", "--unsafe-no-fsync", "--log-level=warn"]
    etcd += [f"--{kind}-client-urls=http://127.0.0.1:{etcd_port}" for kind in ("listen", "advertise")]
    etcd += [f"--listen-peer-urls=http://127.0.0.1:{peer_port}"]
    etcd += [f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}", f"--initial-cluster=default=http://127.0.0.1:{peer_port}"]
    server = [str(program("kube-apiserver")), f"--etcd-servers=http://127.0.0.1:{etcd_port}", f"--secure-port={port}"]
    server += ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--cert-dir={folder}/pki"]
    server += [f"--token-auth-file={folder}/tokens.csv", "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24"]
    server += ["--service-account-issuer=https://kubernetes.default.svc", "--profiling=false"]
    server += [f"--service-account-key-file={folder}/sa.key", f"--service-account-signing-key-file={folder}/sa.key"]
    with ExitStack() as stack:
        processes = [stack.enter_context(_running(command, folder)) for command in (etcd, server)]
        yield _wait_ready(f"https://127.0.0.1:{port}", token, folder, processes)


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_ready(url: str, token: str, folder: Path, processes: list[subprocess.Popen[bytes]]) -> ApiServer:
    certificate = folder / "pki" / "apiserver.crt"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for process in processes:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args!r} ended at once; its log is in {folder}")
        try:
            server = ApiServer(url, token, ssl.create_default_context(cafile=str(certificate)))
            request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": f"Bearer {token}"})
            with urllib.request.urlopen(request, context=server.trust, timeout=2):
                return server
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise RuntimeError(f"the API server was not ready after {START_SECONDS:.0f} s; its log is in {folder}")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
