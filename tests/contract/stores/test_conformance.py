"""What every store must do (engine/stores/base.py), one suite for all places."""

from __future__ import annotations

import mmap
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from recoup.engine.stores.base import Buffer, Store
from recoup.engine.stores.registry import open_store
from recoup.errors import Integrity, Invalid, NotFound
from tests.contract.stores.places import Place

NAME = "v/0123abcd/d/0f/0f00.1"


def test_what_is_created_is_read_back(store: Store) -> None:
    data = os.urandom(100_000)
    assert store.create(NAME, data)
    assert store.get(NAME) == data
    assert store.size(NAME) == len(data)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 5 * 2**20 + 1])
def test_any_buffer_of_any_size_is_stored_exactly(store: Store, size: int) -> None:
    data = os.urandom(size)
    page = mmap.mmap(-1, size + 4096)
    page[7 : 7 + size] = data
    buffers: tuple[Buffer, ...] = (data, bytearray(data), memoryview(page)[7 : 7 + size])
    for number, buffer in enumerate(buffers):
        name = f"m/00/{number}"
        assert store.create(name, buffer)
        assert store.get(name) == data


def test_create_never_overwrites(store: Store) -> None:
    assert store.create(NAME, b"first")
    assert not store.create(NAME, b"second")
    assert not store.create(NAME, b"first")
    assert store.get(NAME) == b"first"


def test_of_many_racing_writers_one_wins_and_its_bytes_stay(atomic_place: Place) -> None:
    store = atomic_place.open()
    for key in range(10):
        barrier = threading.Barrier(4)

        def write(writer: int, key: int = key, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            return store.create(f"log/{key:016x}", f"writer {writer}".encode())

        with ThreadPoolExecutor(4) as pool:
            won = list(pool.map(write, range(4)))
        assert won.count(True) == 1
        assert store.get(f"log/{key:016x}") == f"writer {won.index(True)}".encode()


def test_absent_objects(store: Store) -> None:
    store.create("other", b"x")
    assert store.size(NAME) is None
    for read in (lambda: store.get(NAME), lambda: store.get_range(NAME, 0, 4), lambda: store.get_into(NAME, memoryview(bytearray(9)))):
        with pytest.raises(NotFound) as caught:
            read()
        assert caught.value.reason == "ObjectNotFound"
        assert NAME in str(caught.value)


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, 4, b"0123"), (3, 1, b"3"), (6, 4, b"6789"), (-3, 3, b"789"), (-99, 99, b"0123456789"), (5, 0, b"")],
)
def test_ranges(store: Store, start: int, length: int, expected: bytes) -> None:
    store.create(NAME, b"0123456789")
    assert store.get_range(NAME, start, length) == expected


@pytest.mark.parametrize(("start", "length"), [(6, 5), (9, 2), (10, 1), (50, 1)])
def test_a_range_beyond_the_end_is_an_integrity_error(store: Store, start: int, length: int) -> None:
    store.create(NAME, b"0123456789")
    with pytest.raises(Integrity) as caught:
        store.get_range(NAME, start, length)
    assert caught.value.reason == "ObjectTruncated"


def test_get_into_a_reused_buffer(store: Store) -> None:
    data = os.urandom(300_000)
    store.create("a", data)
    store.create("b", b"short")
    store.create("c", b"")
    page = mmap.mmap(-1, 2**20)
    view = memoryview(page)
    for _ in range(3):
        assert store.get_into("a", view) == len(data)
        assert view[: len(data)] == data
        assert store.get_into("b", view) == 5
        assert bytes(view[:5]) == b"short"
        assert store.get_into("c", view) == 0
    with pytest.raises(Integrity) as caught:
        store.get_into("a", view[: len(data) - 1])
    assert caught.value.reason == "ObjectTooLarge"
    assert store.get("b") == b"short"  # the connection of a refused answer is not used again


def test_get_refuses_what_is_too_large_before_reading_it(store: Store) -> None:
    store.create(NAME, bytes(1000))
    assert len(store.get(NAME, limit=1000)) == 1000
    with pytest.raises(Integrity) as caught:
        store.get(NAME, limit=999)
    assert caught.value.reason == "ObjectTooLarge"


def test_limits_change_speed_only(place: Place) -> None:
    limited = open_store(place.url, replace(place.options, upload_limit=20 << 20, download_limit=20 << 20))
    data = os.urandom(3 << 20)
    assert limited.create(NAME, memoryview(data))
    assert limited.get(NAME) == data
    assert limited.get_range(NAME, 1000, 2000) == data[1000:3000]
    buffer = memoryview(bytearray(4 << 20))
    assert limited.get_into(NAME, buffer) == len(data)
    assert buffer[: len(data)] == data


def test_list_is_complete_sorted_and_narrow(store: Store) -> None:
    names = sorted(["a-b", "a.b", "a/b", "a/b.1", "a/c/d", "ab", "v/1/log/0", "v/1/log/00", "v/2/log/0"])
    for name in reversed(names):
        store.create(name, name.encode())
    assert list(store.list("")) == [(name, len(name)) for name in names]
    assert [name for name, _ in store.list("a/")] == ["a/b", "a/b.1", "a/c/d"]
    assert [name for name, _ in store.list("a/b")] == ["a/b", "a/b.1"]
    assert [name for name, _ in store.list("v/1/log/0")] == ["v/1/log/0", "v/1/log/00"]
    assert list(store.list("none/")) == []
    assert sorted(store.folders("v/")) == ["1", "2"]
    assert list(store.folders("none/")) == []


def test_list_goes_on_over_pages(store: Store) -> None:
    names = [f"d/{number:04}" for number in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda name: store.create(name, b""), names))
    assert [name for name, _ in store.list("d/")] == names


def test_delete(store: Store) -> None:
    store.create("a/b", b"x")
    store.create("a/c", b"y")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/was")
    assert [name for name, _ in store.list("")] == ["a/c"]
    assert store.create("a/b", b"again")


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", ".a", "a/.b", "a\0b", "a b", "ä", "a\n", "x" * 256, "a/" * 300 + "a"]
)
def test_strange_names_are_refused_everywhere(store: Store, name: str) -> None:
    calls = (lambda: store.create(name, b""), lambda: store.get(name), lambda: store.size(name), lambda: store.delete(name))
    for call in calls:
        with pytest.raises(Invalid) as caught:
            call()
        assert caught.value.reason == "InvalidName"


def test_a_missing_place_is_named(place: Place) -> None:
    calls = (lambda: place.missing().get("recoup"), lambda: place.missing().create("recoup", b""), lambda: list(place.missing().list("")))
    for call in calls:
        with pytest.raises(Invalid) as caught:
            call()
        assert caught.value.reason in {"BucketNotFound", "LocationNotFound"}
        assert not isinstance(caught.value, NotFound)
