"""Targets: whole recovery points by a malicious writer with valid keys, read in every way that a recovery point is read.

One part of an honest point is changed before it is sealed, everything that names it follows; then it is restored, planned, listed, found,
compared, measured, verified and copied. Ids and digests are new every time, so an input is not the part's bytes but the seed of its change.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from recoup.cli.entries import entry_fields, entry_text
from recoup.engine.browse.diff import diff_points
from recoup.engine.browse.find import Finder, Wanted
from recoup.engine.browse.reading import ContentReader
from recoup.engine.browse.stats import usage
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.keys.kek import SecretKek
from recoup.engine.log.follow import Log
from recoup.engine.points import OpenPoint, find_point, open_point
from recoup.engine.records.content import Scheme
from recoup.engine.records.tree import FileType, Xattr, iterate_tree
from recoup.engine.replicate.run import replicate
from recoup.engine.restore.files import TEMPORARY
from recoup.engine.restore.orders import Existing, Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.run import foresee, restore
from recoup.engine.vault import Unlocked, open_vault, provision
from recoup.engine.verify.run import verify
from recoup.errors import RecoupError
from recoup.report import Progress
from tests.fakes.memory_store import MemoryStore
from tests.fuzz.mutate import mutate
from tests.fuzz.records import drain
from tests.fuzz.target import Target
from tests.unit.engine.restore.forge import Forger, Item, Tree, directory, file, symlink

QUIET = Progress(quiet=True)
PAGE = 64 << 10
HONEST: Tree = [
    ((), [file(b"a", b"alpha" * 50, xattrs=(Xattr(b"user.a", b"v"),)), directory(b"d"), symlink(b"l", b"a"),
          Item(b"p", size=5 * PAGE, pieces=((0, b"p" * PAGE), (3 * PAGE, b"q" * PAGE)), scheme=Scheme.FIXED)]),
    ((b"d",), [directory(b"e"), file(b"h1", b"linked", group=2), file(b"h2", b"linked", group=2),
               file(b"m", b"long" * 99, as_list=True)]),
    ((b"d", b"e"), [file(b"empty"), Item(b"s", FileType.SOCKET)]),
]  # fmt: skip
LARGEST = 1 << 22
"""Bytes of one file that consumers here go on with: a hole of an exabyte is read by nobody."""


@dataclass
class Hostile(Forger):
    """Changes the first block of one kind, or the first plain object of one level, before it is sealed or named."""

    victim: BlockKind | int = -1
    change: Callable[[bytes], bytes] = bytes

    def _put_blocks(self, kind: Kind, blocks: Sequence[tuple[BlockKind, bytes]]) -> list[bytes]:
        return super()._put_blocks(kind, [(block, self._changed(data) if block is self.victim else data) for block, data in blocks])

    def _plain(self, data: bytes) -> bytes:
        return super()._plain(self._changed(data) if self.victim == -data[5] - 2 else data)

    def _changed(self, data: bytes) -> bytes:
        changed, self.change = self.change(data), bytes
        return changed


SHARD, SET_ROOT = -2, -3
PARTS = {
    "tree": BlockKind.TREE,
    "contents": BlockKind.CONTENT,
    "refs": BlockKind.REFS,
    "manifest": BlockKind.MANIFEST,
    "device-map": BlockKind.DEVICE_MAP,
    "set-shard": SHARD,
    "set-root": SET_ROOT,
}


class Vault:
    """An honest point in memory; each input gets a copy of it, and a changed point beside it."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="recoup-fuzz-")
        store, self.kek, self.vault_id = MemoryStore(), SecretKek.generate(), os.urandom(16)
        provision(store, [self.kek], [], vault_id=self.vault_id, labels={})
        self.base = store.objects
        forger = Forger(store, self.open(store))
        self.honest = forger.tree(HONEST)

    def open(self, store: MemoryStore) -> Unlocked:
        log = Log(store, self.vault_id, root_public=None)
        log.follow()
        return open_vault(log, [self.kek], pinned=True)

    def forge(self, part: str, data: bytes) -> tuple[Unlocked, OpenPoint]:
        rng = random.Random(data)
        store = MemoryStore()
        store.objects = dict(self.base)
        forger = Hostile(store, self.open(store), victim=PARTS[part], change=lambda honest: mutate(honest, rng) if data else honest)
        device = part == "device-map"
        point = forger.device(8 * PAGE, [(0, b"x" * PAGE), (4 * PAGE, b"y" * PAGE)]) if device else forger.tree(HONEST)
        return forger.unlocked, forger.open(point)

    def read(self, part: str, data: bytes) -> None:
        """Every consumer has its turn; the first complaint is what is raised in the end."""
        unlocked, point = self.forge(part, data)
        complaints = []
        for consumer in CONSUMERS:
            try:
                consumer(self, unlocked, point)
            except RecoupError as error:
                complaints.append(error)
        if complaints:
            raise complaints[0]

    def scratch(self, point: OpenPoint) -> Path:
        """Where to restore to: nothing, or a device of the honest size."""
        target = Path(self.folder.name) / "target"
        if target.is_dir():
            shutil.rmtree(target)
        for left in (target, *self.unfinished()):
            left.unlink(missing_ok=True)
        if point.manifest.device is not None:
            target.write_bytes(bytes(8 * PAGE))
        return target

    def unfinished(self) -> list[Path]:
        """An image that a refused restore was writing: it keeps another name until it is whole (docs/command-line.md)."""
        return list(Path(self.folder.name).glob(f"{os.fsdecode(TEMPORARY)}*-target"))


def _too_large(point: OpenPoint) -> bool:
    return any(entry.size > LARGEST for entry in iterate_tree(point.blocks.fetch, point.manifest.tree))


def _orders(point: OpenPoint) -> Orders:
    return Orders(existing=Existing.FAIL if point.manifest.device is None else Existing.OVERWRITE)


def _restore(world: Vault, unlocked: Unlocked, point: OpenPoint) -> None:
    target = world.scratch(point)
    outside = sorted(Path(world.folder.name).iterdir())
    try:
        restore(point, str(target), _orders(point), Outcome(), QUIET)
    finally:
        assert {*Path(world.folder.name).iterdir()} <= {*outside, target, *world.unfinished()}


def _foresee(world: Vault, unlocked: Unlocked, point: OpenPoint) -> None:
    foresee(point, str(world.scratch(point)), _orders(point), QUIET)


def _browse(world: Vault, unlocked: Unlocked, point: OpenPoint) -> None:
    if point.manifest.device is None:
        reader = ContentReader(point)
        for entry in iterate_tree(point.blocks.fetch, point.manifest.tree):
            _ = entry_fields(entry), entry_text(entry)
            if entry.content is not None and entry.size <= LARGEST:
                drain(reader.read(entry.content, 0, entry.size))


def _find(world: Vault, unlocked: Unlocked, point: OpenPoint) -> None:
    honest = open_point(unlocked, find_point(unlocked, world.honest))
    if point.manifest.device is None:
        for wanted in (Wanted(()), Wanted(("*",), types=frozenset({FileType.REGULAR}), at_least=0, newer=5), Wanted(("d/e/**",))):
            drain(Finder(wanted).in_points([honest, point]))


def _diff(world: Vault, unlocked: Unlocked, point: OpenPoint) -> None:
    if point.manifest.device is None and not _too_large(point):
        honest = open_point(unlocked, find_point(unlocked, world.honest))
        drain(diff_points(honest, point))
        drain(diff_points(point, honest, "d"))


def _measure(world: Vault, unlocked: Unlocked, point: OpenPoint) -> None:
    usage(unlocked.log.store, world.vault_id, list(unlocked.log.state.commits.values()), QUIET)


def _verify(world: Vault, unlocked: Unlocked, point: OpenPoint) -> None:
    commits = list(unlocked.log.state.commits.values())
    found = verify(unlocked, commits, 4, QUIET, record=True, threads=1)
    assert world.honest not in {affected.point for affected in found.affected}, "an honest point was called damaged"


def _replicate(world: Vault, unlocked: Unlocked, point: OpenPoint) -> None:
    replicate(unlocked.log.store, MemoryStore("memory://copy"), world.vault_id, QUIET, pinned_root=unlocked.identity.root_public, threads=1)


CONSUMERS = (_restore, _foresee, _browse, _find, _diff, _measure, _verify, _replicate)


def point_targets() -> Iterator[Target]:
    """One for each part of a point."""
    world = Vault()
    for part in PARTS:
        yield Target(f"point-{part}", (b"", b"1", b"2"), partial(world.read, part), slow=True)
