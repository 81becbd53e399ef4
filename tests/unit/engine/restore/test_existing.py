"""Targets that hold something: what stays, what gives way, what is deleted, and how little is fetched and written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from recoup.engine.blocks import Objects
from recoup.engine.format.kinds import Kind
from recoup.engine.records.content import Scheme
from recoup.engine.records.tree import FileType
from recoup.errors import Invalid
from tests.unit.engine.restore.forge import NOW, Forger, Item, Tree, directory, file, snapshot_of, symlink
from tests.unit.engine.restore.runs import bring, orders

MIB = 1 << 20
PAGES = tuple((at * 65_536, os.urandom(65_536)) for at in range(64))
"""4 MiB in units of 64 KiB."""
DATABASE = Item(b"pages", pieces=PAGES, scheme=Scheme.FIXED)

TREE: Tree = [
    ((), [file(b"a", b"alpha"), directory(b"d"), symlink(b"link", b"d/b"), DATABASE, Item(b"pipe", FileType.FIFO)]),
    ((b"d",), [file(b"b", b"beta"), file(b"one", b"linked", group=3), file(b"two", b"linked", group=3)]),
]


@pytest.fixture(scope="module")
def forger(tmp_path_factory: pytest.TempPathFactory) -> Forger:
    return Forger.make(tmp_path_factory.mktemp("vault") / "location")


@pytest.fixture(scope="module")
def point(forger: Forger) -> str:
    return forger.tree(TREE)


@pytest.fixture
def out(forger: Forger, point: str, tmp_path: Path) -> Path:
    """A target that holds exactly the recovery point."""
    bring(forger, point, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture(scope="module")
def whole(forger: Forger, point: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[object, ...]]:
    reference = tmp_path_factory.mktemp("reference")
    bring(forger, point, reference)
    return snapshot_of(reference)


def scribble(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(data)


MODES = ("merge", "overwrite", "mirror")


@pytest.mark.parametrize("existing", MODES)
def test_what_is_the_same_is_neither_fetched_nor_written(
    forger: Forger, point: str, out: Path, existing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inodes = {path: path.lstat().st_ino for path in out.rglob("*")}
    monkeypatch.setattr(Objects, "ranged", pytest.fail)
    real = Objects.whole

    def whole(self: Objects, kind: Kind, *more: Any) -> Any:
        assert kind is not Kind.DATA, "content was fetched"
        return real(self, kind, *more)

    monkeypatch.setattr(Objects, "whole", whole)
    outcome = bring(forger, point, out, orders(existing))
    assert outcome.bytes_written == 0
    assert outcome.bytes_kept == 5 + 4 + 6 + 4 * MIB
    assert {path: path.lstat().st_ino for path in out.rglob("*")} == inodes


@pytest.mark.parametrize("existing", MODES)
def test_what_differs_is_replaced_and_what_is_missing_comes(
    forger: Forger, point: str, out: Path, whole: dict[str, tuple[object, ...]], existing: str
) -> None:
    (out / "a").write_text("other")
    (out / "d/b").unlink()
    (out / "link").unlink()
    (out / "link").symlink_to("/etc")
    (out / "pipe").unlink()
    (out / "pipe").write_text("not a pipe")
    (out / "d/two").unlink()
    (out / "d/two").write_text("no link any more")
    (out / "d").chmod(0o700)
    outcome = bring(forger, point, out, orders(existing))
    assert snapshot_of(out) == whole
    assert (out / "d/one").stat().st_ino == (out / "d/two").stat().st_ino
    assert outcome.bytes_written == 5 + 4
    assert outcome.not_preserved.total == 0


@pytest.mark.parametrize("existing", MODES)
def test_a_file_of_which_a_part_differs_is_changed_in_place(
    forger: Forger, point: str, out: Path, whole: dict[str, tuple[object, ...]], existing: str
) -> None:
    """One 64 KiB unit of 64 differs: that much is written, and the file is the same file."""
    inode = (out / "pages").stat().st_ino
    scribble(out / "pages", 10 * 65_536 + 5, b"!")
    outcome = bring(forger, point, out, orders(existing))
    assert outcome.bytes_written == 65_536
    assert (out / "pages").stat().st_ino == inode
    assert snapshot_of(out) == whole


@pytest.mark.parametrize("size", [0, MIB, 4 * MIB - 1, 4 * MIB + 1, 9 * MIB])
def test_another_length_is_mended_in_place(forger: Forger, point: str, out: Path, whole: dict[str, tuple[object, ...]], size: int) -> None:
    os.truncate(out / "pages", size)
    outcome = bring(forger, point, out, orders("merge"))
    assert outcome.bytes_written == -(-max(4 * MIB - size, 0) // 65_536) * 65_536
    assert snapshot_of(out) == whole


def test_data_where_a_hole_should_be_is_cleared(forger: Forger, tmp_path: Path) -> None:
    pieces = ((0, b"one" * 30_000), (3 * MIB, b"two" * 30_000))
    items = [Item(b"inline", pieces=pieces, size=8 * MIB), Item(b"listed", pieces=pieces, size=8 * MIB, as_list=True)]
    point, out = forger.tree([((), items)]), tmp_path / "out"
    bring(forger, point, out)
    expected = snapshot_of(out)
    for name in ("inline", "listed"):
        scribble(out / name, 2 * MIB, b"dirt" * 1000)
        scribble(out / name, 8 * MIB - 4, b"dirt")
    outcome = bring(forger, point, out, orders("merge"))
    assert outcome.bytes_written == 0
    assert snapshot_of(out) == expected


def test_what_is_only_there_stays_unless_it_is_a_mirror(forger: Forger, point: str, out: Path) -> None:
    (out / "mine").write_text("x")
    (out / "d/deep/er").mkdir(parents=True)
    (out / "d/deep/er/mine").write_text("y")
    (out / "e").symlink_to("/etc")
    for existing in ("merge", "overwrite"):
        outcome = bring(forger, point, out, orders(existing))
        assert (out / "mine").read_text() == "x"
        assert (out / "d/deep/er/mine").read_text() == "y"
        assert (out / "d").stat().st_mtime_ns == NOW
        assert outcome.deleted == 0
    outcome = bring(forger, point, out, orders("mirror"))
    assert outcome.deleted == 5
    assert bring(forger, point, out).already_there


def test_a_mirror_of_a_part_deletes_within_that_part_only(forger: Forger, point: str, out: Path) -> None:
    (out / "d/mine").write_text("x")
    (out / "mine").write_text("x")
    bring(forger, point, out, orders("mirror", include=["d"]))
    assert not (out / "d/mine").exists()
    assert (out / "mine").exists()
    (out / "d/keep.log").write_text("x")
    (out / "d/other").write_text("x")
    bring(forger, point, out, orders("mirror", exclude=["*.log", "mine"]))
    assert (out / "d/keep.log").exists()
    assert (out / "mine").exists()
    assert not (out / "d/other").exists()


def full_directory(path: Path) -> None:
    path.unlink()
    (path / "x").mkdir(parents=True)
    (path / "x/y").touch()


@pytest.mark.parametrize("name", ["a", "link", "pages"])
def test_a_directory_that_holds_something_gives_way_only_if_it_may(
    forger: Forger, point: str, out: Path, whole: dict[str, tuple[object, ...]], name: str
) -> None:
    full_directory(out / name)
    before = snapshot_of(out)
    with pytest.raises(Invalid) as caught:
        bring(forger, point, out, orders("merge"))
    assert caught.value.reason == "TargetConflict"
    assert snapshot_of(out) == before, "nothing was written"
    bring(forger, point, out, orders("overwrite"))
    assert snapshot_of(out) == whole


@pytest.mark.parametrize("existing", MODES)
def test_files_and_empty_directories_give_way_in_every_mode(
    forger: Forger, point: str, out: Path, whole: dict[str, tuple[object, ...]], existing: str
) -> None:
    for name in ("d/b", "d/one", "d/two"):
        (out / name).unlink()
    (out / "d").rmdir()
    (out / "d").write_text("a file where a directory is to be")
    (out / "a").unlink()
    (out / "a").mkdir()
    bring(forger, point, out, orders(existing))
    assert snapshot_of(out) == whole


def test_attributes_alone_are_set_without_writing_content(
    forger: Forger, point: str, out: Path, whole: dict[str, tuple[object, ...]]
) -> None:
    inode = (out / "a").stat().st_ino
    (out / "a").chmod(0o600)
    os.setxattr(out / "a", "user.extra", b"not in the recovery point")
    os.utime(out / "pages")
    outcome = bring(forger, point, out, orders("merge"))
    assert (outcome.bytes_written, outcome.not_preserved.total) == (0, 0)
    assert ((out / "a").stat().st_ino, os.listxattr(out / "a")) == (inode, [])
    assert snapshot_of(out) == whole


def test_new_files_inherit_nothing_from_the_directories_that_are_there(forger: Forger, point: str, tmp_path: Path) -> None:
    """A default ACL and a setgid bit of a directory that stays would show in everything that is made in it."""
    out = tmp_path / "out"
    (out / "d").mkdir(parents=True)
    (out / "mine").touch()
    (out / "d").chmod(0o2777)
    acl = b"\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x04\x00\x07\x00\xff\xff\xff\xff\x20\x00\x07\x00\xff\xff\xff\xff"
    os.setxattr(out / "d", "system.posix_acl_default", acl)
    outcome = bring(forger, point, out, orders("merge"))
    assert outcome.not_preserved.total == 0, outcome.not_preserved.listed
    assert os.listxattr(out / "d/b") == []


def test_what_other_restores_left_is_removed(forger: Forger, point: str, out: Path, whole: dict[str, tuple[object, ...]]) -> None:
    for name in (".recoup-incomplete-0123", ".recoup-partial-0123-7", "d/.recoup-partial-0123-8"):
        (out / name).write_text("left by another restore that did not end")
    bring(forger, point, out, orders("merge"))
    assert snapshot_of(out) == whole
