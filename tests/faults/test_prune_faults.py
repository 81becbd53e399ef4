"""Forget and prune that die, or lose answers, at every call of the store, and that meet backups at every call.

What is kept restores as it was, running again succeeds, and what nothing needs is gone then. Each rule that this rests on is switched off
once (`test_without_…`), to show that the same runs lose data, or keep what they need not, without it.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from recoup.engine.backup import resume
from recoup.engine.backup.readback import ReadBack
from recoup.engine.forget import forget
from recoup.engine.log import follow, upkeep
from recoup.engine.log.follow import Log, SweptMeanwhile
from recoup.engine.log.sets import StoredSets
from recoup.engine.maintenance import look, mark
from recoup.engine.maintenance.prune import Pruned, Wishes, prune
from recoup.engine.stores.base import Store
from recoup.errors import Integrity, RecoupError
from recoup.report import Progress
from tests.faults.memory import MemoryStore
from tests.faults.store import Crashed, Fault, FaultStore
from tests.unit.engine.backup.volume import Volume, fill, picture
from tests.unit.engine.keys.vaults import unlocked

Picture = dict[bytes, tuple[object, ...]]
STRIDE = 7
AT_ONCE = Wishes(grace=timedelta(0), dead_after=timedelta(0), threads=2)
NO_GRACE = Wishes(grace=timedelta(0), threads=2)
EVERY = [pytest.param(1, marks=pytest.mark.long), pytest.param(STRIDE, id="some")]
"""Every call in the long selection; every seventh in the quick one, another seventh for each fault."""


def sweep(volume: Volume, store: Store | None = None, wishes: Wishes = AT_ONCE) -> Pruned:
    """A prune as a new process makes it."""
    identity = volume.vault.identity
    log = Log(store or volume.store, identity.vault_id, root_public=identity.root_public, pause=lambda _: None)
    return prune(log, volume.vault.maintenance, wishes, Progress(quiet=True))


def let_go(volume: Volume, point: str, store: Store | None = None) -> None:
    identity = volume.vault.identity
    log = Log(store or volume.store, identity.vault_id, root_public=identity.root_public, pause=lambda _: None)
    log.follow()
    forget(log, volume.vault.maintenance.signer, [point], "test")


def change(volume: Volume) -> None:
    (volume.source / "large").write_bytes(os.urandom(3 << 20))
    (volume.source / "new").write_bytes(os.urandom(300_000))


def at(volume: Volume, store: Store) -> Volume:
    """The same source and vault, with another copy of the location."""
    return Volume(volume.source, unlocked(store, volume.vault.identity.vault_id), volume.restored, volume.pack_bytes)


def content(store: Store, volume: Volume) -> set[str]:
    """Names of packs, trees and manifests: what a point's data are in."""
    prefix = f"v/{volume.vault.identity.vault_id.hex()}/"
    return {name for area in "dm" for name, _ in store.list(f"{prefix}{area}/")}


class Scene:
    """Three points of a volume and what a killed backup left; the first is to go, the others to stay."""

    def __init__(self, tmp_path: Path) -> None:
        self.place = MemoryStore()
        self.volume = Volume.make(tmp_path, self.place)
        self.volume.pack_bytes = 5 << 20
        fill(self.volume.source, files=12)
        self.gone = self.volume.back_up().id
        self.kept: dict[str, Picture] = {}
        for _ in range(2):
            change(self.volume)
            self.kept[self.volume.back_up().id] = picture(self.volume.source)
        change(self.volume)
        with pytest.raises(Crashed):
            self.volume.back_up(store=FaultStore(self.volume.store, {18: Fault.CRASH_BEFORE}))

    def copy(self) -> MemoryStore:
        return self.place.copy()

    def check(self, store: Store, expected: dict[str, Picture] | None = None) -> None:
        here = at(self.volume, store)
        points = [manifest.hex() for manifest in here.vault.log.follow().commits]
        wanted = self.kept if expected is None else expected
        assert set(wanted) <= set(points)
        for point, before in wanted.items():
            target = here.restore(point)
            assert picture(target) == before
            shutil.rmtree(target)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def disturbed(scene: Scene, job: Callable[[Store], object], fault: Fault, step: int) -> Iterator[tuple[MemoryStore, set[str]]]:
    """A copy of the location after `job` met `fault`, for every call of it; the reasons that it gave."""
    counted = FaultStore(scene.copy())
    job(counted)
    assert len(counted.calls) > 10
    for number in range(list(Fault).index(fault) % step, len(counted.calls), step):
        store, reasons = scene.copy(), set()
        try:
            job(FaultStore(store, {number: fault}))
        except Crashed:
            pass
        except RecoupError as error:
            reasons.add(error.reason)
        yield store, reasons


@pytest.mark.parametrize("step", EVERY)
@pytest.mark.parametrize("fault", list(Fault))
def test_prune_in_trouble_at_any_call(scene: Scene, fault: Fault, step: int) -> None:
    let_go(scene.volume, scene.gone)
    calm = scene.copy()
    assert sweep(scene.volume, calm).deleted.objects > 0
    clean = content(calm, scene.volume)
    reasons: set[str] = set()
    for store, said in disturbed(scene, lambda place: sweep(scene.volume, place), fault, step):
        reasons |= said
        scene.check(store, dict(list(scene.kept.items())[:1]))
        sweep(scene.volume, store)
        assert content(store, scene.volume) == clean
        scene.check(store)
        assert sweep(scene.volume, store).deleted.objects == 0
    assert reasons <= {"Unavailable"}


@pytest.mark.parametrize("fault", list(Fault))
def test_forget_in_trouble_at_any_call(scene: Scene, fault: Fault) -> None:
    counted = FaultStore(scene.copy())
    let_go(scene.volume, scene.gone, counted)
    for number in range(len(counted.calls)):
        store = scene.copy()
        with suppress(Crashed, RecoupError):
            let_go(scene.volume, scene.gone, FaultStore(store, {number: fault}))
        here = at(scene.volume, store)
        if bytes.fromhex(scene.gone) in here.vault.log.follow().commits:
            let_go(scene.volume, scene.gone, store)
        assert [manifest.hex() for manifest in here.vault.log.follow().commits] == list(scene.kept)
        assert here.vault.log.state.invalid == 0


class Meeting(FaultStore):
    """Runs something else, once, before a call."""

    def __init__(self, store: Store, number: int, other: Callable[[], object]) -> None:
        super().__init__(store)
        self._number, self._other, self._once = number, other, threading.Lock()
        self.met = False

    def _run(self, method: str, name: str, effect: Callable[[], object]) -> object:  # type: ignore[override]
        with self._once:
            if len(self.calls) == self._number and not self.met:
                self.met = True
                self._other()
        return super()._run(method, name, effect)


def meetings(scene: Scene, step: int) -> Iterator[tuple[MemoryStore, dict[str, Picture], list[str]]]:
    """A backup that shares all data with a point, during each call of which that point is forgotten and everything is pruned.

    Yields the location, the points that must restore there, and what the backup said if it made none.
    """
    volume = scene.volume
    source = volume.source.parent / "twin"
    shutil.copytree(volume.source, source, symlinks=True)
    now = picture(source)
    volume.back_up(source=source)
    scene.kept = {}
    last = [manifest.hex() for manifest in volume.vault.log.follow().commits]
    counted = FaultStore(scene.copy())
    volume.back_up(store=counted, source=volume.source)
    for number in range(0, len(counted.calls), step):
        store = scene.copy()

        def others(store: MemoryStore = store) -> None:
            for point in last:
                let_go(volume, point, store)
            sweep(volume, store, NO_GRACE)

        said: list[str] = []
        made: dict[str, Picture] = {}
        try:
            made = {volume.back_up(store=Meeting(store, number, others), source=volume.source).id: now}
        except SweptMeanwhile as error:
            said.append(str(error))
        yield store, made, said


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.long), pytest.param(2, id="some")])
def test_a_backup_meets_forget_and_prune_at_any_call(scene: Scene, step: int) -> None:
    """It either makes a point that is whole, or none and says why; a point whose blocks were swept is never made."""
    refused = 0
    for store, made, said in meetings(scene, step):
        assert made or "swept while it was at work" in said[0]
        refused += not made
        scene.check(store, made)
    assert refused > 0, "no meeting was close enough to matter"


def check_all(scene: Scene, trials: Iterable[tuple[Store, dict[str, Picture]]]) -> None:
    for store, made in trials:
        scene.check(store, made)


def test_without_the_comparison_a_point_is_made_of_what_was_swept(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "collision", lambda *_: None)
    with pytest.raises(Integrity, match="missing"):
        check_all(scene, ((store, made) for store, made, _ in meetings(scene, 3)))


def other_meetings(scene: Scene, step: int) -> Iterator[tuple[MemoryStore, dict[str, Picture]]]:
    """A prune during each call of which a backup is made, another one is begun before it and ended after it."""
    volume = scene.volume
    let_go(volume, scene.gone)
    counted = FaultStore(scene.copy())
    sweep(volume, counted, NO_GRACE)
    now = picture(volume.source)
    for number in range(0, len(counted.calls), step):
        store, made = scene.copy(), dict(scene.kept)

        def others(store: MemoryStore = store, made: dict[str, Picture] = made) -> None:
            made[volume.back_up(store=store).id] = now

        sweep(volume, Meeting(store, number, others), NO_GRACE)
        yield store, made


@pytest.mark.parametrize("step", EVERY)
def test_a_prune_meets_a_backup_at_any_call(scene: Scene, step: int) -> None:
    for store, made in other_meetings(scene, step):
        assert len(made) == 3
        scene.check(store, made)
        sweep(scene.volume, store)
        scene.check(store, made)


def slow_backups(scene: Scene, step: int) -> Iterator[tuple[MemoryStore, dict[str, Picture]]]:
    """A backup of new data, during each call of which everything is pruned without a grace: its packs are in nobody's set yet."""
    volume = scene.volume
    change(volume)
    now = picture(volume.source)
    counted = FaultStore(scene.copy())
    volume.back_up(store=counted)
    for number in range(0, len(counted.calls), step):
        store = scene.copy()
        point = volume.back_up(store=Meeting(store, number, partial(sweep, volume, store, NO_GRACE))).id
        yield store, {**scene.kept, point: now}


@pytest.mark.parametrize("step", EVERY)
def test_what_an_unfinished_session_put_is_not_swept(scene: Scene, step: int) -> None:
    check_all(scene, slow_backups(scene, step))


def test_without_the_rule_of_unfinished_sessions_their_packs_are_swept(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from recoup.engine.maintenance import prune as module

    monkeypatch.setattr(upkeep, "open_since", lambda *_: 0)
    monkeypatch.setattr(module, "open_since", lambda *_: 0)
    with pytest.raises((Integrity, SweptMeanwhile)):
        check_all(scene, slow_backups(scene, 3))


def noted(volume: Volume, store: Store) -> set[str]:
    """Digests of what the interrupted session has written down as sent."""
    here = at(volume, store)
    sessions = [session for session in here.vault.log.follow().sessions.values() if not session.ended]
    readback = ReadBack(store, here.vault.writer)
    tables = [table for session in sessions for segment in resume.segments_of(session) for table in readback.segment(segment)]
    return {ref.digest.hex() for table in tables for ref in table.objects}


def condemned(volume: Volume, store: Store) -> set[str]:
    """Digests of all that is to be swept, or was."""
    state = at(volume, store).vault.log.follow()
    lists = [digest for one in state.condemned.values() for digest in one.body.lists]
    lists += [digest for one in state.swept.values() for digest in one.body.lists]
    return {row.object.digest.hex() for row in StoredSets(store, state.vault_id, state).listed(lists)}


def test_what_an_interrupted_backup_will_go_on_with_is_not_condemned(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown to fail without `look`'s respect for what such sessions wrote down. How much is sent again says less: it differs from run
    to run, with or without a prune.
    """
    monkeypatch.setattr(resume, "LEAST_OBJECTS", 1)
    volume = scene.volume
    (volume.source / "huge").write_bytes(os.urandom(40 << 20))
    stopped = FaultStore(volume.store)

    def interrupt(_data: int, _files: int) -> None:
        if stopped.count("create") > 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        volume.back_up(store=stopped, on_progress=interrupt)
    wanted = noted(volume, scene.place)
    assert len(wanted) > 1, "nothing was written down"
    sweep(volume, wishes=NO_GRACE)
    assert not wanted & condemned(volume, scene.place)
    point = volume.back_up()
    assert point.bytes_stored < 40 << 20, "nothing was resumed"
    assert picture(volume.restore(point.id)) == picture(volume.source)


def test_a_set_that_cannot_be_read_is_not_an_empty_one(scene: Scene) -> None:
    let_go(scene.volume, scene.gone)
    state = scene.volume.vault.log.follow()
    for commit in state.commits.values():
        store = scene.copy()
        name = f"v/{state.vault_id.hex()}/x/{commit.body.object_set.hex()[:2]}/{commit.body.object_set.hex()}"
        before = content(store, scene.volume)
        store.delete(name)
        with pytest.raises(Integrity, match="missing"):
            sweep(scene.volume, store)
        assert content(store, scene.volume) == before


@pytest.mark.parametrize("damage", [None, b"something else"], ids=["missing", "damaged"])
def test_of_a_damaged_list_nothing_is_deleted_and_all_is_found_again(scene: Scene, damage: bytes | None) -> None:
    let_go(scene.volume, scene.gone)
    calm = scene.copy()
    sweep(scene.volume, calm)
    sweep(scene.volume, wishes=Wishes(dead_after=timedelta(0), threads=2))  # condemned, and in its grace
    before = content(scene.place, scene.volume)
    condemned = at(scene.volume, scene.place).vault.log.follow().condemned
    for noted in condemned.values():
        for digest in noted.body.lists:
            name = f"v/{scene.volume.vault.identity.vault_id.hex()}/x/{digest.hex()[:2]}/{digest.hex()}"
            scene.place.delete(name)
            if damage is not None:
                scene.place.create(name, damage)
    again = sweep(scene.volume, wishes=Wishes(threads=2))
    assert (again.given_up, again.deleted.objects, content(scene.place, scene.volume)) == (len(condemned), 0, before)
    assert sweep(scene.volume).deleted.objects > 0
    assert content(scene.place, scene.volume) == content(calm, scene.volume)
    scene.check(scene.place)


def test_a_log_with_a_hole_or_a_fork_ends_a_prune_before_it_deletes(scene: Scene) -> None:
    let_go(scene.volume, scene.gone)
    vault = scene.volume.vault.identity.vault_id.hex()
    entries = [name for name, _ in scene.volume.store.list(f"v/{vault}/log/")]
    for number, name in enumerate(entries[1:], start=1):
        store = scene.copy()
        before = content(store, scene.volume)
        store.delete(name)
        if number < len(entries) - 1:
            with pytest.raises(Integrity) as hole:
                sweep(scene.volume, store)
            assert hole.value.reason == "LogGap"
        store.create(name, b"damaged")
        with pytest.raises(Integrity) as fork:
            sweep(scene.volume, store)
        assert fork.value.reason in {"LogForked", "LogDamaged"}
        assert content(store, scene.volume) == before


def test_a_live_set_that_shrank_for_no_reason_is_not_believed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go(scene.volume, scene.gone)
    sweep(scene.volume)
    before = content(scene.volume.store, scene.volume)
    genuine = mark.live_digests

    def half(sets: object, state: object, pool: object) -> object:
        live = genuine(sets, state, pool)  # type: ignore[arg-type]
        answer = live.at

        def at(byte: int) -> set[bytes]:
            found = answer(byte)
            if byte % 2:
                live.count -= len(found)
                return set()
            return found

        live.at = at  # type: ignore[method-assign]
        return live

    monkeypatch.setattr(look, "live_digests", half)
    with pytest.raises(Integrity) as shrank:
        sweep(scene.volume)
    assert shrank.value.reason == "LiveSetShrank"
    assert content(scene.volume.store, scene.volume) == before
