"""What few requests and how little memory browsing takes: a file out of 200,000, points that share nearly all, and flat peaks."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from recoup.engine.blocks import Blocks
from recoup.engine.browse.diff import Kind, diff_points
from recoup.engine.browse.find import Finder, Wanted
from recoup.engine.browse.lookup import find_content
from recoup.engine.browse.reading import ContentReader
from recoup.engine.browse.stats import usage
from recoup.engine.points import OpenPoint, find_point, open_point
from recoup.engine.records.tree import iterate_tree
from recoup.engine.restore.forecast import foresee_tree
from recoup.engine.restore.orders import Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.run import restore
from recoup.report import Progress
from tests.faults.store import FaultStore
from tests.unit.engine.browse.synthetic import Synthetic, content_of
from tests.unit.engine.restore.forge import Forger
from tests.unit.engine.restore.runs import orders

MANY = 200_000
PATH = "d0013/e37/f00133742"


@pytest.fixture(scope="module")
def forger(tmp_path_factory: pytest.TempPathFactory) -> Forger:
    return Forger.make(tmp_path_factory.mktemp("vault") / "location")


@pytest.fixture(scope="module")
def synthetic(forger: Forger) -> Synthetic:
    return Synthetic(forger)


@pytest.fixture(scope="module")
def many(synthetic: Synthetic) -> str:
    return synthetic.point(MANY)


def counted(forger: Forger, point: str) -> tuple[OpenPoint, FaultStore]:
    """The point, opened through a store that counts; opening its manifest is the first call counted."""
    forger.unlocked.log.follow()
    found, store = find_point(forger.unlocked, point), forger.unlocked.log.store
    counting = FaultStore(store)
    try:
        forger.unlocked.log.store = counting
        return open_point(forger.unlocked, found), counting
    finally:
        forger.unlocked.log.store = store


def test_one_file_of_200000_comes_in_at_most_six_requests(forger: Forger, many: str, tmp_path: Path) -> None:
    point, store = counted(forger, many)
    restore(point, str(tmp_path / "out"), orders(include=[PATH]), Outcome(), Progress(quiet=True))
    assert (tmp_path / "out" / PATH).read_bytes() == content_of(133_742)
    assert len(store.calls) <= 6, store.calls


def test_cat_of_one_file_needs_as_few(forger: Forger, many: str) -> None:
    point, store = counted(forger, many)
    content, kind = find_content(point, tuple(part.encode() for part in PATH.split("/")))
    assert content is not None
    assert b"".join(ContentReader(point).read(content, 0, content.size, kind)) == content_of(133_742)
    assert len(store.calls) <= 8, store.calls


def test_points_that_share_nearly_everything_are_compared_by_a_handful_of_nodes(
    forger: Forger, synthetic: Synthetic, many: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = synthetic.point(MANY, changed=[5, 133_742])
    fetched: list[bytes] = []
    real = Blocks.fetch

    def fetch(self: Blocks, block: bytes, kind: object) -> object:
        fetched.append(block)
        return real(self, block, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(Blocks, "fetch", fetch)
    (old, old_store), (new, new_store) = counted(forger, many), counted(forger, other)
    found = [(change.kind, b"/".join(change.path).decode()) for change in diff_points(old, new)]
    assert found == [(Kind.METADATA, "d0000/e00/f00000005"), (Kind.METADATA, PATH)]
    assert len(fetched) < 40, "of more than 8,000 nodes of each tree"
    assert len(old_store.calls) + len(new_store.calls) <= 14, (old_store.calls, new_store.calls)


def test_find_in_several_points_reads_what_they_share_once(
    forger: Forger, synthetic: Synthetic, many: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = synthetic.point(MANY, changed=[77])
    finder = Finder(Wanted((PATH, "f00000077")))
    fetched: list[bytes] = []
    real = Blocks.fetch

    def fetch(self: Blocks, block: bytes, kind: object) -> object:
        fetched.append(block)
        return real(self, block, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(Blocks, "fetch", fetch)
    found = {(version.path[-1], version.points) for version in finder.in_points(forger.open(one) for one in (many, other))}
    assert found == {(b"f00133742", (many, other)), (b"f00000077", (many,)), (b"f00000077", (other,))}
    assert len(fetched) < len(set(fetched)) + 40


def listing(forger: Forger, old: str, _new: str) -> None:
    point = forger.open(old)
    for _ in iterate_tree(point.blocks.fetch, point.manifest.tree):
        pass


def finding(forger: Forger, old: str, new: str) -> None:
    for _ in Finder(Wanted(("f*1",))).in_points(forger.open(point) for point in (old, new)):
        pass


def comparing(forger: Forger, old: str, new: str) -> None:
    """Every file differs, so that nothing is passed over."""
    assert sum(1 for _ in diff_points(forger.open(old), forger.open(new)))


def counting(forger: Forger, _old: str, _new: str) -> None:
    forger.unlocked.log.follow()
    commits = list(forger.unlocked.log.state.commits.values())
    usage(forger.unlocked.log.store, forger.unlocked.identity.vault_id, commits, Progress(quiet=True))


def planning(forger: Forger, old: str, _new: str) -> None:
    foresee_tree(forger.open(old), "/nowhere/at/all", Orders(), Progress(quiet=True))


WORK: dict[str, Callable[[Forger, str, str], None]] = {
    "ls": listing,
    "find": finding,
    "diff": comparing,
    "stats": counting,
    "restore --plan": planning,
}


SMALL_OBJECTS = 256 << 10
"""So that 10,000 files fill as many objects as are ever kept open, and what grows beyond them shows."""
ALLOWED = 4 << 20
"""Objects kept open, tables of refs: with 10,000 files not all of them are as large as they get. Linear growth would be far more."""


@pytest.fixture(scope="module")
def points(forger: Forger) -> Callable[[int], tuple[str, str]]:
    """Two points of so many files that all differ, made once."""
    made: dict[int, tuple[str, str]] = {}
    writer = Synthetic(forger, SMALL_OBJECTS)

    def make(files: int) -> tuple[str, str]:
        if files not in made:
            made[files] = (writer.point(files), writer.point(files, changed=range(files)))
        return made[files]

    return make


@pytest.fixture(autouse=True)
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recoup.engine.browse.spool.RUN_BYTES", 64 << 10)
    monkeypatch.setattr("recoup.engine.browse.spool.FAN_IN", 8)


def peak(work: Callable[[Forger, str, str], None], forger: Forger, points: tuple[str, str]) -> int:
    """Bytes of Python objects at most at once."""
    tracemalloc.start()
    try:
        work(forger, *points)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("what", ["ls", "find", "diff"])
def test_memory_does_not_grow_with_the_number_of_files(forger: Forger, points: Callable[[int], tuple[str, str]], what: str) -> None:
    """Six times as many files; a hundred times in the long test."""
    small, large = (peak(WORK[what], forger, points(files)) for files in (10_000, 60_000))
    assert large < small + ALLOWED, f"{what}: {small >> 10} KiB for 10,000 files, {large >> 10} KiB for 60,000"


@pytest.mark.long
@pytest.mark.parametrize("what", WORK)
def test_memory_is_the_same_for_a_million_files(
    forger: Forger, points: Callable[[int], tuple[str, str]], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    peaks = {files: peak(WORK[what], forger, points(files)) for files in (10_000, 100_000, 1_000_000)}
    with capsys.disabled():
        print(f" {what}: at most", ", ".join(f"{most / 2**20:.1f} MiB for {files:,} files" for files, most in peaks.items()))
    assert peaks[1_000_000] < peaks[100_000] + 2 * ALLOWED  # what is remembered has filled its bounds by 100,000
    assert max(peaks.values()) < 32 << 20
