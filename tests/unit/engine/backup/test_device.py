"""Block volumes and large database files: fixed units, zeros left out, and what one changed unit costs.

A sparse file stands in for the block device where only the length matters; a loop device is used where the kernel's own is meant.
"""

from __future__ import annotations

import os
import random
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoup.engine.backup import fixed
from recoup.engine.backup import source as backup_source
from recoup.engine.format.ids import block_id
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


class Synthetic:
    """A volume of which only the first 8 bytes of some units are not zero, without a disk or the time to read and hash the rest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.units: dict[int, bytes] = {}
        self._regions: set[int] = set()
        self._dirty = False
        hashed, is_zero, zeros = block_id, fixed._is_zero, bytes(8)
        known: dict[int, bytes] = {}

        def read_into(_fd: int, buffer: memoryview, offset: int) -> int:
            self._dirty = offset // fixed.REGION in self._regions
            if self._dirty:
                buffer[:] = bytes(len(buffer))
                for unit in range(offset >> 16, (offset + len(buffer)) >> 16):
                    head = self.units.get(unit, b"")
                    at = (unit << 16) - offset
                    buffer[at : at + len(head)] = head
            return len(buffer)

        def quick_id(key: bytes, kind: BlockKind, plain: memoryview) -> bytes:
            if plain[:8] != zeros:
                return hashed(key, kind, plain)
            if len(plain) not in known:
                known[len(plain)] = hashed(key, kind, plain)
            return known[len(plain)]

        monkeypatch.setattr(fixed, "read_into", read_into)
        monkeypatch.setattr(fixed, "block_id", quick_id)
        monkeypatch.setattr(fixed, "_is_zero", lambda buffer: not self._dirty or is_zero(buffer))

    def put(self, unit: int, head: bytes) -> None:
        self.units[unit] = head
        self._regions.add(unit * 65_536 // fixed.REGION)


@pytest.mark.usefixtures("as_device")
@pytest.mark.parametrize("leaves", [128, pytest.param(16_384, marks=pytest.mark.long)])
def test_one_changed_unit_of_a_large_volume_stores_little(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves: int
) -> None:
    """8 GiB, and 1 TiB: with a unit in use in every 64 MiB the map has all leaves and levels. A full leaf: next test."""
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, leaves << 26)
    disk = Synthetic(monkeypatch)
    for leaf in range(leaves):
        disk.put(leaf * 1024 + leaf % 1024, (leaf + 1).to_bytes(8, "big"))
    first = volume.back_up(source=path)
    assert first.bytes_total == leaves << 26
    before = volume.stored()
    leaf = leaves // 3
    disk.put(leaf * 1024 + leaf % 1024, b"changed!")
    second = volume.back_up(source=path)
    assert second.bytes_stored <= volume.stored() - before <= 2 << 20
    opened = volume.open(second.id)
    device = opened.manifest.device
    assert device is not None
    runs = iterate_runs(opened.blocks.fetch, device, BlockKind.DEVICE_MAP, start=leaf << 26)
    found = [next(runs), next(runs)]
    heads = [opened.blocks.fetch(run.block, BlockKind.DATA)[run.at : run.at + 8] for run in found]
    assert [run.offset >> 16 for run in found] == [at * 1024 + at % 1024 for at in (leaf, leaf + 1)]
    assert [bytes(head) for head in heads] == [b"changed!", (leaf + 2).to_bytes(8, "big")]


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


def blocks_by_region(volume: Volume, point: str) -> list[int]:
    opened = volume.open(point)
    content = volume.entries(point)[b"pages.db"].content
    assert content is not None
    regions: dict[int, set[bytes]] = {}
    for run in iterate_runs(opened.blocks.fetch, content):
        for region in range(run.offset // fixed.REGION, (run.offset + run.length - 1) // fixed.REGION + 1):
            regions.setdefault(region, set()).add(run.block)
    return [len(blocks) for blocks in regions.values()]


def rounds(volume: Volume, count: int, most: int) -> tuple[list[int], int]:
    """(blocks of the worst region after every tenth round, bytes rewritten): 1 % of the pages, anywhere, are others each time."""
    path = volume.source / "pages.db"
    path.write_bytes(os.urandom(8 << 20))
    rng = random.Random(6)
    worst, rewritten = [], 0
    for turn in range(count):
        for page in rng.sample(range(1024), 10):
            write_at(path, page * 8192, os.urandom(8192))
        result = volume.back_up(region_blocks=most)
        rewritten += result.bytes_rewritten
        if turn % 10 == 9:
            worst.append(max(blocks_by_region(volume, result.id)))
    assert (volume.restore(result.id) / "pages.db").read_bytes() == path.read_bytes()
    return worst, rewritten


def test_a_hundred_rounds_of_changes_leave_few_blocks_to_fetch(volume: Volume) -> None:
    """The blocks of one round more than the bound: what that round stored is not among those that were counted when it decided."""
    worst, rewritten = rounds(volume, 100, 12)
    assert max(worst) <= 13
    assert 0 < rewritten < 100 * (8 << 20) // 4


def test_without_the_bound_the_same_rounds_scatter_a_region(volume: Volume) -> None:
    worst, rewritten = rounds(volume, 40, 1 << 30)
    assert rewritten == 0
    assert worst[-1] > 16
