"""Block devices, played by files where the kernel does not mind (the real thing is in tests/e2e/engine)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from recoup.engine.restore import spans
from recoup.engine.restore.orders import Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.run import restore
from recoup.errors import Invalid
from recoup.report import Progress
from tests.unit.engine.restore.forge import Forger

SIZE = 8 << 20
PIECES = ((0, b"boot" * 16_384), (2 << 20, os.urandom(300_000) + bytes(27_680)), (SIZE - 65_536, b"tail" * 16_384))


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return Forger.make(tmp_path / "location")


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A blank file that passes for a block device."""
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, SIZE + 4096)
    monkeypatch.setattr(stat, "S_ISBLK", stat.S_ISREG)
    return path


def bring_back(forger: Forger, point: str, target: Path) -> Outcome:
    outcome = Outcome()
    restore(forger.open(point), str(target), Orders(), outcome, Progress(quiet=True))
    return outcome


def expected() -> bytes:
    image = bytearray(SIZE + 4096)
    for offset, data in PIECES:
        image[offset : offset + len(data)] = data
    return bytes(image)


def test_a_device_comes_back_with_its_holes(forger: Forger, disk: Path) -> None:
    outcome = bring_back(forger, forger.device(SIZE, PIECES), disk)
    assert disk.read_bytes() == expected()
    assert disk.stat().st_blocks * 512 <= sum(len(data) for _, data in PIECES) + 65_536
    assert outcome.bytes_written == outcome.bytes_compared == sum(len(data) for _, data in PIECES)


@pytest.mark.parametrize("punch", [True, False])
def test_garbage_where_holes_should_be_is_cleared(forger: Forger, disk: Path, monkeypatch: pytest.MonkeyPatch, punch: bool) -> None:
    if not punch:
        monkeypatch.setattr(spans, "_punch", lambda *_: False)
    with disk.open("r+b") as stream:
        stream.seek(4 << 20)
        stream.write(os.urandom(100_000))
    bring_back(forger, forger.device(SIZE, PIECES), disk)
    assert disk.read_bytes() == expected()


def test_an_interrupted_restore_is_finished_by_the_next(forger: Forger, disk: Path) -> None:
    point = forger.device(SIZE, PIECES)
    with disk.open("r+b") as stream:
        stream.write(PIECES[0][1])
    bring_back(forger, point, disk)
    bring_back(forger, point, disk)
    assert disk.read_bytes() == expected()


def test_a_device_with_other_data_is_refused_untouched(forger: Forger, disk: Path) -> None:
    with disk.open("r+b") as stream:
        stream.seek(0x438)
        stream.write(b"\x53\xef")
    before = disk.read_bytes()
    with pytest.raises(Invalid) as caught:
        bring_back(forger, forger.device(SIZE, PIECES), disk)
    assert caught.value.reason == "TargetNotEmpty"
    assert disk.read_bytes() == before


def test_wrong_targets(forger: Forger, disk: Path, tmp_path: Path) -> None:
    point = forger.device(SIZE, PIECES)
    os.truncate(disk, SIZE - 1)
    for target, reason in ((disk, "TargetTooSmall"), (tmp_path, "TargetNotDevice"), (tmp_path / "none", "TargetNotFound")):
        with pytest.raises(Invalid) as caught:
            bring_back(forger, point, target)
        assert caught.value.reason == reason


def test_a_regular_file_with_something_in_it_is_refused(forger: Forger, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(bytes(SIZE))
    with pytest.raises(Invalid) as caught:
        bring_back(forger, forger.device(SIZE, PIECES), tmp_path / "image")
    assert caught.value.reason == "TargetNotEmpty"
