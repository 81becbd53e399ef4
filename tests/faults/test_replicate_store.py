"""Replication and healing that die, or lose answers, at every single call of either store: running again succeeds, and no log
ever says that something is where it is not.

With `reads_back` made to say yes to everything, the planted objects of `test_what_stands_there_already_is_not_believed` pass for copies and
that test fails; with the MIRROR appended before the objects are copied, every test of a killed run fails.
"""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from recoup.engine.healing.run import heal
from recoup.engine.log import follow
from recoup.engine.stores.base import Store
from recoup.errors import RecoupError
from recoup.report import Progress
from tests.fakes.memory_store import MemoryStore
from tests.faults.store import Crashed, Fault, FaultStore
from tests.unit.engine.backup.volume import fill
from tests.unit.engine.replicate.copies import Copies, claims, mirrored


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """Two points at home, which is in memory; no copy yet."""
    copies = Copies.make(tmp_path_factory.mktemp("home"))
    fill(copies.home.source, files=20)
    copies.home.back_up()
    (copies.home.source / "new").write_bytes(os.urandom(50_000))
    copies.home.back_up()
    copies.home.vault.log.store = MemoryStore.like(copies.home.store)
    return copies


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_MAX_UNANSWERED", 1)


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("side", ["source", "target"])
def test_trouble_at_any_call_of_a_replication(copies: Copies, side: str, fault: Fault) -> None:
    expected = dict.fromkeys(copies.state(copies.home.store).commits, 1)

    def run(target: Store, faults: dict[int, Fault]) -> FaultStore:
        faulty = FaultStore(copies.home.store if side == "source" else target, faults)
        source = faulty if side == "source" else copies.home.store
        with suppress(Crashed, RecoupError):
            copies.replicate(source=source, target=target if side == "source" else faulty, threads=1)
        return faulty

    calls = len(run(MemoryStore(), {}).calls)
    assert calls > 20
    for number in range(calls):
        target = MemoryStore()
        run(target, {number: fault})
        assert claims(copies, target) == []
        copies.replicate(target=target, threads=1)
        assert claims(copies, target) == []
        assert dict(mirrored(copies, target)) == expected


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("side", ["source", "target"])
def test_trouble_at_any_call_of_a_healing(copies: Copies, side: str, fault: Fault) -> None:
    whole = MemoryStore()
    copies.replicate(target=whole, threads=1)

    def run(hurt: Store, faults: dict[int, Fault]) -> FaultStore:
        faulty = FaultStore(copies.home.store if side == "source" else hurt, faults)
        other = faulty if side == "source" else copies.home.store
        with suppress(Crashed, RecoupError):
            heal(hurt if side == "source" else faulty, [other], copies.vault_id, Progress(quiet=True), threads=1)
        return faulty

    undisturbed = damaged(whole)
    calls = len(run(undisturbed, {}).calls)
    expected = copies.state(undisturbed).healed
    assert len(expected) == 4
    for number in range(calls):
        hurt = damaged(whole)
        run(hurt, {number: fault})
        for digest, incarnations in copies.state(hurt).healed.items():
            assert stands(copies, hurt, digest, incarnations)
        done = heal(hurt, [copies.home.store], copies.vault_id, Progress(quiet=True), threads=1)
        assert not done.lost
        assert claims(copies, hurt) == []
        assert set(copies.state(hurt).healed) == set(expected)


def damaged(whole: MemoryStore) -> MemoryStore:
    """The same without two objects, and with two damaged ones."""
    hurt = MemoryStore.like(whole)
    for number, name in enumerate(sorted(name for name in hurt.objects if name.split("/")[2:3] in (["d"], ["m"]))[:4]):
        if number % 2:
            del hurt.objects[name]
        else:
            hurt.objects[name] = hurt.objects[name][:-1] + b"!"
    return hurt


def stands(copies: Copies, store: Store, digest: bytes, incarnations: tuple[int, ...]) -> bool:
    """Whether what a HEAL names stands there."""
    text = digest.hex()
    names = [f"v/{copies.vault_id.hex()}/{area}/{text[:2]}/{text}.{k}" for area in "dmx" for k in incarnations]
    return any(store.size(name) for name in names)


def test_what_stands_there_already_is_not_believed(copies: Copies) -> None:
    """Planted under the right names: other bytes. The copy stands beside them."""
    target = MemoryStore()
    for name, _ in copies.home.store.list("v/"):
        if name.split("/")[2] in {"d", "m", "x"}:
            target.create(name, b"planted")
    done = copies.replicate(target=target)
    assert done.copied.spoilt == done.copied.objects > 10
    assert claims(copies, target) == []
    assert len(copies.state(target).commits) == 2
