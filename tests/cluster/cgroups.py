"""One cgroup tree per cluster: `recoup-NAME/system` for the node's own processes, `recoup-NAME/pods` for the kubelet.

The tree is how every process of a cluster is found again, whoever started it and however its creator died. Works on the
v1 hierarchies, on v2, and on both beside each other; what is there is detected, never assumed.
"""

import os
import signal
import time
from pathlib import Path

from tests.cluster.trouble import Trouble

STOP_SECONDS = 20.0
CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")
"""What a kubelet uses on v2."""


def hierarchies() -> dict[Path, int]:
    """Every mounted hierarchy and its version: several of v1, one of v2, or both beside each other (hybrid)."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    found = {Path(fields[1]): 1 if fields[2] == "cgroup" else 2 for fields in mounts if fields[2] in {"cgroup", "cgroup2"}}
    if not found:
        raise Trouble("no cgroups are mounted", step="mount -t cgroup2 none /sys/fs/cgroup")
    return found


def top(cluster: str) -> str:
    return f"recoup-{cluster}"


def pods(cluster: str) -> str:
    """The kubelet's `cgroupRoot`."""
    return f"/{top(cluster)}/pods"


def create(cluster: str) -> None:
    """Make the tree in every hierarchy. Idempotent."""
    try:
        for mount, version in hierarchies().items():
            for folder in (mount / top(cluster), mount / top(cluster) / "system", mount / top(cluster) / "pods"):
                folder.mkdir(exist_ok=True)
                if version == 1:
                    _copy_masks(folder)
            if version == 2:
                for parent in (mount, mount / top(cluster)):
                    _enable_controllers(parent)
    except OSError as error:
        raise Trouble(f"cannot make cgroups: {error}", step="run as root, with cgroups mounted writable") from error


def join_lines(cluster: str) -> list[Path]:
    """The files into which a process writes its pid to become one of the node's own."""
    return [mount / top(cluster) / "system" / "cgroup.procs" for mount in hierarchies()]


def members(cluster: str) -> set[int]:
    """Every process of the cluster: the node's own and all of its pods'."""
    found: set[int] = set()
    for mount in hierarchies():
        for folder, _, _ in os.walk(mount / top(cluster)):  # which passes over folders that go away meanwhile
            try:
                found.update(int(pid) for pid in Path(folder, "cgroup.procs").read_text().split())
            except OSError:  # the cgroup went away while we looked
                continue
    return found


def names() -> list[str]:
    """The clusters that have a tree, whether or not anything else of them is left."""
    found = {
        folder.name.removeprefix("recoup-") for mount in hierarchies() for folder in mount.glob("recoup-*") if (folder / "system").is_dir()
    }
    return sorted(found)


def kill(cluster: str) -> None:
    """End every process of the cluster, at once and by force; return when none is left.

    Raises Trouble when some survive STOP_SECONDS (a process stuck in the kernel).
    """
    deadline = time.monotonic() + STOP_SECONDS
    while alive := members(cluster):
        for pid in alive:
            _kill_member(cluster, pid)
        if time.monotonic() > deadline:
            raise Trouble(f"processes of cluster {cluster} do not end: {sorted(alive)}", step=f"look at /proc/{min(alive)}/stack")
        time.sleep(0.02)


def remove(cluster: str) -> None:
    """Remove the emptied tree from every hierarchy. Idempotent."""
    deadline = time.monotonic() + STOP_SECONDS
    for mount in hierarchies():
        folder = mount / top(cluster)
        while folder.exists():
            try:
                for path, _, _ in os.walk(folder, topdown=False):
                    Path(path).rmdir()
            except OSError as error:  # busy for a moment after its last process ended
                if time.monotonic() > deadline:
                    raise Trouble(f"cannot remove cgroup {folder}: {error}") from error
                time.sleep(0.05)


def _copy_masks(folder: Path) -> None:
    """On v1 a new cpuset is empty, and nothing can run in it until it has processors and memory."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        mask = folder / name
        if mask.exists() and not mask.read_text().strip():
            mask.write_text((folder.parent / name).read_text())


def _enable_controllers(parent: Path) -> None:
    """On v2 children have only the controllers their parent enables. Beside v1 hierarchies there are none to enable."""
    for name in (parent / "cgroup.controllers").read_text().split():
        if name in CONTROLLERS:
            (parent / "cgroup.subtree_control").write_text(f"+{name}")


def _kill_member(cluster: str, pid: int) -> None:
    """Kill one process, sure that the number still means the member we saw."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if f"/{top(cluster)}/" in Path(f"/proc/{pid}/cgroup").read_text():
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        return
    finally:
        os.close(handle)
