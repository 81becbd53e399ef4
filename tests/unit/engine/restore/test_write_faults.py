"""Every write of a restore fails once: it ends right or says why, nothing half-written looks complete, and the next run finishes it.

All calls of the operating system that change a file system are counted in a run without faults; then the run is repeated with the n-th
failing, by an error of the disk or as if the process were killed, for n over all of them (a stride of them in the quick selection).
Shown to fail: with files changed in place under their own names (Names.partial gives the name back), kills leave half of both files.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from recoup.engine.records.content import Scheme
from recoup.engine.restore.orders import Orders
from recoup.errors import Denied, Invalid, Retryable
from tests.unit.engine.restore.forge import Forger, Item, Tree, directory, file, snapshot_of, symlink
from tests.unit.engine.restore.runs import bring, orders

CALLS = (
    "open", "write", "pwrite", "ftruncate", "rename", "link", "symlink", "unlink", "mkdir", "rmdir", "mkfifo", "chmod", "chown", "utime",
    "setxattr", "removexattr", "fsync",
)  # fmt: skip
PAGES = tuple((at * 65_536, os.urandom(65_536)) for at in range(20))
OLD = tuple((offset, data if offset % 3 else os.urandom(65_536)) for offset, data in PAGES)
BEFORE: Tree = [
    ((), [file(b"a", b"old"), directory(b"d"), directory(b"gone"), symlink(b"l", b"old"), Item(b"p", pieces=OLD, scheme=Scheme.FIXED)]),
    ((b"d",), [file(b"b", b"old b")]),
    ((b"gone",), [file(b"x", b"x")]),
]
AFTER: Tree = [
    ((), [file(b"a", b"alpha"), directory(b"d", mode=0o711), symlink(b"l", b"a"), Item(b"p", pieces=PAGES, scheme=Scheme.FIXED)]),
    ((b"d",), [file(b"b", b"beta", mode=0o4711), file(b"e"), file(b"h1", b"linked", group=2), file(b"h2", b"linked", group=2)]),
]


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it."""


class Disk:
    """Counts calls that change something; the `at`-th raises `error`, and if that is a kill, all later ones, too."""

    def __init__(self, at: int, error: BaseException | None) -> None:
        self.at, self.error = at, error
        self.calls: list[str] = []
        self._lock = threading.Lock()

    def wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if name != "open" or (len(arguments) > 1 and arguments[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                with self._lock:
                    number = len(self.calls)
                    self.calls.append(name)
                    if self.error is not None and (number == self.at or (number > self.at and isinstance(self.error, Killed))):
                        raise self.error
            return real(*arguments, **more)

        return call


@contextmanager
def failing(at: int = -1, error: BaseException | None = None) -> Iterator[Disk]:
    disk = Disk(at, error)
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, disk.wrap(name, getattr(os, name)))
        yield disk


@pytest.fixture(scope="module")
def forger(tmp_path_factory: pytest.TempPathFactory) -> Forger:
    return Forger.make(tmp_path_factory.mktemp("vault") / "location")


FAULTS: dict[str, tuple[Callable[[], BaseException], tuple[type[BaseException], ...]]] = {
    "ENOSPC": (lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), (Invalid,)),
    "EIO": (lambda: OSError(errno.EIO, os.strerror(errno.EIO)), (Retryable,)),
    "EROFS": (lambda: OSError(errno.EROFS, os.strerror(errno.EROFS)), (Denied,)),
    "killed": (Killed, (Killed,)),
}
MODES = ("fail", "merge", "mirror")


@pytest.fixture(scope="module")
def world(forger: Forger, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Both states of the target, and what each mode makes of them."""
    folder = tmp_path_factory.mktemp("world")
    before, after = forger.tree(BEFORE), forger.tree(AFTER)
    bring(forger, before, folder / "before")
    expected = {}
    for mode in MODES:
        start(folder, folder / mode, mode)
        bring(forger, after, folder / mode, orders(mode))
        expected[mode] = snapshot_of(folder / mode)
    return {"folder": folder, "after": after, "expected": expected}


def start(folder: Path, target: Path, mode: str) -> None:
    """What a restore of this mode begins with: nothing, or the older state."""
    if mode == "fail":
        target.mkdir()
    else:
        shutil.copytree(folder / "before", target, symlinks=True)


def sweep(forger: Forger, world: dict[str, Any], tmp_path: Path, mode: str, fault: str, stride: int) -> int:
    """Fail at every `stride`-th write; how many that were."""
    make, ends = FAULTS[fault]
    told = orders(mode)
    start(world["folder"], tmp_path / "count", mode)
    with failing() as disk:
        bring(forger, world["after"], tmp_path / "count", told)
    points = range(0, len(disk.calls), stride)
    for at in points:
        target = tmp_path / f"at-{at}"
        start(world["folder"], target, mode)
        one(forger, world, target, told, (at, make(), ends))
        shutil.rmtree(target)
    return len(points)


def one(
    forger: Forger, world: dict[str, Any], target: Path, told: Orders, fault: tuple[int, BaseException, tuple[type[BaseException], ...]]
) -> None:
    at, error, ends = fault
    expected = world["expected"][told.existing.value]
    try:
        with failing(at, error):
            outcome = bring(forger, world["after"], target, told)
    except ends:
        assert_nothing_half_written(target, expected, world, marked=bool(at))
        bring(forger, world["after"], target, told)
    else:
        assert not outcome.not_preserved.total, f"write {at}: an error of the disk was taken for a missing right"
    assert snapshot_of(target) == expected, f"write {at}"


def assert_nothing_half_written(target: Path, expected: dict[str, Any], world: dict[str, Any], *, marked: bool) -> None:
    """Every file under its own name is the old or the new one; and unless it is complete, the directory says that it is not."""
    old = snapshot_of(world["folder"] / "before")
    for path in target.rglob("*"):
        name = str(path.relative_to(target))
        if path.is_file() and not path.is_symlink() and ".recoup-" not in name:
            allowed = {state[name][2] for state in (old, expected) if name in state}
            assert path.read_bytes() in allowed, f"{name} is neither the old nor the new file"
    if marked and snapshot_of(target) not in (old, expected):
        complete = {name: facts[2] for name, facts in snapshot_of(target).items()} == {name: facts[2] for name, facts in expected.items()}
        assert complete or any(path.name.startswith(".recoup-incomplete-") for path in target.iterdir())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_write_fails(forger: Forger, world: dict[str, Any], tmp_path: Path, mode: str, fault: str) -> None:
    assert sweep(forger, world, tmp_path, mode, fault, stride=9) > 5


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_write_fails(
    forger: Forger, world: dict[str, Any], tmp_path: Path, mode: str, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    count = sweep(forger, world, tmp_path, mode, fault, stride=1)
    with capsys.disabled():
        print(f" {fault} at each of {count} writes of a restore with --existing {mode}: ended right, or said why and went on")
