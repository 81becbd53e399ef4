"""A real kube-apiserver with etcd on loopback: no kubelet, no controllers, exactly the API that the controller speaks to."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoup.controller.kube import ApiServer, load_configuration
from tests.cluster.programs import program

ADMIN_TOKEN = "admin-of-the-test-server"  # a server on loopback that lives for one test session
OTHERS_TOKEN = "others-of-the-test-server"
OTHERS = "rest-of-the-cluster"
"""User in the audit log of whatever is not Recoup, where a test has to tell them apart."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class ControlPlane:
    """etcd and kube-apiserver. `stop_api` and `start_api` take the server away and bring it back with its data."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.etcd_port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.kubeconfig = directory / "kubeconfig"
        self.others_kubeconfig = directory / "others.kubeconfig"
        self.audit_log = directory / "audit.log"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        peer = free_port()
        self._run(
            "etcd", "--data-dir", str(self.directory / "etcd"), "--unsafe-no-fsync",
            "--listen-client-urls", f"http://127.0.0.1:{self.etcd_port}", "--advertise-client-urls", f"http://127.0.0.1:{self.etcd_port}",
            "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-cluster", f"default=http://127.0.0.1:{peer}",
        )  # fmt: skip
        key = self.directory / "sa.key"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        (self.directory / "tokens.csv").write_text(
            f'{ADMIN_TOKEN},admin,admin,"system:masters"\n{OTHERS_TOKEN},{OTHERS},{OTHERS},"system:masters"\n'
        )
        (self.directory / "audit.yaml").write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n")
        authority = self.directory / "certs" / "apiserver.crt"
        self.kubeconfig.write_text(kubeconfig_text(self.url, ADMIN_TOKEN, authority))
        self.others_kubeconfig.write_text(kubeconfig_text(self.url, OTHERS_TOKEN, authority))
        self.start_api()

    def start_api(self) -> None:
        self._run(
            "kube-apiserver", "--etcd-servers", f"http://127.0.0.1:{self.etcd_port}", "--secure-port", str(self.port),
            "--bind-address", "127.0.0.1", "--cert-dir", str(self.directory / "certs"),
            "--token-auth-file", str(self.directory / "tokens.csv"), "--service-account-key-file", str(self.directory / "sa.key"),
            "--service-account-signing-key-file", str(self.directory / "sa.key"),
            "--service-account-issuer", "https://test", "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.0.0.0/24",
            "--audit-policy-file", str(self.directory / "audit.yaml"), "--audit-log-path", str(self.audit_log),
        )  # fmt: skip
        self._await_ready()

    def stop_api(self) -> None:
        self._end("kube-apiserver")

    def stop(self) -> None:
        for name in reversed(self._processes.copy()):
            self._end(name)

    def run(self, name: str, *arguments: str) -> None:
        """Another program of the cluster, until `stop`."""
        self._run(name, *arguments)

    def kube(self) -> ApiServer:
        return ApiServer(load_configuration(str(self.kubeconfig)))

    def kube_of_others(self) -> ApiServer:
        """The same under another name in the audit log."""
        return ApiServer(load_configuration(str(self.others_kubeconfig)))

    def _run(self, name: str, *arguments: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen([str(program(name)), *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _end(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait(30)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + 60
        authority = self.directory / "certs" / "apiserver.crt"  # the server makes it when it first starts
        while time.monotonic() < deadline:
            if authority.exists() and self.kube().ready():
                return
            if self._processes["kube-apiserver"].poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError((self.directory / "kube-apiserver.log").read_text()[-3000:])


def kubeconfig_text(url: str, token: str, authority: Path) -> str:
    return (
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n"
        f"clusters: [{{name: test, cluster: {{server: '{url}', certificate-authority: '{authority}'}}}}]\n"
        "contexts: [{name: test, context: {cluster: test, user: test}}]\n"
        f"users: [{{name: test, user: {{token: '{token}'}}}}]\n"
    )


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()
