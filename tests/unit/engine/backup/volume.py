"""A source directory and a vault to back it up into, in one temporary directory; what was restored is compared by a picture."""

# ruff: noqa: PTH112, PTH114, PTH115, PTH118, PTH123, PTH208
# (paths are bytes here, which pathlib has not)
from __future__ import annotations

import hashlib
import os
import random
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recoup.engine.backup.packs import PACK_BYTES
from recoup.engine.backup.run import RunFile
from recoup.engine.backup.session import Request, Result, back_up
from recoup.engine.format.kinds import Kind
from recoup.engine.log.follow import Log
from recoup.engine.points import OpenPoint, find_point, open_point
from recoup.engine.records.tree import Entry, iterate_tree
from recoup.engine.restore.attributes import Wishes
from recoup.engine.restore.orders import Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.run import restore
from recoup.engine.stores.base import Store
from recoup.engine.stores.file import FileStore
from recoup.engine.vault import Unlocked
from recoup.report import Progress
from tests.unit.engine.keys.vaults import unlocked

OLD = 1_700_000_000_000_000_000
"""Nanoseconds: long enough ago to be settled."""


@dataclass
class Volume:
    """`source` is what is backed up."""

    source: Path
    vault: Unlocked
    restored: int = 0
    pack_bytes: int = PACK_BYTES

    @classmethod
    def make(cls, directory: Path, store: Store | None = None) -> Volume:
        source = directory / "source"
        source.mkdir(exist_ok=True)
        return cls(source, unlocked(store if store is not None else FileStore(str(directory / "location"))))

    @property
    def store(self) -> Store:
        return self.vault.log.store

    def back_up(
        self,
        *excludes: str,
        run: RunFile | None = None,
        store: Store | None = None,
        on_progress: Callable[[int, int], None] = lambda _data, _files: None,
        source: Path | None = None,
        **wishes: Any,
    ) -> Result:
        """A backup as a new process makes it: it knows nothing but the store. `wishes` are further fields of Request."""
        place = store if store is not None else self.store
        log = Log(place, self.vault.identity.vault_id, root_public=self.vault.identity.root_public)
        request = Request(str(source or self.source), excludes, run, self.pack_bytes, **wishes)
        return back_up(log, self.vault.writer, request, lambda _size, _files: None, on_progress)

    def open(self, point: str) -> OpenPoint:
        self.vault.log.follow()
        return open_point(self.vault, find_point(self.vault, point))

    def entries(self, point: str) -> dict[bytes, Entry]:
        """By path."""
        opened = self.open(point)
        return {b"/".join(entry.path): entry for entry in iterate_tree(opened.blocks.fetch, opened.manifest.tree)}

    def restore(self, point: str, wishes: Wishes | None = None) -> Path:
        self.restored += 1
        target = self.source.parent / f"restored-{self.restored}"
        restore(self.open(point), str(target), Orders(wishes or Wishes()), Outcome(), Progress(quiet=True))
        return target

    def stored(self, *, area: str = "") -> int:
        """Bytes of all objects of the vault, or of one area."""
        prefix = f"v/{self.vault.identity.vault_id.hex()}/" + (f"{area}/" if area else "")
        return sum(size for _, size in self.store.list(prefix))

    def objects(self, kind: Kind) -> list[str]:
        return [name for name, _ in self.store.list(f"v/{self.vault.identity.vault_id.hex()}/{kind.area}/")]


def settle(root: Path) -> None:
    """Give everything an old mtime, and wait until its ctime is old, too: the next backup may trust what it sees."""
    for path in [root, *root.rglob("*")]:
        os.utime(path, ns=(OLD, OLD), follow_symlinks=False)


def picture(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Everything that a restore must bring back, by path: type, attributes, xattrs, content, holes, and which names are one file."""
    seen: dict[int, bytes] = {}
    found: dict[bytes, tuple[object, ...]] = {}
    for path in _all(os.fsencode(root)):
        info = os.lstat(path)
        name = os.path.relpath(path, os.fsencode(root))
        first = seen.setdefault(info.st_ino, name) if not stat.S_ISDIR(info.st_mode) else name
        xattrs = tuple((key, os.getxattr(path, key, follow_symlinks=False)) for key in sorted(os.listxattr(path, follow_symlinks=False)))
        body: object = None
        if stat.S_ISREG(info.st_mode):
            body = (info.st_size, _digest(path), info.st_blocks * 512 < info.st_size)
        elif stat.S_ISLNK(info.st_mode):
            body = os.readlink(path)
        found[name] = (
            stat.S_IFMT(info.st_mode),
            stat.S_IMODE(info.st_mode),
            info.st_uid,
            info.st_gid,
            info.st_mtime_ns,
            xattrs,
            body,
            first,
        )
    return found


def _all(root: bytes) -> Iterator[bytes]:
    pending = [root]
    while pending:
        path = pending.pop()
        yield path
        if os.path.isdir(path) and not os.path.islink(path):
            pending += sorted((os.path.join(path, name) for name in os.listdir(path)), reverse=True)


def _digest(path: bytes) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fill(root: Path, *, files: int = 300, seed: int = 1) -> None:
    """Small files in a few folders, some larger ones."""
    rng = random.Random(seed)
    for number in range(files):
        folder = root / f"d{number % 7}" / f"e{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number:04d}").write_bytes(rng.randbytes(rng.choice((0, 10, 3000, 9000))))
    (root / "large").write_bytes(rng.randbytes(3 << 20))
    (root / "pages.db").write_bytes(rng.randbytes(2 << 20))
