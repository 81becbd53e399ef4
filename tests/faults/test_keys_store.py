"""Changing keys, and dying or losing answers at every single call of the store: earlier points restore, running again succeeds.

Six changes and a shred make 91 calls in all; with four faults at each that is 364 points.

First shown to fail: with KEYGEN appended before the keyrings are put (nothing opens after a death in between); with the old keyrings
removed before KEYGEN (the same); with `shred` appending EVIDENCE only at its end (an interrupted shred could not be finished).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recoup.engine.keys.kek import Kek, RecipientKek, SecretKek
from recoup.engine.log.follow import Log
from recoup.engine.rekey import Rekeyed, add_keks, new_generation, owned_ids, remove_keks
from recoup.engine.shred import begun, shred
from recoup.engine.stores.base import Store
from recoup.engine.stores.file import FileStore
from recoup.engine.vault import Unlocked, open_vault
from recoup.errors import KeyUnavailable, Retryable
from tests.faults.store import Crashed, Fault, FaultStore
from tests.unit.engine.backup.volume import Volume, picture
from tests.unit.engine.keys.vaults import KEK

OLD, NEW, OFFLINE = KEK, SecretKek.generate(), RecipientKek.generate()
EITHER: tuple[Kek, ...] = (OLD, NEW)
Change = Callable[[Log], Rekeyed]


@dataclass(frozen=True)
class Case:
    change: Change
    opens: tuple[Kek, ...]
    """Afterwards."""
    closed: tuple[Kek, ...] = ()


def rotate(log: Log) -> Rekeyed:
    return remove_keks(log, EITHER, owned_ids(log, [OLD]), [NEW])


def remove(log: Log) -> Rekeyed:
    """After an add; of a run that is repeated, the add finds its key there."""
    add_keks(log, EITHER, [NEW])
    return remove_keks(log, EITHER, owned_ids(log, [OLD]))


CASES = {
    "add": Case(lambda log: add_keks(log, EITHER, [NEW]), (OLD, NEW)),
    "add a recipient": Case(lambda log: add_keks(log, EITHER, [OFFLINE.recipient]), (OLD, OFFLINE)),
    "remove": Case(remove, (NEW,), (OLD,)),
    "rotate": Case(rotate, (NEW,), (OLD,)),
    "new generation": Case(lambda log: new_generation(log, EITHER, [NEW], leaked=False), (NEW,), (OLD,)),
    "after a leak": Case(lambda log: new_generation(log, EITHER, [NEW, OFFLINE.recipient], leaked=True), (NEW, OFFLINE), (OLD,)),
}


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    volume = Volume.make(tmp_path)
    (volume.source / "folder").mkdir()
    (volume.source / "folder/file").write_bytes(os.urandom(5000))
    (volume.source / "other").write_bytes(b"text " * 1000)
    volume.back_up()
    return volume


def follow(volume: Volume, store: Store) -> Log:
    return Log(store, volume.vault.identity.vault_id, root_public=volume.vault.identity.root_public, pause=lambda _: None)


def opened(volume: Volume, store: Store, keks: Sequence[Kek]) -> Unlocked:
    log = follow(volume, store)
    log.follow()
    return open_vault(log, keks, pinned=True)


def calls(volume: Volume, tmp_path: Path, run: Callable[[Store], object]) -> Iterator[tuple[int, Store]]:
    """For every call that the run makes: its number, and a copy of the location as it is before the run."""
    trial = tmp_path / "trial"
    shutil.copytree(tmp_path / "location", trial)
    counted = FaultStore(FileStore(str(trial)))
    run(counted)
    assert len(counted.calls) > 8
    for number in range(len(counted.calls)):
        shutil.rmtree(trial)
        shutil.copytree(tmp_path / "location", trial)
        yield number, FileStore(str(trial))


def assert_whole(volume: Volume, vault: Unlocked, number: int, expected: object) -> None:
    """The point is there with every object, and its keys are the same; of every few calls it is restored for real, too."""
    before = volume.vault.log.follow()
    assert vault.log.state.commits == before.commits
    assert vault.materials[1] == volume.vault.materials[1]
    data = f"v/{vault.identity.vault_id.hex()}/"
    assert [list(vault.log.store.list(f"{data}{area}/")) for area in "dmx"] == [list(volume.store.list(f"{data}{area}/")) for area in "dmx"]
    if number % 6 == 0:
        assert_restores(volume, vault, expected)


def assert_restores(volume: Volume, vault: Unlocked, expected: object) -> None:
    here = Volume(volume.source, vault, volume.restored)
    (point,) = vault.log.state.commits
    target = here.restore(point.hex())
    volume.restored = here.restored
    assert picture(target) == expected
    shutil.rmtree(target)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("name", CASES)
def test_a_change_that_ends_at_any_call(name: str, fault: Fault, volume: Volume, tmp_path: Path) -> None:
    case, expected = CASES[name], picture(volume.source)
    for number, store in calls(volume, tmp_path, lambda store: case.change(follow(volume, store))):
        with suppress(Crashed, Retryable):
            case.change(follow(volume, FaultStore(store, {number: fault})))
        assert_whole(volume, opened(volume, store, EITHER), number, expected)
        done = case.change(follow(volume, store))
        assert not done.kept
        for kek in case.opens:
            assert_whole(volume, opened(volume, store, [kek]), number + 3, expected)
        for kek in case.closed:
            with pytest.raises(KeyUnavailable):
                opened(volume, store, [kek])
        vault = opened(volume, store, case.opens)
        names = [name for name, _ in store.list(f"v/{vault.identity.vault_id.hex()}/keyring/")]
        assert len(names) == len(vault.log.state.keyrings)


def destroy(volume: Volume, store: Store, other: Store) -> bool:
    """One run of the command: with keys while they open anything, without them once destruction was begun with them."""
    logs = [follow(volume, store), follow(volume, other)]
    for log in logs:
        log.follow()
    try:
        signer = open_vault(logs[0], [OLD], pinned=True).reader.signer
    except KeyUnavailable:
        assert begun(logs[0])
        signer = None
    return shred(logs, signer, datetime.now(UTC)).complete


@pytest.mark.parametrize("fault", Fault)
def test_a_shred_that_ends_at_any_call_is_finished_by_running_it_again(fault: Fault, volume: Volume, tmp_path: Path) -> None:
    expected = picture(volume.source)
    copy = tmp_path / "copy"

    def run(store: Store) -> None:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(tmp_path / "location", copy)
        assert destroy(volume, store, FileStore(str(copy)))

    for number, store in calls(volume, tmp_path, run):
        shutil.rmtree(copy)
        shutil.copytree(tmp_path / "location", copy)
        other = FileStore(str(copy))
        with suppress(Crashed, Retryable):
            destroy(volume, FaultStore(store, {number: fault}), other)
        log = follow(volume, store)
        if not begun_at(log):
            assert_whole(volume, opened(volume, store, [OLD]), number, expected)  # nothing was destroyed before it was ordered
        assert destroy(volume, store, other)
        for place in (store, other):
            assert not list(place.list(f"v/{volume.vault.identity.vault_id.hex()}/keyring/"))
            with pytest.raises(KeyUnavailable) as caught:
                opened(volume, place, [OLD])
            assert caught.value.reason == "VaultShredded"


def begun_at(log: Log) -> bool:
    log.follow()
    return begun(log)
