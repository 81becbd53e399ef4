"""Loop devices over the files of block volumes. Devices are made as needed; their number is the kernel's only limit."""

import fcntl
import os
import stat
from pathlib import Path

from tests.cluster.csi.commands import CommandFailed, run

LOOP_CTL_GET_FREE = 0x4C82
TRIES = 20


def attach(file: Path, *, read_only: bool) -> Path:
    """Return a device over the file: one that is there already, or a new one."""
    for device in attached(file):
        if is_read_only(device) == read_only:
            return device
    for _ in range(TRIES):
        device = _free_device()
        try:
            run("losetup", *(["--read-only"] if read_only else []), device, file)
        except CommandFailed as error:
            if "busy" not in str(error):
                raise
        else:
            return device
    raise CommandFailed(f"no loop device for {file}: others took each of {TRIES} that were free")


def attached(file: Path) -> list[Path]:
    """The devices over this file."""
    return [Path(line.split(":", 1)[0]) for line in run("losetup", "--associated", file).splitlines()]


def is_read_only(device: Path) -> bool:
    return Path("/sys/block", device.name, "ro").read_text().strip() == "1"


def of_node(path: Path) -> Path | None:
    """The loop device that a device node stands for; None for any other file."""
    status = path.stat()
    if not stat.S_ISBLK(status.st_mode):
        return None
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return Path("/dev", Path("/sys/dev/block", number).resolve().name)


def detach(device: Path) -> None:
    """Detach it, or have the kernel do so once its last user is gone. Idempotent."""
    if Path("/sys/block", device.name, "loop").exists():
        run("losetup", "--detach", device)


def resize(device: Path) -> None:
    """Let the device have its file's present size."""
    run("losetup", "--set-capacity", device)


def flush(device: Path) -> None:
    """Write what programs have written to the device into its file."""
    handle = os.open(device, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _free_device() -> Path:
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        device = Path(f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}")
    finally:
        os.close(control)
    if not device.exists():  # /dev is no devtmpfs: nobody makes nodes for us
        major, minor = Path("/sys/block", device.name, "dev").read_text().strip().split(":")
        os.mknod(device, stat.S_IFBLK | 0o600, os.makedev(int(major), int(minor)))
    return device
