"""Volumes and snapshots on the pool: create, clone, snapshot, grow, delete. Idempotent, and safe against a crash anywhere.

A thing exists exactly while its record does: the record is written last and removed first, and what has none is swept
at the start. Knows nothing of gRPC; see controller.py for the requests, publishing.py for mounts.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc

from tests.cluster.csi import devices, pool, records
from tests.cluster.csi.records import Mode, Snapshot, Volume, identify

BLOCK_BYTES = 4096


class Refused(Exception):
    """A request that gets a gRPC error; the message names the object and the reason."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Volumes:
    """All volumes and snapshots of one driver, in `root/volumes` and `root/snapshots`."""

    def __init__(self, root: Path) -> None:
        self._volumes, self._snapshots = root / "volumes", root / "snapshots"
        self._changing = threading.Lock()
        for folder in (self._volumes, self._snapshots):
            folder.mkdir(parents=True, exist_ok=True)
            for each in folder.iterdir():
                if not (each / "record.json").exists():
                    _remove(each)

    def find(self, volume_id: str) -> Volume | None:
        return records.load(Volume, _folder(self._volumes, volume_id))

    def volume(self, volume_id: str) -> Volume:
        """Raises Refused (NOT_FOUND)."""
        found = self.find(volume_id)
        if found is None:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"no volume {volume_id}")
        return found

    def snapshot(self, snapshot_id: str) -> Snapshot:
        """Raises Refused (NOT_FOUND)."""
        found = records.load(Snapshot, _folder(self._snapshots, snapshot_id))
        if found is None:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"no snapshot {snapshot_id}")
        return found

    def volumes(self) -> Iterator[Volume]:
        """In the order of their ids."""
        for folder in sorted(self._volumes.iterdir()):
            if (found := records.load(Volume, folder)) is not None:
                yield found

    def snapshots(self) -> Iterator[Snapshot]:
        """In the order of their ids."""
        for folder in sorted(self._snapshots.iterdir()):
            if (found := records.load(Snapshot, folder)) is not None:
                yield found

    def data(self, volume: Volume) -> Path:
        """What is published: a folder (Filesystem) or a file to put a loop device over (Block)."""
        data = self._volumes / volume.id / "data"
        return data / "disk.img" if volume.mode == "Block" else data

    def create(self, name: str, *, smallest: int, largest: int | None, mode: Mode, zone: str, source: str | None) -> Volume:
        """Make the volume of this name, empty or with the content of a snapshot or volume; sizes in bytes."""
        with self._changing:
            folder = self._volumes / identify("vol", name)
            made_of = self._source(source, smallest, mode) if source else None
            if (present := records.load(Volume, folder)) is not None:
                return _same(present, smallest=smallest, largest=largest, mode=mode, source=source)
            volume = Volume(folder.name, name, _rounded(smallest), mode, zone, source)
            if largest is not None and volume.capacity > largest:
                raise Refused(
                    grpc.StatusCode.OUT_OF_RANGE, f"sizes are multiples of {BLOCK_BYTES} bytes; none is in {smallest} to {largest}"
                )
            _remove(folder)
            folder.mkdir()
            if made_of:
                pool.clone_subvolume(made_of, folder / "data", read_only=False)
            else:
                pool.create_subvolume(folder / "data")
            self._size(volume)
            records.save(volume, folder)
            return volume

    def delete(self, volume_id: str) -> None:
        """Nothing to do when there is none."""
        with self._changing:
            folder = _folder(self._volumes, volume_id)
            if folder.exists():
                records.forget(folder)
                _remove(folder)

    def grow(self, volume_id: str, size: int) -> Volume:
        """Give the volume at least this size; never less than it has. Whoever uses it sees the new size at once."""
        with self._changing:
            volume = self.volume(volume_id)
            if size > volume.capacity:
                volume = Volume(volume.id, volume.name, _rounded(size), volume.mode, volume.zone, volume.source)
                self._size(volume)
                records.save(volume, self._volumes / volume.id)
            return volume

    def create_snapshot(self, name: str, volume_id: str, *, ready: bool) -> Snapshot:
        """Keep the volume as it is at this instant. What programs wrote to a block device counts as written."""
        with self._changing:
            folder = self._snapshots / identify("snap", name)
            if (present := records.load(Snapshot, folder)) is not None:
                if present.volume != volume_id:
                    raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"snapshot {name} exists, of volume {present.volume}, not {volume_id}")
                return present
            volume = self.volume(volume_id)
            _remove(folder)
            folder.mkdir()
            if volume.mode == "Block":
                for device in devices.attached(self.data(volume)):
                    devices.flush(device)
            created = time.time_ns()
            pool.clone_subvolume(self._volumes / volume.id / "data", folder / "data", read_only=True)
            snapshot = Snapshot(folder.name, name, volume.id, volume.capacity, volume.mode, created, ready)
            records.save(snapshot, folder)
            return snapshot

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Nothing to do when there is none. Volumes made from it stay: they share blocks, not fate."""
        with self._changing:
            folder = _folder(self._snapshots, snapshot_id)
            if folder.exists():
                records.forget(folder)
                _remove(folder)

    def _source(self, source: str, size: int, mode: Mode) -> Path:
        """The subvolume to copy; refuses what a copy can't be made of."""
        found: Volume | Snapshot
        if source.startswith("snap-"):
            found, folder = self.snapshot(source), self._snapshots
            if not found.ready:
                raise Refused(grpc.StatusCode.UNAVAILABLE, f"snapshot {source} is not ready")
        else:
            found, folder = self.volume(source), self._volumes
            if found.mode == "Block":
                for device in devices.attached(self.data(found)):
                    devices.flush(device)
        if found.mode != mode:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{source} is of mode {found.mode}, the new volume of mode {mode}")
        if found.capacity > size:
            raise Refused(grpc.StatusCode.OUT_OF_RANGE, f"{source} needs {found.capacity} bytes, the new volume has {size}")
        return folder / source / "data"

    def _size(self, volume: Volume) -> None:
        if volume.mode == "Block":
            with self.data(volume).open("ab") as disk:
                disk.truncate(volume.capacity)
            for device in devices.attached(self.data(volume)):
                devices.resize(device)
        else:
            pool.limit(self.data(volume), volume.capacity)


def _folder(base: Path, identity: str) -> Path:
    """Where what has this id is; for what can't be an id of ours a place where nothing is."""
    return base / (identity if records.IDENTITY.fullmatch(identity) else "none")


def _rounded(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _same(present: Volume, *, smallest: int, largest: int | None, mode: Mode, source: str | None) -> Volume:
    fits = present.capacity >= smallest and (largest is None or present.capacity <= largest)
    if not fits or present.mode != mode or present.source != source:
        raise Refused(
            grpc.StatusCode.ALREADY_EXISTS,
            f"volume {present.name} exists with {present.capacity} bytes, mode {present.mode}, source {present.source}",
        )
    return present


def _remove(folder: Path) -> None:
    pool.delete_subvolume(folder / "data")
    if folder.exists():
        shutil.rmtree(folder)
