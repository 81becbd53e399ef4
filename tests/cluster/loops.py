"""Loop devices over files of a cluster: found by their backing file, detached when the cluster goes."""

import subprocess
import time
from pathlib import Path

from tests.cluster.trouble import Trouble

RELEASE_SECONDS = 20.0


def backed_by(folder: Path) -> list[str]:
    """The loop devices whose backing file lies in the folder, deleted files included."""
    found = []
    for listing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            backing = listing.read_text().strip()
        except OSError:  # detached meanwhile
            continue
        if backing.startswith(f"{folder}/"):
            found.append(f"/dev/{listing.parent.parent.name}")
    return sorted(found)


def detach(folder: Path) -> None:
    """Detach them all; return when they are gone. A mount that held one vanishes with its namespace a moment later."""
    deadline = time.monotonic() + RELEASE_SECONDS
    while devices := backed_by(folder):
        for device in devices:
            subprocess.run(["losetup", "--detach", device], capture_output=True, check=False)
        if time.monotonic() > deadline:
            raise Trouble(f"loop devices stay busy: {', '.join(devices)}", step="grep loop /proc/*/mountinfo")
        time.sleep(0.05)
