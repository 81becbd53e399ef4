"""After `recoup keys shred` nothing that is left at any location opens, not even for somebody who kept every key."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from recoup.engine.stores.base import Store
from recoup.engine.stores.file import FileStore
from tests.e2e.engine.commands import Recoup, process, run
from tests.e2e.engine.thief import steal

CANARY = b"what nobody may read again"


def everything(store: Store) -> dict[str, bytes]:
    return {name: store.get(name) for name, _ in store.list("")}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A vault of two keys with a recovery point: its folder, its fingerprint."""
    tmp_path = tmp_path_factory.mktemp("vault")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / CANARY.decode().replace(" ", "-")).write_bytes(CANARY + os.urandom(5000))
    recovery = tmp_path / "recovery.key"
    public = run("keygen", "--recovery", str(recovery)).strip()
    recoup = Recoup(f"file://{tmp_path}/location", tmp_path / "backup.key")
    run("keygen", str(recoup.key))
    fingerprint = recoup.json("init", "--recipient", public)["fingerprint"]
    recoup("backup", "--source", tmp_path / "source")
    return tmp_path, fingerprint


@pytest.fixture
def made(template: tuple[Path, str], tmp_path: Path) -> tuple[Recoup, list[Path], str]:
    """The same for each test, and a second location that holds a copy of all of it."""
    folder, fingerprint = template
    for name in ("location", "copy"):
        shutil.copytree(folder / "location", tmp_path / name)
    keys = [Path(shutil.copy2(folder / name, tmp_path / name)) for name in ("backup.key", "recovery.key")]
    return Recoup(f"file://{tmp_path}/location", keys[0]), keys, fingerprint


def test_nothing_opens_afterwards_with_everything_that_is_left(made: tuple[Recoup, list[Path], str], tmp_path: Path) -> None:
    recoup, keys, fingerprint = made
    stores = [FileStore(str(tmp_path / name)) for name in ("location", "copy")]
    taken = [key.read_bytes() for key in keys]
    before = steal(taken, everything(stores[0]))
    assert before.shows(CANARY)
    assert not before.closed
    receipt = tmp_path / "receipt.json"
    copy = f"file://{tmp_path}/copy"
    where = ("--location", recoup.location, "--also", copy, "--key-file", str(recoup.key))
    done = process("keys", "shred", *where, "--confirm", fingerprint, "--receipt", str(receipt))
    assert done.returncode == 0, done.stderr
    for store in stores:
        left = everything(store)
        assert not [name for name in left if "/keyring/" in name]
        after = steal(taken, left)
        assert not after.plaintexts
        assert len(after.closed) == len(before.plaintexts)
    said = json.loads(receipt.read_text())
    assert (said["phase"], said["fingerprint"]) == ("done", fingerprint)
    assert [(place["url"], place["destroyedTotal"], place["remaining"]) for place in said["places"]] == [
        (recoup.location, 1, []),
        (copy, 1, []),
    ]
    assert len(said["signedAt"]) == 2
    for command in ("snapshots", "verify"):
        refused = recoup.process(command)
        assert refused.returncode == 40
        assert "[VaultShredded]" in refused.stderr


@pytest.mark.parametrize("confirm", [(), ("--confirm", "recoupvault1abc")])
def test_without_the_fingerprint_nothing_is_destroyed(confirm: tuple[str, ...], made: tuple[Recoup, list[Path], str]) -> None:
    recoup, _, fingerprint = made
    done = process("keys", "shred", "--location", recoup.location, "--key-file", str(recoup.key), *confirm)
    assert done.returncode == 2
    assert fingerprint in done.stderr
    assert recoup.json("snapshots")


def test_a_place_that_holds_no_copy_stops_it_before_anything_is_destroyed(made: tuple[Recoup, list[Path], str], tmp_path: Path) -> None:
    recoup, _, fingerprint = made
    (tmp_path / "empty").mkdir()
    arguments = (
        "--location",
        recoup.location,
        "--key-file",
        str(recoup.key),
        "--also",
        f"file://{tmp_path}/empty",
        "--confirm",
        fingerprint,
    )
    done = process("keys", "shred", *arguments)
    assert done.returncode == 20
    assert "nothing was destroyed" in done.stderr
    assert recoup.json("snapshots")


def test_somebody_with_another_key_cannot_order_it(made: tuple[Recoup, list[Path], str], tmp_path: Path) -> None:
    recoup, _, fingerprint = made
    other = tmp_path / "other.key"
    run("keygen", str(other))
    arguments = ("--location", recoup.location, "--key-file", str(other), "--fingerprint", fingerprint, "--confirm", fingerprint)
    done = process("keys", "shred", *arguments)
    assert done.returncode == 40
    assert recoup.json("snapshots")
