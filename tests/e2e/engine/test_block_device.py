"""A 1 GiB block device goes through a location and comes back bit by bit the same."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.e2e.engine.commands import Recoup, last_error
from tests.e2e.engine.disks import loop_device

GIB = 1 << 30


def test_a_block_device_comes_back(tmp_path: Path) -> None:
    recoup = Recoup.make(tmp_path)
    with loop_device(tmp_path / "source.img", GIB) as source, loop_device(tmp_path / "target.img", GIB) as target:
        fill(source)
        made = recoup.json("backup", "--source", source)
        result = recoup.json("restore", "--snapshot", made["id"], "--target", target)
        assert result["bytesWritten"] == result["bytesCompared"] > 0
        subprocess.run(["cmp", source, target], check=True)
        assert checksum(source) == checksum(target)
        assert (tmp_path / "target.img").stat().st_blocks * 512 < GIB // 2  # holes of the source are holes again

        change(source)
        second = recoup.json("backup", "--source", source)
        assert second["bytesStored"] < 8 << 20
        refused = recoup.process("restore", "--snapshot", second["id"], "--target", target)
        assert refused.returncode == 20
        assert "[TargetNotEmpty]" in last_error(refused)
        subprocess.run(["blkdiscard", "-z", target], check=True)
        recoup("restore", "--snapshot", second["id"], "--target", target)
        subprocess.run(["cmp", source, target], check=True)


def test_a_device_in_use_or_too_small_is_refused(tmp_path: Path) -> None:
    recoup = Recoup.make(tmp_path)
    with loop_device(tmp_path / "source.img", 16 << 20) as source, loop_device(tmp_path / "target.img", 15 << 20) as target:
        fill(source, 2 << 20)
        made = recoup.json("backup", "--source", source)
        small = recoup.process("restore", "--snapshot", made["id"], "--target", target)
        assert small.returncode == 20
        assert "[TargetTooSmall]" in last_error(small)
        subprocess.run(["mkfs.ext4", "-q", target], check=True)
        (tmp_path / "mnt").mkdir()
        subprocess.run(["mount", target, tmp_path / "mnt"], check=True)
        try:
            mounted = recoup.process("restore", "--snapshot", made["id"], "--target", target)
            assert mounted.returncode == 20
            assert "[TargetInUse]" in last_error(mounted)
        finally:
            subprocess.run(["umount", tmp_path / "mnt"], check=True)


def fill(device: Path, spread: int = 37 << 20) -> None:
    """Random data in regions of odd lengths, zeros between."""
    fd = os.open(device, os.O_WRONLY)
    size = os.lseek(fd, 0, os.SEEK_END)
    for number, offset in enumerate(range(0, size, spread)):
        os.pwrite(fd, os.urandom(min(100_000 + number * 300_000, size - offset)), offset)
    os.pwrite(fd, b"end", size - 3)
    os.close(fd)


def change(device: Path) -> None:
    fd = os.open(device, os.O_WRONLY)
    for offset in (0, 300 << 20, 700 << 20):
        os.pwrite(fd, os.urandom(10_000), offset)
    os.close(fd)


def checksum(device: Path) -> str:
    return subprocess.run(["sha256sum", device], check=True, capture_output=True, text=True).stdout.split()[0]
