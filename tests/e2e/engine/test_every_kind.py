"""20,000 files of every kind go through a location and come back on a fresh file system the same, as tools that are not ours see it."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datasets.tree_of_every_kind import make_tree
from tests.e2e.engine.commands import Recoup
from tests.e2e.engine.disks import file_system

GIB = 1 << 30


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with file_system(tmp_path_factory.mktemp("source"), "source", 2 * GIB) as folder:
        make_tree(str(folder / "data"), files=20_000, sparse_bytes=10 * GIB)
        yield folder / "data"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    with file_system(tmp_path, "target", 2 * GIB) as folder:
        yield folder / "data"


@pytest.mark.timeout(900)
def test_everything_comes_back(source: Path, target: Path, tmp_path: Path) -> None:
    recoup = Recoup.make(tmp_path)
    made = recoup.json("backup", "--source", source)
    assert made["errors"] == []
    result = recoup.json("restore", "--snapshot", made["id"], "--target", target)
    assert (result["damaged"], result["metadataNotPreserved"], result["notRestored"]) == ([], [], [])
    assert result["filesTotal"] == made["filesTotal"]

    assert_same(source, target)
    listed = [line for line in recoup("ls", made["id"][:12]).splitlines() if line]
    assert len(listed) == made["filesTotal"] + result["directories"]
    again = recoup.json("restore", "--snapshot", made["id"], "--target", target)
    assert again["alreadyThere"]
    assert again["bytesWritten"] == 0
    assert recoup.json("verify", "--level", "4")["good"]


def test_the_comparison_would_notice(source: Path, target: Path, tmp_path: Path) -> None:
    """The same tools see each of these differences, so that their silence above means something."""
    subprocess.run(["cp", "-a", "--sparse=always", f"{source}/names", target], check=True)
    twin = tmp_path / "twin"
    subprocess.run(["cp", "-a", "--sparse=always", target, twin], check=True)
    assert_same(target, twin)
    victim = next(entry for entry in twin.iterdir() if entry.is_file())
    info = victim.stat()
    os.utime(victim, ns=(info.st_atime_ns, info.st_mtime_ns + 1))
    assert rsync(target, twin)
    os.utime(victim, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert_same(target, twin)
    subprocess.run(["setfacl", "-m", "u:1:r", victim], check=True)
    assert rsync(target, twin)


def assert_same(source: Path, target: Path) -> None:
    """By rsync (content, owners, modes, times, ACLs, xattrs, hard links), getfacl, getcap, du and maps of holes."""
    assert rsync(source, target) == ""
    for command, between in ((["getfacl", "-R", "-n", "-P", "."], "\n\n"), (["getcap", "-r", "."], "\n")):
        assert sorted(output(command, source).split(between)) == sorted(output(command, target).split(between))
    used = [int(output(["du", "-s", "-B1", "."], folder).split()[0]) for folder in (source, target)]
    assert abs(used[0] - used[1]) <= used[0] // 50
    assert holes(source) == holes(target)


def rsync(source: Path, target: Path) -> str:
    command = ["rsync", "-naAXHc", "--numeric-ids", "--delete", "--itemize-changes", "--modify-window=-1", f"{source}/", f"{target}/"]
    return output(command, source)


def output(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, errors="surrogateescape")
    return done.stdout


def holes(folder: Path) -> dict[bytes, list[tuple[int, int]]]:
    """Where the data of each regular file with holes lies: (start, end) of every extent."""
    found = {}
    for path, _, names, fd in os.fwalk(os.fsencode(folder / "sparse") if (folder / "sparse").exists() else os.fsencode(folder)):
        for name in names:
            info = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISREG(info.st_mode) and info.st_blocks * 512 < info.st_size:
                found[os.path.relpath(os.path.join(path, name), os.fsencode(folder))] = extents(fd, name)  # noqa: PTH118
    return found


def extents(folder: int, name: bytes) -> list[tuple[int, int]]:
    fd = os.open(name, os.O_RDONLY, dir_fd=folder)
    found, end = [], 0
    try:
        while True:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
            found.append((start, end))
    except OSError:  # no more data
        return found
    finally:
        os.close(fd)
