"""Repack: points are the same before and after it, whatever call of the store it dies at, and the next prune frees what it left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from recoup.engine.log.follow import Log, SweptMeanwhile
from recoup.engine.maintenance import move
from recoup.engine.maintenance.repack import Repacked, repack
from recoup.engine.stores.base import Store
from recoup.engine.vault import Unlocked
from recoup.engine.verify.run import verify
from recoup.errors import Integrity, RecoupError
from recoup.report import Progress
from tests.faults.memory import MemoryStore
from tests.faults.store import Crashed, Fault, FaultStore
from tests.faults.test_prune_faults import EVERY, Meeting, Picture, at, let_go, sweep
from tests.unit.engine.backup.volume import Volume, picture

QUIET = Progress(quiet=True)


def pack_again(volume: Volume, store: Store, *, dry_run: bool = False) -> Repacked:
    vault = volume.vault
    log = Log(store, vault.identity.vault_id, root_public=vault.identity.root_public, pause=lambda _: None)
    log.follow()
    return repack(Unlocked(vault.identity, log, vault.proven, vault.materials), 0.25, QUIET, dry_run=dry_run, pack_bytes=5 << 20)


class Scene:
    """Two points whose packs are half of a forgotten one's; three volumes of the same content but what changed."""

    def __init__(self, tmp_path: Path) -> None:
        self.place = MemoryStore()
        self.volume = Volume.make(tmp_path, self.place)
        self.volume.pack_bytes = 5 << 20
        for number in range(12):
            (self.volume.source / f"f{number:02d}").write_bytes(os.urandom(400_000))
        gone = self.volume.back_up().id
        self.kept: dict[str, Picture] = {}
        for number in range(0, 12, 2):
            (self.volume.source / f"f{number:02d}").write_bytes(os.urandom(1000))
            if number in {6, 10}:
                self.kept[self.volume.back_up().id] = picture(self.volume.source)
        let_go(self.volume, gone)

    def check(self, store: Store, expected: dict[str, Picture] | None = None) -> None:
        here = at(self.volume, store)
        here.vault.log.follow()
        for point, before in (expected or self.kept).items():
            assert picture(here.restore(point)) == before


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def stored(store: MemoryStore) -> int:
    return sum(len(data) for name, data in store.objects.items() if "/d/" in name)


def test_what_is_moved_frees_what_was_wasted_and_everything_is_as_it_was(scene: Scene) -> None:
    before = stored(scene.place)
    planned = pack_again(scene.volume, scene.place, dry_run=True)
    assert stored(scene.place) == before
    done = pack_again(scene.volume, scene.place)
    assert (done.wasteful, done.moved, done.points) == (planned.wasteful, planned.moved, 2)
    assert done.wasteful > 0
    scene.check(scene.place)
    sweep(scene.volume, scene.place)
    assert before - stored(scene.place) > 1_500_000
    scene.check(scene.place)
    assert pack_again(scene.volume, scene.place).wasteful == 0
    here = at(scene.volume, scene.place).vault
    assert verify(here, list(here.log.follow().commits.values()), 4, QUIET).good


def test_the_next_backup_builds_on_a_repacked_point(scene: Scene) -> None:
    pack_again(scene.volume, scene.place)
    sweep(scene.volume, scene.place)
    (scene.volume.source / "f01").write_bytes(os.urandom(2000))
    result = scene.volume.back_up()
    assert result.bytes_stored < 200_000
    assert not [note for note in result.notes if "cannot" in note]
    scene.check(scene.place, {**scene.kept, result.id: picture(scene.volume.source)})
    here = at(scene.volume, scene.place).vault
    assert verify(here, list(here.log.follow().commits.values()), 4, QUIET).good


@pytest.mark.parametrize("step", EVERY)
@pytest.mark.parametrize("fault", list(Fault))
def test_in_trouble_at_any_call(scene: Scene, fault: Fault, step: int) -> None:
    counted = FaultStore(scene.place.copy())
    pack_again(scene.volume, counted)
    for number in range(list(Fault).index(fault) % step, len(counted.calls), step):
        store = scene.place.copy()
        with suppress(Crashed, RecoupError):
            pack_again(scene.volume, FaultStore(store, {number: fault}))
        scene.check(store, dict(list(scene.kept.items())[:1]))
        pack_again(scene.volume, store)
        sweep(scene.volume, store)
        scene.check(store)
        assert pack_again(scene.volume, store, dry_run=True).wasteful == 0


def meetings(scene: Scene, step: int) -> Iterator[tuple[MemoryStore, bool]]:
    """A repack during each call of which one of its points is forgotten and everything is pruned."""
    first = next(iter(scene.kept))
    counted = FaultStore(scene.place.copy())
    pack_again(scene.volume, counted)
    for number in range(0, len(counted.calls), step):
        store = scene.place.copy()

        def others(store: MemoryStore = store) -> None:
            let_go(scene.volume, first, store)
            sweep(scene.volume, store)

        refused = False
        try:
            pack_again(scene.volume, Meeting(store, number, others))
        except (SweptMeanwhile, Integrity):
            refused = True
        yield store, refused


@pytest.mark.parametrize("step", EVERY)
def test_it_meets_forget_and_prune_at_any_call(scene: Scene, step: int) -> None:
    last = dict(list(scene.kept.items())[1:])
    for store, _ in meetings(scene, step):
        scene.check(store, last)
        pack_again(scene.volume, store)
        sweep(scene.volume, store)
        scene.check(store, last)


def test_of_damaged_packs_nobody_is_told_anything(scene: Scene) -> None:
    """Either the damage lies in what nobody needs, and all is well, or no point is told of a new place."""
    noticed = 0
    for name in [name for name in scene.place.objects if "/d/" in name]:
        for tenth in range(1, 10):
            store = scene.place.copy()
            data = bytearray(store.objects[name])
            data[len(data) * tenth // 10] ^= 1
            store.objects[name] = bytes(data)
            try:
                pack_again(scene.volume, store)
            except Integrity:
                noticed += 1
                assert all(commit.replaced is None for commit in at(scene.volume, store).vault.log.follow().commits.values())
    assert noticed


def test_without_reading_back_a_wrong_place_would_be_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the check of the new refs is for: a rewriter that mixes two blocks up. With the check off the point is spoiled."""
    genuine = move.Rewriter._place

    def mixed(self: move.Rewriter, block: bytes, old: object) -> object:
        place = genuine(self, block, old)  # type: ignore[arg-type]
        return place._replace(number=0) if not getattr(self, "checking", False) else place

    monkeypatch.setattr(move.Rewriter, "_place", mixed)
    checked: Callable[..., None] = move.Rewriter._check

    def check(self: move.Rewriter, *arguments: object) -> None:
        self.checking = True  # type: ignore[attr-defined]
        checked(self, *arguments)

    monkeypatch.setattr(move.Rewriter, "_check", check)
    with pytest.raises(Integrity, match="do not name what the old ones do"):
        pack_again(scene.volume, scene.place.copy())
    monkeypatch.setattr(move.Rewriter, "_check", lambda *_: None)
    pack_again(scene.volume, spoiled := scene.place.copy())
    with pytest.raises(Integrity):
        scene.check(spoiled)
