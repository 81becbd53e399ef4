"""A volume that waits for its pod is made in the zone of the pod's node, by the real scheduler and provisioner; one node is not real."""

import json
from collections.abc import Iterator

import pytest
from pytest_kind import KindCluster

from tests.cluster.csi.launch import DRIVER, OTHER_ZONE
from tests.integration.cluster.conftest import Namespace, claim, namespace, pod_spec

__all__ = ["namespace"]

pytestmark = pytest.mark.cluster
KEY = "topology.recoup.test/zone"
NODE = "elsewhere"


@pytest.fixture
def node_elsewhere(kind_cluster: KindCluster) -> Iterator[str]:
    """A node of the other zone as the scheduler and the provisioner see one; no kubelet runs its pods."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": {KEY: OTHER_ZONE, "place": NODE}}}
    drivers = [{"name": DRIVER, "nodeID": NODE, "topologyKeys": [KEY]}]
    storage = {"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": NODE}, "spec": {"drivers": drivers}}
    room = {"status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}, "capacity": {"cpu": "4", "memory": "8Gi", "pods": "10"}}}
    kind_cluster.kubectl("create", "--filename=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [node, storage]}))
    kind_cluster.kubectl("patch", "node", NODE, "--subresource=status", "--type=merge", f"--patch={json.dumps(room)}")
    yield NODE
    kind_cluster.kubectl("delete", f"node/{NODE}", f"csinode/{NODE}")


@pytest.mark.parametrize("place", ["here", NODE])
def test_a_volume_is_made_where_its_pod_is(namespace: Namespace, kind_cluster: KindCluster, node_elsewhere: str, place: str) -> None:
    selector = {"place": NODE} if place == NODE else {KEY: "zone-a"}
    spec = pod_spec("sleep 1000000", volumes={"/data": "data"}) | {"nodeSelector": selector, "tolerations": [{"operator": "Exists"}]}
    namespace.apply(claim("data", "recoup-wffc"), {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user"}, "spec": spec})
    namespace.wait("pvc/data", "jsonpath={.status.phase}=Bound")
    volume = namespace.get("pv", namespace.get("pvc", "data")["spec"]["volumeName"])
    terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    zone = OTHER_ZONE if place == NODE else "zone-a"
    assert terms == [{"matchExpressions": [{"key": KEY, "operator": "In", "values": [zone]}]}]
    namespace.kubectl("delete", "pod", "user", "--force", "--grace-period=0")
