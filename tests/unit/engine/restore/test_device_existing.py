"""Devices and image files that hold something: compared unit by unit, marked while they are incomplete, resumed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from recoup.engine.restore import device
from recoup.engine.restore.packs import Workers
from recoup.errors import Invalid
from tests.unit.engine.restore.forge import Forger
from tests.unit.engine.restore.runs import bring, orders

UNIT = 65_536
SIZE = 32 << 20
PIECES = [(at * UNIT, os.urandom(UNIT)) for at in range(SIZE // UNIT) if at % 8]
"""Every eighth unit is a hole."""


def expected() -> bytes:
    image = bytearray(SIZE)
    for offset, data in PIECES:
        image[offset : offset + len(data)] = data
    return bytes(image)


@pytest.fixture(scope="module")
def forger(tmp_path_factory: pytest.TempPathFactory) -> Forger:
    return Forger.make(tmp_path_factory.mktemp("vault") / "location")


@pytest.fixture(scope="module")
def point(forger: Forger) -> str:
    return forger.device(SIZE, PIECES)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A blank file that passes for a block device."""
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, SIZE)
    monkeypatch.setattr(stat, "S_ISBLK", stat.S_ISREG)
    return path


def scribble(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(data)


@pytest.mark.parametrize("existing", ["merge", "overwrite", "mirror"])
def test_one_per_cent_that_differs_is_what_is_written(forger: Forger, point: str, disk: Path, existing: str) -> None:
    bring(forger, point, disk)
    changed = [at for at in range(100, 500, 80) if at % 8]
    for at in changed:
        scribble(disk, at * UNIT + 77, b"!!")
    scribble(disk, 24 * UNIT + 5, b"dirt where zeros should be")
    outcome = bring(forger, point, disk, orders(existing))
    assert disk.read_bytes() == expected()
    head = sum(len(data) for offset, data in PIECES if offset < device.HEAD)
    assert outcome.bytes_written == len(changed) * UNIT + head


def test_a_device_that_is_right_already_is_not_touched(forger: Forger, point: str, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(forger, point, disk)
    before = disk.stat().st_mtime_ns
    for name in ("pwrite", "ftruncate"):
        monkeypatch.setattr(os, name, pytest.fail)
    outcome = bring(forger, point, disk, orders("merge"))
    assert outcome.already_there
    assert disk.stat().st_mtime_ns == before


def test_a_device_says_that_it_is_incomplete_and_the_next_run_fetches_only_the_rest(
    forger: Forger, point: str, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle: the head, where file systems have their marks, is ours, and what was written is kept."""
    submit, calls = Workers.submit, []

    def crash(self: Workers, jobs: object) -> None:
        submit(self, jobs)  # type: ignore[arg-type]
        self.wait()
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(device, "Planner", _small_windows)
    with monkeypatch.context() as patch:
        patch.setattr(Workers, "submit", crash)
        with pytest.raises(KeyboardInterrupt):
            bring(forger, point, disk)
    head = disk.read_bytes()[: device.HEAD]
    assert head.startswith(b"A restore by recoup to this device has not ended")
    assert not head.rstrip(b"\0").count(b"\0")
    outcome = bring(forger, point, disk)
    assert disk.read_bytes() == expected()
    assert outcome.bytes_kept >= 64 * UNIT
    assert outcome.bytes_written + outcome.bytes_kept == sum(len(data) for _, data in PIECES)


def _small_windows() -> object:
    from recoup.engine.restore.plan import Planner

    return Planner(32, 1 << 30)


def test_another_restores_marker_is_other_data(forger: Forger, point: str, disk: Path) -> None:
    scribble(disk, 0, b"A restore by recoup to this device has not ended, or it failed: Restore: 0123456789abcdef\n")
    with pytest.raises(Invalid) as caught:
        bring(forger, point, disk)
    assert caught.value.reason == "TargetNotEmpty"


@pytest.mark.parametrize("before", ["empty", "longer", "shorter", "the same"])
def test_an_image_file_is_written_or_mended(forger: Forger, point: str, tmp_path: Path, before: str) -> None:
    image = tmp_path / "image"
    contents = {"empty": b"", "longer": os.urandom(SIZE + 5), "shorter": expected()[: SIZE // 2], "the same": expected()}
    image.write_bytes(contents[before])
    if before != "empty":
        with pytest.raises(Invalid) as caught:
            bring(forger, point, image)
        assert caught.value.reason == "TargetNotEmpty"
    outcome = bring(forger, point, image, orders("fail" if before == "empty" else "overwrite"))
    assert image.read_bytes() == expected()
    assert [path.name for path in tmp_path.iterdir()] == ["image"]
    if before == "the same":
        assert (outcome.already_there, outcome.bytes_written) == (True, 0)
    if before == "shorter":
        assert outcome.bytes_written == sum(len(data) for offset, data in PIECES if offset >= SIZE // 2)


def test_an_image_has_another_name_until_it_is_whole(forger: Forger, point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tmp_path / "image"
    image.touch()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(device.DeviceRestore, "_compare", crash)
        with pytest.raises(KeyboardInterrupt):
            bring(forger, point, image)
    assert not image.exists()
    outcome = bring(forger, point, image)
    assert image.read_bytes() == expected()
    assert outcome.bytes_written == 0


def test_links_and_files_of_two_names_are_no_targets(forger: Forger, point: str, tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "two").hardlink_to(tmp_path / "real")
    for name in ("link", "real"):
        with pytest.raises(Invalid) as caught:
            bring(forger, point, tmp_path / name, orders("overwrite"))
        assert caught.value.reason == "TargetNotDevice"
    assert (tmp_path / "real").stat().st_size == 0


def test_parts_of_a_device_are_refused(forger: Forger, point: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        bring(forger, point, tmp_path / "x", orders(include=["etc"]))
    assert caught.value.reason == "NotFiles"
