"""The real process `recoup controller` against the test's API server: started, looked into, stopped, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import urllib3
import yaml

from recoup.controller import failures
from recoup.controller.kube import ApiServer
from recoup.controller.resources import NAMESPACE, Resource
from tests.integration.controller.conftest import ControlPlane, free_port

ROOT = Path(__file__).parents[3]
CRD = Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)

T = TypeVar("T")


def wait_for(what: str, probe: Callable[[], T | None], seconds: float = 60) -> T:
    """Ask until there is an answer that is not None or False; an AssertionError naming `what` after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)


def install(kube: ApiServer, *namespaces: str) -> None:
    """The CRDs and namespaces; harmless if they are there."""
    wanted: list[tuple[Resource, dict[str, Any]]] = [
        (CRD, yaml.safe_load(path.read_text())) for path in sorted((ROOT / "crds").glob("*.yaml"))
    ]
    wanted += [(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}) for name in namespaces]
    for resource, obj in wanted:
        try:
            kube.create(resource, obj)
        except failures.AlreadyExists:
            continue
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        name = yaml.safe_load(path.read_text())["metadata"]["name"]
        wait_for(f"CRD {name} is served", lambda name=name: _served(kube.get(CRD, None, name)))  # type: ignore[misc]


def _served(crd: dict[str, Any]) -> bool:
    return any(c["type"] == "Established" and c["status"] == "True" for c in (crd.get("status") or {}).get("conditions") or ())


class Controller:
    """One replica."""

    def __init__(
        self, plane: ControlPlane, name: str, *arguments: str, directory: Path,
        entry: str = "recoup.cli.main controller", **settings: str,
    ) -> None:  # fmt: skip
        """`entry`: the module that is run, and its first arguments."""
        self.name = name
        self.port = free_port()
        self.log = directory / f"{name}.log"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT)),
            "KUBECONFIG": str(plane.kubeconfig),
            "RECOUP_IMAGE": "localhost/recoup:test",
            "RECOUP_IDENTITY": name,
            "RECOUP_HTTP_ADDRESS": "127.0.0.1",
            "RECOUP_HTTP_PORT": str(self.port),
        } | {f"RECOUP_{key.upper()}": value for key, value in settings.items()}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *entry.split(), *arguments],
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=directory,
            )

    def page(self, path: str) -> tuple[int, str]:
        """Status and body; 0 if nothing answers."""
        try:
            answer = urllib3.request("GET", f"http://127.0.0.1:{self.port}{path}", retries=False, timeout=5)
        except urllib3.exceptions.HTTPError:
            return 0, ""
        return answer.status, answer.data.decode()

    def leads(self) -> bool:
        return "recoup_leading 1.0" in self.page("/metrics")[1]

    def lines(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def resident_mib(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)
