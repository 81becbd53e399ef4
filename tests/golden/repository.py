"""The golden repositories as tests read them: two locations of one vault, the keys, and what must come out."""

from __future__ import annotations

import functools
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT_1 = Path(__file__).parent / "format-1"
PLACES = ("home", "copy")


@dataclass(frozen=True)
class Golden:
    """`objects`: stored bytes by place and name. `expected`: by recovery point where it is (`at`) and what it holds (`content`)."""

    objects: dict[str, dict[str, bytes]]
    keys: dict[str, str]
    expected: dict[str, dict[str, Any]]

    def points(self, place: str) -> dict[str, dict[str, Any]]:
        """Content by recovery point, of those that are live there."""
        return {point: row["content"] for point, row in self.expected.items() if place in row["at"]}

    def write(self, folder: Path) -> None:
        """Both locations as directories, and a key file of each kind."""
        for place, objects in self.objects.items():
            for name, data in objects.items():
                path = folder / place / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        for kind in ("secret", "recovery", "hybrid"):
            (folder / f"{kind}.key").write_text(f"{self.keys[kind]}\n{self.keys['fingerprint']}\n")
            (folder / f"{kind}.key").chmod(0o600)
        (folder / "phrase").write_text(self.keys["passphrase"] + "\n")
        (folder / "phrase").chmod(0o600)


@functools.cache
def format_1() -> Golden:
    objects: dict[str, dict[str, bytes]] = {place: {} for place in PLACES}
    with tarfile.open(FORMAT_1 / "locations.tar.xz") as archive:
        for member in archive:
            place, _, name = member.name.partition("/")
            stream = archive.extractfile(member)
            assert stream is not None
            objects[place][name] = stream.read()
    keys = json.loads((FORMAT_1 / "keys.json").read_text())
    return Golden(objects, keys, json.loads((FORMAT_1 / "expected.json").read_text()))
