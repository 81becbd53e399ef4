"""A vault and its copy through anything that happens to them, in any order: what was committed and not forgotten can be restored.

Real engine, real keys, stores in memory. After every step each such point is whole, from its home with its copy's help; the copy never
claims what it does not hold while nothing harmed it; now and then points are restored and compared file by file. With prune made to take
a sixteenth of what is live for garbage it fails within the first examples. Races of two at once are in model/ and tests/faults.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from recoup.engine.backup.session import Request, back_up
from recoup.engine.format.names import digest_of, object_name
from recoup.engine.healing.run import heal
from recoup.engine.keys.kek import SecretKek
from recoup.engine.log.bodies import Forget
from recoup.engine.log.follow import Log
from recoup.engine.maintenance.prune import Wishes, prune
from recoup.engine.maintenance.repack import repack
from recoup.engine.places import here_and_elsewhere
from recoup.engine.points import find_point, open_point
from recoup.engine.rekey import add_keks, new_generation
from recoup.engine.replicate.run import replicate
from recoup.engine.replicate.sets import SetReader
from recoup.engine.restore.orders import Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.run import restore
from recoup.engine.stores.base import Store
from recoup.engine.vault import Unlocked, open_vault, provision
from recoup.engine.verify.run import verify
from recoup.errors import Integrity, RecoupError
from recoup.report import Progress
from tests.fakes.memory_store import MemoryStore
from tests.faults.store import Crashed, Fault, FaultStore
from tests.unit.engine.backup.volume import picture

QUIET = Progress(quiet=True)
HOME, COPY = "home", "copy"
YEAR = 365 * 86_400
PLACES = st.sampled_from((HOME, COPY))
FAULTS = st.sampled_from((Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOST, Fault.REFUSED))
SEEDS = st.integers(0, 1 << 16)


class Listing(MemoryStore):
    """The same objects, but what is listed lags behind, or ends early."""

    def __init__(self, store: MemoryStore, shown: dict[str, int], end: int) -> None:
        super().__init__(store.url)
        self.objects, self._shown, self._end = store.objects, shown, end

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        found = sorted((name, size) for name, size in self._shown.items() if name.startswith(prefix))
        return iter(found[: self._end])


class Vaults(RuleBasedStateMachine):
    """The model: what each point holds, where it was forgotten, which place was harmed since it was healed."""

    @initialize(seed=SEEDS)
    def begin(self, seed: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="recoup-states-"))
        self.stores = {HOME: MemoryStore("memory://home"), COPY: MemoryStore("memory://copy")}
        self.kek, self.now = SecretKek.generate(), 1_800_000_000.0
        self.vault_id = os.urandom(16)
        made = provision(self.stores[HOME], [self.kek], [], vault_id=self.vault_id, labels={})
        self.root = made.writer.identity.root_public
        self.pictures: dict[str, dict[bytes, tuple[object, ...]]] = {}
        self.forgotten: dict[str, set[str]] = {HOME: set(), COPY: set()}
        self.harmed: set[str] = set()
        self.rotated = False
        self.old_lists: dict[str, dict[str, int]] = {HOME: {}, COPY: {}}
        rng = random.Random(seed)
        self.shared = rng.randbytes(300_000)
        for lineage in range(2):
            folder = self.folder / f"source-{lineage}"
            folder.mkdir()
            (folder / "shared").write_bytes(self.shared)
        self.backup(0, seed)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def open(self, place: str, store: Store | None = None) -> Unlocked:
        log = Log(store or self.stores[place], self.vault_id, root_public=self.root, clock=lambda: max(self.now, 0.0), pause=lambda _: None)
        log.follow()
        return open_vault(log, [self.kek], pinned=True)

    @property
    def begun(self) -> bool:
        """Whether the copy has a log, which is all that failing over to it takes."""
        return any("/log/" in name for name in self.stores[COPY].objects)

    @property
    def copied(self) -> bool:
        """Whether the copy opens by itself.

        Stopped between the MIRRORs of two changes of keys it does not before the next replication: its log names keyrings then that the
        home has deleted meanwhile.
        """
        if not self.begun:
            return False
        try:
            self.open(COPY)
        except Integrity as error:
            said = str(error)
        else:
            return True
        assert "keyring" in said
        assert self.rotated
        return False

    def live(self, place: str) -> list[str]:
        if place == COPY and not self.copied:
            return []
        return [point.hex() for point in self.open(place).log.state.commits]

    def faulty(self, place: str, call: int, fault: Fault) -> FaultStore:
        return FaultStore(self.stores[place], {call: fault})

    def quietly(self, work: Callable[[], object]) -> None:
        """Dead or refused on order, or because a place is harmed; never because of something else."""
        with suppress(Crashed, RecoupError):
            work()

    def change(self, lineage: int, seed: int) -> Path:
        rng, source = random.Random(seed), self.folder / f"source-{lineage}"
        for _ in range(3):
            (source / f"f{rng.randrange(6)}").write_bytes(rng.randbytes(rng.choice((10, 5_000, 60_000))))
        if seed % 5 == 0:
            (source / "shared").write_bytes(self.shared + rng.randbytes(10))
        if seed % 7 == 0:
            (source / "f0").unlink(missing_ok=True)
        return source

    def run_backup(self, source: Path, store: Store | None = None) -> None:
        vault = self.open(HOME)
        log = Log(store or self.stores[HOME], self.vault_id, root_public=self.root, clock=lambda: max(self.now, 0.0), pause=lambda _: None)
        back_up(log, vault.writer, Request(str(source), pack_bytes=5 << 20), lambda _b, _f: None, lambda _b, _f: None)

    def learn(self, source: Path) -> None:
        """A COMMIT that stands now and did not before is of what the source holds."""
        for point in self.live(HOME):
            self.pictures.setdefault(point, picture(source))

    # --- what happens --------------------------------------------------------------------------------------------------------------
    @rule(lineage=st.integers(0, 1), seed=SEEDS)
    def backup(self, lineage: int, seed: int) -> None:
        source = self.change(lineage, seed)
        if self.harmed:
            self.quietly(lambda: self.run_backup(source))
        else:
            self.run_backup(source)
        self.learn(source)

    @rule(lineage=st.integers(0, 1), seed=SEEDS, call=st.integers(0, 40), fault=FAULTS)
    def backup_in_trouble(self, lineage: int, seed: int, call: int, fault: Fault) -> None:
        source = self.change(lineage, seed)
        self.quietly(lambda: self.run_backup(source, self.faulty(HOME, call, fault)))
        self.learn(source)

    @rule(place=PLACES, which=SEEDS)
    def forget(self, place: str, which: int) -> None:
        points = self.live(place)
        if points and not self.harmed - {place} and len(points) > 1:
            point = points[which % len(points)]
            vault = self.open(place)
            vault.log.append(Forget((bytes.fromhex(point),), "", 0, "test"), vault.maintenance.signer)
            self.forgotten[place].add(point)

    @rule(
        place=PLACES,
        grace=st.sampled_from((0, 7)),
        dead=st.sampled_from((0, 30)),
        end=st.sampled_from((0, 5, 1 << 30)),
        stale=st.booleans(),
    )
    def prune(self, place: str, grace: int, dead: int, end: int, stale: bool) -> None:
        if self.live(place) and not self.harmed - {place}:
            store = self.stores[place]
            shown = self.old_lists[place] if stale else {name: len(data) for name, data in store.objects.items()}
            self.old_lists[place] = {name: len(data) for name, data in store.objects.items()}
            self.run_prune(place, Listing(store, shown, end), grace, dead)

    @rule(place=PLACES, call=st.integers(0, 60), fault=FAULTS)
    def prune_in_trouble(self, place: str, call: int, fault: Fault) -> None:
        if self.live(place) and not self.harmed - {place}:
            self.quietly(lambda: self.run_prune(place, self.faulty(place, call, fault), 0, 0, may_fail=True))

    def run_prune(self, place: str, store: Store, grace: int, dead: int, *, may_fail: bool = False) -> None:
        def work() -> None:
            vault = self.open(place, store)
            prune(vault.log, vault.maintenance, Wishes(timedelta(days=grace), timedelta(days=dead), threads=1), QUIET, now=self.now)

        if may_fail or self.harmed:
            self.quietly(work)
        else:
            with suppress(Integrity):  # a listing that lags may show a gap in the log, and then nothing is deleted
                work()

    @rule()
    def repack(self) -> None:
        if self.live(HOME):
            self.quietly(lambda: repack(self.open(HOME), 0.1, QUIET, pack_bytes=5 << 20))

    @rule(call=st.integers(0, 60), fault=FAULTS, calm=st.booleans())
    def replicate(self, call: int, fault: Fault, calm: bool) -> None:
        target: Store = self.stores[COPY] if calm else self.faulty(COPY, call, fault)
        if calm and not self.harmed:
            assert not replicate(self.stores[HOME], target, self.vault_id, QUIET, pinned_root=self.root, threads=1).lost
            assert self.copied
            self.rotated = False
        else:
            self.quietly(lambda: replicate(self.stores[HOME], target, self.vault_id, QUIET, pinned_root=self.root, threads=1))

    @precondition(lambda self: self.copied)
    @rule(place=PLACES, which=SEEDS, gone=st.booleans())
    def corrupt(self, place: str, which: int, gone: bool) -> None:
        """An object that the other place holds, too."""
        other = self.stores[COPY if place == HOME else HOME].objects
        names = sorted(name for name in self.stores[place].objects if name.split("/")[2:3] in (["d"], ["m"], ["x"]) and name in other)
        if names and not self.harmed - {place}:
            name = names[which % len(names)]
            data = bytearray(self.stores[place].objects.pop(name))
            data[which % len(data)] ^= 1
            if not gone:
                self.stores[place].objects[name] = bytes(data)
            self.harmed.add(place)

    @rule(place=PLACES, level=st.integers(0, 4))
    def verify(self, place: str, level: int) -> None:
        if self.live(place):
            vault = self.open(place)
            found = verify(vault, list(vault.log.state.commits.values()), level, QUIET)
            assert not found.affected or place in self.harmed

    @precondition(lambda self: self.copied)
    @rule(place=PLACES)
    def heal(self, place: str) -> None:
        other = self.stores[COPY if place == HOME else HOME]
        done = heal(self.stores[place], [other], self.vault_id, QUIET, pinned_root=self.root, threads=1)
        if not self.harmed - {place}:
            assert not done.lost
        self.harmed.discard(place)

    @rule(leaked=st.booleans(), whole=st.booleans())
    def rotate(self, leaked: bool, whole: bool) -> None:
        self.rotated = True
        fresh = SecretKek.generate()
        if whole:
            new_generation(self.open(HOME).log, [self.kek], [self.kek], leaked=leaked)
        else:
            add_keks(self.open(HOME).log, [self.kek], [fresh])

    @rule(years=st.integers(-30, 30))
    def clock_jumps(self, years: int) -> None:
        self.now += years * YEAR + 8 * 86_400

    @rule(which=SEEDS)
    def restore_and_compare(self, which: int) -> None:
        points = self.live(HOME)
        if points:
            self.restored(HOME, points[which % len(points)])

    @precondition(lambda self: self.copied and not self.harmed)
    @rule(which=SEEDS)
    def restore_from_the_copy_alone(self, which: int) -> None:
        points = self.live(COPY)
        if points:
            self.restored(COPY, points[which % len(points)], alone=True)

    def restored(self, place: str, point: str, *, alone: bool = False) -> None:
        vault, target, outcome = self.open(place), self.folder / "restored", Outcome()
        shutil.rmtree(target, ignore_errors=True)
        others = [] if alone or not self.begun else [self.stores[COPY if place == HOME else HOME]]
        store = here_and_elsewhere(vault.log, others)
        restore(open_point(vault, find_point(vault, point), store), str(target), Orders(), outcome, QUIET)
        assert not outcome.damaged.total
        assert picture(target) == self.pictures[point]

    # --- what must hold ------------------------------------------------------------------------------------------------------------
    @invariant()
    def what_was_committed_and_not_forgotten_is_whole(self) -> None:
        if not hasattr(self, "pictures"):
            return
        assert set(self.live(HOME)) == set(self.pictures) - self.forgotten[HOME]
        assert not set(self.live(COPY)) & self.forgotten[COPY]
        self.whole(HOME, [self.stores[COPY]] if self.begun else [])
        if self.copied:
            self.whole(COPY, [self.stores[HOME]] if COPY in self.harmed else [])

    def whole(self, place: str, others: list[Store]) -> None:
        """Every object that a live point needs can be had with the right bytes."""
        log = self.open(place).log
        store: Any = here_and_elsewhere(log, others)
        sets = SetReader(self.vault_id, store)
        for commit in log.state.commits.values():
            for wanted in sets.needed(commit):
                name = object_name(self.vault_id, wanted.area, wanted.digest, wanted.at)
                assert digest_of(store.get(name)) == wanted.digest


class LongVaults(Vaults):
    """The same, for longer."""


COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck)}
TestVaults = Vaults.TestCase
TestVaults.settings = settings(max_examples=12, stateful_step_count=22, derandomize=True, **COMMON)  # type: ignore[arg-type]  # two kinds
TestLongVaults = pytest.mark.long(LongVaults.TestCase)
TestLongVaults.settings = settings(max_examples=200, stateful_step_count=50, print_blob=True, **COMMON)  # type: ignore[arg-type]  # two kinds
