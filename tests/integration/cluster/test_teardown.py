"""Nothing stays behind: not after a normal end, not after a crash in the middle, not after the owner died; and two at once work."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_kind import KindCluster

from tests.cluster import cgroups, lifecycle, processes, record
from tests.cluster.node import Node
from tests.integration.cluster.conftest import claim, pod_spec
from tests.integration.cluster.remains import machine_state, traces_of

pytestmark = pytest.mark.cluster
KIND = [sys.executable, "-m", "tests.cluster.kind"]


@pytest.fixture
def kind(cluster_node: Node, tmp_path: Path) -> Iterator["Kind"]:
    made = Kind(tmp_path / "kubeconfig")
    yield made
    made.end()


class Kind:
    """The program, called as a test session would: what it makes belongs to `owner`."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.owner = subprocess.Popen(["sleep", "600"])
        self._names: set[str] = set()

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        """Begin to create a cluster."""
        self._names.add(name)
        return subprocess.Popen([*KIND, "create", "cluster", f"--name={name}", f"--kubeconfig={self.kubeconfig}"], env=self._environment())

    def create(self, name: str) -> Node:
        assert self.start(name).wait() == 0
        return lifecycle.find(name)

    def delete(self, name: str) -> None:
        subprocess.run([*KIND, "delete", "cluster", f"--name={name}", f"--kubeconfig={self.kubeconfig}"], check=True)

    def clusters(self) -> list[str]:
        return subprocess.run([*KIND, "get", "clusters"], check=True, capture_output=True, text=True).stdout.split()

    def owner_dies(self) -> None:
        self.owner.kill()
        self.owner.wait()

    def end(self) -> None:
        self.owner_dies()
        for name in self._names:
            lifecycle.delete(name)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, record.OWNER_VARIABLE: str(self.owner.pid)}


def test_a_cluster_in_use_leaves_nothing_and_reaches_its_neighbour(kind: Kind, cluster_node: Node, kind_cluster: KindCluster) -> None:
    before = machine_state()
    second = kind.create(f"second-{os.getpid()}")
    cluster = KindCluster(second.cluster, kind.kubeconfig, kubectl_path=kind_cluster.kubectl_path)
    use_volumes_and_pods(cluster)
    assert {second.cluster, cluster_node.cluster} <= set(kind.clusters())

    address = cluster.kubectl("get", "pod", "web", "-o=jsonpath={.status.podIP}")
    fetch = ["python3", "-c", f"import urllib.request as r; print(r.urlopen('http://{address}:8080', timeout=5).status)"]
    kind_cluster.kubectl("run", "caller", "--image=localhost/workload:dev", "--restart=Never", "--command", "--", *fetch)
    kind_cluster.kubectl("wait", "pod/caller", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    with urllib.request.urlopen(f"http://{address}:8080", timeout=5) as answer:
        assert answer.status == 200, "the host must reach pods too"

    traces = traces_of(second)
    seen = traces.remains()
    assert set(seen) == {"processes", "namespaces", "mounts", "loop devices", "cgroups", "links", "routes", "files"}, (
        "the search must find each kind"
    )
    kind.delete(second.cluster)
    assert traces.remains() == {}
    assert machine_state() == before
    assert second.cluster not in kind.kubeconfig.read_text()
    assert cluster_node.cluster in kind.clusters(), "the neighbour goes on"


def test_what_a_crash_and_a_dead_owner_left_is_removed_by_the_next_run(kind: Kind) -> None:
    crashed, abandoned = f"crashed-{os.getpid()}", f"abandoned-{os.getpid()}"
    creating = kind.start(crashed)
    wait_until((record.folder_of(crashed) / "processes" / "containerd.json").exists)
    with record.changing():  # no other run on this machine can clean up before we have looked
        creating.send_signal(signal.SIGKILL)
        creating.wait()
        debris = traces_of(Node(known(crashed)))
        assert {"processes", "namespaces", "cgroups", "links", "files"} <= set(debris.remains())

    node = kind.create(abandoned)
    abandoned_traces = traces_of(node)
    assert debris.remains() == {}, "the next run removes what the crash left, whatever name it makes itself"

    for name in ("etcd", "kubelet", "holder"):
        node.stop(name, force=True)
    assert abandoned not in kind.clusters(), "a broken cluster must not be offered for use"
    kind.owner_dies()
    again = lifecycle.create(crashed)
    again_traces = traces_of(again)
    assert abandoned_traces.remains() == {}
    assert processes.load(again.folder, "kubelet").is_alive()
    lifecycle.delete(crashed)
    assert again_traces.remains() == {}


def test_a_name_in_use_is_refused_and_left_alone(cluster_node: Node) -> None:
    done = subprocess.run([*KIND, "create", "cluster", "--name", cluster_node.cluster], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "exists already" in done.stderr
    assert f"kind delete cluster --name {cluster_node.cluster}" in done.stderr
    assert cgroups.members(cluster_node.cluster)


def use_volumes_and_pods(cluster: KindCluster) -> None:
    """A pod with a filesystem volume mounted and a block volume attached."""
    claims = [claim("files", "recoup-immediate"), claim("disk", "recoup-immediate", mode="Block")]
    spec = pod_spec("cd /files; exec python3 -m http.server 8080", volumes={"/files": "files", "/dev/disk": "disk"})
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec}
    listed = {"apiVersion": "v1", "kind": "List", "items": [*claims, pod]}
    cluster.kubectl("apply", "--filename=-", input=json.dumps(listed))
    cluster.kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=60s")


def known(name: str) -> record.Record:
    found = record.load(name)
    assert found
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
