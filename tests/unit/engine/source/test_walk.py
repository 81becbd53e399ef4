"""The walk: order, descriptors, and trees that change under it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoup.engine.source import walk as walk_module
from recoup.engine.source.rules import WalkRules
from recoup.engine.source.walk import Walk

Found = list[tuple[tuple[bytes, ...], list[bytes]]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


def listed(root: Path, errors: list[tuple[tuple[bytes, ...], str]] | None = None) -> Iterator[tuple[tuple[bytes, ...], list[bytes]]]:
    fd = os.open(root, os.O_RDONLY)
    problems = errors if errors is not None else []
    try:
        with Walk(fd, WalkRules(), lambda path, reason, _message: problems.append((path, reason))) as walk:
            for directory in walk:
                try:
                    yield directory.path, directory.names
                finally:
                    directory.release()
    finally:
        os.close(fd)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_order_is_by_bytes_of_components(root: Path) -> None:
    for path in ("a/b/c", "a.b/x", "a/b.c/x", "é/x", "A/x", "a-/x"):
        (root / path).mkdir(parents=True)
    (root / "z").touch()
    (root / os.fsdecode(b"\xff")).mkdir()
    found: Found = list(listed(root))
    assert found[0] == ((), sorted([b"A", b"a", b"a-", b"a.b", "é".encode(), b"\xff", b"z"]))
    paths = [path for path, _ in found]
    assert paths == sorted(paths)
    assert (b"a", b"b", b"c") in paths


@pytest.mark.parametrize("depth", [walk_module.MAX_OPEN * 3])
def test_descriptors_are_bounded_in_deep_trees_with_branches(root: Path, depth: int) -> None:
    fd = os.open(root, os.O_RDONLY)
    for level in range(depth):
        for name in (b"d", b"e%d" % level):
            os.mkdir(name, dir_fd=fd)
        inner = os.open(b"d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    before, most, count = open_files(), 0, 0
    paths = []
    for path, _names in listed(root):
        paths.append(path)
        count += 1
        if count % 50 == 0:
            most = max(most, open_files())
    assert count == 1 + 2 * depth
    assert paths == sorted(paths)
    assert most <= before + walk_module.MAX_OPEN + 10
    assert open_files() == before


def test_links_are_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside/secret").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "outside")
    assert list(listed(root)) == [((), [b"link"])]


def test_a_directory_that_becomes_a_link_is_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside/secret").mkdir(parents=True)
    (root / "victim").mkdir()
    errors: list[tuple[tuple[bytes, ...], str]] = []
    steps = listed(root, errors)
    assert next(steps)[1] == [b"victim"]
    (root / "victim").rmdir()
    (root / "victim").symlink_to(tmp_path / "outside")
    assert list(steps) == []
    assert errors[0][0] == (b"victim",)


def test_a_directory_that_is_replaced_is_said(root: Path, tmp_path: Path) -> None:
    (root / "victim/inner").mkdir(parents=True)
    (tmp_path / "other/planted").mkdir(parents=True)
    errors: list[tuple[tuple[bytes, ...], str]] = []
    steps = listed(root, errors)
    next(steps)
    (root / "victim").rename(tmp_path / "moved")
    (tmp_path / "other").rename(root / "victim")
    assert list(steps) == []
    assert errors == [((b"victim",), "Changed")]


def test_a_directory_that_vanishes_is_said_and_the_rest_is_walked(root: Path) -> None:
    for name in ("a/x", "b/x", "c/x"):
        (root / name).mkdir(parents=True)
    errors: list[tuple[tuple[bytes, ...], str]] = []
    steps = listed(root, errors)
    next(steps)
    shutil.rmtree(root / "b")
    assert [path for path, _ in steps] == [(b"a",), (b"a", b"x"), (b"c",), (b"c", b"x")]
    assert errors == [((b"b",), "Vanished")]


def test_a_walk_that_is_broken_off_closes_everything(root: Path) -> None:
    (root / "a/b/c/d").mkdir(parents=True)
    before, here = open_files(), Path.cwd()
    steps = listed(root)
    next(steps)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert (open_files(), Path.cwd()) == (before, here)


def test_long_listings_come_in_stretches(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk_module, "BATCH", 4)
    for number in range(10):
        (root / f"d{number}/inner").mkdir(parents=True)
    before = open_files()
    found: Found = list(listed(root))
    assert [len(names) for path, names in found if not path] == [4, 4, 2]
    assert [path for path, _ in found if len(path) == 1] == [(b"d%d" % number,) for number in range(10)]
    assert len([path for path, _ in found if len(path) == 2]) == 10
    assert open_files() == before


def test_excluded_directories_are_not_entered(root: Path) -> None:
    (root / "keep/skip/x").mkdir(parents=True)
    (root / "skip/x").mkdir(parents=True)
    fd = os.open(root, os.O_RDONLY)
    with Walk(fd, WalkRules(("skip",)), lambda *_: None) as walk:
        found = []
        for directory in walk:
            found.append((directory.path, directory.names))
            directory.release()
    os.close(fd)
    assert found == [((), [b"keep"]), ((b"keep",), [])]


def names_of(root: Path, rules: WalkRules) -> set[str]:
    fd = os.open(root, os.O_RDONLY)
    try:
        with Walk(fd, rules, lambda *_: None) as walk:
            found = set()
            for directory in walk:
                found |= {b"/".join((*directory.path, name)).decode() for name in directory.names}
                directory.release()
            return found
    finally:
        os.close(fd)


TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n# made by a test\n"


def test_of_caches_the_tag_alone_is_taken(tmp_path: Path) -> None:
    for name, tag in (("cache", TAG), ("not", b"something else"), ("short", TAG[:20])):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep/file").touch()
        (tmp_path / name / "CACHEDIR.TAG").write_bytes(tag)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/CACHEDIR.TAG").symlink_to(tmp_path / "cache/CACHEDIR.TAG")
    (tmp_path / "linked/file").touch()
    everything = names_of(tmp_path, WalkRules())
    assert everything - names_of(tmp_path, WalkRules(exclude_caches=True)) == {"cache/deep", "cache/deep/file"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_one_file_system(tmp_path: Path) -> None:
    for name in ("own", "mounted"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "own/file").touch()
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "mounted"], check=True)
    try:
        (tmp_path / "mounted/inner").touch()
        assert names_of(tmp_path, WalkRules()) == {"own", "own/file", "mounted", "mounted/inner", "file"}
        assert names_of(tmp_path, WalkRules(one_file_system=True)) == {"own", "own/file", "mounted", "file"}
        subprocess.run(["mount", "--bind", tmp_path / "mounted/inner", tmp_path / "file"], check=True)
        try:
            assert names_of(tmp_path, WalkRules(one_file_system=True)) == {"own", "own/file", "mounted"}
        finally:
            subprocess.run(["umount", tmp_path / "file"], check=True)
    finally:
        subprocess.run(["umount", tmp_path / "mounted"], check=True)


def test_every_rule_makes_another_walk() -> None:
    rules = [WalkRules(), WalkRules(("a",)), WalkRules(exclude_caches=True), WalkRules(one_file_system=True), WalkRules((), True, True)]
    assert len({rule.tokens for rule in rules}) == len(rules)
