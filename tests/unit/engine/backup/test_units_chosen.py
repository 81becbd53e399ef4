"""How large files are cut, and why: by name, first page, holes, how they changed, or because it was asked for."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest

from recoup.engine.backup import cutting
from recoup.engine.backup.cutting import Unit, kind_of
from recoup.engine.records.content import Scheme
from tests.unit.engine.backup.volume import Volume

RANDOM = random.Random(3).randbytes(4096)
POSTGRES = bytes(12) + struct.pack("<HHHH", 40, 8000, 8192, 0x2004) + RANDOM[:4076]
INNODB = RANDOM[:4] + bytes(4) + RANDOM[8:24] + b"\0\x08" + RANDOM[26:34] + b"\0\0\0\x2a" * 2 + RANDOM[42:]


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        (b"notes.txt", RANDOM, ""),
        (b"video.mp4", b"\0\0\0\x20ftypisom" + RANDOM, ""),
        (b"zeros", bytes(4096), ""),
        (b"short", b"x", ""),
        (b"App.SQLITE", RANDOM, "name"),
        (b"16384", RANDOM, "name"),
        (b"16384.1", RANDOM, "name"),
        (b"16384x", RANDOM, ""),
        (b"places", b"SQLite format 3\0" + RANDOM, "SQLite"),
        (b"base", POSTGRES, "PostgreSQL page"),
        (b"space", INNODB, "InnoDB page"),
        (b"etcd", bytes(16) + b"\xed\xda\x0c\xed" + RANDOM, "Bolt"),
        (b"data.mdb_", bytes(16) + b"\xde\xc0\xef\xbe" + RANDOM, "LMDB"),
        (b"root", bytes(512) + b"EFI PART" + RANDOM, "partitioned disk image"),
        (b"fs", bytes(1080) + b"\x53\xef" + RANDOM, "ext image"),
        (b"vm", b"QFI\xfb" + RANDOM, "QCOW image"),
    ],
)
def test_what_is_written_in_place(name: bytes, head: bytes, kind: str) -> None:
    assert kind_of(name, head[:4096]) == kind


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Volume:
    monkeypatch.setattr(cutting, "IN_PLACE_FROM", 8 << 20)
    return Volume.make(tmp_path)


def scheme(volume: Volume, point: str, name: bytes = b"f") -> Scheme:
    content = volume.entries(point)[name].content
    assert content is not None
    return content.scheme


def scatter(path: Path, seed: int) -> None:
    with path.open("r+b") as file:
        for offset in range(0, path.stat().st_size, 3 << 20):
            file.seek(offset + seed)
            file.write(os.urandom(4096))


def test_a_file_that_changes_in_place_gets_fixed_units(volume: Volume) -> None:
    path = volume.source / "f"
    path.write_bytes(os.urandom(40 << 20))
    first = volume.back_up()
    assert (scheme(volume, first.id), set(first.chosen)) == (Scheme.CDC, {("cdc", "nothing speaks for writes in place")})
    scatter(path, 1)
    second = volume.back_up()
    assert (scheme(volume, second.id), set(second.chosen)) == (Scheme.FIXED, {("fixed", "it changes in place")})
    scatter(path, 50_000)
    third = volume.back_up()
    assert set(third.chosen) == {("fixed", "as before")}
    assert third.bytes_stored < 2 << 20
    assert (volume.restore(third.id) / "f").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("change", ["append", "insert", "one place", "rewritten"])
def test_other_changes_do_not(volume: Volume, change: str) -> None:
    path = volume.source / "f"
    data = os.urandom(40 << 20)
    path.write_bytes(data)
    volume.back_up()
    changed = {
        "append": data + os.urandom(5000),
        "insert": data[:9_000_000] + b"inserted" + data[9_000_000:-8],
        "one place": data[:9_000_000] + os.urandom(4096) + data[9_004_096:],
        "rewritten": os.urandom(len(data)),
    }
    path.write_bytes(changed[change])
    assert scheme(volume, volume.back_up().id) is Scheme.CDC


def test_what_is_asked_for_is_done(volume: Volume) -> None:
    (volume.source / "f").write_bytes(os.urandom(1 << 20))
    (volume.source / "x.db").write_bytes(os.urandom(1 << 20))
    fixed = volume.back_up(unit=Unit.FIXED)
    assert [scheme(volume, fixed.id, name) for name in (b"f", b"x.db")] == [Scheme.FIXED] * 2
    for path in volume.source.iterdir():
        os.utime(path)
    cdc = volume.back_up(unit=Unit.CDC)
    assert [scheme(volume, cdc.id, name) for name in (b"f", b"x.db")] == [Scheme.CDC] * 2
    assert cdc.chosen[("cdc", "asked for")].files == 2


def test_holes_stay_holes_whatever_is_asked_for(volume: Volume) -> None:
    path = volume.source / "f"
    with path.open("wb") as file:
        file.truncate(64 << 20)
        file.seek(1 << 20)
        file.write(os.urandom(1 << 20))
    result = volume.back_up(unit=Unit.CDC)
    assert set(result.chosen) == {("fixed", "holes")}
    restored = volume.restore(result.id) / "f"
    assert restored.stat().st_blocks * 512 < 8 << 20
