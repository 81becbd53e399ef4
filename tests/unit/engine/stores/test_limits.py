"""The bandwidth limit, with a clock that only moves when somebody sleeps."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from recoup.engine.stores.base import StoreOptions
from recoup.engine.stores.file import FileStore
from recoup.engine.stores.limited import LimitedStore, limited
from recoup.engine.stores.limits import CHUNK, LimitedBody, Limiter
from recoup.engine.stores.registry import open_store


class Clock:
    now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> float:
        return self.now


@given(st.lists(st.integers(1, CHUNK), min_size=1, max_size=200), st.integers(1000, 10**7))
def test_no_more_than_the_limit_and_a_quarter_second_passes(sizes: list[int], limit: int) -> None:
    clock = Clock()
    limiter = Limiter(limit, clock.read, clock.sleep)
    for size in sizes:
        limiter.take(size)
    took = clock.now - 100.0
    assert sum(sizes) <= limit * (took + 0.25) * (1 + 1e-9) + 1
    assert took <= sum(sizes) / limit + 1e-6


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    Limiter(None, clock.read, clock.sleep).take(10**12)
    assert clock.now == 100.0


def test_a_limited_body_gives_the_same_bytes_and_can_be_rewound() -> None:
    data = bytes(range(256)) * 2000
    clock = Clock()
    body = LimitedBody(memoryview(data), Limiter(100_000, clock.read, clock.sleep))
    assert len(body) == len(data)
    assert b"".join(iter(lambda: bytes(body.read(16_384)), b"")) == data
    assert body.seek(0) == 0
    assert body.read(5) == data[:CHUNK]
    assert body.tell() == CHUNK
    assert clock.now > 104


def test_a_directory_is_limited_in_both_directions(tmp_path: Path) -> None:
    up, down = Clock(), Clock()
    store = LimitedStore(FileStore(str(tmp_path)), Limiter(100_000, up.read, up.sleep), Limiter(1_000_000, down.read, down.sleep))
    for number in range(4):
        assert store.create(f"d/{number}", bytes(100_000))
    assert (3.7 < up.now - 100 < 4.3, down.now) == (True, 100.0)
    buffer = memoryview(bytearray(100_000))
    assert store.get("d/0") == store.get_range("d/1", 0, 100_000) == bytes(100_000)
    assert store.get_into("d/2", buffer) == store.size("d/3") == 100_000
    assert 0.04 < down.now - 100 < 0.31
    store.delete("d/3")
    assert [name for name, _ in store.list("d/")] == ["d/0", "d/1", "d/2"]
    assert list(store.folders("")) == ["d"]


def test_a_directory_without_limits_is_not_wrapped(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    assert limited(store, StoreOptions()) is store
    assert isinstance(open_store(f"file://{tmp_path}", StoreOptions(upload_limit=5)), LimitedStore)
