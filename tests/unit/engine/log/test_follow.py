"""Reading and appending: one order for everybody, nothing lost, nothing doubled, whatever the store does."""

from __future__ import annotations

import os
import threading

import msgspec
import pytest

from recoup.engine.format.names import log_name
from recoup.engine.keys.certificate import sign_certificate
from recoup.engine.keys.keyring import Material
from recoup.engine.keys.signing import SigningKey
from recoup.engine.log.bodies import Open
from recoup.engine.log.entries import MAX_ENTRY_BYTES
from recoup.engine.log.facts import SQUATTED_AT
from recoup.engine.log.follow import Log, LogRejected
from recoup.engine.log.state import LogState
from recoup.engine.stores.base import MAX_OBJECT, Store
from recoup.engine.vault import Unlocked
from recoup.errors import Integrity, Invalid, Retryable
from tests.faults.store import Crashed, Fault, FaultStore
from tests.unit.engine.keys.vaults import unlocked
from tests.unit.engine.log.entries import commit_body, open_body, plant, signed


@pytest.fixture
def vault() -> Unlocked:
    return unlocked()


def log_of(vault: Unlocked, store: Store | None = None) -> Log:
    place = vault.log.store if store is None else store
    return Log(place, vault.identity.vault_id, root_public=vault.identity.root_public, pause=lambda _: None)


def sessions(log: Log) -> list[bytes]:
    return list(log.follow().sessions)


def test_writers_at_once_make_one_order_and_lose_nothing(vault: Unlocked) -> None:
    """Six writers with a log of their own and two that share one, each with ten runs of OPEN and COMMIT."""
    shared = log_of(vault)
    logs = [log_of(vault) for _ in range(6)] + [shared, shared]
    wanted: list[bytes] = []
    failures: list[BaseException] = []

    def work(log: Log) -> None:
        try:
            for _ in range(10):
                session = os.urandom(16)
                opened = log.append(open_body(session), vault.writer.signer)
                log.append(commit_body(session, opened.head.seq), vault.writer.signer)
                wanted.append(session)
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(log,)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    fresh = log_of(vault).follow()
    assert fresh.invalid == 0
    assert len(fresh.commits) == 80
    assert {session for session in fresh.sessions if fresh.sessions[session].committed} == set(wanted)
    assert all(sessions(log) == list(fresh.sessions) for log in logs)


def test_writers_racing_for_one_session_commit_it_once(vault: Unlocked) -> None:
    session = os.urandom(16)
    opened = vault.log.append(open_body(session), vault.writer.signer).head.seq
    outcomes: list[str] = []

    def work() -> None:
        try:
            log_of(vault).append(commit_body(session, opened), vault.writer.signer)
            outcomes.append("done")
        except LogRejected:
            outcomes.append("rejected")

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done"] + ["rejected"] * 5
    assert len(log_of(vault).follow().commits) == 1


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("call", range(8))
def test_a_fault_at_any_call_never_doubles_or_hides_an_entry(vault: Unlocked, call: int, fault: Fault) -> None:
    session = os.urandom(16)
    store = FaultStore(vault.log.store, {call: fault})
    log = log_of(vault, store)
    ended: str
    try:
        log.append(open_body(session), vault.writer.signer)
        ended = "done"
    except Retryable:
        ended = "retryable"
    except Crashed:
        ended = "crashed"
    state = log_of(vault).follow()
    entries = [seq for seq in range(state.next_seq) if seq]
    assert state.invalid == 0
    assert len(entries) == (session in state.sessions)
    if ended == "done":
        assert session in state.sessions
    if ended == "retryable":
        log.append(open_body(session), vault.writer.signer)
        assert session in log_of(vault).follow().sessions


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.LOST])
def test_a_put_that_fails_once_is_settled_by_its_content(vault: Unlocked, fault: Fault) -> None:
    probe = FaultStore(vault.log.store)
    log_of(vault, probe).follow()
    put = len(probe.calls)
    store = FaultStore(vault.log.store, {put: fault})
    entry = log_of(vault, store).append(open_body(), vault.writer.signer)
    assert store.calls[put].method == "create"
    state = log_of(vault).follow()
    assert state.next_seq == entry.head.seq + 1
    assert state.previous == entry.digest


def test_an_answer_lost_while_another_writer_took_the_place_is_not_taken_for_ours(vault: Unlocked) -> None:
    other, mine = os.urandom(16), os.urandom(16)

    class Overtaken(FaultStore):
        """Another writer's entry lands at the very place, just before ours; our answer is lost."""

        def create(self, name: str, data: bytes | bytearray | memoryview) -> bool:
            if other not in log_of(vault).follow().sessions:
                log_of(vault).append(open_body(other), vault.writer.signer)
                raise Retryable("lost")
            return super().create(name, data)

    log = log_of(vault, Overtaken(vault.log.store))
    entry = log.append(open_body(mine), vault.writer.signer)
    assert sessions(log_of(vault)) == [other, mine]
    assert entry.head.seq == 2


def test_nothing_new_costs_one_request_and_catching_up_few_rounds(vault: Unlocked) -> None:
    for _ in range(40):
        vault.log.append(open_body(), vault.writer.signer)
    store = FaultStore(vault.log.store)
    log = log_of(vault, store)
    log.follow()
    assert (store.count("get"), store.count("list")) == (42, 1), "entries, the one that is absent, and how many there are"
    assert len(store.calls) == 43
    del store.calls[:]
    log.follow()
    assert [call.name for call in store.calls] == [log_name(vault.identity.vault_id, 41)]


@pytest.mark.parametrize("junk", [b"", b"x", b"\0" * 300, os.urandom(400), bytes(MAX_ENTRY_BYTES + 1)])
def test_squatted_entries_are_skipped_counted_and_written_past(vault: Unlocked, junk: bytes) -> None:
    plant(vault.log, junk)
    session = os.urandom(16)
    vault.log.append(open_body(session), vault.writer.signer)
    state = log_of(vault).follow()
    assert session in state.sessions
    assert (state.invalid, state.lost, state.breaks, state.squatted) == (1, {1}, [], False)
    for _ in range(SQUATTED_AT):
        plant(vault.log, junk)
    assert vault.log.follow().squatted


def test_entries_beyond_a_gap_are_not_part_of_the_log(vault: Unlocked) -> None:
    data = signed(vault, open_body(), vault.writer.signer, seq=2)
    log = log_of(vault)
    log.follow()
    assert log.beyond_head() == 0
    assert vault.log.store.create(log_name(vault.identity.vault_id, 2), data)
    assert log.follow().next_seq == 1
    assert log.beyond_head() == 1


def test_what_has_no_entrys_name_is_not_beyond_the_head(vault: Unlocked) -> None:
    log = log_of(vault)
    log.follow()
    folder = log_name(vault.identity.vault_id, 0)[:-16]
    for name in ("try-writer", "f" * 15, "f" * 17, "F" * 16):
        assert vault.log.store.create(folder + name, b"")
    assert log.beyond_head() == 0


@pytest.mark.parametrize(
    "head",
    [
        {"vault_id": bytes(16)},
        {"repo_id": bytes(16)},
        {"location_id": bytes(16)},
        {"seq": 7},
        {"generation": 2},
        {"signer": 0},
        {"signer": 9},
        {"signer": 3},
        {"previous": bytes(32)},
    ],
    ids=str,
)
def test_an_entry_for_another_place_or_by_another_role_does_not_count(vault: Unlocked, head: dict[str, object]) -> None:
    plant(vault.log, signed(vault, open_body(), vault.writer.signer, **head))
    state = log_of(vault).follow()
    assert (state.sessions, state.invalid) == ({}, 1)


def test_an_entry_of_another_key_does_not_count(vault: Unlocked) -> None:
    plant(vault.log, signed(vault, open_body(), SigningKey.generate()))
    assert log_of(vault).follow().sessions == {}


def test_a_signed_entry_of_a_newer_version_stops_the_reader_and_a_forged_one_does_not(vault: Unlocked) -> None:
    plant(vault.log, signed(vault, open_body(), SigningKey.generate(), type=99))
    assert log_of(vault).follow().invalid == 1
    plant(vault.log, signed(vault, open_body(), vault.writer.signer, type=99))
    for _ in range(2):
        with pytest.raises(Invalid) as caught:
            vault.log.follow()
        assert caught.value.reason == "NewerFormat"


def test_an_entry_that_was_damaged_in_the_store_costs_only_itself_and_shows_as_a_fork(vault: Unlocked) -> None:
    lost, after, later = os.urandom(16), os.urandom(16), os.urandom(16)
    seq = vault.log.append(open_body(lost), vault.writer.signer).head.seq
    opened = vault.log.append(open_body(after), vault.writer.signer).head.seq
    vault.log.append(commit_body(after, opened), vault.writer.signer)
    point = commit_body(lost, seq)
    vault.log.append(point, vault.writer.signer)
    overwrite(vault, seq)
    log = log_of(vault)
    state = log.follow()
    assert list(state.sessions) == [after, lost]
    assert state.breaks == [opened]
    assert set(state.commits) >= {point.manifest}
    log.append(open_body(later), vault.writer.signer)
    assert list(log_of(vault).follow().sessions) == [after, lost, later]


def overwrite(vault: Unlocked, seq: int) -> None:
    """What a bad disk does."""
    name = log_name(vault.identity.vault_id, seq)
    data = bytearray(vault.log.store.get(name))
    data[len(data) // 2] ^= 1
    vault.log.store.delete(name)
    assert vault.log.store.create(name, data)


def test_an_answer_cut_short_is_not_an_invalid_entry(vault: Unlocked) -> None:
    """Skipping it would make this reader see another log than everybody else."""
    vault.log.append(open_body(), vault.writer.signer)

    class Cut(FaultStore):
        def get(self, name: str, limit: int = MAX_OBJECT) -> bytes:
            super().get(name, limit)
            raise Integrity("100 bytes came instead of 400", reason="ObjectTruncated")

    with pytest.raises(Retryable, match="could not be read whole"):
        log_of(vault, Cut(vault.log.store)).follow()


def test_another_root_key_is_no_log_at_all(vault: Unlocked) -> None:
    state = Log(vault.log.store, vault.identity.vault_id, root_public=SigningKey.generate().public).follow()
    assert not state.initialised
    with pytest.raises(Integrity, match="another root key"):
        state.require_identity()


def test_an_init_that_names_the_pinned_root_and_is_not_signed_by_it_is_junk(vault: Unlocked) -> None:
    """The root's public key is no secret: what counts is its signature."""
    root = vault.identity.root_public
    forger = Material.generate()
    honest = vault.log.state.certificates[1]
    publics = {"writer": SigningKey(forger.writer).public, "maintenance": SigningKey(forger.maintenance).public}
    certificate = sign_certificate(msgspec.structs.replace(honest, **publics), SigningKey(forger.root))
    assert vault.log.state.init is not None
    body = msgspec.structs.replace(vault.log.state.init, certificate=certificate)
    data = signed(vault, body, SigningKey(forger.maintenance), signer=2, seq=0, previous=bytes(32))
    state = LogState(vault.identity.vault_id, root)
    assert state.take(0, data) is None
    assert not state.initialised
    assert state.take(1, b"") is None
    honest_state = LogState(vault.identity.vault_id, root)
    assert honest_state.take(0, vault.log.store.get(log_name(vault.identity.vault_id, 0))) is not None


def test_an_append_without_init_or_with_a_foreign_key_is_rejected(vault: Unlocked) -> None:
    with pytest.raises(LogRejected, match="not one of this vault"):
        vault.log.append(open_body(), SigningKey.generate())
    empty = Log(vault.log.store, os.urandom(16), root_public=None)
    with pytest.raises(Integrity, match="it is empty"):
        empty.append(Open(os.urandom(16), b"", 1), vault.writer.signer)
