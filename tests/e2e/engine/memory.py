"""What a process has in memory when its work is done, taken from outside while it is stopped (ptrace; nothing in the product helps)."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_SEIZE, _INTERRUPT, _CONT = 0x4206, 0x4207, 7
_TRACE_EXIT, _EVENT_EXIT = 0x40, 6
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


@dataclass
class Dump:
    """Everything that could be taken from a process."""

    environment: bytes = b""
    arguments: bytes = b""
    memory: list[bytes] = field(default_factory=list)
    """Every mapping that the process could write, once when its work was done, if that was seen in time, and once as it exited."""
    exit_code: int = -1
    output: str = ""

    @property
    def everything(self) -> list[bytes]:
        return [self.environment, self.arguments, *self.memory]


def run_and_dump(arguments: Sequence[str], done: Callable[[], bool], log: Path, deadline: float = 120) -> Dump:
    """Run a program; dump it when `done` becomes true, and again at its exit. Its output goes to the file `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    pid = process.pid
    dump = Dump()
    try:
        _ptrace(_SEIZE, pid, _TRACE_EXIT)
        _wait(lambda: done() or _exiting(pid), deadline)
        _ptrace(_INTERRUPT, pid)
        exiting = _wait_stopped(pid)
        dump.environment = Path(f"/proc/{pid}/environ").read_bytes()
        dump.arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        dump.memory += writable_memory(pid)
        if not exiting:
            _run_to_exit(pid)
            dump.memory += writable_memory(pid)
        _ptrace(_CONT, pid)
        _, status = os.waitpid(pid, 0)
        dump.exit_code = process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    dump.output = log.read_text()
    return dump


def _run_to_exit(pid: int) -> None:
    """Let it run until it is about to die with its memory still there."""
    while True:
        _ptrace(_CONT, pid)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            raise RuntimeError(f"the process ended with status {status} before it could be read")
        if status >> 16 == _EVENT_EXIT:
            return


def _wait_stopped(pid: int) -> bool:
    """Whether it was about to die already: on a busy machine that may be seen first."""
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        raise RuntimeError("the process ended before its work was seen to be done")
    return status >> 16 == _EVENT_EXIT


def _exiting(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X", "t"}


def _wait(condition: Callable[[], bool], deadline: float) -> None:
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the process did not get to the end of its work")
        time.sleep(0.0005)


def writable_memory(pid: int) -> list[bytes]:
    """Mappings that are writable: heap, stacks, buffers. What is read-only is the content of program files."""
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, mode = line.split()[:2]
            start, end = (int(number, 16) for number in span.split("-"))
            if "rw" not in mode:
                continue
            try:
                memory.seek(start)
                parts.append(memory.read(end - start))
            except (OSError, ValueError):  # device mappings and the like cannot be read by anybody
                continue
    return parts


def _ptrace(request: int, pid: int, data: int = 0) -> None:
    if _libc.ptrace(request, pid, None, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")
