"""How large packs are, by how fast the line is."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from recoup.engine.backup.pace import LEAST_PACK, SECONDS, Pace
from recoup.engine.backup.packs import PACK_BYTES
from recoup.engine.format.kinds import MAX_PLAIN_BYTES
from recoup.engine.stores.base import Buffer, Store
from recoup.engine.stores.file import FileStore
from tests.unit.engine.backup.volume import Volume, picture

MIB = 1 << 20


def test_the_least_pack_holds_the_longest_block() -> None:
    assert LEAST_PACK > 4 * MIB + MIB // 2
    assert LEAST_PACK < MAX_PLAIN_BYTES


@pytest.mark.parametrize(
    ("megabits", "most", "wanted"),
    [
        (1, PACK_BYTES, LEAST_PACK),
        (2, PACK_BYTES, 7 * MIB),
        (4, PACK_BYTES, 14 * MIB),
        (5, PACK_BYTES, PACK_BYTES),
        (1000, PACK_BYTES, PACK_BYTES),
        (1000, 64 * MIB, 64 * MIB),
        (0.001, PACK_BYTES, LEAST_PACK),
        (1000, MIB, MIB),
    ],
)
def test_a_pack_takes_half_a_minute_at_most_if_it_can(megabits: float, most: int, wanted: int) -> None:
    pace = Pace(most)
    assert pace.pack_bytes() == min(LEAST_PACK, most)
    size = min(LEAST_PACK, most)
    pace.took(size, size * 8 / (megabits * 1e6))
    assert pace.pack_bytes() == wanted
    assert wanted <= LEAST_PACK or wanted * 8 / (megabits * 1e6) <= SECONDS


def test_small_objects_say_nothing_and_the_latest_say_most() -> None:
    pace = Pace(PACK_BYTES)
    pace.took(1000, 3.0)
    assert pace.rate is None
    pace.took(PACK_BYTES, 0.1)
    for _ in range(12):
        pace.took(LEAST_PACK, 60.0)
    assert pace.pack_bytes() == LEAST_PACK


def test_packs_grow_on_a_fast_line_and_do_not_on_a_slow_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's own clock decides: the same run against a store that seems to take a minute for each pack."""
    sizes: list[int] = []
    now = [0.0]

    class Seeing(FileStore):
        def create(self, name: str, data: Buffer) -> bool:
            if "/d/" in name:
                sizes.append(memoryview(data).nbytes)
                now[0] += seconds
            return super().create(name, data)

    class Clock:
        time_ns = staticmethod(time.time_ns)

        @staticmethod
        def monotonic() -> float:
            return now[0]

    monkeypatch.setattr("recoup.engine.backup.session.time", Clock)
    for seconds in (0.01, 60.0):
        directory = tmp_path / str(seconds)
        directory.mkdir()
        store: Store = Seeing(str(directory / "location"))
        volume = Volume.make(directory, store)
        (volume.source / "f").write_bytes(random.Random(1).randbytes(60 * MIB))
        sizes.clear()
        point = volume.back_up(uploaders=1)
        assert max(sizes) == (PACK_BYTES if seconds < 1 else LEAST_PACK)
        assert sizes[0] == LEAST_PACK
        assert picture(volume.restore(point.id)) == picture(volume.source)
