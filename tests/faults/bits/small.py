"""A small repository in memory, and a copy of it, for harm of every kind."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from recoup.engine.log.follow import Log
from recoup.engine.points import find_point, open_point
from recoup.engine.replicate.run import replicate
from recoup.engine.restore.attributes import Wishes
from recoup.engine.restore.orders import Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.run import restore
from recoup.engine.vault import Unlocked
from recoup.engine.verify.findings import Findings
from recoup.engine.verify.run import verify
from recoup.report import Progress
from tests.fakes.memory_store import MemoryStore
from tests.unit.engine.backup.volume import Volume, picture

QUIET = Progress(quiet=True)


@dataclass
class Small:
    """`points` by what they hold; `objects` as they should be."""

    folder: Path
    volume: Volume
    objects: dict[str, bytes]
    copy: MemoryStore
    points: dict[str, dict[bytes, tuple[object, ...]]]

    @classmethod
    def make(cls, folder: Path, files: int = 5, content: int = 120) -> Small:
        """Two points; a nested folder, a long file cut by content, xattrs."""
        place = MemoryStore("memory://home")
        volume = Volume.make(folder, place)
        points = {}
        for round_ in range(2):
            (volume.source / "deep" / "er").mkdir(parents=True, exist_ok=True)
            for number in range(files):
                path = volume.source / ("deep/er" if number % 2 else ".") / f"f{number}"
                if number % 3 == round_ or not path.exists():
                    path.write_bytes(os.urandom(content + number))
            os.setxattr(volume.source / "f0", "user.round", bytes([round_]))
            points[volume.back_up().id] = picture(volume.source)
        copy = MemoryStore("memory://copy")
        replicate(place, copy, volume.vault.identity.vault_id, QUIET)
        return cls(folder, volume, dict(place.objects), copy, points)

    def place(self, changed: dict[str, bytes | None] | None = None) -> MemoryStore:
        """The home with some objects changed, or gone."""
        store = MemoryStore("memory://home")
        store.objects = {name: data for name, data in (self.objects | (changed or {})).items() if data is not None}
        return store

    def open(self, store: MemoryStore) -> Unlocked:
        """Raises Integrity if the log has no INIT."""
        vault = self.volume.vault
        log = Log(store, vault.identity.vault_id, root_public=vault.identity.root_public)
        log.follow().require_identity()
        return Unlocked(vault.identity, log, vault.proven, vault.materials)

    def verify(self, store: MemoryStore, level: int = 3) -> Findings:
        opened = self.open(store)
        return verify(opened, list(opened.log.state.commits.values()), level, QUIET, record=False)

    def restore(self, store: MemoryStore, point: str) -> tuple[Outcome, Path]:
        """Raises what a restore raises."""
        target = self.folder / "restored"
        shutil.rmtree(target, ignore_errors=True)
        opened, outcome = self.open(store), Outcome()
        restore(open_point(opened, find_point(opened, point)), str(target), Orders(Wishes()), outcome, QUIET)
        return outcome, target

    def area(self, letters: str) -> list[str]:
        """Names of objects: data, metadata, x; k for what opens the vault, l for the log."""
        words = {"k": ("keyring", "descriptor"), "l": ("log",)}
        wanted = [word for letter in letters for word in words.get(letter, (letter,))]
        return [name for name in sorted(self.objects) if name.count("/") > 1 and name.split("/")[2] in wanted]

    def sets(self) -> list[str]:
        """Nodes of object sets: what is damaged there hides other objects."""
        return [name for name in self.area("x") if self.objects[name][:4] == b"RCPS"]


def flipped(data: bytes, bit: int) -> bytes:
    """One bit changed; `bit` counts from the first of the first byte."""
    changed = bytearray(data)
    changed[bit // 8] ^= 0x80 >> bit % 8
    return bytes(changed)
