"""Copying a vault to another location: what is there afterwards, what is asked for, what is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from recoup.engine.verify.run import verify
from recoup.report import Progress
from tests.faults.store import FaultStore
from tests.unit.engine.backup.volume import fill, picture
from tests.unit.engine.replicate.copies import Copies


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
