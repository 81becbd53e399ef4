"""Targets in which somebody has planted links, hard links and other types: nothing outside is read into, changed or deleted.

Each planted thing is tried in every mode that writes to a target which holds something, with small files (replaced) and large ones
(changed in place).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from recoup.engine.records.content import Scheme
from recoup.engine.restore import renew, trash
from recoup.engine.restore.files import Names
from recoup.errors import RecoupError
from tests.unit.engine.restore.forge import Forger, Item, Tree, directory, file, symlink
from tests.unit.engine.restore.runs import bring, orders

PAGES = tuple((at * 65_536, os.urandom(65_536)) for at in range(32))
TREE: Tree = [
    ((), [file(b"a", b"alpha", mode=0o640), directory(b"d"), symlink(b"l", b"a"), Item(b"pages", pieces=PAGES, scheme=Scheme.FIXED)]),
    ((b"d",), [file(b"b", b"beta"), directory(b"e")]),
    ((b"d", b"e"), [file(b"c", b"gamma")]),
]
MODES = ("merge", "overwrite", "mirror")


@pytest.fixture(scope="module")
def forger(tmp_path_factory: pytest.TempPathFactory) -> Forger:
    return Forger.make(tmp_path_factory.mktemp("vault") / "location")


@pytest.fixture(scope="module")
def point(forger: Forger) -> str:
    return forger.tree(TREE)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    (folder / "sub/e").mkdir(parents=True)
    for name in ("precious", "sub/b", "sub/e/c"):
        (folder / name).write_text("untouched")
    (folder / "pages").write_bytes(b"".join(data for _, data in PAGES[:-1]) + bytes(65_536))
    return folder


def facts(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything of a directory, its inode times included: nothing may even be touched."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        info = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(info.st_mode) else None
        found[str(path)] = (info.st_mode, info.st_uid, info.st_mtime_ns, info.st_size, content, os.listxattr(path, follow_symlinks=False))
    return found


def replace_by_link(path: Path, to: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for inner in sorted(path.rglob("*"), reverse=True):
            inner.rmdir() if inner.is_dir() else inner.unlink()
        path.rmdir()
    else:
        path.unlink()
    path.symlink_to(to)


def replace_by_hard_link(path: Path, to: Path) -> None:
    path.unlink()
    path.hardlink_to(to)


def strange_directory(out: Path, outside: Path) -> None:
    (out / "strange/deep").mkdir(parents=True)
    (out / "strange/deep/out").symlink_to(outside)
    (out / "strange/file").hardlink_to(outside / "precious")


def fifo(out: Path, _outside: Path) -> None:
    (out / "a").unlink()
    os.mkfifo(out / "a")


def partial_of(out: Path) -> Path:
    """As if a run had been interrupted while it changed `pages` in place."""
    mark = (out / "mark").read_bytes()
    (out / "mark").unlink()
    return (out / "pages").rename(out / os.fsdecode(Names(mark).partial(b"pages")))


PLANTED: dict[str, Callable[[Path, Path], object]] = {
    "a link where a file is": lambda out, outside: replace_by_link(out / "a", outside / "precious"),
    "a link where a large file is": lambda out, outside: replace_by_link(out / "pages", outside / "pages"),
    "a link where a directory is": lambda out, outside: replace_by_link(out / "d", outside / "sub"),
    "a link where a directory below is": lambda out, outside: replace_by_link(out / "d/e", outside / "sub/e"),
    "a link where a link is": lambda out, outside: replace_by_link(out / "l", outside),
    "a dangling link where a file is": lambda out, outside: replace_by_link(out / "a", outside / "planted"),
    "a hard link where a file is": lambda out, outside: replace_by_hard_link(out / "a", outside / "precious"),
    "a hard link where a large file is": lambda out, outside: replace_by_hard_link(out / "pages", outside / "pages"),
    "a strange link to a directory": lambda out, outside: (out / "d/strange").symlink_to(outside),
    "a strange link to a file": lambda out, outside: (out / "strange").symlink_to(outside / "precious"),
    "a strange hard link": lambda out, outside: (out / "strange").hardlink_to(outside / "precious"),
    "a strange directory with links out": strange_directory,
    "a fifo where a file is": fifo,
    "a link where a large file is changed": lambda out, outside: replace_by_link(partial_of(out), outside / "pages"),
    "a hard link where a large file is changed": lambda out, outside: replace_by_hard_link(partial_of(out), outside / "pages"),
}


@pytest.mark.parametrize("existing", MODES)
@pytest.mark.parametrize("what", PLANTED)
def test_nothing_outside_is_touched(forger: Forger, point: str, tmp_path: Path, outside: Path, what: str, existing: str) -> None:
    out = tmp_path / "out"
    bring(forger, point, out)
    (out / "mark").write_text(point[:16])
    PLANTED[what](out, outside)
    (out / "mark").unlink(missing_ok=True)
    before = facts(outside)
    bring(forger, point, out, orders(existing))
    assert facts(outside) == before
    assert (out / "a").read_bytes() == b"alpha"
    assert (out / "a").stat().st_nlink == 1
    assert (out / "pages").read_bytes() == b"".join(data for _, data in PAGES)
    assert not (out / "pages").is_symlink()
    assert (out / "d/e/c").read_text() == "gamma"
    assert (out / "l").readlink() == Path("a")
    assert any(out.rglob("strange")) == ("strange" in what and existing != "mirror")


@pytest.mark.parametrize("existing", MODES)
def test_identical_content_behind_a_hard_link_gets_no_attributes_through_it(
    forger: Forger, point: str, tmp_path: Path, outside: Path, existing: str
) -> None:
    """The bytes are right, the mode is not: setting it would set it outside."""
    out = tmp_path / "out"
    bring(forger, point, out)
    (outside / "twin").write_bytes(b"alpha")
    replace_by_hard_link(out / "a", outside / "twin")
    before = facts(outside)
    bring(forger, point, out, orders(existing))
    assert facts(outside) == before
    assert (out / "a").stat().st_mode & 0o7777 == 0o640


def test_a_link_planted_while_a_file_is_about_to_be_changed_is_not_followed(
    forger: Forger, point: str, tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the change: what is opened for writing is looked at again."""
    out = tmp_path / "out"
    bring(forger, point, out)
    with (out / "pages").open("r+b") as stream:
        stream.write(b"!")
    real = renew.Renewal.begin

    for plant in (replace_by_link, replace_by_hard_link):

        def begin(self: renew.Renewal, entry: object, plant: Callable[[Path, Path], None] = plant) -> object:
            plant(out / "pages", outside / "pages")
            return real(self, entry)  # type: ignore[arg-type]

        monkeypatch.setattr(renew.Renewal, "begin", begin)
        before = facts(outside)
        with pytest.raises(RecoupError):
            bring(forger, point, out, orders("merge"))
        assert facts(outside) == before
        monkeypatch.setattr(renew.Renewal, "begin", real)
        bring(forger, point, out, orders("overwrite"))
        assert (out / "pages").read_bytes() == b"".join(data for _, data in PAGES)
        with (out / "pages").open("r+b") as stream:
            stream.write(b"!")


def test_a_mirror_deletes_ten_thousand_levels_with_few_descriptors(forger: Forger, tmp_path: Path, outside: Path) -> None:
    point, out = forger.tree([((), [file(b"a", b"x")])]), tmp_path / "out"
    bring(forger, point, out)
    fd = os.open(out, os.O_RDONLY)
    for _ in range(10_000):
        os.mkdir("deep", dir_fd=fd)
        inner = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.symlink(outside, "out", dir_fd=fd)
    os.close(fd)
    before = facts(outside)
    outcome = bring(forger, point, out, orders("mirror"))
    assert outcome.deleted == 10_001
    assert facts(outside) == before
    assert [path.name for path in out.iterdir()] == ["a"]


def test_a_crash_while_a_directory_is_deleted_leaves_what_the_next_run_knows(
    forger: Forger, point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    bring(forger, point, out)
    (out / "strange/deep/er").mkdir(parents=True)
    (out / "strange/file").touch()

    def crash(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trash.Trash, "_level", crash)
        with pytest.raises(KeyboardInterrupt):
            bring(forger, point, out, orders("mirror"))
    assert not (out / "strange").exists()
    assert any(path.name.startswith(".recoup-incomplete") for path in out.iterdir())
    bring(forger, point, out, orders("mirror"))
    assert bring(forger, point, out).already_there
