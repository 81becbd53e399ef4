"""The plan: every run in exactly one job, every pack once where the tree follows the packs, memory bounded, files finished once."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup.engine.records.content import Run
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.rows import Place
from recoup.engine.records.tree import Entry, FileType
from recoup.engine.restore import content
from recoup.engine.restore.orders import Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.plan import PackJob, Pending, Planner
from recoup.engine.restore.run import restore
from recoup.engine.stores.file import FileStore
from recoup.report import Progress
from tests.unit.engine.restore.forge import Forger, directory, file


def pending() -> Pending:
    return Pending(Entry((), b"f", FileType.REGULAR, 0o644, 0, 0, 0, 1), b"t")


def run_of(number: int, length: int = 100) -> Run:
    return Run(number * length, length, bytes([number % 256]) * 32, 0, b"")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=200), st.integers(1, 20))
def test_every_run_is_handed_out_exactly_once(places: list[tuple[int, int]], window: int) -> None:
    planner, whole, jobs = Planner(window_runs=window), pending(), list[PackJob]()
    for number, (pack, block) in enumerate(places):
        planner.add(whole, run_of(number), Place(bytes([pack]) * 32, 0, block, 1))
        if planner.full:
            jobs += planner.take()
    jobs += planner.take(everything=True)
    handed = Counter(
        (job.object.digest[0], block, run.offset) for job in jobs for block, (_, feeds) in job.blocks.items() for _, run in feeds
    )
    assert handed == Counter((pack, block, number * 100) for number, (pack, block) in enumerate(places))
    assert planner.take(everything=True) == []
    for job in jobs:
        assert job.wanted == sum(run.length for _, feeds in job.blocks.values() for _, run in feeds)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=30), st.integers(1, 40))
def test_packs_in_walk_order_come_once_each(blocks_of_packs: list[int], window: int) -> None:
    """Unless a single pack fills a window by itself, which then has to be given out in parts."""
    planner, whole, jobs, number = Planner(window_runs=window), pending(), list[PackJob](), 0
    for pack, blocks in enumerate(blocks_of_packs):
        for block in range(blocks):
            planner.add(whole, run_of(number), Place(bytes([pack]) * 32, 0, block, 1))
            number += 1
            if planner.full:
                jobs += planner.take()
    jobs += planner.take(everything=True)
    parts = Counter(job.object for job in jobs)
    for pack, blocks in enumerate(blocks_of_packs):
        if blocks < window:
            assert parts[ObjectRef(bytes([pack]) * 32)] == 1


def test_a_file_is_finished_once_by_whoever_writes_its_last_run() -> None:
    for _ in range(50):
        whole, barrier, finished = pending(), threading.Barrier(4), list[bool]()
        for _ in range(3):
            whole.add()

        def done(whole: Pending = whole, barrier: threading.Barrier = barrier, finished: list[bool] = finished) -> None:
            barrier.wait()
            finished.append(whole.done())

        def planned(whole: Pending = whole, barrier: threading.Barrier = barrier, finished: list[bool] = finished) -> None:
            barrier.wait()
            finished.append(whole.planned())

        with ThreadPoolExecutor(4) as pool:
            for task in (done, done, done, planned):
                pool.submit(task)
        assert finished.count(True) == 1


def test_damage_stays_with_the_file_until_its_end() -> None:
    whole = pending()
    for _ in range(3):
        whole.add()
    assert not whole.planned()
    assert not whole.done()
    assert not whole.done("object x is missing")
    assert whole.done()
    assert whole.damage == "object x is missing"


class Counting(FileStore):
    """Counts what is fetched."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.fetched: Counter[str] = Counter()

    def get_into(self, name: str, buffer: memoryview) -> int:
        self.fetched[name] += 1
        return super().get_into(name, buffer)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        self.fetched[name] += 1
        return super().get_range(name, start, length)


@pytest.mark.parametrize("window", [3, 8, 10_000])
def test_a_restore_fetches_each_pack_with_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(content, "Planner", lambda: Planner(window_runs=window))
    monkeypatch.setattr("recoup.engine.restore.packs.RANGED_BELOW", 0)
    forger = Forger.make(tmp_path / "location")
    forger.group = 2
    names = [b"%02d" % number for number in range(20)]
    point = forger.tree(
        [((), [directory(b"d"), *(file(b"e" + name, name * 99) for name in names)]), ((b"d",), [file(name, name * 50) for name in names])]
    )
    opened, store = forger.open(point), Counting(str(tmp_path / "location"))
    opened.objects.store = store
    restore(opened, str(tmp_path / "out"), Orders(), Outcome(), Progress(quiet=True))
    assert {name: store.fetched[name] for name in forger.packs} == dict.fromkeys(forger.packs, 1)
