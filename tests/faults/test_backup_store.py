"""A backup that dies, or loses answers, at every single call of the store: earlier points restore, and running again succeeds."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from recoup.engine.backup import packs, resume
from recoup.engine.stores.base import Store
from recoup.engine.stores.file import FileStore
from recoup.errors import RecoupError
from tests.faults.store import Crashed, Fault, FaultStore
from tests.unit.engine.backup.volume import Volume, fill, picture
from tests.unit.engine.keys.vaults import unlocked

Picture = dict[bytes, tuple[object, ...]]


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Volume:
    """Several packs, checkpoints and all kinds of metadata, in little data; one point is made, and then something changed."""
    monkeypatch.setattr(resume, "LEAST_OBJECTS", 2)
    volume = Volume.make(tmp_path)
    volume.pack_bytes = 5 << 20
    fill(volume.source, files=120)
    return volume


def change(volume: Volume) -> None:
    (volume.source / "new").write_bytes(os.urandom(1500))
    (volume.source / "large").write_bytes(os.urandom(6 << 20))
    with (volume.source / "pages.db").open("r+b") as file:
        file.seek(65_536)
        file.write(os.urandom(3000))


def copies(volume: Volume, tmp_path: Path) -> Iterator[tuple[int, FileStore]]:
    """For every call of the run that comes next: its number, and a copy of the location as it is before the run."""
    location = tmp_path / "location"
    trial = tmp_path / "trial"
    shutil.copytree(location, trial)
    counted = FaultStore(FileStore(str(trial)))
    volume.back_up(store=counted)
    assert len(counted.calls) > 20
    for number in range(len(counted.calls)):
        shutil.rmtree(trial)
        shutil.copytree(location, trial)
        yield number, FileStore(str(trial))


def at(volume: Volume, store: Store) -> Volume:
    """The same source and vault, with another copy of the location."""
    return Volume(volume.source, unlocked(store, volume.vault.identity.vault_id), volume.restored, volume.pack_bytes)


def check(volume: Volume, tmp_path: Path, first: str, before: Picture) -> None:
    """The first point is whole, a new one can be made, and is whole."""
    again = volume.back_up()
    for point, expected in ((first, before), (again.id, picture(volume.source))):
        target = volume.restore(point)
        assert picture(target) == expected
        shutil.rmtree(target)


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
def test_killed_at_any_call(volume: Volume, tmp_path: Path, fault: Fault) -> None:
    before, first = picture(volume.source), volume.back_up().id
    change(volume)
    for number, store in copies(volume, tmp_path):
        with pytest.raises(Crashed):
            volume.back_up(store=FaultStore(store, {number: fault}))
        here = at(volume, store)
        points = [manifest.hex() for manifest in here.vault.log.follow().commits]
        assert points[0] == first
        assert len(points) == 1 or picture(here.restore(points[1])) == picture(volume.source)
        check(here, tmp_path, first, before)


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.LOST])
def test_a_store_that_gives_up_at_any_call(volume: Volume, tmp_path: Path, fault: Fault) -> None:
    """The run ends with an error that says why, or it made its point; never with half of one."""
    before, first = picture(volume.source), volume.back_up().id
    change(volume)
    reasons: set[str] = set()
    for number, store in copies(volume, tmp_path):
        point = ""
        try:
            point = volume.back_up(store=FaultStore(store, {number: fault})).id
        except RecoupError as error:
            reasons.add(error.reason)
        here = at(volume, store)
        listed = [manifest.hex() for manifest in here.vault.log.follow().commits]
        assert not point or listed[-1] == point
        check(here, tmp_path, first, before)
    assert reasons == {"Unavailable"}


def test_an_interrupt_ends_the_run_and_all_its_threads(volume: Volume) -> None:
    threads = threading.active_count()
    seen = 0

    def interrupt(_data: int, _files: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        volume.back_up(on_progress=interrupt)
    assert threading.active_count() == threads
    assert not volume.vault.log.follow().commits
    last = volume.back_up()
    assert picture(volume.restore(last.id)) == picture(volume.source)


def test_a_compressor_that_errs_is_caught_before_anything_depends_on_it(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    (volume.source / "text").write_bytes(b"compresses well " * 50_000)

    def err(data: memoryview) -> bytes:
        wrong = bytearray(data)
        wrong[len(wrong) // 2] ^= 1
        return zstandard.ZstdCompressor().compress(wrong)

    class Wrong:
        compress = staticmethod(err)
        decompress = staticmethod(zstandard.decompress)

    monkeypatch.setattr(packs, "_codecs", Wrong)
    with pytest.raises(RecoupError, match="faulty") as caught:
        volume.back_up()
    assert caught.value.reason == "SelfCheckFailed"
    assert not volume.vault.log.follow().commits
