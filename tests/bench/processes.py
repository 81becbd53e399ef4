"""Processes of a local cluster as the kernel counts them: when the mover started and ended, what it used, how large the controllers are."""

from __future__ import annotations

import os
import select
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cluster import cgroups

_PAUSE = 0.02
_TICK = os.sysconf("SC_CLK_TCK")
_MOVERS = (b"backup", b"restore")


@dataclass
class Mover:
    """Times are seconds since 1970; cpu in seconds; anonymous memory in bytes, the largest that was seen."""

    started: float
    ended: float = 0.0
    cpu: float = 0.0
    anonymous: int = 0


class MoverWatch:
    """Watches while entered for a mover of the cluster; `mover` is the last one that ran."""

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mover-watch")
        self._movers: list[Mover] = []

    @property
    def mover(self) -> Mover:
        if len(self._movers) != 1:
            raise RuntimeError(f"{len(self._movers)} movers ran instead of one")
        return self._movers[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE):
            for pid in running(self._cluster, _MOVERS):
                self._follow(pid)

    def _follow(self, pid: int) -> None:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        mover = Mover(started=_started(pid))
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        try:
            while not poll.poll(_PAUSE * 1000):
                _note(pid, mover)
        except (FileNotFoundError, ProcessLookupError):
            poll.poll()
        finally:
            mover.ended = time.time()
            os.close(handle)
        self._movers.append(mover)


def running(cluster: str, commands: tuple[bytes, ...]) -> list[int]:
    """Processes of `recoup COMMAND` in the cluster's pods."""
    found = []
    for pid in sorted(cgroups.members(cluster)):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:  # it ended while we looked
            continue
        if len(words) > 2 and words[1].endswith(b"/recoup") and words[2] in commands:
            found.append(pid)
    return found


def controllers_memory(cluster: str) -> list[int]:
    """Resident bytes of each replica."""
    return [_status(pid, "VmRSS") for pid in running(cluster, (b"controller",))]


def _note(pid: int, mover: Mover) -> None:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    mover.cpu = max(mover.cpu, (int(fields[11]) + int(fields[12])) / _TICK)
    if fields[0] != "Z":
        mover.anonymous = max(mover.anonymous, _status(pid, "RssAnon"))


def _started(pid: int) -> float:
    """By the kernel's clock since boot, to a hundredth of a second."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / _TICK


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0
