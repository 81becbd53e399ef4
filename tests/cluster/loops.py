"""Loop devices over files of a cluster: found by their backing file, detached when the cluster goes."""

import fcntl
import struct
import subprocess
import time
from pathlib import Path

from tests.cluster.trouble import Trouble

RELEASE_SECONDS = 20.0
LOOP_GET_STATUS64 = 0x4C05


def backed_by(folder: Path) -> list[str]:
    """The loop devices over files in the folder, deleted ones included, and those that the kubelet put on top of these."""
    found: set[str] = set()
    newest = _over_files(folder)
    while newest:
        found |= newest
        newest = _over_devices(newest) - found
    return sorted(found)


def _over_files(folder: Path) -> set[str]:
    found = set()
    for listing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            backing = listing.read_text().strip()
        except OSError:  # detached meanwhile
            continue
        if backing.startswith(f"{folder}/"):
            found.add(f"/dev/{listing.parent.parent.name}")
    return found


def _over_devices(devices: set[str]) -> set[str]:
    """The loop devices whose backing file is one of these devices: by number, for no path leads to a node once it was bound."""
    numbers = {Path(device).stat().st_rdev for device in devices}
    found = set()
    for block in Path("/sys/block").glob("loop*/loop"):
        device = f"/dev/{block.parent.name}"
        try:
            with open(device, "rb") as handle:  # noqa: PTH123 - a device
                status = fcntl.ioctl(handle, LOOP_GET_STATUS64, bytes(232))
        except OSError:  # detached meanwhile
            continue
        if struct.unpack_from("QQQ", status)[2] in numbers:
            found.add(device)
    return found


def detach(folder: Path) -> None:
    """Detach them all; return when they are gone. A mount that held one vanishes with its namespace a moment later."""
    deadline = time.monotonic() + RELEASE_SECONDS
    while devices := backed_by(folder):
        for device in devices:
            subprocess.run(["losetup", "--detach", device], capture_output=True, check=False)
        if time.monotonic() > deadline:
            raise Trouble(f"loop devices stay busy: {', '.join(devices)}", step="grep loop /proc/*/mountinfo")
        time.sleep(0.05)
