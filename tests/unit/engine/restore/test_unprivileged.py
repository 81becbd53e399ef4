"""A restore by somebody who is not root: everything that the rights allow, the rest said, modes without rights for the owner included."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recoup.engine.records.tree import FileType
from recoup.engine.restore.orders import Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.run import restore
from recoup.report import Progress
from tests.unit.engine.restore.forge import Forger, Item, Tree, directory, file, symlink

NOBODY = 65534
MINE: Any = {"owner": (NOBODY, NOBODY)}

TREE: Tree = [
    (
        (),
        [file(b"a", b"alpha", **MINE), directory(b"closed", **MINE), file(b"no-rights", b"x" * 9000, **MINE), symlink(b"z", b"a", **MINE)],
    ),
    ((b"closed",), [directory(b"deeper", **MINE), file(b"inside", b"in", **MINE)]),
    ((b"closed", b"deeper"), [file(b"deep", b"down", **MINE), Item(b"pipe", FileType.FIFO, **MINE)]),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory that belongs to nobody, on a way that nobody may walk."""
    if os.geteuid() != 0:
        pytest.skip("giving up root's rights needs them first")
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == 0 and parent not in {Path("/"), Path("/tmp")}:
            parent.chmod(parent.stat().st_mode | 0o055)
    place = tmp_path / "nobody"
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    return place


def as_nobody(work: Callable[[], Any]) -> Any:
    """Run `work` in a child that has given up root, and return what it returns."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writing, json.dumps(work()).encode())
        except BaseException:  # noqa: BLE001  # a forked child must never return into pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    assert status == 0
    return json.loads(text)


def bring_back(forger: Forger, point: str, target: Path) -> dict[str, Any]:
    def work() -> dict[str, Any]:
        outcome = Outcome()
        restore(forger.open(point), str(target), Orders(), outcome, Progress(quiet=True))
        return {"kept": outcome.not_preserved.listed, "files": outcome.files, "there": outcome.already_there}

    found = as_nobody(work)
    assert isinstance(found, dict)
    return found


def with_modes(tree: Tree, modes: dict[bytes, int]) -> Tree:
    return [(path, [replace(item, mode=modes.get(item.name, item.mode)) for item in items]) for path, items in tree]


def test_everything_that_the_rights_allow(tmp_path: Path, folder: Path) -> None:
    forger = Forger.make(tmp_path / "location")
    modes = {b"no-rights": 0, b"closed": 0, b"deeper": 0o500, b"inside": 0o200}
    root = Item(b"", FileType.DIRECTORY, mode=0o755, **MINE).wire()
    result = bring_back(forger, forger.tree(with_modes(TREE, modes), root=root), folder / "out")
    assert result["kept"] == []
    assert result["files"] == 6
    out = folder / "out"
    found = {name: (out / name).stat().st_mode & 0o777 for name in ("no-rights", "closed", "closed/deeper", "closed/inside")}
    assert found == {"no-rights": 0, "closed": 0, "closed/deeper": 0o500, "closed/inside": 0o200}
    assert (out / "no-rights").read_bytes() == b"x" * 9000


def test_owners_that_cannot_be_set_are_said(tmp_path: Path, folder: Path) -> None:
    forger = Forger.make(tmp_path / "location")
    point = forger.tree([((), [file(b"mine", b"1", **MINE), file(b"roots", b"2", owner=(0, 0))])])
    result = bring_back(forger, point, folder / "out")
    assert ["roots", "owner"] in result["kept"]
    assert not [path for path, _ in result["kept"] if path == "mine"]
    assert bring_back(forger, point, folder / "out")["there"]
