"""Nodes that are not real, beside the real one: a second zone for placement tests, many nodes for scale tests.

kwok keeps them Ready and calls every pod on them Running; nothing is executed there and no volume is mounted.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from tests.cluster import processes
from tests.cluster.addons import kubectl
from tests.cluster.node import Node
from tests.cluster.programs import program, share

ANNOTATION = "kwok.x-k8s.io/node"
PROCESS = "kwok"
STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
TOPOLOGY = "topology.recoup.test/zone"
"""The CSI driver's own key, which a kubelet would set as a label when the driver registers (csi/controller.py)."""
DRIVERS = ("csi.recoup.test", "nosnap.csi.recoup.test")


def add(node: Node, names: Iterable[str], *, zone: str = "zone-b") -> None:
    """Add fake nodes in a zone; return when they are Ready. Builds and starts kwok the first time."""
    if not _is_running(node):
        command = [str(program("kwok")), f"--kubeconfig={node.kubeconfig()}", "--node-ip=192.0.2.1"]
        command += ["--node-lease-duration-seconds=40", *(f"--config={path}" for path in _stages())]
        node.start(PROCESS, [*command, f"--manage-nodes-with-annotation-selector={ANNOTATION}=fake"])
    wanted = list(names)
    objects = {"apiVersion": "v1", "kind": "List", "items": [made for name in wanted for made in (_node(name, zone), _storage(name))]}
    kubectl(node, "apply", "--filename=-", text=json.dumps(objects))
    kubectl(node, "wait", "--for=condition=Ready", "--timeout=60s", *(f"node/{name}" for name in wanted))


def remove(node: Node, names: Iterable[str]) -> None:
    """Take fake nodes away; their pods follow."""
    wanted = list(names)
    kubectl(node, "delete", *(f"node/{name}" for name in wanted), *(f"csinode/{name}" for name in wanted))


def _is_running(node: Node) -> bool:
    return any(process.name == PROCESS and process.is_alive() for process in processes.every(node.folder))


def _stages() -> list[Path]:
    """The stages that come with kwok: whatever is placed on its nodes goes well, at once."""
    folder = share("kwok") / "stage"
    found = [path for kind in STAGES for path in sorted((folder / kind).glob("*.yaml")) if path.name != "kustomization.yaml"]
    assert found, folder
    return found


def _node(name: str, zone: str) -> dict[str, object]:
    room = {"cpu": "32", "memory": "256Gi", "pods": "110"}
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": zone, TOPOLOGY: zone}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {ANNOTATION: "fake"}},
        "status": {"capacity": room, "allocatable": room},
    }


def _storage(name: str) -> dict[str, object]:
    """What a kubelet publishes when CSI drivers register with it; the provisioner places volumes by it."""
    drivers = [{"name": driver, "nodeID": name, "topologyKeys": [TOPOLOGY]} for driver in DRIVERS]
    return {"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": name}, "spec": {"drivers": drivers}}
