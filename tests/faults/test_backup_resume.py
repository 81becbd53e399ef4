"""What reached the store before a crash is not sent again: counted as what the location holds more than after one undisturbed run.

Every object is sealed with a fresh key, so bytes that were sent twice are stored twice under different names. The last test is the
same with the mechanism switched off, and finds the waste that the first one would report.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from recoup.engine.backup import choosing, resume
from recoup.engine.format.names import digest_of, log_name, object_name
from recoup.engine.keys.tickets import session_id
from recoup.engine.log.bodies import Abort, Condemn, Open
from recoup.engine.log.entries import decode_entry
from recoup.engine.log.sets import StoredSets
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.objectlist import Listed, encode_list
from recoup.engine.stores.base import Buffer, Store
from recoup.engine.stores.file import FileStore
from recoup.errors import Denied, Retryable
from tests.faults.store import Crashed, Fault, FaultStore
from tests.unit.engine.backup.volume import Volume, picture
from tests.unit.engine.keys.vaults import unlocked

PACK = 1 << 20
FILES = 36
AT_MOST = 3 * PACK
"""Two packs on their way when the process dies, and the difference that other borders of packs make."""


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Volume:
    """Ten packs; a checkpoint after each object."""
    monkeypatch.setattr(resume, "LEAST_OBJECTS", 1)
    monkeypatch.setattr(resume, "SHARE", 1 << 30)
    volume = Volume.make(tmp_path)
    volume.pack_bytes = PACK
    rng = random.Random(7)
    for number in range(FILES):
        path = volume.source / f"d{number % 4}" / f"f{number:03d}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(rng.randbytes(290_000))
    return volume


class Bench:
    """One location as it was before the run, as often as it is wanted."""

    def __init__(self, volume: Volume, directory: Path) -> None:
        self.volume, self._directory = volume, directory
        shutil.copytree(directory / "location", directory / "empty")
        store = self.fresh()
        counted = FaultStore(store)
        here = self.at(store)
        here.back_up(store=counted)
        self.calls = len(counted.calls) - 8
        """Calls of a run, less some: how many there are depends on who of the threads is first."""
        self.stored = here.stored(area="d")

    def fresh(self) -> FileStore:
        trial = self._directory / "trial"
        shutil.rmtree(trial, ignore_errors=True)
        shutil.copytree(self._directory / "empty", trial)
        return FileStore(str(trial))

    def at(self, store: Store) -> Volume:
        return Volume(self.volume.source, unlocked(store, self.volume.vault.identity.vault_id), self.volume.restored, PACK)

    def killed(self, call: int, fault: Fault = Fault.CRASH_AFTER) -> tuple[Volume, int]:
        """The location after a run that died at this call, and the bytes of packs that it had sent."""
        store = self.fresh()
        with pytest.raises(Crashed):
            self.volume.back_up(store=FaultStore(store, {call: fault}))
        here = self.at(store)
        return here, here.stored(area="d")

    def waste(self, call: int, fault: Fault = Fault.CRASH_AFTER) -> tuple[int, int]:
        """(bytes that the next run sent again, bytes that the dead one had sent)."""
        here, sent = self.killed(call, fault)
        again = here.back_up()
        if call % 5 == 0:
            target = here.restore(again.id)
            assert picture(target) == picture(self.volume.source)
            shutil.rmtree(target)
        return here.stored(area="d") - self.stored, sent


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
def test_a_run_after_a_crash_sends_the_rest_alone(volume: Volume, tmp_path: Path, fault: Fault) -> None:
    bench = Bench(volume, tmp_path)
    assert bench.stored > 9 * PACK
    found = [bench.waste(call, fault) for call in range(3, bench.calls, 3)]
    assert max(sent for _, sent in found) >= bench.stored - PACK
    assert max(again for again, _ in found) <= AT_MOST


def test_without_the_mechanism_the_same_measure_finds_the_waste(volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(volume, tmp_path)
    monkeypatch.setattr(resume.Earlier, "find", lambda *_: None)
    again, sent = bench.waste(bench.calls)
    assert again == sent >= bench.stored > AT_MOST


def test_a_run_that_dies_again_and_again_comes_to_its_end(volume: Volume, tmp_path: Path) -> None:
    """Each attempt lives for a few requests more than it needs to find its way; the packs sent in all stay bounded."""
    bench = Bench(volume, tmp_path)
    store = bench.fresh()
    for attempt in range(1, 40):
        try:
            last = volume.back_up(store=FaultStore(store, {20 + 5 * attempt: Fault.CRASH_AFTER}))
        except Crashed:
            continue
        break
    else:
        pytest.fail("it never came to its end")
    here = bench.at(store)
    assert picture(here.restore(last.id)) == picture(volume.source)
    assert attempt > 3
    assert here.stored(area="d") <= bench.stored + attempt * AT_MOST


def test_packs_that_are_gone_are_sent_again(volume: Volume, tmp_path: Path) -> None:
    """A HEAD by this attempt decides, not the segment."""
    here, sent = Bench(volume, tmp_path).killed(30)
    packs = [name for name, _ in here.store.list(f"v/{here.vault.identity.vault_id.hex()}/d/")]
    assert sent > 2 * PACK
    for name in packs[::2]:
        here.store.delete(name)
    point = here.back_up()
    assert picture(here.restore(point.id)) == picture(volume.source)


def test_condemned_packs_are_sent_again(volume: Volume, tmp_path: Path) -> None:
    """They are there still, but a SWEEP may take them while the run works."""
    here, _ = Bench(volume, tmp_path).killed(40)
    prefix = f"v/{here.vault.identity.vault_id.hex()}/"
    packs = sorted((bytes.fromhex(name.rpartition("/")[2]), size) for name, size in here.store.list(f"{prefix}d/"))
    doomed = encode_list([Listed(digest, 0, "d", size) for digest, size in packs[:2]])
    name = object_name(here.vault.identity.vault_id, "x", digest_of(doomed))
    here.store.create(name, doomed)
    condemn = Condemn(
        (digest_of(doomed),), 2, sum(size for _, size in packs[:2]), unnamed=True, marked=here.vault.log.follow().next_seq, live_objects=0
    )
    here.vault.log.append(condemn, here.vault.maintenance.signer)
    point = here.back_up()
    used = {ref.digest for ref in needed_objects(here, point.id)}
    assert not used & {digest for digest, _ in packs[:2]}
    assert used & {digest for digest, _ in packs[2:]}
    assert picture(here.restore(point.id)) == picture(volume.source)


def needed_objects(volume: Volume, point: str) -> list[ObjectRef]:
    commit = volume.open(point).commit
    return [ObjectRef(*key) for key in StoredSets(volume.store, volume.vault.identity.vault_id).needed(commit)]


class NoHead:
    """What a mover sees that may read neither packs nor trees: HEAD is refused there, a listing is not."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Callable[..., object]:
        method: Callable[..., object] = getattr(self._store, name)
        return method

    def size(self, name: str) -> int | None:
        if "/d/" in name or "/m/" in name:
            raise Denied(f"{name}: not for a writer")
        return self._store.size(name)


def test_a_writer_that_may_not_read_packs_resumes_by_their_listing(volume: Volume, tmp_path: Path) -> None:
    bench = Bench(volume, tmp_path)
    here, _ = bench.killed(40)
    point = here.back_up(store=NoHead(here.store))  # type: ignore[arg-type]  # the rest is the store's own
    assert here.stored(area="d") - bench.stored <= AT_MOST
    assert picture(here.restore(point.id)) == picture(volume.source)


def test_damaged_segments_cost_sending_again_and_nothing_else(volume: Volume, tmp_path: Path) -> None:
    here, _ = Bench(volume, tmp_path).killed(40)
    (session,) = here.vault.log.follow().sessions.values()
    segments = list(resume.segments_of(session))
    assert len(segments) > 3
    for path in Path(here.store.url.removeprefix("file://")).rglob("*"):
        if path.name in {digest.hex() for digest in segments[:2]}:
            path.chmod(0o600)
            path.write_bytes(b"damaged")
    point = here.back_up()
    assert picture(here.restore(point.id)) == picture(volume.source)


def entries(volume: Volume) -> list[object]:
    state = volume.vault.log.follow()
    names = [log_name(state.vault_id, seq) for seq in range(state.next_seq)]
    return [decode_entry(volume.store.get(name), name).body for name in names]


def test_the_session_of_a_crashed_run_goes_on_and_that_of_a_finished_one_does_not(volume: Volume, tmp_path: Path) -> None:
    here, _ = Bench(volume, tmp_path).killed(30)
    here.back_up()
    (volume.source / "new").write_bytes(b"new")
    here.back_up()
    sessions = [body.session for body in entries(here) if isinstance(body, Open)]
    assert len(set(sessions)) == 2
    assert len(here.vault.log.follow().commits) == 2


def test_a_forgotten_newest_point_does_not_bring_an_ended_session_back(volume: Volume) -> None:
    volume.back_up()
    state = volume.vault.log.follow()
    state.commits.clear()
    path = str(volume.source)
    with choosing.choose_session(state, volume.vault.writer, None, path) as chosen:
        assert chosen not in state.sessions


def test_while_one_run_lives_another_takes_a_session_of_its_own(volume: Volume) -> None:
    state, keys, path = volume.vault.log.follow(), volume.vault.writer, str(volume.source)
    with choosing.choose_session(state, keys, None, path) as first, choosing.choose_session(state, keys, None, path) as second:
        assert first != second
    with choosing.choose_session(state, keys, None, path) as third:
        assert third == first


def test_two_runs_of_one_session_on_two_machines_make_a_point_each(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's name does not reach the other machine: the one that commits later begins anew under an id of its own."""
    session = session_id("the same", "everywhere")
    once = [True]

    def other(_data: int, _files: int) -> None:
        if once and once.pop():
            volume.back_up()

    monkeypatch.setattr(choosing, "_session_of", lambda *_: session)
    monkeypatch.setattr("recoup.engine.backup.choosing.socket.socket.bind", lambda *_: None)
    last = volume.back_up(on_progress=other)
    state = volume.vault.log.follow()
    assert len(state.commits) == 2
    assert picture(volume.restore(last.id)) == picture(volume.source)


def test_an_interrupted_run_leaves_word_of_what_it_sent(volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(volume, tmp_path)
    monkeypatch.setattr(resume, "LEAST_OBJECTS", 1 << 30)
    here = bench.at(bench.fresh())
    seen = 0

    def interrupt(data: int, _files: int) -> None:
        nonlocal seen
        seen += data
        if seen > 8 << 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        here.back_up(on_progress=interrupt)
    assert here.stored(area="d") > PACK
    here.back_up()
    assert here.stored(area="d") - bench.stored <= AT_MOST


class TakesPacks(FaultStore):
    """Takes so many packs, and then no more."""

    def __init__(self, store: Store, packs: int) -> None:
        super().__init__(store)
        self._left = packs

    def create(self, name: str, data: Buffer) -> bool:
        if "/d/" in name:
            self._left -= 1
            if self._left < 0:
                raise Retryable(f"{name}: the store is away (fault)")
        return super().create(name, data)


def test_a_failed_run_of_the_command_line_ends_its_session_only_if_it_left_nothing(volume: Volume, tmp_path: Path) -> None:
    bench = Bench(volume, tmp_path)
    for packs, ended in ((0, True), (5, False)):
        here = bench.at(bench.fresh())
        with pytest.raises(Retryable):
            here.back_up(store=TakesPacks(here.store, packs))
        assert any(isinstance(body, Abort) for body in entries(here)) is ended


def test_the_log_grows_with_the_logarithm_of_the_run(volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand packs are written down in some hundred OPENs, not more."""
    monkeypatch.setattr(resume, "LEAST_OBJECTS", 16)
    monkeypatch.setattr(resume, "SHARE", 8)
    written = 0

    class Counting(resume.Checkpoints):
        def _write(self) -> None:
            nonlocal written
            written += 1
            self._before += self._fresh
            self._fresh = 0

    from recoup.engine.backup.packs import Ledger
    from recoup.engine.format.kinds import Kind
    from recoup.engine.format.sealed import SealedObject

    ledger = Ledger(keep_fresh=True)
    opened = resume.OpenSession(volume.vault.log, volume.vault.writer.signer, bytes(16), b"", PACK)
    checkpoints = Counting(opened, volume.vault.writer, ledger, clock=lambda: 0.0)
    for number in range(100_000):
        sealed = SealedObject(number.to_bytes(32, "big"), memoryview(b""), 0, Kind.DATA, bytes(16))
        ledger.sealed(ledger.new_object(), sealed, [])
        checkpoints.reached(sealed)
    assert 50 < written < 150
