"""What every cluster has beyond Kubernetes itself: the volume snapshot API and its controller, the CSI test driver, our images.

The driver and its sidecars are in csi/; here is only the order in which things come up.
"""

import json
import subprocess
from pathlib import Path

from tests.cluster import images
from tests.cluster.node import Node
from tests.cluster.programs import program, share
from tests.cluster.worker import CONTAINERD_SOCKET

SNAPSHOT_KINDS = ("volumesnapshotclasses", "volumesnapshotcontents", "volumesnapshots")


def load_archive(node: Node, archive: Path) -> None:
    """Import an image archive (docker or OCI) into the node's containerd, where pods find it by its tag."""
    node.run(["ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", "images", "import", "--no-unpack=false", str(archive)])


def load_base_images(node: Node) -> None:
    for tag in (images.PAUSE, images.WORKLOAD):
        load_archive(node, images.archive(tag))


def kubectl(node: Node, *arguments: str, text: str | None = None) -> str:
    """Run kubectl as the cluster's administrator; raises CalledProcessError."""
    command = [str(program("kubectl")), f"--kubeconfig={node.kubeconfig()}", *arguments]
    return subprocess.run(command, input=text, text=True, capture_output=True, check=True).stdout


def start_snapshots(node: Node) -> None:
    """Install the three snapshot kinds and start their controller."""
    folder = share("kubernetes") / "crd"
    files = [folder / f"snapshot.storage.k8s.io_{kind}.yaml" for kind in SNAPSHOT_KINDS]
    kubectl(node, "create", *(f"--filename={path}" for path in files))
    names = [f"{kind}.snapshot.storage.k8s.io" for kind in SNAPSHOT_KINDS]
    kubectl(node, "wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{name}" for name in names))
    node.start("snapshot-controller", [str(program("snapshot-controller")), f"--kubeconfig={node.kubeconfig('csi')}"])


def can_run_pods(node: Node) -> bool:
    """Whether the kubelet has registered and reports Ready, and the default namespace accepts pods."""
    try:
        seen = json.loads(kubectl(node, "get", "node", node.name, "-o", "json"))
        kubectl(node, "get", "serviceaccount", "default", "--namespace=default")
    except subprocess.CalledProcessError:
        return False
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in seen["status"].get("conditions", []))
