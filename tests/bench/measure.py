"""One command, measured by the kernel: wall time, processor time and peak memory of the process, start-up included."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What one run took. Bytes are bytes, times are seconds."""

    wall: float
    cpu: float
    peak: int
    stored: int = 0
    """Bytes by which the repository grew."""
    objects: int = 0
    """Files by which the repository grew: each is one request to create an object elsewhere."""


class CommandFailed(Exception):
    """A tool under measurement did not do its work; its figures would mean nothing."""


def measure(command: list[str], environment: dict[str, str], repository: Path) -> Cost:
    """Run `command` to its end. Raises CommandFailed with the end of its output."""
    os.sync()
    before = tree_size(repository)
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen(
            command, env={**_plain_environment(), **environment}, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise CommandFailed(f"{' '.join(command)}: exit code {process.returncode}\n{output.read()[-2000:].decode(errors='replace')}")
    after = tree_size(repository)
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, after[0] - before[0], after[1] - before[1])


def tree_size(root: Path) -> tuple[int, int]:
    """(bytes, files) of a repository."""
    files = [path.stat().st_size for path in root.rglob("*") if path.is_file()] if root.exists() else []
    return sum(files), len(files)


def _plain_environment() -> dict[str, str]:
    """Nothing of the caller's that could configure a tool."""
    return {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
