"""Block volumes and large database files: fixed units, zeros left out, and what one changed unit costs.

A sparse file stands in for the block device where only the length matters; a loop device is used where the kernel's own is meant.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoup.engine.backup import fixed
from recoup.engine.backup import source as backup_source
from recoup.engine.format.kinds import BlockKind
from recoup.engine.records.content import iterate_runs
from recoup.engine.records.manifest import SourceKind
from tests.unit.engine.backup.volume import Volume

GIB = 1 << 30


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume.make(tmp_path)


@pytest.fixture
def as_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regular files pass for block devices."""
    monkeypatch.setattr(backup_source, "KINDS", {stat.S_IFREG: SourceKind.DEVICE})


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, 64 << 20)
    made = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=True)
    device = made.stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


def write_at(path: Path | str, offset: int, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, data, offset)
        os.fsync(fd)
    finally:
        os.close(fd)


def content_of(volume: Volume, point: str, size: int) -> bytes:
    opened = volume.open(point)
    assert opened.manifest.device is not None
    data = bytearray(size)
    for run in iterate_runs(opened.blocks.fetch, opened.manifest.device, BlockKind.DEVICE_MAP):
        block = opened.blocks.fetch(run.block, BlockKind.DATA)
        data[run.offset : run.offset + run.length] = block[run.at : run.at + run.length]
    return bytes(data)


@pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="needs loop devices: /dev/loop-control is missing")
def test_a_block_device(volume: Volume, loop: str) -> None:
    write_at(loop, 0, os.urandom(1 << 20))
    write_at(loop, (10 << 20) + 4096, os.urandom(300_000))
    write_at(loop, (64 << 20) - 512, b"end".ljust(512, b"\1"))
    first = volume.back_up(source=Path(loop))
    assert volume.open(first.id).manifest.kind is SourceKind.DEVICE
    assert content_of(volume, first.id, 64 << 20) == Path(loop).read_bytes()
    assert first.bytes_stored < 2 << 20
    write_at(loop, 20 << 20, b"new" * 5000)
    second = volume.back_up(source=Path(loop))
    assert content_of(volume, second.id, 64 << 20) == Path(loop).read_bytes()
    assert second.bytes_stored < 100 << 10


@pytest.mark.usefixtures("as_device")
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, (4 << 20) + 1])
def test_lengths(volume: Volume, tmp_path: Path, size: int) -> None:
    path = tmp_path / "disk"
    path.write_bytes(os.urandom(size))
    for _ in range(2):
        result = volume.back_up(source=path)
        assert content_of(volume, result.id, size) == path.read_bytes()


@pytest.mark.usefixtures("as_device")
def test_one_changed_unit_of_a_large_sparse_volume_stores_little(volume: Volume, tmp_path: Path) -> None:
    """16 GiB with a unit in use in every tenth 64 MiB."""
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, 16 * GIB)
    for number in range(0, 256, 10):
        write_at(path, number << 26, number.to_bytes(2, "big") * 32768)
    volume.back_up(source=path)
    write_at(path, 100 << 26, os.urandom(65_536))
    before = volume.stored()
    second = volume.back_up(source=path)
    assert second.bytes_stored <= volume.stored() - before <= 2 << 20
    opened = volume.open(second.id)
    device = opened.manifest.device
    assert device is not None
    (run,) = [run for run in iterate_runs(opened.blocks.fetch, device, BlockKind.DEVICE_MAP) if run.offset == 100 << 26]
    with path.open("rb") as file:
        file.seek(100 << 26)
        assert opened.blocks.fetch(run.block, BlockKind.DATA)[run.at : run.at + run.length] == file.read(65_536)


@pytest.mark.usefixtures("as_device")
def test_one_changed_unit_of_a_full_volume_stores_little(volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """4 GiB in which every unit is in use, so that map leaves are as large as they get. The bytes come from a pattern, not a disk."""
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, 4 * GIB)
    pattern = os.urandom(fixed.REGION)
    changed: dict[int, bytes] = {}

    def read_into(_fd: int, buffer: memoryview, offset: int) -> int:
        buffer[:] = pattern[: len(buffer)]
        for at, data in changed.items():
            if offset <= at < offset + len(buffer):
                buffer[at - offset : at - offset + len(data)] = data
        return len(buffer)

    monkeypatch.setattr(fixed, "read_into", read_into)
    first = volume.back_up(source=path)
    assert first.bytes_stored > fixed.REGION
    changed[3 * GIB + (5 << 16)] = os.urandom(65_536)
    before = volume.stored()
    volume.back_up(source=path)
    assert volume.stored() - before <= 400 << 10


def test_fragmented_regions_are_written_afresh(volume: Volume) -> None:
    """Changed here and there in many runs, a region ends in few blocks again."""
    path = volume.source / "pages.db"
    path.write_bytes(os.urandom(8 << 20))
    notes: list[str] = []
    for turn in range(20):
        write_at(path, turn * 3 * 65_536 % (4 << 20), os.urandom(65_536))
        result = volume.back_up()
        notes += result.notes
    assert any("too many blocks" in note for note in notes)
    opened = volume.open(result.id)
    content = volume.entries(result.id)[b"pages.db"].content
    assert content is not None
    blocks = {run.block for run in iterate_runs(opened.blocks.fetch, content) if run.offset < 4 << 20}
    assert len(blocks) <= 13
    assert (volume.restore(result.id) / "pages.db").read_bytes() == path.read_bytes()
