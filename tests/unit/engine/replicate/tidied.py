"""A vault with a copy, and how it is tidied up: points forgotten, what nothing needs swept."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from recoup.engine.log.bodies import Forget
from recoup.engine.maintenance.prune import Wishes, prune
from recoup.engine.stores.base import Store
from recoup.engine.vault import Unlocked
from recoup.report import Progress
from tests.fakes.memory_store import MemoryStore
from tests.unit.engine.backup.volume import Volume
from tests.unit.engine.replicate.copies import Copies

QUIET = Progress(quiet=True)


@pytest.fixture
def tidied(tmp_path: Path) -> Copies:
    """One point of several packs at home, which is in memory; no copy yet."""
    made = Copies.make(tmp_path)
    for number in range(12):
        (made.home.source / f"f{number}").write_bytes(os.urandom(400_000))
    home = MemoryStore("memory://home")
    made.home.back_up()
    home.objects = MemoryStore.like(made.home.store).objects
    copies = Copies(tmp_path, Volume(made.home.source, made.open(home), pack_bytes=made.home.pack_bytes))
    copies.store = MemoryStore("memory://copy")
    return copies


def shrink(copies: Copies) -> str:
    """Another point, without most of what the first one had."""
    for number in range(2, 12):
        (copies.home.source / f"f{number}").unlink()
    return copies.home.back_up().id


def forget(copies: Copies, store: Store, point: bytes) -> Unlocked:
    vault = copies.open(store)
    vault.log.append(Forget((point,), "", 0, "test"), vault.maintenance.signer)
    return vault


def sweep(vault: Unlocked) -> int:
    """Prune until what nothing needs is gone; how many objects went."""
    gone = 0
    for days in (0, 1, 2):
        gone += prune(vault.log, vault.maintenance, Wishes(timedelta(hours=1)), QUIET, now=time.time() + days * 86_400).swept_objects
    return gone
