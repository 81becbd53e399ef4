"""Background processes of a node: each with a log file of its own and a recorded pid and start time; stopped by pid only.

A process is started straight into its cgroup and namespaces, so that nothing of it can escape the teardown. Knows
nothing of Kubernetes.
"""

import json
import os
import signal
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from select import select

from tests.cluster import cgroups
from tests.cluster.trouble import Trouble

STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Process:
    """One started program. `started` is in clock ticks since boot: with it a re-used pid is never taken for ours."""

    name: str
    pid: int
    started: int
    command: tuple[str, ...]
    environment: dict[str, str]
    log: str

    def is_alive(self) -> bool:
        return started_at(self.pid) == self.started

    def last_words(self, lines: int = 12) -> str:
        """The end of its log, for error messages."""
        return "\n".join(Path(self.log).read_text(errors="replace").splitlines()[-lines:])


def started_at(pid: int) -> int | None:
    """When the process started, or None if there is none (a zombie is none)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def start(
    folder: Path,
    name: str,
    command: list[str],
    *,
    prefix: tuple[str, ...],
    environment: dict[str, str] | None = None,
) -> Process:
    """Start a program; record it in `folder/processes`, log to `folder/log`.

    `prefix` enters the cluster's cgroup and namespaces, and must keep the pid (nsenter without --fork does). The environment
    is PATH, HOME and what is given: nothing of the caller's leaks in.
    """
    for sub in ("log", "processes"):
        (folder / sub).mkdir(mode=0o755, exist_ok=True)
    log = folder / "log" / f"{name}.log"
    given = environment or {}
    with log.open("ab") as output:
        child = subprocess.Popen(
            [*prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": "/root", **given},
            start_new_session=True,
        )
    started = started_at(child.pid)
    if started is None:
        raise Trouble(f"{name} ended at once", step=f"look at {log}")
    process = Process(name, child.pid, started, tuple(command), given, str(log))
    (folder / "processes" / f"{name}.json").write_text(json.dumps(asdict(process)))
    child.returncode = 0  # it outlives this program on purpose: Popen must not wait for it or warn
    return process


def joining(cluster: str) -> tuple[str, ...]:
    """The prefix of a command that is to belong to the cluster, and to end with it: joins its cgroup first."""
    joins = "".join(f"echo $$ >'{path}'; " for path in cgroups.join_lines(cluster))
    return ("/bin/sh", "-ec", f'{joins}exec "$@"', "sh")


def load(folder: Path, name: str) -> Process:
    """The recorded process of that name. Raises Trouble naming those there are."""
    try:
        raw = json.loads((folder / "processes" / f"{name}.json").read_text())
    except FileNotFoundError:
        known = ", ".join(sorted(path.stem for path in (folder / "processes").glob("*.json")))
        raise Trouble(f"no process {name!r}; there are: {known}") from None
    return Process(**{**raw, "command": tuple(raw["command"])})


def every(folder: Path) -> list[Process]:
    return [load(folder, path.stem) for path in sorted((folder / "processes").glob("*.json"))]


def stop(process: Process, *, force: bool = False) -> None:
    """End it and return when it is gone: politely first unless `force`. Idempotent."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGKILL,) if force else (signal.SIGTERM, signal.SIGKILL):
            if not process.is_alive():
                return
            signal.pidfd_send_signal(handle, number)
            if select([handle], [], [], STOP_SECONDS)[0]:
                return
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
