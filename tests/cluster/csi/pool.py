"""The disk under all volumes: a btrfs on a sparse image, with subvolumes, snapshots and size limits. No CSI here.

Sizes are enforced by quota groups: a write beyond a volume's size fails with EDQUOT. Loop devices over files in the pool
are recognised by path after their mount namespace is gone (see `root`).
"""

import os
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.csi.commands import run

IMAGE_BYTES = 60 << 30
MOUNT_OPTIONS = "loop,nobarrier,nodatasum"
"""No flushes to the machine's disk and no checksums: nothing here needs to survive the machine."""


@dataclass(frozen=True)
class Pool:
    """One image file, mounted at `folder/pool` in this process's mount namespace."""

    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "pool.img"

    @property
    def mount_point(self) -> Path:
        return self.folder / "pool"

    @property
    def root(self) -> Path:
        """Where volumes are kept: the mount point's own path, repeated inside the filesystem.

        The kernel names a loop device's file by its path. When the namespace of the mount is gone only the path inside
        the filesystem is left of it, and thus it still begins with the folder of the cluster that must clean it up.
        """
        return self.mount_point / str(self.mount_point).lstrip("/")

    def open(self) -> None:
        """Make the image if there is none, mount it if it isn't. Idempotent."""
        self.mount_point.mkdir(parents=True, exist_ok=True)
        if not self.image.exists():
            aside = self.image.with_suffix(".new")
            with aside.open("wb") as image:
                image.truncate(IMAGE_BYTES)
            run("mkfs.btrfs", "--quiet", "--metadata", "single", "--data", "single", aside)
            aside.rename(self.image)
        if not self.mount_point.is_mount():
            run("mount", "-t", "btrfs", "-o", MOUNT_OPTIONS, self.image, self.mount_point)
            run("btrfs", "quota", "enable", self.mount_point)
        self.root.mkdir(parents=True, exist_ok=True)

    def free_bytes(self) -> int:
        status = os.statvfs(self.mount_point)
        return status.f_bavail * status.f_frsize


def create_subvolume(path: Path) -> None:
    run("btrfs", "--quiet", "subvolume", "create", path)


def clone_subvolume(source: Path, path: Path, *, read_only: bool) -> None:
    """Make `path` what `source` is now; takes no space of its own.

    All that was written before is in it, synced or not. Of what is written meanwhile, synced writes keep their order; as
    after a crash, others need not.
    """
    run("btrfs", "--quiet", "subvolume", "snapshot", *(["-r"] if read_only else []), source, path)


def delete_subvolume(path: Path) -> None:
    """Remove a subvolume if it is there."""
    if path.exists():
        run("btrfs", "--quiet", "subvolume", "delete", path)


def limit(subvolume: Path, size: int) -> None:
    """Allow the subvolume to refer to at most so many bytes, metadata included."""
    run("btrfs", "qgroup", "limit", str(size), subvolume)


def used_bytes(subvolume: Path) -> int:
    """What the subvolume refers to, in bytes, metadata included. Commits first: quota groups count what is committed."""
    run("btrfs", "filesystem", "sync", subvolume)
    last = run("btrfs", "qgroup", "show", "--raw", "-f", subvolume).strip().splitlines()[-1]
    return int(last.split()[1])
