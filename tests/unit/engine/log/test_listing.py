"""Listings of a log change how many requests reading takes, never what is read.

Shown to fail with listings believed (reading stopped at their end).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest

from recoup.engine.format.names import log_name
from recoup.engine.log.checkpoint import EVERY
from recoup.engine.stores.base import Store
from recoup.errors import Denied, Retryable
from tests.faults.store import FaultStore
from tests.unit.engine.log.histories import History, facts_of

ENTRIES = 100
Listed = Iterable[tuple[str, int]]


class Lying(FaultStore):
    """`lie` makes of a listing what is told."""

    def __init__(self, store: Store, lie: Callable[[Listed], Listed]) -> None:
        super().__init__(store)
        self._lie = lie

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return iter(self._lie(super().list(prefix)))


@pytest.fixture(scope="module")
def history() -> History:
    history = History(seed=6)
    history.grow(ENTRIES)
    return history


def refused(_listed: Listed) -> Listed:
    raise Denied("no listings here")


def unanswered(_listed: Listed) -> Listed:
    raise Retryable("no answer")


def nothing(_listed: Listed) -> Listed:
    return ()


def the_first_half(listed: Listed) -> Listed:
    return list(listed)[: ENTRIES // 2]


def with_a_gap(listed: Listed) -> Listed:
    found = list(listed)
    return found[:20] + found[30:]


def far_too_much(listed: Listed) -> Listed:
    name = next(iter(listed))[0]
    return [(f"{name[:-16]}{seq:016x}", 1) for seq in range(100_000)]


def read(history: History, lie: Callable[[Listed], Listed]) -> tuple[object, int]:
    store = Lying(history.store, lie)
    reader = history.reader(store)
    facts = facts_of(reader.follow())
    assert reader.state.next_seq == ENTRIES
    return facts, sum("/log/" in call.name for call in store.calls)


@pytest.mark.parametrize("lie", [refused, unanswered, nothing, the_first_half, with_a_gap, far_too_much])
def test_a_listing_that_lies_costs_requests_and_nothing_else(history: History, lie: Callable[[Listed], Listed]) -> None:
    facts, requests = read(history, lie)
    honest, fewest = read(history, lambda listed: listed)
    assert facts == honest == facts_of(history.reader(checkpoints=False).follow())
    assert fewest == ENTRIES + 2, "every entry, the one that is absent, and the listing"
    assert fewest <= requests <= 2 * ENTRIES + EVERY // 2


def test_the_end_of_a_listing_is_not_the_end_of_the_log() -> None:
    """More entries than one listing is of."""
    long = History(seed=7)
    long.runs(3 * EVERY)
    entries = long.state.next_seq
    store = FaultStore(long.store)
    assert long.reader(store, checkpoints=False).follow().next_seq == entries
    assert store.count("list") == 2
    asked = [call.name for call in store.calls if call.method == "get"]
    assert asked == [log_name(long.vault.identity.vault_id, seq) for seq in range(entries + 1)]
