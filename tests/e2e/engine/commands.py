"""The command line as a user runs it: a process of its own, stdout, stderr, exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Recoup:
    """One location and one key file."""

    location: str
    key: Path
    options: tuple[str, ...] = ()

    @classmethod
    def make(cls, folder: Path, location: str | None = None, *options: str) -> Recoup:
        """A new key file, location and vault."""
        made = cls(location or f"file://{folder}/location", folder / "backup.key", options)
        run("keygen", str(made.key))
        made("init")
        return made

    def process(self, command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        common = ("--location", self.location, *self.options, "--key-file", str(self.key))
        return process(command, *common, *map(str, arguments))

    def __call__(self, command: str, *arguments: str | Path) -> str:
        """Run a command that must succeed; its stdout."""
        return _checked(self.process(command, *arguments))

    def json(self, command: str, *arguments: str | Path) -> Any:
        return json.loads(self(command, "-o", "json", *arguments))


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "recoup.cli.main", *arguments], check=False, capture_output=True, text=True, errors="replace"
    )


def run(*arguments: str) -> str:
    return _checked(process(*arguments))


def _checked(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, f"{done.args}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def last_error(done: subprocess.CompletedProcess[str]) -> str:
    """The line that says what went wrong."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]
