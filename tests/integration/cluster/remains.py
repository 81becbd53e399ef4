"""What is left of a cluster on this machine, looked for where the kernel keeps it and not where our own records say."""

import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import loops, record
from tests.cluster.node import Node
from tests.cluster.processes import started_at

SYSTEM_PATHS = (
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/etc/cni",
    "/opt/cni",
    "/var/log/pods",
    "/var/log/containers",
    "/run/containerd",
    "/run/runc",
)
"""Where programs of a node would leave things if their namespaces leaked."""
KERNEL_SETTINGS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/conf/default/forwarding")


@dataclass(frozen=True)
class Traces:
    """A running cluster's traces, taken down before it goes."""

    folder: Path
    cgroup: str
    link: str
    networks: tuple[str, ...]
    namespaces: frozenset[str]
    """As in `/proc/PID/ns`: `mnt:[4026532298]`. Containers' own included."""
    processes: frozenset[int]
    devices: frozenset[loops.Loop]

    def remains(self) -> dict[str, list[str]]:
        """What of it is still there, by kind; empty when nothing is.

        The kernel gives numbers of dead clusters to new ones at once. So what belongs to living clusters of other runs is not
        counted, and they are asked for last: whatever was seen of them before has a record by then.
        """
        pids = [
            pid for pid in _pids() if pid in self.processes or str(self.folder) in _command(pid) or self.namespaces & _namespaces([pid])
        ]
        mounts = [line for pid in _pids() for line in _read(Path(f"/proc/{pid}/mountinfo")).splitlines() if f"{self.folder}/" in line]
        namespaces = {pid: self.namespaces & _namespaces([pid]) for pid in pids}
        devices = [str(loop) for loop in loops.attached() if loop in self.devices or f"{self.folder}/" in loop.backing]
        cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{self.cgroup}")]
        links = {link["ifname"] for link in json.loads(_run("ip", "-j", "link"))} & {self.link}
        routes = {route["dst"] for route in json.loads(_run("ip", "-j", "route"))} & set(self.networks)
        files = [str(self.folder)] if self.folder.exists() else []

        others = [traces_of(Node(other)) for name in record.every_name() if name != self.folder.name and (other := record.load(name))]
        left = set(pids).difference(*(other.processes for other in others))
        found = {
            "processes": [f"{pid} {_command(pid)}" for pid in left],
            "namespaces": sorted(set().union(*(namespaces[pid] for pid in left))),
            "mounts": mounts,
            "loop devices": devices,
            "cgroups": cgroups,
            "links": sorted(links.difference(other.link for other in others)),
            "routes": sorted(routes.difference(*(other.networks for other in others))),
            "files": files,
        }
        return {kind: things for kind, things in found.items() if things}


def traces_of(node: Node) -> Traces:
    inside = frozenset(pid for pid in _pids() if f"/recoup-{node.cluster}/" in _read(Path(f"/proc/{pid}/cgroup")))
    networks = (node.addresses.pods, node.addresses.services, f"10.99.{node.addresses.number}.0/24")
    namespaces = frozenset(_namespaces(inside) - _namespaces([os.getpid()]))
    return Traces(
        node.folder, f"recoup-{node.cluster}", node.addresses.link, networks, namespaces, inside, frozenset(loops.backed_by(node.folder))
    )


def machine_state() -> dict[str, str]:
    """What of the machine itself a cluster must not change."""
    paths = {
        path: ",".join(sorted(entry.name for entry in Path(path).iterdir())) if Path(path).is_dir() else "absent" for path in SYSTEM_PATHS
    }
    return paths | {name: _read(Path("/proc/sys", name)).strip() for name in KERNEL_SETTINGS}


def _pids() -> list[int]:
    """Every process but the dead whose parent has not asked for them yet: they hold nothing."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and started_at(int(entry.name)) is not None]


def _namespaces(pids: Iterable[int]) -> set[str]:
    found = set()
    for pid in pids:
        for kind in ("mnt", "net", "pid", "ipc", "uts"):
            try:
                found.add(str(Path(f"/proc/{pid}/ns/{kind}").readlink()))
            except OSError:  # it ended meanwhile, or is a kernel thread
                continue
    return found


def _command(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/cmdline")).replace("\0", " ")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
