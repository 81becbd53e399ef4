"""Prune's memory against the size of the vault: made-up vaults up to 100 TiB, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.e2e.engine.large_vault import GARBAGE, PACK, VOLUMES

LIMIT = 512 << 20


def pruned(tebibytes: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.e2e.engine.large_vault", str(tebibytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check(tebibytes: float) -> int:
    """Prune a vault of that size; the peak of memory in bytes."""
    found = pruned(tebibytes)
    each = int(tebibytes * (1 << 40)) // PACK // (VOLUMES * 256)
    garbage = 256 * VOLUMES * GARBAGE
    assert found["deleted"] == garbage
    assert found["objects"] - garbage - each * 256 * VOLUMES == VOLUMES  # the roots of the sets are there, their shards are made up
    return int(found["peak"])


def test_a_vault_of_a_tebibyte() -> None:
    assert check(1) <= LIMIT


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_vault_of_a_hundred_tebibytes() -> None:
    assert check(100) <= LIMIT
