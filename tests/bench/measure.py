"""One command, measured by the kernel: wall time, processor time and peak memory of the process, start-up included."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_LAUNCHER = """
import os, sys, time
started = time.monotonic()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
wall = time.monotonic() - started
with open(sys.argv[1], "w") as file:
    print(os.waitstatus_to_exitcode(status), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, file=file)
"""
"""A small process in between: the kernel counts what the parent had in memory as a peak of the child."""


@dataclass(frozen=True)
class Cost:
    """What one run took. Bytes are bytes, times are seconds."""

    wall: float
    cpu: float
    peak: int
    stored: int = 0
    """Bytes by which the repository grew."""
    objects: int = 0
    """Files or objects by which the repository grew."""
    requests: int | None = None
    """Requests to the store, if they were counted."""


class CommandFailed(Exception):
    """A tool under measurement did not do its work; its figures would mean nothing."""


def measure(command: list[str], environment: dict[str, str]) -> Cost:
    """Run `command` to its end; what it did to the repository is not in the answer. Raises CommandFailed with the end of its output."""
    os.sync()
    with tempfile.TemporaryDirectory() as folder:
        output, figures = Path(folder, "output"), Path(folder, "figures")
        with output.open("wb") as stream:
            launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(figures), *command]
            environment_ = {**_plain_environment(), **environment}
            subprocess.run(launcher, env=environment_, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, check=False)
        status, wall, cpu, peak = figures.read_text().split()
        if int(status):
            raise CommandFailed(f"{' '.join(command)}: exit code {status}\n{output.read_bytes()[-2000:].decode(errors='replace')}")
    return Cost(float(wall), float(cpu), int(peak) * 1024)


def tree_size(root: Path) -> tuple[int, int]:
    """(bytes, files) of a directory; links are not followed."""
    size = files = 0
    for folder, _, names in os.walk(root):
        files += len(names)
        size += sum(Path(folder, name).lstat().st_size for name in names)
    return size, files


def _plain_environment() -> dict[str, str]:
    """Nothing of the caller's that could configure a tool."""
    return {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
