"""Making and opening vaults: twice, at the same time, after a crash at every call, and against what somebody planted."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from recoup.engine.format.names import LOCATION_DESCRIPTOR, descriptor_name, keyring_name
from recoup.engine.keys.kek import Kek, Recipient, RecipientKek, SecretKek
from recoup.engine.keys.keyfile import create_key_file, pin_vault, read_key_file
from recoup.engine.keys.keyring import seal_keyring
from recoup.engine.log.follow import Log
from recoup.engine.stores.base import Store
from recoup.engine.unlock import unlock
from recoup.engine.vault import Provisioned, ensure_location, open_vault, provision, read_descriptor
from recoup.errors import Integrity, Invalid, KeyUnavailable, NotFound, Retryable, Usage
from tests.faults.store import Crashed, Fault, FaultStore
from tests.unit.engine.keys.vaults import new_store, unlocked

KEK, OFFLINE = SecretKek.generate(), RecipientKek.generate()
VAULT = os.urandom(16)


def make(store: Store, keks: tuple[Kek, ...] = (KEK,), recipients: tuple[Recipient, ...] = (), vault: bytes = VAULT) -> Provisioned:
    return provision(store, keks, recipients, vault_id=vault, labels={"namespace": "team-a"})


def key_file(directory: Path, kek: Kek, *made: Provisioned) -> Path:
    path = directory / os.urandom(4).hex()
    create_key_file(path, kek)
    for one in made:
        pin_vault(read_key_file(path), one.fingerprint)
    return path


def test_provisioning_twice_gives_the_same_keys() -> None:
    store = new_store()
    one, two = make(store, recipients=(OFFLINE.recipient,)), make(store)
    assert (one.created, two.created) == (True, False)
    assert (one.writer, one.catalogue, one.fingerprint) == (two.writer, two.catalogue, two.fingerprint)


def test_racing_keys_jobs_agree_on_one_vault() -> None:
    store = new_store()
    made: list[Provisioned] = []
    start = threading.Barrier(6)

    def work() -> None:
        start.wait(10)
        made.append(make(store))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 6
    assert sum(one.created for one in made) == 1
    assert len({one.fingerprint for one in made}) == 1
    assert all(one.writer == made[0].writer and one.catalogue == made[0].catalogue for one in made)


@pytest.mark.parametrize("fault", Fault)
def test_a_crash_or_lost_answer_at_any_call_leaves_a_vault_that_the_next_run_opens(fault: Fault) -> None:
    whole = FaultStore(new_store())
    make(whole)
    for call in range(len(whole.calls)):
        place = new_store()
        try:
            first: Provisioned | None = make(FaultStore(place, {call: fault}))
        except (Crashed, Retryable):
            first = None
        second = make(place)
        assert first is None or first.fingerprint == second.fingerprint
        log = Log(place, VAULT, root_public=second.writer.identity.root_public)
        log.follow()
        assert open_vault(log, [KEK], pinned=True).writer == second.writer
        assert read_descriptor(log).vault_id == VAULT


def test_a_vault_that_somebody_planted_is_refused() -> None:
    """Its keyring is wrapped to our public recipient and to a secret that we do not have: neither proves who made it."""
    store = new_store()
    planted = make(store, (SecretKek.generate(),), (OFFLINE.recipient,))
    with pytest.raises(KeyUnavailable, match="none of the 1 keys"):
        make(store)
    with pytest.raises(KeyUnavailable) as caught:
        make(store, (OFFLINE,))
    assert caught.value.reason == "FingerprintUnknown"
    with pytest.raises(Integrity, match="another root key"):
        provision(store, [OFFLINE], [], vault_id=VAULT, labels={}, pinned_root=os.urandom(32))
    root = planted.writer.identity.root_public
    assert provision(store, [OFFLINE], [], vault_id=VAULT, labels={}, pinned_root=root).writer == planted.writer


def test_a_vault_of_offline_keys_only_is_made_once_and_never_opened_here() -> None:
    store = new_store()
    made = make(store, (), (OFFLINE.recipient,))
    assert made.created
    with pytest.raises(KeyUnavailable, match="kept offline"):
        make(store, (), (OFFLINE.recipient,))
    log = Log(store, VAULT, root_public=made.writer.identity.root_public)
    log.follow()
    assert open_vault(log, [OFFLINE], pinned=True).writer == made.writer


def test_unlock_finds_the_pinned_vault_among_others(tmp_path: Path) -> None:
    store = new_store()
    one, two = make(store, vault=os.urandom(16)), make(store, vault=os.urandom(16))
    assert unlock(store, [key_file(tmp_path, KEK, two)]).fingerprint == two.fingerprint
    assert unlock(store, [key_file(tmp_path, KEK)], fingerprint=one.fingerprint).fingerprint == one.fingerprint
    both = key_file(tmp_path, KEK, one, two)
    with pytest.raises(Usage, match="--vault"):
        unlock(store, [both])
    vault = one.writer.identity.vault_id.hex()
    opened = unlock(store, [both], vault=vault)
    assert opened.fingerprint == one.fingerprint
    assert opened.labels == {"namespace": "team-a"}
    assert opened.writer == one.writer


def test_unlock_trusts_no_root_key_that_it_was_not_told(tmp_path: Path) -> None:
    store = new_store()
    made = make(store)
    path = key_file(tmp_path, KEK)
    with pytest.raises(KeyUnavailable, match="--trust-new"):
        unlock(store, [path])
    assert unlock(store, [path], trust_new=True).fingerprint == made.fingerprint


def test_unlock_refuses_another_root_key_even_when_told_to_trust_new_ones(tmp_path: Path) -> None:
    store = new_store()
    make(store)
    other = make(new_store())
    assert other.writer.identity.vault_id == VAULT
    with pytest.raises(Integrity, match="another root key"):
        unlock(store, [key_file(tmp_path, KEK, other)], trust_new=True)
    with pytest.raises(Invalid, match="another root key"):
        unlock(store, [key_file(tmp_path, KEK, other)], fingerprint=make(store).fingerprint)


def test_unlock_says_what_is_missing(tmp_path: Path) -> None:
    store = new_store()
    ensure_location(store)
    path = key_file(tmp_path, KEK)
    with pytest.raises(NotFound, match="recoup init"):
        unlock(store, [path])
    with pytest.raises(NotFound, match="holds no vault"):
        unlock(store, [path], vault=os.urandom(16).hex())
    with pytest.raises(Usage, match="32 hex digits"):
        unlock(store, [path], vault="abc")
    with pytest.raises(KeyUnavailable):
        unlock(store, [tmp_path / "missing"])
    made = make(store)
    with pytest.raises(KeyUnavailable, match="recovery key"):
        unlock(store, [key_file(tmp_path, SecretKek.generate(), made)])


def test_a_missing_or_damaged_keyring_or_descriptor_is_named() -> None:
    store = new_store()
    made = make(store)
    log = Log(store, VAULT, root_public=made.writer.identity.root_public)
    state = log.follow()
    assert state.descriptor is not None
    uses: dict[str, Callable[[], object]] = {
        keyring_name(VAULT, 1, state.keyrings[1]): lambda: open_vault(log, [KEK], pinned=True),
        descriptor_name(VAULT, 0): lambda: read_descriptor(log),
    }
    for name, use in uses.items():
        data = store.get(name)
        store.delete(name)
        store.create(name, data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(Integrity) as caught:
            use()
        assert name in str(caught.value)
    store.delete(next(iter(uses)))
    with pytest.raises(Integrity, match="missing"):
        open_vault(log, [KEK], pinned=True)


def test_another_keyring_of_the_same_vault_under_the_name_that_the_log_knows_is_refused() -> None:
    """An older keyring opens for a KEK that was taken out since; it is signed by the root key all the same."""
    store = new_store()
    unlocked_vault = unlocked(store, VAULT, KEK)
    name = keyring_name(VAULT, 1, unlocked_vault.log.state.keyrings[1])
    material = unlocked_vault.materials[1]
    older = seal_keyring(material, material.certify(unlocked_vault.identity.repo_id, VAULT, 1), [KEK, SecretKek.generate()])
    store.delete(name)
    store.create(name, older)
    with pytest.raises(Integrity, match="not the one that the log names"):
        open_vault(unlocked_vault.log, [KEK], pinned=True)


@pytest.mark.parametrize("content", [b"", b"{}", b"<html>", b'{"format":1,"location":"zz"}', b'{"format":1,"location":"00"}', b"\xff"])
def test_a_prefix_of_somebody_else_is_not_a_location(content: bytes) -> None:
    store = new_store()
    store.create(LOCATION_DESCRIPTOR, content)
    with pytest.raises(Integrity, match="not a location"):
        ensure_location(store)


def test_a_location_of_a_newer_format_says_update() -> None:
    store = new_store()
    store.create(LOCATION_DESCRIPTOR, b'{"format":2,"location":"00000000000000000000000000000000"}')
    with pytest.raises(Invalid, match="update"):
        ensure_location(store)
