"""The tools that are measured, and how each is told to do the same work, with a repository in a directory or a bucket.

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

from tests.bench.places import BucketPlace, DirectoryPlace, Place
from tests.cluster.programs import program

PASSWORD = "benchmark"


@dataclass
class Tool(ABC):
    """One tool with one repository, made new for every round."""

    home: Path
    place: Place
    name: ClassVar[str]
    flags: ClassVar[str]

    @property
    def environment(self) -> dict[str, str]:
        """All that the tool finds in its environment: nothing of the caller's."""
        keys = self.place.bucket.server.credentials if isinstance(self.place, BucketPlace) else None
        s3 = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key} if keys else {}
        return {"HOME": str(self.home), **s3, **self.settings}

    @property
    def settings(self) -> dict[str, str]:
        """What this tool in particular wants to be told by its environment."""
        return {}

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def init(self) -> None: ...

    @abstractmethod
    def backup(self, source: Path) -> list[str]: ...

    @abstractmethod
    def restore(self, source: Path, target: Path) -> list[str]: ...

    @abstractmethod
    def restore_file(self, source: Path, file: Path, target: Path) -> list[str]:
        """Restore one `file`, given relative to the source, to somewhere below `target`."""

    @abstractmethod
    def verify(self) -> list[str]:
        """Read everything and check it."""

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
        key = ["--key-file", str(self.home / "key")]
        match self.place:
            case BucketPlace(bucket=bucket, endpoint=endpoint):
                return ["--location", bucket.url("recoup"), "--endpoint-url", endpoint, *key]
            case DirectoryPlace(path=path):
                return ["--location", f"file://{path}", *key]
        raise TypeError(self.place)

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

    def restore_file(self, source: Path, file: Path, target: Path) -> list[str]:
        return [*self.restore(source, target), "--include", f"/{file}"]

    def verify(self) -> list[str]:
        return [self._program, "verify", *self._place, "--level", "4"]


class Restic(Tool):
    name = "restic"
    flags = "defaults (zstd auto, extra verification)"

    @property
    def _program(self) -> str:
        return str(program("restic"))

    @property
    def settings(self) -> dict[str, str]:
        match self.place:
            case BucketPlace(bucket=bucket, endpoint=endpoint):
                repository = f"s3:{endpoint}/{bucket.name}/restic"
            case DirectoryPlace(path=path):
                repository = str(path)
            case _:
                raise TypeError(self.place)
        return {"RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": repository, "RESTIC_CACHE_DIR": str(self.home / "cache")}

    def version(self) -> str:
        return self.run(self._program, "version").split()[1]

    def init(self) -> None:
        self.run(self._program, "init")

    def backup(self, source: Path) -> list[str]:
        return [self._program, "backup", "--quiet", str(source)]

    def restore(self, source: Path, target: Path) -> list[str]:
        return [self._program, "restore", "--quiet", f"latest:{source}", "--target", str(target)]

    def restore_file(self, source: Path, file: Path, target: Path) -> list[str]:
        folder, name = (source / file).parent, f"/{file.name}"
        return [self._program, "restore", "--quiet", f"latest:{folder}", "--include", name, "--target", str(target)]

    def verify(self) -> list[str]:
        return [self._program, "check", "--quiet", "--read-data"]


class Kopia(Tool):
    name = "kopia"
    flags = "policy compression=zstd, else defaults"

    @property
    def _program(self) -> str:
        return str(program("kopia"))

    @property
    def settings(self) -> dict[str, str]:
        return {
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
        match self.place:
            case BucketPlace(bucket=bucket, endpoint=endpoint):
                address = endpoint.removeprefix("http://")
                where = ["s3", "--bucket", bucket.name, "--prefix", "kopia/", "--endpoint", address, "--disable-tls"]
            case DirectoryPlace(path=path):
                path.mkdir(parents=True)
                where = ["filesystem", "--path", str(path)]
            case _:
                raise TypeError(self.place)
        self.run(self._program, "repository", "create", *where)
        self.run(self._program, "policy", "set", "--global", "--compression=zstd")

    def backup(self, source: Path) -> list[str]:
        return [self._program, "snapshot", "create", "--no-progress", str(source)]

    def restore(self, source: Path, target: Path) -> list[str]:
        return [self._program, "snapshot", "restore", "--no-progress", self._newest(source), str(target)]

    def restore_file(self, source: Path, file: Path, target: Path) -> list[str]:
        return [self._program, "snapshot", "restore", "--no-progress", f"{self._newest(source)}/{file}", str(target / file.name)]

    def verify(self) -> list[str]:
        return [self._program, "snapshot", "verify", "--no-progress", "--verify-files-percent=100"]

    def _newest(self, source: Path) -> str:
        """Id of the newest snapshot's root."""
        listed = json.loads(self.run(self._program, "snapshot", "list", "--json", str(source)))
        return str(listed[-1]["rootEntry"]["obj"])


KOPIA_VERSION = "0.23.1"
"""As pinned in tests/cluster/programs/kopia/go.mod; a program built from the module does not know its own."""
TOOLS: dict[str, type[Tool]] = {tool.name: tool for tool in (Recoup, Restic, Kopia)}
