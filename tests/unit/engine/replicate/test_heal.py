"""What one location lost comes back from another: every object, by any kind of damage; what is damaged everywhere is named."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from recoup.engine.format.names import digest_of, object_name, parse_object_name
from recoup.engine.healing.look import Check
from recoup.engine.healing.run import heal
from recoup.engine.stores.base import Store
from recoup.engine.stores.file import FileStore
from recoup.engine.verify.run import verify
from recoup.errors import Integrity
from recoup.report import Progress
from tests.unit.engine.backup.volume import Volume, fill, picture
from tests.unit.engine.keys.vaults import unlocked
from tests.unit.engine.replicate.copies import Copies

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """Points enough that they need some 250 objects, and a copy of them."""
    copies = Copies.make(tmp_path_factory.mktemp("made"))
    fill(copies.home.source, files=40)
    for turn in range(30):
        (copies.home.source / f"new-{turn}").write_bytes(os.urandom(20_000))
        copies.home.back_up()
    copies.replicate()
    return copies


@pytest.fixture
def copies(made: Copies, tmp_path: Path) -> Copies:
    for name in ("source", "location", "copy"):
        shutil.copytree(made.directory / name, tmp_path / name)
    store = FileStore(str(tmp_path / "location"))
    return Copies(tmp_path, Volume(tmp_path / "source", unlocked(store, made.vault_id)))


def named(root: Path, *, areas: str = "dmx") -> list[Path]:
    """The files of all objects that are named by their digests."""
    return sorted(path for area in areas for path in root.glob(f"v/*/{area}/*/*"))


def spoil(path: Path, rng: random.Random) -> None:
    """Flip a bit, cut off the end, or take it away."""
    data = bytearray(path.read_bytes())
    path.chmod(0o644)
    match rng.randrange(3):
        case 0:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
        case 1:
            path.write_bytes(data[: rng.randrange(len(data))])
        case _:
            path.unlink()


def needed(store: Store) -> set[str]:
    """Names of what the live points need, as the copy has them."""
    return {name for name, _ in store.list("v/") if len(name.split("/")) == 5}


@pytest.mark.parametrize("hurt", ["location", "copy"])
def test_random_damage_is_healed_whole(copies: Copies, hurt: str) -> None:
    rng = random.Random(7)
    needs = needed(copies.store)
    victims = [path for path in named(copies.directory / hurt) if str(path.relative_to(copies.directory / hurt)) in needs]
    chosen = rng.sample(victims, 200)
    for path in chosen:
        spoil(path, rng)
    store, other = (FileStore(str(copies.directory / name)) for name in (hurt, {"location": "copy", "copy": "location"}[hurt]))
    done = heal(store, [other], copies.vault_id, QUIET, threads=3)
    assert not done.lost
    assert len(done.objects) == len(chosen)
    vault = copies.open(store)
    good = [parse_object_name(name) for name in done.objects]
    assert all(digest_of(store.get(object_name(copies.vault_id, n.area, n.digest, n.incarnation))) == n.digest for n in good)
    findings = verify(vault, list(vault.log.state.commits.values()), 4, QUIET)
    assert not findings.affected
    point = list(vault.log.state.commits)[-1].hex()
    assert picture(copies.volume(store).restore(point)) == picture(copies.home.source)
    assert heal(store, [other], copies.vault_id, QUIET, threads=3).objects == []


def test_what_is_damaged_everywhere_is_named_and_nothing_else_is_lost(copies: Copies) -> None:
    here, there = copies.directory / "location", copies.directory / "copy"
    both = sorted({path.relative_to(there) for path in named(there, areas="d")})[:2]
    (here / both[0]).unlink()
    (there / both[0]).unlink()
    (here / both[1]).unlink()
    done = heal(copies.home.store, [copies.store], copies.vault_id, QUIET, threads=3)
    assert len(done.objects) == 1
    assert parse_object_name(done.objects[0]).digest.hex() == both[1].name
    (message, points), *rest = done.lost.items()
    assert both[0].name in message
    assert points
    assert not rest
    assert parse_object_name(str(both[0])).digest not in copies.state(copies.home.store).healed


def test_lying_bytes_heal_nothing(copies: Copies) -> None:
    """The other location has an object of the right name and size with other bytes."""
    name = named(copies.directory / "copy", areas="d")[0].relative_to(copies.directory / "copy")
    (copies.directory / "location" / name).unlink()
    liar = copies.directory / "copy" / name
    liar.chmod(0o644)
    liar.write_bytes(os.urandom(liar.stat().st_size))
    done = heal(copies.home.store, [copies.store], copies.vault_id, QUIET, threads=2)
    assert done.objects == []
    assert len(done.lost) == 1
    assert copies.state(copies.home.store).healed == {}


def test_a_missing_keyring_comes_back_and_a_damaged_one_is_said(copies: Copies) -> None:
    keyring = next((copies.directory / "location").glob("v/*/keyring/*"))
    whole = keyring.read_bytes()
    keyring.unlink()
    assert len(heal(copies.home.store, [copies.store], copies.vault_id, QUIET).objects) == 1
    assert keyring.read_bytes() == whole
    keyring.chmod(0o644)
    keyring.write_bytes(whole[:-1])
    done = heal(copies.home.store, [copies.store], copies.vault_id, QUIET)
    assert done.objects == []
    assert "keyring" in next(iter(done.lost))


@pytest.mark.parametrize(("check", "expected"), [(Check.CONTENT, 2), (Check.PRESENCE, 1), (Check.RECORDED, 0)])
def test_how_closely_it_looks(copies: Copies, check: Check, expected: int) -> None:
    needs = sorted(name for name in needed(copies.store) if "/d/" in name)
    (copies.directory / "location" / needs[0]).unlink()
    flipped = copies.directory / "location" / needs[1]
    flipped.chmod(0o644)
    flipped.write_bytes(flipped.read_bytes()[:-1] + b"?")
    assert len(heal(copies.home.store, [copies.store], copies.vault_id, QUIET, check=check).objects) == expected


def test_what_a_verification_recorded_is_healed_without_reading_the_rest(copies: Copies) -> None:
    needs = sorted(name for name in needed(copies.store) if "/d/" in name)
    (copies.directory / "location" / needs[0]).unlink()
    vault = copies.open(copies.home.store)
    verify(vault, list(vault.log.state.commits.values()), 1, QUIET)
    done = heal(copies.home.store, [copies.store], copies.vault_id, QUIET, check=Check.RECORDED)
    assert [parse_object_name(name).digest.hex() for name in done.objects] == [Path(needs[0]).name]


def test_another_vault_of_the_same_id_is_no_source(copies: Copies, tmp_path: Path) -> None:
    (tmp_path / "planted").mkdir()
    planted = FileStore(str(tmp_path / "planted" / "x"))
    unlocked(planted, copies.vault_id)
    (copies.directory / "location" / min(needed(copies.store))).unlink()
    with pytest.raises(Integrity, match="another root key") as refused:
        heal(copies.home.store, [planted], copies.vault_id, QUIET)
    assert refused.value.reason == "RootMismatch"
