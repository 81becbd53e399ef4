"""CSI's Node service: publish volumes to pods of this node. Method names are CSI's."""
# ruff: noqa: N802, ARG002

from pathlib import Path
from typing import Any

import csi_pb2 as csi  # type: ignore[import-not-found]  # generated, see stubs.py
import csi_pb2_grpc  # type: ignore[import-not-found]
import grpc

from tests.cluster.csi import pool, publishing
from tests.cluster.csi.answers import answered, need
from tests.cluster.csi.controller import TOPOLOGY, mode_of
from tests.cluster.csi.volumes import Refused, Volumes


class Node(csi_pb2_grpc.NodeServicer):  # type: ignore[misc]
    def __init__(self, volumes: Volumes, node: str, zone: str) -> None:
        self._volumes, self._node, self._zone = volumes, node, zone

    def NodeGetCapabilities(self, request: Any, context: grpc.ServicerContext) -> Any:
        rpc = csi.NodeServiceCapability.RPC
        types = (rpc.GET_VOLUME_STATS, rpc.SINGLE_NODE_MULTI_WRITER)
        return csi.NodeGetCapabilitiesResponse(capabilities=[csi.NodeServiceCapability(rpc=rpc(type=each)) for each in types])

    def NodeGetInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return csi.NodeGetInfoResponse(node_id=self._node, accessible_topology=csi.Topology(segments={TOPOLOGY: self._zone}))

    @answered
    def NodePublishVolume(self, request: Any) -> Any:
        need(
            volume_id=request.volume_id,
            target_path=request.target_path,
            volume_capability=request.HasField("volume_capability"),
        )
        volume, target = self._volumes.volume(request.volume_id), Path(request.target_path)
        if mode_of([request.volume_capability]) != volume.mode:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"volume {volume.id} is of mode {volume.mode}")
        data = self._volumes.data(volume)
        if volume.mode == "Block":
            publishing.publish_device(data, target, read_only=request.readonly)
        else:
            flags = tuple(request.volume_capability.mount.mount_flags)
            publishing.publish_folder(data, target, flags, read_only=request.readonly)
        return csi.NodePublishVolumeResponse()

    @answered
    def NodeUnpublishVolume(self, request: Any) -> Any:
        need(volume_id=request.volume_id, target_path=request.target_path)
        publishing.unpublish(Path(request.target_path))
        return csi.NodeUnpublishVolumeResponse()

    @answered
    def NodeGetVolumeStats(self, request: Any) -> Any:
        need(volume_id=request.volume_id, volume_path=request.volume_path)
        volume = self._volumes.volume(request.volume_id)
        self._need_path(request.volume_path)
        usage = csi.VolumeUsage(unit=csi.VolumeUsage.BYTES, total=volume.capacity)
        if volume.mode == "Filesystem":
            usage.used = pool.used_bytes(self._volumes.data(volume))
            usage.available = max(0, volume.capacity - usage.used)
        return csi.NodeGetVolumeStatsResponse(usage=[usage])

    def _need_path(self, path: str) -> None:
        if not Path(path).exists():
            raise Refused(grpc.StatusCode.NOT_FOUND, f"no {path} on this node")
