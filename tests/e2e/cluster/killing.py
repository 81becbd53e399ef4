"""kill -9 of Recoup's own processes in a cluster's pods, at a moment that is named and known to have been met.

A process is stopped first and killed when the kernel says that it stands still: so it had not ended by itself. Movers are found by the
address that a request at the fault proxy came from, controllers by the pod that a write at the API server came from.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from tests.cluster import cgroups
from tests.cluster.node import Node
from tests.cluster.s3.exchange import Exchange

PATIENCE = 60.0
_PAUSE = 0.001


class Moment(Enum):
    """When, seen from the request that a rule of the proxy took."""

    BEFORE = "it was not done"
    AFTER = "it was done, and the answer was lost"
    LATER = "it was answered; then at the condition"


@dataclass
class MoverKill:
    """A fault of the proxy: the first mover that makes such a request is killed, once. Other clients' requests pass.

    `until` is asked with the process id, a thousand times a second, from the request on; BEFORE and AFTER hold the request meanwhile.
    """

    cluster: str
    command: str
    moment: Moment
    until: Callable[[int], bool] | None = None
    killed: int = 0
    _claimed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def apply(self, exchange: Exchange) -> None:
        pid = self._claim(exchange.client_address)
        if pid is None:
            exchange.relay(exchange.forward())
        elif self.moment is Moment.LATER:
            threading.Thread(target=self._kill, args=(pid,), name="kill", daemon=True).start()
            exchange.relay(exchange.forward())
        else:
            if self.moment is Moment.AFTER:
                exchange.swallow(exchange.forward())
            self._kill(pid)
            exchange.reset()

    def _claim(self, address: str) -> int | None:
        with self._lock:
            if self._claimed:
                return None
            pid = process_at(self.cluster, address, self.command)
            self._claimed = pid is not None
            return pid

    def _kill(self, pid: int) -> None:
        deadline = time.monotonic() + PATIENCE
        try:
            while self.until is not None and not self.until(pid) and time.monotonic() < deadline:
                time.sleep(_PAUSE)
            done = kill(pid)
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            done = False
        with self._lock:
            self.killed += done
            self._claimed = done  # if it had ended already the next mover will do


def running(cluster: str, *commands: str) -> list[int]:
    """Processes of `recoup COMMAND` in the cluster's pods."""
    found = []
    for pid in sorted(cgroups.members(cluster)):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        except OSError:  # it ended while we looked
            continue
        if len(words) > 2 and words[1].endswith("/recoup") and words[2] in commands:
            found.append(pid)
    return found


def process_at(cluster: str, address: str, command: str) -> int | None:
    """The process of `recoup COMMAND` whose pod has this address."""
    own = re.compile(rf"\s{re.escape(address)}\n\s+/32 host LOCAL")
    for pid in running(cluster, command):
        try:
            if own.search(Path(f"/proc/{pid}/net/fib_trie").read_text()):
                return pid
        except OSError:
            continue
    return None


def process_in(cluster: str, pod: str, command: str) -> int | None:
    """The process of `recoup COMMAND` in the pod with this uid."""
    for pid in running(cluster, command):
        try:
            if f"/pod{pod}" in Path(f"/proc/{pid}/cgroup").read_text():
                return pid
        except OSError:
            continue
    return None


def stop(pid: int) -> bool:
    """SIGSTOP; True once it stands still, False if it has ended."""
    os.kill(pid, signal.SIGSTOP)
    while (state := state_of(pid)) not in "TZX":
        time.sleep(_PAUSE)
    return state == "T"


def kill(pid: int) -> bool:
    """SIGKILL to a process that lives; False if it had ended by itself. Raises ProcessLookupError if there is none."""
    handle = os.pidfd_open(pid)
    try:
        if not stop(pid):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return True
    finally:
        os.close(handle)


def state_of(pid: int) -> str:
    """The kernel's letter: T is stopped, Z and X have ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def report_written(pid: int) -> bool:
    """The mover has left its report: all that is left to do is to end."""
    return Path(f"/proc/{pid}/root/dev/termination-log").stat().st_size > 0


def in_phase(node: Node, phase: str) -> Callable[[int], bool]:
    """Whether the mover's log says that it is in this phase."""
    words = f'"phase":"{phase}"'.encode()

    def told(pid: int) -> bool:
        pod = re.search(r"/pod([0-9a-f-]{36})", Path(f"/proc/{pid}/cgroup").read_text())
        logs = (node.folder / "var-log" / "pods").glob(f"*_{pod[1]}/mover/*.log") if pod else ()
        return any(words in log.read_bytes().replace(b'\\"', b'"') for log in logs)

    return told


def files_written(pid: int) -> bool:
    """Some files stand in the target."""
    return sum(len(files) for _, _, files in os.walk(f"/proc/{pid}/root/target")) > 10
