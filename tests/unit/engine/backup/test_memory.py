"""Memory by the number of files: a tree that exists only as a walk, backed up in processes of their own, their peaks compared.

What a run keeps for the whole tree is one record for each leaf (about 48 files); everything else is one buffer or another. So it is
not flat to the byte: some 45 bytes for each file were measured, first run and unchanged run alike.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.peak import own_peak

FOLDER = 100
"""Files of a folder."""
PER_FILE = 64
"""Bytes of growth that are allowed for each file."""
OLD = 1_600_000_000


class SyntheticWalk:
    """Stands for Walk: folders of empty files, as many as COUNT says, whose descriptors are all those of one directory."""

    def __init__(self, fd: int, _rules: object, _on_error: object) -> None:
        self._fd = fd
        self._folders = [b"d%07d" % number for number in range(int(os.environ["COUNT"]) // FOLDER)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return

    def __iter__(self) -> Iterator[object]:
        from recoup.engine.source.walk import BATCH, Directory

        for start in range(0, len(self._folders), BATCH):
            part = self._folders[start : start + BATCH]
            yield Directory((), os.dup(self._fd), part, [found(stat.S_IFDIR | 0o755, 1 << 40 | start + n) for n in range(len(part))])
        for index, folder in enumerate(self._folders):
            first = index * FOLDER
            names = [b"file-%09d" % (first + number) for number in range(FOLDER)]
            yield Directory((folder,), os.dup(self._fd), names, [found(stat.S_IFREG | 0o644, first + n + 1) for n in range(FOLDER)])


def found(mode: int, inode: int) -> os.stat_result:
    times = (OLD, OLD, OLD, float(OLD), float(OLD), float(OLD), OLD * 10**9, OLD * 10**9, OLD * 10**9)
    return os.stat_result((mode, inode, 0, 1, 0, 0, 0, *times, 4096, 0, 0))


def back_up(directory: Path) -> None:
    """In a process of its own: one run, and on stdout what it took."""
    from recoup.engine.allocator import tune_allocator, without_collector
    from recoup.engine.backup import capture
    from tests.unit.engine.backup.volume import Volume

    tune_allocator()
    vars(capture)["Walk"] = SyntheticWalk
    volume = Volume.make(directory)
    with without_collector():
        result = volume.back_up()
    sys.stdout.write(json.dumps({"peak": own_peak(), "files": result.files}))


def peak_of(directory: Path, count: int) -> int:
    program = "import sys; from pathlib import Path; from tests.unit.engine.backup.test_memory import back_up; back_up(Path(sys.argv[1]))"
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [sys.executable, "-c", program, str(directory)], env={**os.environ, "COUNT": str(count)}, cwd=root, check=True, capture_output=True
    )
    seen = json.loads(done.stdout)
    assert seen["files"] == count
    return int(seen["peak"])


@pytest.mark.parametrize("most", [100_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_memory_grows_by_little_with_the_number_of_files(tmp_path: Path, most: int) -> None:
    peaks = {}
    for count in (10_000, most):
        directory = tmp_path / str(count)
        directory.mkdir()
        peaks[count] = peak_of(directory, count)
    assert peaks[most] - peaks[10_000] <= PER_FILE * (most - 10_000) + (8 << 20)
    assert peaks[most] < 192 << 20
