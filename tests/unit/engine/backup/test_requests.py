"""How many requests a backup makes of which nothing changed: four writes, what it builds on, and the log.

Shown to fail with no listings (up to twice the entries are asked for).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from recoup.engine.backup import lineage
from tests.fakes.memory_store import MemoryStore
from tests.faults.store import FaultStore
from tests.unit.engine.backup.volume import Volume, fill

FIRST = 4
"""Entries that are asked for before the log is listed."""


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Volume:
    monkeypatch.setattr(lineage, "SETTLING", -3_600_000_000_000)
    volume = Volume.make(tmp_path, MemoryStore())
    fill(volume.source, files=20)
    volume.back_up()
    return volume


def counted(store: FaultStore, vault: str) -> Counter[str]:
    """Requests by method, and by the part of the vault that they are of."""
    return Counter(f"{call.method} {call.name.removeprefix(f'v/{vault}/').partition('/')[0]}" for call in store.calls)


def test_of_an_unchanged_source(volume: Volume) -> None:
    vault = volume.vault.identity.vault_id.hex()
    for _ in range(30):
        entries = sum("/log/" in name for name, _ in volume.store.list(""))
        store = FaultStore(volume.store)
        done = volume.back_up(store=store)
        assert (done.files, done.errors_total, done.notes) == (22, 0, [])
        found = counted(store, vault)
        assert found.pop("list log", 0) == (entries >= FIRST)
        assert found.pop("get log") == max(entries + 1, FIRST)
        assert found == {"create log": 2, "create m": 1, "create x": 1, "get x": 3}
