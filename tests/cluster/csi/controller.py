"""CSI's Controller service: translate requests into calls of volumes.py and its answers back. Method names are CSI's."""
# ruff: noqa: N802, ARG002

from typing import Any

import csi_pb2 as csi  # type: ignore[import-not-found]  # generated, see stubs.py
import csi_pb2_grpc  # type: ignore[import-not-found]
import grpc
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]

from tests.cluster.csi import publishing
from tests.cluster.csi.answers import answered, need
from tests.cluster.csi.pages import page
from tests.cluster.csi.pool import Pool
from tests.cluster.csi.records import Mode, Snapshot, Volume
from tests.cluster.csi.volumes import Refused, Volumes

TOPOLOGY = "topology.recoup.test/zone"
DEFAULT_BYTES = 1 << 30


class Controller(csi_pb2_grpc.ControllerServicer):  # type: ignore[misc]
    """`zones`: where volumes can be; the first is this node's. Without `snapshots` the driver can neither snapshot nor clone."""

    def __init__(self, pool: Pool, volumes: Volumes, zones: tuple[str, ...], *, snapshots: bool) -> None:
        self._pool, self._volumes, self._zones, self._with_snapshots = pool, volumes, zones, snapshots

    def ControllerGetCapabilities(self, request: Any, context: grpc.ServicerContext) -> Any:
        rpc = csi.ControllerServiceCapability.RPC
        types = [rpc.CREATE_DELETE_VOLUME, rpc.LIST_VOLUMES, rpc.EXPAND_VOLUME, rpc.GET_CAPACITY, rpc.SINGLE_NODE_MULTI_WRITER]
        if self._with_snapshots:
            types += [rpc.CREATE_DELETE_SNAPSHOT, rpc.LIST_SNAPSHOTS, rpc.CLONE_VOLUME]
        return csi.ControllerGetCapabilitiesResponse(capabilities=[csi.ControllerServiceCapability(rpc=rpc(type=each)) for each in types])

    @answered
    def CreateVolume(self, request: Any) -> Any:
        need(name=request.name, volume_capabilities=request.volume_capabilities)
        unknown = [name for name in request.parameters if not name.startswith("csi.storage.k8s.io/")]
        if unknown:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"parameters not known: {', '.join(unknown)}")
        required, limit = request.capacity_range.required_bytes, request.capacity_range.limit_bytes
        volume = self._volumes.create(
            request.name,
            smallest=required or min(limit or DEFAULT_BYTES, DEFAULT_BYTES),
            largest=limit or None,
            mode=mode_of(request.volume_capabilities),
            zone=self._zone(request.accessibility_requirements),
            source=self._source(request),
        )
        answer = to_volume(volume)
        if request.HasField("volume_content_source"):
            answer.content_source.CopyFrom(request.volume_content_source)
        return csi.CreateVolumeResponse(volume=answer)

    @answered
    def DeleteVolume(self, request: Any) -> Any:
        need(volume_id=request.volume_id)
        volume = self._volumes.find(request.volume_id)
        if volume and publishing.is_in_use(self._volumes.data(volume)):
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, f"volume {volume.id} is published on this node")
        self._volumes.delete(request.volume_id)
        return csi.DeleteVolumeResponse()

    @answered
    def ValidateVolumeCapabilities(self, request: Any) -> Any:
        need(volume_id=request.volume_id, volume_capabilities=request.volume_capabilities)
        volume = self._volumes.volume(request.volume_id)
        if mode_of(request.volume_capabilities) != volume.mode:
            return csi.ValidateVolumeCapabilitiesResponse(message=f"the volume is of mode {volume.mode}")
        confirmed = csi.ValidateVolumeCapabilitiesResponse.Confirmed(volume_capabilities=request.volume_capabilities)
        return csi.ValidateVolumeCapabilitiesResponse(confirmed=confirmed)

    @answered
    def ListVolumes(self, request: Any) -> Any:
        found, following = page(
            self._volumes.volumes(), token=request.starting_token, most=request.max_entries, identity=lambda volume: volume.id
        )
        entries = [csi.ListVolumesResponse.Entry(volume=to_volume(volume)) for volume in found]
        return csi.ListVolumesResponse(entries=entries, next_token=following)

    @answered
    def GetCapacity(self, request: Any) -> Any:
        zone = request.accessible_topology.segments.get(TOPOLOGY) if request.HasField("accessible_topology") else None
        served = zone is None or zone in self._zones
        return csi.GetCapacityResponse(available_capacity=self._pool.free_bytes() if served else 0)

    @answered
    def CreateSnapshot(self, request: Any) -> Any:
        self._need_snapshots()
        need(name=request.name, source_volume_id=request.source_volume_id)
        ready = request.parameters.get("ready", "at-once")
        if ready not in ("at-once", "never"):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"parameter ready is {ready!r}, must be at-once or never")
        snapshot = self._volumes.create_snapshot(request.name, request.source_volume_id, ready=ready == "at-once")
        return csi.CreateSnapshotResponse(snapshot=to_snapshot(snapshot))

    @answered
    def DeleteSnapshot(self, request: Any) -> Any:
        self._need_snapshots()
        need(snapshot_id=request.snapshot_id)
        self._volumes.delete_snapshot(request.snapshot_id)
        return csi.DeleteSnapshotResponse()

    @answered
    def ListSnapshots(self, request: Any) -> Any:
        self._need_snapshots()
        wanted = [
            snapshot
            for snapshot in self._volumes.snapshots()
            if request.snapshot_id in ("", snapshot.id) and request.source_volume_id in ("", snapshot.volume)
        ]
        found, following = page(wanted, token=request.starting_token, most=request.max_entries, identity=lambda snapshot: snapshot.id)
        entries = [csi.ListSnapshotsResponse.Entry(snapshot=to_snapshot(snapshot)) for snapshot in found]
        return csi.ListSnapshotsResponse(entries=entries, next_token=following)

    @answered
    def ControllerExpandVolume(self, request: Any) -> Any:
        need(volume_id=request.volume_id, capacity_range=request.HasField("capacity_range"))
        required, limit = request.capacity_range.required_bytes, request.capacity_range.limit_bytes
        if limit and limit < max(required, self._volumes.volume(request.volume_id).capacity):
            raise Refused(grpc.StatusCode.OUT_OF_RANGE, f"volume {request.volume_id} is or must be larger than {limit} bytes")
        volume = self._volumes.grow(request.volume_id, required)
        return csi.ControllerExpandVolumeResponse(capacity_bytes=volume.capacity, node_expansion_required=False)

    def _need_snapshots(self) -> None:
        if not self._with_snapshots:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, "this driver can't take snapshots")

    def _source(self, request: Any) -> str | None:
        if not request.HasField("volume_content_source"):
            return None
        self._need_snapshots()
        source = request.volume_content_source
        found: str = source.snapshot.snapshot_id or source.volume.volume_id
        need(volume_content_source=found)
        return found

    def _zone(self, requirement: Any) -> str:
        """The zone asked for, preferred ones first; this node's if any will do."""
        asked = [topology.segments.get(TOPOLOGY) for topology in (*requirement.preferred, *requirement.requisite)]
        served = [zone for zone in asked if zone in self._zones]
        if asked and not served:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"no storage in zones {asked}; there is in {', '.join(self._zones)}")
        return str(served[0]) if served else self._zones[0]


def mode_of(capabilities: Any) -> Mode:
    """The mode that all the capabilities agree on. Raises Refused."""
    modes: set[Mode] = {"Block" if capability.HasField("block") else "Filesystem" for capability in capabilities}
    if len(modes) != 1 or any(not capability.HasField("block") and not capability.HasField("mount") for capability in capabilities):
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "all volume_capabilities must be of one kind, block or mount")
    kinds = {capability.mount.fs_type for capability in capabilities} - {"", "btrfs"}
    if kinds:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"volumes are btrfs, not {', '.join(sorted(kinds))}")
    return modes.pop()


def to_volume(volume: Volume) -> Any:
    topology = csi.Topology(segments={TOPOLOGY: volume.zone})
    return csi.Volume(volume_id=volume.id, capacity_bytes=volume.capacity, accessible_topology=[topology])


def to_snapshot(snapshot: Snapshot) -> Any:
    created = Timestamp()
    created.FromNanoseconds(snapshot.created)
    return csi.Snapshot(
        snapshot_id=snapshot.id,
        source_volume_id=snapshot.volume,
        size_bytes=snapshot.capacity,
        creation_time=created,
        ready_to_use=snapshot.ready,
    )
