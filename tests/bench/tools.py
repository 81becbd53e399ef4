"""The tools that are measured, and how each is told to do the same work. All keep their repository in a directory.

Every tool encrypts, deduplicates and compresses with zstd at its default level, and keeps its own cache as it does by default.
restic reads back what it compressed, as recoup does; kopia does not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.cluster.programs import program

PASSWORD = "benchmark"


@dataclass
class Tool(ABC):
    """One tool with one repository, made new for every round."""

    home: Path
    name: ClassVar[str]
    flags: ClassVar[str]

    @property
    def repository(self) -> Path:
        return self.home / "repository"

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]: ...

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def init(self) -> None: ...

    @abstractmethod
    def backup(self, source: Path) -> list[str]: ...

    @abstractmethod
    def restore(self, source: Path, target: Path) -> list[str]: ...

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env={"PATH": "/usr/bin:/bin", **self.environment}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout


class Recoup(Tool):
    name = "recoup"
    flags = "defaults (zstd 3, what was compressed is decompressed and compared)"

    @property
    def _program(self) -> str:
        return str(Path(sys.executable).with_name("recoup"))

    @property
    def _place(self) -> list[str]:
        return ["--location", f"file://{self.repository}", "--key-file", str(self.home / "key")]

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home)}

    def version(self) -> str:
        return self.run(self._program, "--version").split()[-1]

    def init(self) -> None:
        self.run(self._program, "keygen", str(self.home / "key"))
        self.run(self._program, "init", *self._place)

    def backup(self, source: Path) -> list[str]:
        return [self._program, "backup", *self._place, "--source", str(source)]

    def restore(self, source: Path, target: Path) -> list[str]:
        points = json.loads(self.run(self._program, "snapshots", *self._place, "-o", "json"))
        newest = [point["id"] for point in points if point["source"].get("path") == str(source)][-1]
        return [self._program, "restore", *self._place, "--snapshot", newest, "--target", str(target)]


class Restic(Tool):
    name = "restic"
    flags = "defaults (zstd auto, extra verification)"

    @property
    def _program(self) -> str:
        return str(program("restic"))

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_REPOSITORY": str(self.repository),
            "RESTIC_CACHE_DIR": str(self.home / "cache"),
        }

    def version(self) -> str:
        return self.run(self._program, "version").split()[1]

    def init(self) -> None:
        self.run(self._program, "init")

    def backup(self, source: Path) -> list[str]:
        return [self._program, "backup", "--quiet", str(source)]

    def restore(self, source: Path, target: Path) -> list[str]:
        return [self._program, "restore", "--quiet", f"latest:{source}", "--target", str(target)]


class Kopia(Tool):
    name = "kopia"
    flags = "policy compression=zstd, else defaults"

    @property
    def _program(self) -> str:
        return str(program("kopia"))

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "KOPIA_PASSWORD": PASSWORD,
            "KOPIA_CONFIG_PATH": str(self.home / "config"),
            "KOPIA_CACHE_DIRECTORY": str(self.home / "cache"),
            "KOPIA_LOG_DIR": str(self.home / "log"),
            "KOPIA_CHECK_FOR_UPDATES": "false",
        }

    def version(self) -> str:
        folder = Path(self._program).parents[1]
        return KOPIA_VERSION if folder.exists() else "unknown"

    def init(self) -> None:
        self.repository.mkdir(parents=True)
        self.run(self._program, "repository", "create", "filesystem", "--path", str(self.repository))
        self.run(self._program, "policy", "set", "--global", "--compression=zstd")

    def backup(self, source: Path) -> list[str]:
        return [self._program, "snapshot", "create", "--no-progress", str(source)]

    def restore(self, source: Path, target: Path) -> list[str]:
        listed = json.loads(self.run(self._program, "snapshot", "list", "--json", str(source)))
        return [self._program, "snapshot", "restore", "--no-progress", listed[-1]["id"], str(target)]


KOPIA_VERSION = "0.23.1"
"""As pinned in tests/cluster/programs/kopia/go.mod; a program built from the module does not know its own."""
TOOLS: dict[str, type[Tool]] = {tool.name: tool for tool in (Recoup, Restic, Kopia)}
