"""Volumes on the cluster, through the real controllers: provisioning in both binding modes, snapshots, restores, blocks."""

import pytest

from tests.cluster import fake_nodes
from tests.cluster.node import Node
from tests.integration.cluster.conftest import Namespace, claim, pod_spec, volume_snapshot

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("storage_class", ["recoup-immediate", "recoup-wffc"])
def test_a_snapshot_holds_what_was_there_and_becomes_a_volume(namespace: Namespace, storage_class: str) -> None:
    namespace.apply(claim("data", storage_class))
    namespace.run_job("write", "echo before > /data/file; setfattr -n user.tag -v kept /data/file", volumes={"/data": "data"})
    namespace.apply(volume_snapshot("point", "data"))
    namespace.wait("volumesnapshot/point", "jsonpath={.status.readyToUse}=true")
    namespace.run_job("change", "echo after > /data/file", volumes={"/data": "data"})
    namespace.apply(claim("copy", storage_class, source="point"))
    read = "cat /old/file /new/file; getfattr --absolute-names --only-values -n user.tag /old/file"
    assert namespace.run_job("read", read, volumes={"/old": "copy", "/new": "data"}) == "before\nafter\nkept"


def test_a_block_volume_is_a_device_and_survives_a_snapshot(namespace: Namespace) -> None:
    namespace.apply(claim("disk", "recoup-wffc", mode="Block"))
    namespace.run_job("write", "printf recoup | dd of=/dev/disk bs=1 seek=4096 conv=fsync status=none", volumes={"/dev/disk": "disk"})
    namespace.apply(volume_snapshot("point", "disk"))
    namespace.wait("volumesnapshot/point", "jsonpath={.status.readyToUse}=true")
    namespace.apply(claim("copy", "recoup-wffc", mode="Block", source="point"))
    assert namespace.run_job("read", "dd if=/dev/copy bs=1 skip=4096 count=6 status=none", volumes={"/dev/copy": "copy"}) == "recoup"


def test_a_volume_that_waits_for_its_consumer_is_made_in_the_consumers_zone(namespace: Namespace, cluster_node: Node) -> None:
    """The second zone is a node that is not real: what is placed there is seen, nothing runs."""
    fake_nodes.add(cluster_node, ["far-away"], zone="zone-b")
    try:
        namespace.apply(claim("data", "recoup-wffc"))
        spec = {**pod_spec("sleep 1", volumes={"/data": "data"}), "nodeSelector": {"topology.kubernetes.io/zone": "zone-b"}}
        namespace.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user"}, "spec": spec})
        namespace.wait("pvc/data", "jsonpath={.status.phase}=Bound")
        namespace.wait("pod/user", "jsonpath={.status.phase}=Running")
        volume = namespace.get("pv", namespace.get("pvc", "data")["spec"]["volumeName"])
        [term] = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        assert term["matchExpressions"] == [{"key": fake_nodes.TOPOLOGY, "operator": "In", "values": ["zone-b"]}]
        namespace.kubectl("delete", "pod", "user", "--wait=false")
    finally:
        fake_nodes.remove(cluster_node, ["far-away"])
