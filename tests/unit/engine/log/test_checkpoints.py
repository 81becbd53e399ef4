"""Checkpoints of a log: they change what is read, never what is known; whatever is wrong with one costs requests and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from recoup.engine.catalogue import read_catalogue
from recoup.engine.format.names import checkpoint_name, digest_of, keyring_name, log_name, object_name
from recoup.engine.keys.keyring import Material
from recoup.engine.keys.signing import SigningKey
from recoup.engine.log import jump as jumping
from recoup.engine.log.bodies import Commit, KeyGen, KeyringRef
from recoup.engine.log.checkpoint import EVERY, Checkpoint, Part, decode_checkpoint, encode_checkpoint
from recoup.engine.log.summary import content_digest, cut, encode_part, rows_of
from recoup.engine.maintenance.checkpoints import audit, live_parts
from recoup.engine.maintenance.prune import Wishes, prune
from recoup.engine.verify.run import verify
from recoup.errors import Denied, Integrity
from recoup.report import Progress
from tests.faults.store import FaultStore
from tests.unit.engine.log.entries import open_body
from tests.unit.engine.log.histories import History, facts_of

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def grown() -> History:
    """Three checkpoints and some entries, of every kind."""
    history = History(seed=4)
    history.grow(3 * EVERY + 40)
    assert history.keep() == 3
    return history


@pytest.fixture
def history(grown: History) -> History:
    """A copy to spoil."""
    other = History.__new__(History)
    other.__dict__.update(grown.__dict__)
    other.store = grown.store.copy()
    other.log = other.reader(checkpoints=False)
    return other


def name(history: History, number: int) -> str:
    return checkpoint_name(history.vault.identity.vault_id, number * EVERY)


def checkpoint(history: History, number: int) -> Checkpoint:
    return decode_checkpoint(history.store.get(name(history, number)), "", history.vault.identity.root_public)[0]


def put(history: History, number: int, made: Checkpoint, key: SigningKey | None = None) -> None:
    history.store.objects[name(history, number)] = encode_checkpoint(made, key or history.vault.maintenance.signer)


@pytest.mark.parametrize("seed", range(6))
def test_a_log_read_from_a_checkpoint_is_the_same_log_and_stays_so(seed: int) -> None:
    history = History(seed)
    history.grow(2 * EVERY + seed * 11)
    history.keep()
    jumped = history.reader()
    whole = history.reader(checkpoints=False)
    assert (jumped.follow().base, whole.follow().base) == (2 * EVERY, 0)
    assert facts_of(jumped.state) == facts_of(whole.state)
    for step in range(4):
        history.grow(history.state.next_seq + 30 + step)
        assert facts_of(jumped.follow()) == facts_of(whole.follow())
    assert history.keep() == history.state.next_seq // EVERY - 2
    assert history.fresh().base == history.state.next_seq // EVERY * EVERY
    assert facts_of(history.fresh()) == facts_of(whole.state)


def test_ten_thousand_entries_open_in_few_requests(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a checkpoint it takes one request for each entry."""
    history = History(seed=1)
    history.runs(10_000)
    history.keep()
    store = FaultStore(history.store)
    catalogue = read_catalogue(store, history.vault.identity.vault_id, history.vault.catalogue)
    kinds = {part: sum(f"/{part}/" in call.name for call in store.calls) for part in ("checkpoint", "log", "x", "keyring")}
    size = sum(len(history.store.objects[call.name]) for call in store.calls if call.name in history.store.objects)
    with capsys.disabled():
        print(f"\n10,000 entries, {len(catalogue.points)} points: {len(store.calls)} requests {kinds}, {size >> 10} KiB")
    assert len(catalogue.points) == 5000
    tail = catalogue.next_seq % EVERY
    assert kinds["log"] <= 8 + tail + 33, "the first entries, the last ones, and as many in vain as one round reads"
    assert kinds["checkpoint"] <= 16
    assert kinds["keyring"] == 1
    assert len(store.calls) - tail <= 80
    del store.calls[:]
    assert read_catalogue(store, history.vault.identity.vault_id, history.vault.catalogue, catalogue.cursor).points == catalogue.points
    assert len(store.calls) == 1


def test_what_did_not_change_is_not_written_again() -> None:
    history = History(seed=2)
    history.runs(3000)
    history.keep()
    before = set(history.store.objects)
    history.runs(3000 + EVERY)
    assert history.keep() == 1
    new = [len(history.store.objects[one]) for one in set(history.store.objects) - before if "/x/" in one]
    parts = checkpoint(history, (3000 + EVERY) // EVERY).parts
    assert len(new) < len(parts)
    assert sum(new) < sum(len(history.store.get(object_name(history.vault.identity.vault_id, "x", part.digest))) for part in parts) * 0.75


def junk(history: History) -> None:
    history.store.objects[name(history, 3)] = os.urandom(500)


def cut_short(history: History) -> None:
    history.store.objects[name(history, 3)] = history.store.get(name(history, 3))[:-1]


def signed_by_a_writer(history: History) -> None:
    put(history, 3, without_points(history), history.vault.writer.signer)


def by_another_root(history: History) -> None:
    identity, material = history.vault.identity, Material.generate()
    certificate = material.certify(identity.repo_id, identity.vault_id, 1)
    put(history, 3, msgspec.structs.replace(without_points(history), certificate=certificate), SigningKey(material.maintenance))


def of_another_vault(history: History) -> None:
    other = History(seed=9)
    other.grow(3 * EVERY + 1)
    other.keep()
    history.store.objects[name(history, 3)] = other.store.get(name(other, 3))
    history.store.objects |= {
        key.replace(other.vault.identity.vault_id.hex(), history.vault.identity.vault_id.hex()): data
        for key, data in other.store.objects.items()
        if "/x/" in key
    }


def of_another_location(history: History) -> None:
    put(history, 3, msgspec.structs.replace(checkpoint(history, 3), location_id=os.urandom(16)))


def an_older_one_in_its_place(history: History) -> None:
    history.store.objects[name(history, 3)] = history.store.get(name(history, 2))


def part_missing(history: History) -> None:
    del history.store.objects[object_name(history.vault.identity.vault_id, "x", checkpoint(history, 3).parts[-1].digest)]


def part_damaged(history: History) -> None:
    where = object_name(history.vault.identity.vault_id, "x", checkpoint(history, 3).parts[-1].digest)
    data = bytearray(history.store.get(where))
    data[-1] ^= 1
    history.store.objects[where] = bytes(data)


def entry_beneath_changed(history: History) -> None:
    """The log was replaced by another one: the checkpoint does not belong to it."""
    put(history, 3, msgspec.structs.replace(checkpoint(history, 3), previous=os.urandom(32)))


def without_points(history: History) -> Checkpoint:
    """What somebody would say who wants to hide points; its parts are there."""
    honest, vault_id = checkpoint(history, 3), history.vault.identity.vault_id
    state = history.reader(checkpoints=False).follow()
    state.commits.clear()
    parts = []
    for content in cut(rows_of(state)):
        data = encode_part(content)
        parts.append(Part(digest_of(data), content_digest(content)))
        history.store.create(object_name(vault_id, "x", parts[-1].digest), data)
    return msgspec.structs.replace(honest, parts=tuple(parts))


SPOILED: list[Callable[[History], None]] = [
    junk,
    cut_short,
    signed_by_a_writer,
    by_another_root,
    of_another_vault,
    of_another_location,
    an_older_one_in_its_place,
    part_missing,
    part_damaged,
    entry_beneath_changed,
]


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_a_checkpoint_that_is_not_right_is_passed_over(history: History, spoil: Callable[[History], None]) -> None:
    """With the check of signatures, places, digests or the entry beneath off, the state is another one or none."""
    whole = facts_of(history.fresh(checkpoints=False))
    spoil(history)
    state = history.fresh()
    assert state.base in {2 * EVERY, 0}
    assert facts_of(state) == whole


@pytest.mark.parametrize("squatted", [[1], [2], [1, 2, 4, 8, 16], [4, 8]])
def test_junk_in_the_way_of_the_search_costs_time_only(history: History, squatted: list[int]) -> None:
    whole = facts_of(history.fresh(checkpoints=False))
    for number in squatted:
        history.store.objects[name(history, number)] = b"junk"
    assert facts_of(history.fresh()) == whole


def test_the_key_of_a_generation_that_is_over_cannot_speak_for_the_log(history: History) -> None:
    """A maintenance key leaked, and the vault got a new generation; then it signs a checkpoint that hides points and the KEYGEN."""
    identity, old = history.vault.identity, history.vault.maintenance.signer
    forged = without_points(history)
    material = replace_material(history)
    certificate = material.certify(identity.repo_id, identity.vault_id, 2)
    keyring = os.urandom(300)
    refs = (*(KeyringRef(number, one) for number, one in history.state.keyrings.items()), KeyringRef(2, digest_of(keyring)))
    history.store.create(keyring_name(identity.vault_id, 2, digest_of(keyring)), keyring)
    history.log.append(KeyGen(certificate, refs), old)
    put(history, 3, forged, old)
    state = history.fresh()
    assert (state.base, state.generation) == (0, 2)
    assert state.commits
    del history.store.objects[keyring_name(identity.vault_id, 2, digest_of(keyring))]
    assert history.fresh().base == 3 * EVERY, "that the listing was what kept it out"
    log = history.reader()
    log._generation = 2  # as whoever holds keys of the newer generation is made
    assert log.follow().base == 0


def replace_material(history: History) -> Material:
    """A new generation under the same root key."""
    return replace_secret(Material.generate(), history.vault.materials[1].root)


def replace_secret(material: Material, root: bytes) -> Material:
    return msgspec.structs.replace(material, root=root)


def test_a_checkpoint_beyond_the_log_is_not_believed(history: History) -> None:
    """The location lost the end of its log, or a gap was made: what is after it is not part of the log."""
    vault_id = history.vault.identity.vault_id
    for seq in range(3 * EVERY - 1, history.state.next_seq):
        del history.store.objects[log_name(vault_id, seq)]
    state = history.fresh()
    assert (state.base, state.next_seq) == (2 * EVERY, 3 * EVERY - 1)


def test_without_the_right_to_read_checkpoints_the_log_is_read_from_its_beginning(history: History) -> None:
    class Narrow(FaultStore):
        def get(self, name: str, limit: int = 1 << 28) -> bytes:
            if "/checkpoint/" in name:
                raise Denied("no")
            return super().get(name, limit)

    assert facts_of(history.fresh(Narrow(history.store))) == facts_of(history.fresh(checkpoints=False))


def test_a_wrong_one_by_the_right_key_is_found_by_level_0_and_stops_whatever_deletes(history: History) -> None:
    """Readers cannot tell; who reads every entry can. With `audit` off, prune goes on."""
    put(history, 3, without_points(history))
    hidden = history.fresh()
    assert (hidden.base, set(hidden.commits) < set(history.fresh(checkpoints=False).commits)) == (3 * EVERY, True)
    opened = replace(history.vault, log=history.reader())
    findings = verify(opened, [], 0, QUIET)
    assert [line.partition(":")[0] for line in findings.log if "Checkpoint" in line] == ["CheckpointWrong"]
    before = set(history.store.objects)
    with pytest.raises(Integrity) as caught:
        prune(history.reader(), history.vault.maintenance, Wishes(), QUIET)
    assert caught.value.reason == "CheckpointWrong"
    assert set(history.store.objects) == before


def test_level_0_finds_nothing_wrong_with_honest_ones(history: History) -> None:
    findings = verify(replace(history.vault, log=history.reader()), [], 0, QUIET)
    assert [line for line in findings.log if "Checkpoint" in line] == []


def test_who_deletes_reads_every_entry(history: History) -> None:
    log = history.reader(store := FaultStore(history.store))
    audit(log, None)
    assert log.state.base == 0
    vault_id = history.vault.identity.vault_id
    assert {log_name(vault_id, seq) for seq in range(log.state.next_seq)} <= {call.name for call in store.calls}


def test_the_state_of_the_newest_two_is_live(history: History) -> None:
    parts = [{part.digest for part in checkpoint(history, number).parts} for number in (1, 2, 3)]
    assert live_parts(history.store, history.state) == parts[1] | parts[2]


def test_two_at_once_write_one(history: History) -> None:
    history.grow(4 * EVERY + 3)

    class Overtaken(FaultStore):
        def create(self, name: str, data: bytes | bytearray | memoryview) -> bool:
            if "/checkpoint/" in name:
                history.keep()
            return super().create(name, data)

    assert audit(history.reader(Overtaken(history.store)), history.vault.maintenance.signer) == 0
    assert history.fresh().base == 4 * EVERY
    assert facts_of(history.fresh()) == facts_of(history.fresh(checkpoints=False))


def test_a_short_log_costs_nothing_more() -> None:
    history = History(seed=3)
    history.runs(7)
    store = FaultStore(history.store)
    history.reader(store).follow()
    assert all("/log/" in call.name for call in store.calls)
    del store.calls[:]
    history.runs(40)
    history.reader(store).follow()
    assert all("/log/" in call.name for call in store.calls), "a listing says that there can be none"
    del store.calls[:]
    live_parts(store, history.state)
    audit(history.reader(store), history.vault.maintenance.signer)
    assert all("/log/" in call.name or "checkpoint" in call.name for call in store.calls)


def test_an_entry_goes_on_from_a_checkpoint_as_from_the_beginning(history: History) -> None:
    log = history.reader()
    session = os.urandom(16)
    opened = log.append(open_body(session), history.vault.writer.signer).head.seq
    assert log.state.base
    log.append(Commit(session, opened, b"", os.urandom(32), os.urandom(32), (), b"", b""), history.vault.writer.signer)
    assert session in {one.body.session for one in history.fresh(checkpoints=False).commits.values()}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_flipped_byte_of_a_checkpoint_is_noticed(history: History, number: int) -> None:
    data = history.store.get(name(history, number))
    for at in range(0, len(data), 7 if number < 3 else 1):
        spoiled = bytearray(data)
        spoiled[at] ^= 1 << (at % 8)
        with pytest.raises(Integrity):
            decode_checkpoint(bytes(spoiled), "", history.vault.identity.root_public)


def test_without_the_entry_beneath_being_read_another_log_would_be_taken(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    entry_beneath_changed(history)
    monkeypatch.setattr(jumping, "_check_log", lambda *_: None)
    assert history.fresh().base == 3 * EVERY
    assert facts_of(history.fresh())[1] != facts_of(history.fresh(checkpoints=False))[1]
