"""One node: its namespaces, and a way to run programs in them. What runs there is in control_plane.py, worker.py, addons.py.

A holder process owns a network and a mount namespace; when the cluster's processes are gone, so are the namespaces,
their mounts and the wire. Inside, `/run` and `/var/log` are the node's own, and mounts propagate as CSI needs it.
"""

import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import cgroups, network, processes
from tests.cluster.credentials import kubeconfig_path
from tests.cluster.record import Record
from tests.cluster.trouble import Trouble

KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What a kubelet insists on and would set machine-wide. Inside the node these files are covered by others that say so."""


@dataclass(frozen=True)
class Node:
    """The node of a cluster, made or being made."""

    record: Record

    @property
    def cluster(self) -> str:
        return self.record.name

    @property
    def name(self) -> str:
        """The Kubernetes node's name, as kind names it."""
        return f"{self.record.name}-control-plane"

    @property
    def folder(self) -> Path:
        """Everything of this cluster on disk; the same path inside and outside the node's mount namespace."""
        return self.record.folder

    @property
    def addresses(self) -> network.Addresses:
        return self.record.addresses

    @property
    def kubelet_folder(self) -> Path:
        """The kubelet's root: `plugins/`, `plugins_registry/`, `pods/` are in it."""
        return self.folder / "kubelet"

    def kubeconfig(self, user: str = "kubernetes-admin") -> Path:
        return kubeconfig_path(self.folder, user)

    def prefix(self) -> tuple[str, ...]:
        """The command that enters the node's cgroup and namespaces; keeps the pid, changes the working directory to `/`."""
        holder = processes.load(self.folder, "holder")
        if not holder.is_alive():
            raise Trouble(
                f"cluster {self.cluster} is broken: its holder process is gone", step=f"kind delete cluster --name {self.cluster}"
            )
        return (*processes.joining(self.cluster), "nsenter", "--target", str(holder.pid), "--mount", "--net", "--")

    def start(self, name: str, command: list[str], environment: dict[str, str] | None = None) -> processes.Process:
        """Start a background program on the node. Log: `folder/log/NAME.log`."""
        return processes.start(self.folder, name, command, prefix=self.prefix(), environment=environment)

    def restart(self, name: str) -> processes.Process:
        """Start a recorded program again, as it was."""
        old = processes.load(self.folder, name)
        processes.stop(old)
        return self.start(name, list(old.command), old.environment)

    def stop(self, name: str, *, force: bool = False) -> None:
        """Stop one of the node's programs, by force as a crash would."""
        processes.stop(processes.load(self.folder, name), force=force)

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program on the node to its end; raise Trouble with its output if it fails."""
        done = subprocess.run([*self.prefix(), *command], text=True, capture_output=True, check=False, **options)
        if done.returncode:
            raise Trouble(f"{shlex.join(command)} failed on {self.name}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def wait(self, what: str, condition: Callable[[], bool], *, seconds: float = 60, watch: tuple[str, ...] = ()) -> None:
        """Wait for a condition; fail early, with its last words, when one of the `watch`ed programs dies."""
        deadline = time.monotonic() + seconds
        while not condition():
            for name in watch:
                process = processes.load(self.folder, name)
                if not process.is_alive():
                    raise Trouble(f"{name} ended while waiting for {what}:\n{process.last_words()}", step=f"the whole log: {process.log}")
            if time.monotonic() > deadline:
                words = "\n".join(f"--- {name}\n{processes.load(self.folder, name).last_words()}" for name in watch)
                raise Trouble(f"{what} did not come about within {seconds:.0f} s\n{words}", step=f"look into {self.folder / 'log'}")
            time.sleep(0.1)

    def make_namespaces(self) -> None:
        """Start the holder and wire it to the host."""
        cgroups.create(self.cluster)
        script = self.folder / "holder.sh"
        script.write_text(self._holder_script())
        processes.start(
            self.folder,
            "holder",
            ["unshare", "--mount", "--net", "--propagation", "private", "--", "/bin/sh", "-e", str(script)],
            prefix=processes.joining(self.cluster),
        )
        self.wait("the node's namespaces", (self.folder / "holder.ready").exists, seconds=10, watch=("holder",))
        network.connect(self.addresses, processes.load(self.folder, "holder").pid)

    def _holder_script(self) -> str:
        """Runs once inside the new namespaces, then becomes the holder."""
        settings = self.folder / "kernel-settings"
        for path, value in KERNEL_SETTINGS.items():
            (settings / path).parent.mkdir(parents=True, exist_ok=True)
            (settings / path).write_text(f"{value}\n")
        (self.folder / "var-log").mkdir()
        covers = [f"[ ! -e /proc/sys/{path} ] || mount --bind {settings}/{path} /proc/sys/{path}" for path in KERNEL_SETTINGS]
        lines = [
            "mount --make-rshared /",
            "mount -t tmpfs -o mode=755 tmpfs /run",
            "mkdir -p /run/lock /run/netns",
            f"mount --bind {self.folder}/var-log /var/log",
            *covers,
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
            f"touch {self.folder}/holder.ready",
            "exec sleep infinity",
        ]
        return "\n".join(lines) + "\n"
