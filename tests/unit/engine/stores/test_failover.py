"""Reading from several places: the next one is asked for what one does not give, and bytes count only if they match their digest."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from recoup.engine.format.names import digest_of, object_name
from recoup.engine.stores.base import MAX_OBJECT
from recoup.engine.stores.failover import AWAY_FIRST, FailoverStore, Place
from recoup.errors import Denied, Integrity, NotFound, RecoupError, Retryable
from tests.fakes.memory_store import MemoryStore

VAULT = bytes(16)
DATA = os.urandom(5000)
DIGEST = digest_of(DATA)
NAME = object_name(VAULT, "d", DIGEST)


class Away(MemoryStore):
    """Answers nothing while `error` is set."""

    error: RecoupError | None = None
    asked = 0

    def _ask(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error

    def get(self, name: str, limit: int = MAX_OBJECT) -> bytes:
        self._ask()
        return super().get(name, limit)

    def size(self, name: str) -> int | None:
        self._ask()
        return super().size(name)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def place(store: MemoryStore, *incarnations: int) -> Place:
    return Place(store, lambda _digest: incarnations or (0,))


def holding(data: bytes | None = DATA, incarnation: int = 0) -> Away:
    store = Away(f"memory://{os.urandom(4).hex()}")
    if data is not None:
        store.objects[object_name(VAULT, "d", DIGEST, incarnation)] = data
    return store


def whole(store: FailoverStore) -> bytes:
    return store.get(NAME)


def into(store: FailoverStore) -> bytes:
    buffer = memoryview(bytearray(10_000))
    return bytes(buffer[: store.get_into(NAME, buffer)])


def ranged(store: FailoverStore) -> bytes:
    assert store.size(NAME) == len(DATA)
    return store.get_range(NAME, 0, 2000) + store.get_range(NAME, -3000, 3000)


READS = pytest.mark.parametrize("read", [whole, into, ranged])


@READS
def test_the_first_place_is_asked_alone_while_it_is_good(read: Callable[[FailoverStore], bytes]) -> None:
    first, second = holding(), holding()
    store = FailoverStore([place(first), place(second)])
    assert read(store) == DATA
    assert second.asked == 0
    assert [p.objects for p in store.places] == [1, 0]


@READS
def test_a_missing_object_comes_from_the_next_place(read: Callable[[FailoverStore], bytes]) -> None:
    said: list[str] = []
    store = FailoverStore([place(holding(None)), place(holding())], notice=said.append)
    assert read(store) == DATA
    assert [(p.objects, p.bad_total) for p in store.places] == [(0, 1), (1, 0)]
    assert len(said) == 1


@pytest.mark.parametrize("read", [whole, into])
@pytest.mark.parametrize("bad", [DATA[:-1] + b"?", DATA[:-1], DATA + b"?", b""])
def test_wrong_bytes_are_not_taken(read: Callable[[FailoverStore], bytes], bad: bytes) -> None:
    store = FailoverStore([place(holding(bad)), place(holding())])
    assert read(store) == DATA
    assert store.places[0].bad == [NAME]


@READS
@pytest.mark.parametrize("error", [Retryable("away"), Denied("no rights")])
def test_a_place_that_is_away_is_asked_last_for_a_while(read: Callable[[FailoverStore], bytes], error: RecoupError) -> None:
    first, second, clock = holding(), holding(), Clock()
    first.error = error
    said: list[str] = []
    store = FailoverStore([place(first), place(second)], notice=said.append, clock=clock)
    assert read(store) == DATA
    asked = first.asked
    assert asked == 1
    assert read(store) == DATA
    assert first.asked == asked
    assert len(said) == 1
    first.error = None
    clock.now += AWAY_FIRST + 1
    assert read(store) == DATA
    assert first.asked > asked
    assert store.places[0].objects == 1


@READS
def test_each_place_has_its_own_incarnation(read: Callable[[FailoverStore], bytes]) -> None:
    store = FailoverStore([place(holding(incarnation=3), 3, 0)])
    assert read(store) == DATA
    store = FailoverStore([place(holding(incarnation=2), 7, 2)])  # 7 is somebody's unsigned claim
    assert read(store) == DATA


def test_what_is_said_when_nobody_has_it() -> None:
    gone, away = holding(None), holding()
    away.error = Retryable("out of reach")
    with pytest.raises(NotFound, match="out of reach"):
        FailoverStore([place(gone), place(away)]).get(NAME)
    with pytest.raises(Integrity, match="not those"):
        FailoverStore([place(holding(b"bad")), place(holding(None))]).get(NAME)
    with pytest.raises(Retryable):
        FailoverStore([place(away), place(away)]).get(NAME)
    assert FailoverStore([place(gone), place(gone)]).size(NAME) is None


def test_a_single_place_that_is_away_says_so() -> None:
    away = holding()
    away.error = Retryable("out of reach")
    with pytest.raises(Retryable):
        FailoverStore([place(away)]).size(NAME)


def test_what_no_digest_names_comes_from_the_first_place_only() -> None:
    first, second = MemoryStore(), MemoryStore()
    second.objects["v/x/log/0"] = b"another log"
    with pytest.raises(NotFound):
        FailoverStore([place(first), place(second)]).get("v/x/log/0")
