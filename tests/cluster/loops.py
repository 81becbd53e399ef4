"""Loop devices over files of a cluster: found by their backing file, detached when the cluster goes.

The kubelet puts a loop device of its own over each block volume's device node, to hold it. Once the namespaces are gone
the kernel names its backing file `/`, so such devices are recognised by the inode of the node below them.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.trouble import Trouble

RELEASE_SECONDS = 20.0


@dataclass(frozen=True)
class Loop:
    """One attached loop device and what it stands on; equal only while it stands on the same."""

    device: str
    backing: str
    inode: int
    filesystem: str
    """The backing file's device number, `major:minor`."""


def attached() -> list[Loop]:
    command = ["losetup", "--list", "--json", "--output", "NAME,BACK-FILE,BACK-INO,BACK-MAJ:MIN"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = json.loads(listed)["loopdevices"] if listed.strip() else []
    return [Loop(row["name"], row["back-file"] or "", row["back-ino"], row["back-maj:min"].strip()) for row in rows]


def backed_by(folder: Path) -> set[Loop]:
    """The loop devices over files in the folder, deleted files included, and those over the nodes of such devices."""
    every = attached()
    found = {loop for loop in every if loop.backing.startswith(f"{folder}/")}
    while more := {loop for loop in every if (loop.filesystem, loop.inode) in _nodes(found)} - found:
        found |= more
    return found


def detach(folder: Path, seen_before: Iterable[Loop] = ()) -> None:
    """Detach the folder's devices and those `seen_before` that are still the same; return when they are gone.

    A mount that held one vanishes with its namespace a moment later.
    """
    deadline = time.monotonic() + RELEASE_SECONDS
    expected = set(seen_before)
    while remaining := backed_by(folder) | {loop for loop in attached() if loop in expected}:
        expected |= remaining
        for loop in remaining:
            subprocess.run(["losetup", "--detach", loop.device], capture_output=True, check=False)
        if time.monotonic() > deadline:
            busy = ", ".join(sorted(loop.device for loop in remaining))
            raise Trouble(f"loop devices stay busy: {busy}", step="grep loop /proc/*/mountinfo")
        time.sleep(0.05)


def _nodes(loops: Iterable[Loop]) -> set[tuple[str, int]]:
    """(filesystem, inode) of the devices' nodes in /dev."""
    found = set()
    for loop in loops:
        status = Path(loop.device).stat()
        found.add((f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}", status.st_ino))
    return found
