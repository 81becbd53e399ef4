"""What a replication refuses, and what a hostile source or target cannot do to it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from recoup.engine.format.names import log_name
from recoup.engine.keys.signing import SigningKey
from recoup.engine.log.bodies import Commit, EntryType, Forget, Heal, Mirror, ObjectRef, Open, Pin, Signer
from recoup.engine.log.entries import Head, decode_entry, encode_entry
from recoup.engine.log.follow import LogRejected
from recoup.engine.log.mirror import home_entry
from recoup.engine.stores.base import Store
from recoup.errors import Integrity, Invalid, RecoupError
from tests.fakes.memory_store import MemoryStore
from tests.unit.engine.backup.volume import Volume, fill
from tests.unit.engine.keys.vaults import unlocked
from tests.unit.engine.replicate.copies import Copies, claims


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Copies:
    copies = Copies.make(tmp_path_factory.mktemp("home"))
    fill(copies.home.source, files=15)
    copies.home.back_up()
    return copies


@pytest.fixture
def copies(made: Copies) -> Copies:
    """The home in memory with two points, the copy with the first one of them."""
    home = MemoryStore.like(made.home.store, "memory://home")
    copies = Copies(made.directory, Volume(made.home.source, made.open(home), pack_bytes=made.home.pack_bytes))
    copies.store = MemoryStore("memory://copy")
    copies.replicate()
    (copies.home.source / "more").write_bytes(os.urandom(1000))
    copies.home.back_up()
    return copies


def memory(store: Store) -> MemoryStore:
    assert isinstance(store, MemoryStore)
    return store


def refused(copies: Copies, reason: str, *, source: Store | None = None, target: Store | None = None) -> RecoupError:
    """Replicating fails for that reason, and the copy is as it was."""
    target = memory(target or copies.store)
    before = dict(target.objects)
    with pytest.raises(RecoupError) as failure:
        copies.replicate(source=source, target=target)
    assert failure.value.reason == reason, failure.value
    assert target.objects == before
    return failure.value


def test_a_source_that_was_rolled_back(copies: Copies) -> None:
    copies.replicate()
    home = memory(copies.home.store)
    last = copies.state(home).next_seq - 1
    for seq in range(last - 2, last + 1):
        del home.objects[log_name(copies.vault_id, seq)]
    assert isinstance(refused(copies, "SourceRolledBack"), Integrity)


def test_a_source_with_another_history(copies: Copies) -> None:
    """The home is put back to where the copy began, and goes another way."""
    fork = MemoryStore.like(copies.home.store)
    for seq in range(3, copies.state(fork).next_seq):
        del fork.objects[log_name(copies.vault_id, seq)]
    copies.replicate()
    copies.home.vault = copies.open(fork)
    for _ in range(2):
        (copies.home.source / "other").write_bytes(os.urandom(1000))
        copies.home.back_up()
    assert "two histories" in str(refused(copies, "SourceForked", source=fork))


def test_a_vault_with_another_root_key(copies: Copies) -> None:
    planted = MemoryStore("memory://planted")
    unlocked(planted, copies.vault_id)
    refused(copies, "RootMismatch", source=planted)


def test_a_copy_that_somebody_planted(copies: Copies) -> None:
    target = MemoryStore("memory://target")
    planted = MemoryStore()
    unlocked(planted, copies.vault_id)
    copies.replicate(source=planted, target=target)
    refused(copies, "RootMismatch", target=target)


def test_the_home_is_no_target(copies: Copies) -> None:
    refused(copies, "HomeIsTarget", source=copies.store, target=copies.home.store)
    assert isinstance(refused(copies, "SameLocation", target=copies.home.store), Invalid)


def test_a_source_without_the_vault(copies: Copies) -> None:
    refused(copies, "NoVault", source=MemoryStore())


def hostile(change: Callable[[bytes], bytes]) -> Callable[[Copies], MemoryStore]:
    def make(copies: Copies) -> MemoryStore:
        store = MemoryStore.like(copies.home.store)
        for name in [name for name in store.objects if name.split("/")[2:3] in (["d"], ["m"], ["x"])]:
            store.objects[name] = change(store.objects[name])
        return store

    return make


@pytest.mark.parametrize(
    "change",
    [lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: data + b"more", lambda data: data[: len(data) // 2], lambda _: b""],
    ids=["flipped", "longer", "shorter", "empty"],
)
def test_a_source_that_lies_poisons_nothing(copies: Copies, change: Callable[[bytes], bytes]) -> None:
    before = dict(memory(copies.store).objects)
    done = copies.replicate(source=hostile(change)(copies))
    assert len(done.lost) == 1
    assert claims(copies, copies.store) == []
    assert {name for name in memory(copies.store).objects if "/log/" not in name} == {name for name in before if "/log/" not in name}
    assert copies.replicate().points == [done.lost[0].point]  # nothing is spoilt: the honest source goes on
    assert claims(copies, copies.store) == []


def test_entries_without_a_key_are_not_copied(copies: Copies) -> None:
    """Somebody who may create objects at the home writes into its log."""
    home, state = memory(copies.home.store), copies.state(copies.home.store)
    identity = state.require_identity()
    seq = state.next_seq
    head = Head(
        EntryType.OPEN, Signer.WRITER, 1, identity.repo_id, copies.vault_id, state.location_id, seq, state.previous, 0, os.urandom(16)
    )
    home.objects[log_name(copies.vault_id, seq)] = encode_entry(head, Open(os.urandom(16), b"", 1 << 20), SigningKey.generate())
    done = copies.replicate()
    assert len(done.points) == 1
    assert claims(copies, copies.store) == []


def test_a_damaged_object_costs_its_point_and_no_later_one(copies: Copies) -> None:
    home = memory(copies.home.store)
    second = list(copies.state(home).commits)[1].hex()
    mine = set(memory(copies.store).objects)
    victim = next(name for name in sorted(home.objects) if "/d/" in name and name not in mine)
    whole = home.objects.pop(victim)
    (copies.home.source / "third").write_bytes(os.urandom(1000))
    copies.home.back_up()
    done = copies.replicate()
    assert second in [lost.point for lost in done.lost]
    home.objects[victim] = whole
    again = copies.replicate()
    assert second in again.points
    assert {point.hex() for point in copies.state().commits} == {point.hex() for point in copies.state(home).commits}
    assert claims(copies, copies.store) == []


def test_a_forgotten_point_is_passed_over_and_a_pin_takes_effect(copies: Copies) -> None:
    vault = copies.home.vault
    first, second = list(copies.state(copies.home.store).commits)
    vault.log.follow()
    vault.log.append(Forget((second,), "", 0, "test"), vault.maintenance.signer)
    vault.log.append(Pin(first, "keep"), vault.maintenance.signer)
    done = copies.replicate()
    assert (done.points, done.forgotten, done.lost) == ([], 1, [])
    state = copies.state()
    assert list(state.commits) == [first]
    assert list(state.pinned) == [first]


def test_a_planted_heal_hides_nothing(copies: Copies) -> None:
    """HEAL needs no key: somebody claims that everything stands elsewhere."""
    log = copies.log()
    names = [name.split("/")[-1] for name in memory(copies.store).objects if name.split("/")[2:3] in (["d"], ["m"], ["x"])]
    log.append(Heal(tuple(ObjectRef(bytes.fromhex(name), 7) for name in names)), None)
    assert claims(copies, copies.store) == []
    assert copies.open().log.state.commits
    copies.replicate()
    assert claims(copies, copies.store) == []


def test_a_mirror_is_not_repeated_nor_shuts_out_older_points(copies: Copies) -> None:
    """MIRROR needs no key either: somebody mirrors the newest entry, or one a second time."""
    home = copies.home.store
    log = copies.log()
    state = copies.state(home)
    entries = [home.get(log_name(copies.vault_id, seq)) for seq in range(state.next_seq)]
    commits = [data for data in entries if isinstance(decode_entry(data, "test").body, Commit)]
    with pytest.raises(LogRejected):
        log.append(Mirror(commits[0]), None)
    for data in (entries[-2], entries[1]):
        if not isinstance(decode_entry(data, "test").body, Commit):
            with pytest.raises(LogRejected):
                log.append(Mirror(data), None)
    copies.replicate()
    mirrors = [decode_entry(copies.store.get(log_name(copies.vault_id, seq)), "test").body for seq in range(copies.state().next_seq)]
    assert sum(isinstance(body, Mirror) and isinstance(home_entry(body).body, Commit) for body in mirrors) == 2


def test_a_copy_of_a_copy(copies: Copies) -> None:
    """The home is gone: the next location is filled from the copy."""
    copies.replicate()
    second = MemoryStore("memory://second")
    copies.replicate(source=copies.store, target=second)
    assert claims(copies, second) == []
    assert list(copies.state(second).commits) == list(copies.state(copies.home.store).commits)
    (copies.home.source / "after").write_bytes(os.urandom(1000))
    copies.home.back_up()
    copies.replicate(target=second)  # the home is back, and knows more
    assert copies.replicate(source=copies.store, target=second).points == []
    assert len(copies.state(second).commits) == 3
