"""CSI calls as short functions, for tests of the driver."""

from pathlib import Path
from typing import Any

from tests.cluster.csi.launch import DRIVER
from tests.integration.csi.driver_process import DriverProcess, generated

MIB = 1 << 20


class Calls:
    """Calls to one driver of the process; answers are CSI's messages, errors grpc.RpcError."""

    def __init__(self, process: DriverProcess, name: str = DRIVER) -> None:
        self.csi, stubs = generated("csi_pb2"), generated("csi_pb2_grpc")
        self._channel = process.channel(name)
        self.controller, self.node = stubs.ControllerStub(self._channel), stubs.NodeStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def capability(self, kind: str) -> Any:
        capability = self.csi.VolumeCapability
        access = capability.AccessMode(mode=capability.AccessMode.SINGLE_NODE_WRITER)
        if kind == "block":
            return capability(block=capability.BlockVolume(), access_mode=access)
        return capability(mount=capability.MountVolume(), access_mode=access)

    def create(self, name: str, *, size: int = 64 * MIB, kind: str = "mount", snapshot: str = "", volume: str = "", **more: Any) -> Any:
        source = None
        if snapshot:
            source = self.csi.VolumeContentSource(snapshot=self.csi.VolumeContentSource.SnapshotSource(snapshot_id=snapshot))
        elif volume:
            source = self.csi.VolumeContentSource(volume=self.csi.VolumeContentSource.VolumeSource(volume_id=volume))
        request = self.csi.CreateVolumeRequest(
            name=name,
            capacity_range=self.csi.CapacityRange(required_bytes=size),
            volume_capabilities=[self.capability(kind)],
            volume_content_source=source,
            **more,
        )
        return self.controller.CreateVolume(request).volume

    def delete(self, volume: str) -> None:
        self.controller.DeleteVolume(self.csi.DeleteVolumeRequest(volume_id=volume))

    def snapshot(self, name: str, volume: str, **parameters: str) -> Any:
        request = self.csi.CreateSnapshotRequest(name=name, source_volume_id=volume, parameters=parameters)
        return self.controller.CreateSnapshot(request).snapshot

    def delete_snapshot(self, snapshot: str) -> None:
        self.controller.DeleteSnapshot(self.csi.DeleteSnapshotRequest(snapshot_id=snapshot))

    def volumes(self) -> list[str]:
        return [entry.volume.volume_id for entry in self.controller.ListVolumes(self.csi.ListVolumesRequest()).entries]

    def snapshots(self) -> list[str]:
        return [entry.snapshot.snapshot_id for entry in self.controller.ListSnapshots(self.csi.ListSnapshotsRequest()).entries]

    def publish(self, volume: str, target: Path, *, kind: str = "mount", read_only: bool = False) -> Path:
        request = self.csi.NodePublishVolumeRequest(
            volume_id=volume, target_path=str(target), volume_capability=self.capability(kind), readonly=read_only
        )
        self.node.NodePublishVolume(request)
        return target

    def unpublish(self, volume: str, target: Path) -> None:
        self.node.NodeUnpublishVolume(self.csi.NodeUnpublishVolumeRequest(volume_id=volume, target_path=str(target)))

    def expand(self, volume: str, size: int) -> None:
        wanted = self.csi.CapacityRange(required_bytes=size)
        request = self.csi.ControllerExpandVolumeRequest(volume_id=volume, capacity_range=wanted)
        assert not self.controller.ControllerExpandVolume(request).node_expansion_required
