"""Copying a vault to another location: what is there afterwards, what is asked for, what is refused."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recoup.engine.verify.run import verify
from recoup.report import Progress
from tests.fakes.memory_store import MemoryStore
from tests.faults.store import FaultStore
from tests.unit.engine.backup.volume import fill, picture
from tests.unit.engine.replicate.copies import Copies, claims, mirrored


@pytest.fixture
def copies(tmp_path: Path) -> Copies:
    copies = Copies.make(tmp_path)
    fill(copies.home.source, files=60)
    return copies


def test_a_copy_alone_is_restored_from(copies: Copies) -> None:
    first = copies.home.back_up().id
    before = picture(copies.home.source)
    (copies.home.source / "new").write_bytes(os.urandom(100_000))
    second = copies.home.back_up().id
    done = copies.replicate()
    assert done.first
    assert done.points == [first, second]
    assert not done.lost
    shutil.rmtree(copies.directory / "location")
    alone = copies.volume()
    assert picture(alone.restore(second)) == picture(copies.home.source)
    assert picture(alone.restore(first)) == before


def test_a_second_run_moves_nothing_and_asks_little(copies: Copies) -> None:
    copies.home.back_up()
    copies.replicate()
    source, target = FaultStore(copies.home.store), FaultStore(copies.store)
    done = copies.replicate(source=source, target=target)
    assert (done.points, done.copied.objects, done.entries) == ([], 0, 0)
    assert target.count("create") == 0
    assert {call.method for call in source.calls} == {"get"}
    assert all("/log/" in call.name for call in source.calls)


def test_levels_of_verification_hold_at_a_copy(copies: Copies) -> None:
    point = copies.home.back_up().id
    copies.replicate()
    vault = copies.open()
    findings = verify(vault, list(vault.log.state.commits.values()), 4, Progress(quiet=True))
    assert findings.good, (findings.damages, findings.affected, findings.log)
    assert [manifest.hex() for attest in copies.state().attests for manifest in attest.body.manifests] == [point]


def test_two_replicators_at_once(copies: Copies) -> None:
    """Neither repeats what the other did, and neither's word is broken."""
    for turn in range(4):
        (copies.home.source / f"new-{turn}").write_bytes(os.urandom(1000))
        copies.home.back_up()
    home, target = MemoryStore.like(copies.home.store), MemoryStore()
    with ThreadPoolExecutor(2) as pool:
        done = [run.result() for run in [pool.submit(copies.replicate, source=home, target=target) for _ in range(2)]]
    assert claims(copies, target) == []
    expected = list(copies.state(home).commits)
    assert dict(mirrored(copies, target)) == dict.fromkeys(expected, 1)
    assert sorted(point for one in done for point in one.points) == sorted(point.hex() for point in expected)


def test_more_incarnations_than_one_entry_holds(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into the MIRROR goes into HEALs before it."""
    monkeypatch.setattr("recoup.engine.replicate.run.PER_MIRROR", 2)
    monkeypatch.setattr("recoup.engine.replicate.run.PER_HEAL", 3)
    copies.home.back_up()
    home, target = MemoryStore.like(copies.home.store), MemoryStore()
    for name in home.objects:
        if name.split("/")[2:3] in (["d"], ["m"], ["x"]):
            target.create(name, b"planted")
    copies.replicate(source=home, target=target)
    state = copies.state(target)
    assert len(next(iter(state.commits.values())).body.incarnations) == 2
    assert len(state.healed) > 4
    assert claims(copies, target) == []
    done = copies.replicate(source=home, target=target)
    assert (done.entries, done.copied.objects) == (0, 0)
