"""Index segments over years: merged by prune, read by few requests, rebuilt from packs when damaged; never more than a cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from recoup.engine.format.names import object_name
from recoup.engine.log.bodies import Index, Signer
from recoup.engine.log.follow import Log
from recoup.engine.log.rules import objection
from recoup.engine.maintenance import merge
from recoup.engine.maintenance.prune import Pruned, Wishes, prune
from recoup.engine.maintenance.repack import Repacked, repack
from recoup.engine.maintenance.segments import Segments
from recoup.engine.records.rows import Place
from recoup.engine.stores.base import Store
from recoup.engine.verify.run import verify
from recoup.errors import Integrity, RecoupError
from recoup.report import Progress
from tests.faults.memory import MemoryStore
from tests.faults.store import Crashed, Fault, FaultStore
from tests.faults.test_prune_faults import at, let_go
from tests.unit.engine.backup.volume import Volume, picture

QUIET = Progress(quiet=True)
RUNS = 6
Rows = dict[bytes, Place]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a handful of runs is many."""
    monkeypatch.setattr(merge, "MANY", RUNS - 2)


class Scene:
    """A volume whose every run stored something, in a store in memory."""

    def __init__(self, tmp_path: Path) -> None:
        self.place = MemoryStore()
        self.volume = Volume.make(tmp_path, self.place)
        self.volume.pack_bytes = 5 << 20
        self._copies = 0
        self.points = []
        for number in range(RUNS):
            (self.volume.source / f"{number}").write_bytes(os.urandom(300_000))
            self.points.append(self.volume.back_up().id)
        self.before = picture(self.volume.source)

    def log(self, store: Store | None = None) -> Log:
        identity = self.volume.vault.identity
        log = Log(store or self.place, identity.vault_id, root_public=identity.root_public, pause=lambda _: None)
        log.follow()
        return log

    def prune(self, store: Store | None = None, wishes: Wishes = Wishes()) -> Pruned:  # noqa: B008  # frozen
        return prune(self.log(store), self.volume.vault.maintenance, wishes, QUIET)

    def repack(self) -> Repacked:
        return repack(replace(self.volume.vault, log=self.log()), 0.25, QUIET)

    def rows(self, store: Store | None = None) -> Rows:
        """Everything that segments in force say."""
        keys, found = self.volume.vault.maintenance, Rows()
        segments = Segments(store or self.place, keys.identity, keys.index_keys)
        for segment in reversed(self.log(store).state.segments):
            for table in segments.tables(segment):
                for block, place in table:
                    found.setdefault(block, place)
        return found

    def damage(self, store: MemoryStore) -> bytes:
        [segment] = self.log(store).state.segments
        where = object_name(self.volume.vault.identity.vault_id, "x", segment)
        store.objects[where] = store.objects[where][:-1] + b"?"
        return segment

    def elsewhere(self, store: MemoryStore | None = None) -> tuple[int, FaultStore]:
        """The same content backed up from another directory, as another lineage: new bytes in packs, and what was asked."""
        place = store or self.place
        asked, before = FaultStore(place), set(place.objects)
        self._copies += 1
        target = self.volume.source.parent / f"copy-{self._copies}"
        shutil.copytree(self.volume.source, target)
        self.volume.back_up(store=asked, source=target)
        return sum(len(data) for name, data in place.objects.items() if "/d/" in name and name not in before), asked


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def asked_segments(scene: Scene, asked: FaultStore) -> int:
    names = {object_name(scene.volume.vault.identity.vault_id, "x", segment) for segment in scene.log().state.segments}
    return sum(call.name in names for call in asked.calls)


def test_many_segments_become_one_that_says_the_same(scene: Scene) -> None:
    before, segments = scene.rows(), scene.log().state.segments
    assert len(segments) == RUNS
    assert (len(before), scene.elsewhere(scene.place.copy())[0]) == (RUNS, 0)
    done = scene.prune()
    assert (done.index.replaced, done.index.written, done.index.damaged) == (RUNS, 1, 0)
    assert len(scene.log().state.segments) == 1
    assert scene.rows() == before
    assert scene.prune().index.replaced == 0
    stored, asked = scene.elsewhere()
    assert (stored, asked_segments(scene, asked)) == (0, 1), "one segment was read, and nothing stored again"
    assert not any(call.name.endswith(segment.hex()) for call in asked.calls for segment in segments)


def test_what_was_replaced_is_deleted_and_nobody_misses_it(scene: Scene) -> None:
    segments = scene.log().state.segments
    scene.prune()
    scene.prune(wishes=Wishes(grace=Wishes().grace * 0))
    names = {object_name(scene.volume.vault.identity.vault_id, "x", segment) for segment in segments}
    assert not names & set(scene.place.objects)
    vault = replace(scene.volume.vault, log=scene.log())
    findings = verify(vault, list(vault.log.state.commits.values()), 4, QUIET, record=False)
    assert (findings.damages, findings.affected, findings.log) == ({}, [], [])
    assert picture(scene.volume.restore(scene.points[-1])) == scene.before


def test_rows_of_packs_that_nothing_needs_go(scene: Scene) -> None:
    scene.prune()
    (scene.volume.source / "0").unlink()
    for number in range(RUNS):
        (scene.volume.source / f"later-{number}").write_bytes(os.urandom(300_000))
        scene.volume.back_up()
    for gone in scene.points:
        let_go(scene.volume, gone)
    assert len(scene.rows()) == 2 * RUNS
    assert scene.prune().index.replaced == RUNS + 1
    assert len(scene.rows()) == 2 * RUNS - 1


def test_a_damaged_segment_costs_space_and_is_written_anew_from_packs(scene: Scene) -> None:
    before = scene.rows()
    scene.prune()
    segment = scene.damage(scene.place)
    vault = replace(scene.volume.vault, log=scene.log())
    findings = verify(vault, list(vault.log.state.commits.values()), 3, QUIET, record=False)
    assert findings.affected == []
    assert [segment.hex() in name for name in findings.harmless] == [True]
    assert scene.elsewhere(scene.place.copy())[0] > 300_000 * RUNS, "what the index said is not known, so it is stored again"
    packs = {name for name in scene.place.objects if "/d/" in name}
    done = scene.repack()
    assert (done.segments_damaged, done.blocks_indexed) == (1, RUNS)
    assert scene.rows() == before
    assert packs <= set(scene.place.objects)
    assert scene.elsewhere()[0] == 0
    assert scene.repack().segments_damaged == 0


def test_a_lost_index_is_rebuilt_and_nothing_is_deleted_for_it(scene: Scene) -> None:
    before = scene.rows()
    for segment in scene.log().state.segments:
        del scene.place.objects[object_name(scene.volume.vault.identity.vault_id, "x", segment)]
    done = scene.prune(wishes=Wishes(grace=Wishes().grace * 0))
    assert (done.index.damaged, done.deleted.objects) == (RUNS, 0)
    assert scene.repack().segments_damaged == RUNS
    assert scene.rows() == before


def test_one_that_cannot_be_read_does_not_keep_the_others_from_being_merged(scene: Scene) -> None:
    before, state = scene.rows(), scene.log().state
    where = object_name(scene.volume.vault.identity.vault_id, "x", state.segments[0])
    scene.place.objects[where] = os.urandom(len(scene.place.objects[where]))
    done = scene.prune()
    assert (done.index.replaced, done.index.damaged) == (RUNS - 1, 1)
    assert scene.repack().segments_damaged == 1
    assert scene.rows() == before


def test_rows_that_came_out_differently_are_noticed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without reading back, an INDEX would put a segment in force that lacks rows."""
    honest = Segments.tables
    monkeypatch.setattr(Segments, "tables", lambda self, segment: list(honest(self, segment))[:-1])
    with pytest.raises(Integrity) as caught:
        scene.prune()
    assert caught.value.reason == "SelfCheckFailed"
    assert len(scene.log().state.segments) == RUNS


def test_a_point_forgotten_meanwhile_makes_it_wait(scene: Scene) -> None:
    class Forgetful(FaultStore):
        def create(self, name: str, data: bytes | bytearray | memoryview) -> bool:
            if "/x/" in name and not done:
                done.append(name)
                let_go(scene.volume, scene.points[0])
            return super().create(name, data)

    done: list[str] = []
    pruned = scene.prune(Forgetful(scene.place))
    assert done
    assert pruned.index.replaced == 0
    assert scene.prune().index.replaced == RUNS - 1


@pytest.mark.parametrize("fault", Fault)
def test_stopped_anywhere_the_index_says_the_same(scene: Scene, fault: Fault) -> None:
    before = scene.rows()
    quiet = FaultStore(scene.place.copy())
    scene.prune(quiet)
    for call in range(list(Fault).index(fault), len(quiet.calls), 4):
        store = scene.place.copy()
        with suppress(RecoupError, Crashed):
            scene.prune(FaultStore(store, {call: fault}))
        assert scene.rows(store) == before
        scene.prune(store)
        assert len(scene.log(store).state.segments) == 1
        assert scene.rows(store) == before
        assert picture(at(scene.volume, store).restore(scene.points[-1])) == scene.before


def test_a_segment_that_several_points_name_is_one(scene: Scene) -> None:
    """As after a repack; INDEX would be malformed if it replaced it once for each of them."""
    state = scene.log().state
    shared = state.segments[0]
    for point, one in list(state.commits.items())[:3]:
        state.commits[point] = msgspec.structs.replace(one, body=msgspec.structs.replace(one.body, index_segments=(shared,)))
    assert state.segments.count(shared) == 1
    body = Index((os.urandom(32),), tuple(state.segments))
    assert objection(state, body, Signer.MAINTENANCE, 1) is None


@pytest.mark.long
@pytest.mark.parametrize("rows", [100_000, 1_000_000])
def test_memory_does_not_grow_with_the_index(rows: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.engine.maintenance.many_rows", str(rows)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["rows"] == rows
    assert found["peak"] < 160 << 20
