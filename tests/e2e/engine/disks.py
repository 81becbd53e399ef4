"""Fresh disks for tests: loop devices on sparse files, file systems on them, and both gone afterwards. Needs root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def loop_device(image: Path, size: int) -> Iterator[Path]:
    """A blank block device of `size` bytes kept in `image`."""
    with image.open("wb") as stream:
        stream.truncate(size)
    device = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield Path(device)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
        image.unlink()


@contextmanager
def file_system(folder: Path, name: str, size: int) -> Iterator[Path]:
    """A mounted, empty ext4 file system."""
    mountpoint = folder / name
    mountpoint.mkdir()
    with loop_device(folder / f"{name}.img", size) as device:
        subprocess.run(["mkfs.ext4", "-q", "-N", "65536", device], check=True)
        subprocess.run(["mount", device, mountpoint], check=True)
        try:
            yield mountpoint
        finally:
            subprocess.run(["umount", mountpoint], check=True)
