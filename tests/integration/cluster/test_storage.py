"""Volumes on the cluster, through the real controllers: provisioning in both binding modes, snapshots, restores, blocks."""

import pytest

from tests.integration.cluster.conftest import Namespace, claim, volume_snapshot

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
