"""The catalogue: what was committed is listed, cheaply again, and what a mover claims is not believed."""

from __future__ import annotations

import os

import msgspec
import pytest
from msgspec import structs

from recoup.engine.catalogue import Catalogue, Cursor, Point, read_catalogue, session_id, sign_ticket
from recoup.engine.keys.signing import SigningKey
from recoup.engine.keys.tickets import ticket_from_text
from recoup.engine.log.bodies import Attest, Commit
from recoup.engine.log.points import Before, PointRecord, open_point, seal_point
from recoup.engine.vault import Unlocked
from recoup.errors import Integrity, Invalid
from tests.faults.store import FaultStore
from tests.unit.engine.keys.vaults import unlocked
from tests.unit.engine.log.entries import digest, open_body
from tests.unit.engine.log.histories import History

RECORD = PointRecord(
    point="snapshot-uid",
    snapshot="daily-20260101t000000z",
    policy="daily",
    consistency="CrashConsistent",
    volumes_expected=("pvc-a", "pvc-b"),
    source='{"namespace":"team-a"}',
    kind="directory",
    started=1,
    finished=2,
    files=3,
    bytes_total=4,
    bytes_read=5,
    bytes_stored=6,
    errors=0,
    tool="recoup 0.1.0",
)


@pytest.fixture
def vault() -> Unlocked:
    return unlocked()


def run(vault: Unlocked, session: bytes, ticket: bytes = b"", sealed: bytes | None = None) -> bytes:
    """One OPEN and COMMIT; returns the manifest's digest."""
    writer = vault.writer
    record = seal_point(writer.meta_key, writer.identity, writer.generation, session, RECORD) if sealed is None else sealed
    opened = vault.log.append(open_body(session, ticket), writer.signer).head.seq
    manifest = digest()
    vault.log.append(Commit(session, opened, ticket, manifest, digest(), (), b"", record), writer.signer)
    return manifest


def listed(vault: Unlocked) -> Catalogue:
    return read_catalogue(vault.log.store, vault.identity.vault_id, vault.catalogue)


def test_points_are_listed_in_log_order_with_what_the_ticket_says(vault: Unlocked) -> None:
    session = session_id("snapshot-uid", "pvc-a")
    ticket = ticket_from_text(sign_ticket(vault.catalogue, "policy-uid", "slot", "pvc-a", session))
    ids = [run(vault, session, ticket), run(vault, os.urandom(16))]
    first, second = listed(vault).points
    assert [first.id, second.id] == [manifest.hex() for manifest in ids]
    expected = Point(ids[0].hex(), session.hex(), 2, 1, "policy-uid", "slot", "pvc-a", RECORD, owner_uid="policy-uid")
    assert first == structs.replace(expected, here_at=first.here_at, revision=first.revision)
    assert first.here_at > 0
    assert (second.policy_uid, second.slot, second.pvc_uid) == ("", "", "")
    assert listed(vault).fingerprint == vault.fingerprint


def test_reading_on_costs_one_request_and_opens_only_what_is_new(vault: Unlocked) -> None:
    for _ in range(3):
        run(vault, os.urandom(16))
    store = FaultStore(vault.log.store)
    vault_id = vault.identity.vault_id
    first = read_catalogue(store, vault_id, vault.catalogue)
    del store.calls[:]
    again = read_catalogue(store, vault_id, vault.catalogue, first.cursor)
    assert again.points == first.points
    assert len(store.calls) == 1
    run(vault, os.urandom(16))
    more = read_catalogue(store, vault_id, vault.catalogue, again.cursor)
    assert more.points[:3] == first.points
    assert len(more.points) == 4
    assert all(one is other for one, other in zip(more.points, first.points, strict=False))
    assert read_catalogue(store, vault_id, vault.catalogue, more.cursor) is more, "nothing is built anew if nothing is new"


def told(catalogue: Catalogue) -> dict[str, object]:
    return {name: value for name, value in structs.asdict(catalogue).items() if name != "cursor"}


@pytest.mark.parametrize("seed", range(4))
def test_reading_on_tells_the_same_as_reading_anew(seed: int) -> None:
    """Entries of every kind, some at a time. Fails if a point is kept that an ATTEST, a pin, a REPLACE or an ADOPT is about."""
    history = History(seed)
    cursor: Cursor | None = None
    kept = 0
    for _ in range(40):
        history.grow(history.state.next_seq + 7)
        vault_id, keys = history.vault.identity.vault_id, history.vault.catalogue
        before = cursor.answer if cursor is not None else None
        earlier: tuple[Point, ...] = before.points if before is not None else ()
        read_on = read_catalogue(history.store, vault_id, keys, cursor)
        assert told(read_on) == told(read_catalogue(history.store, vault_id, keys))
        kept += sum(one is other for one in read_on.points for other in earlier)
        cursor = read_on.cursor
    assert kept, "points of which nothing new was said are kept as they are"


def test_a_record_that_a_writer_made_unreadable_hides_no_point(vault: Unlocked) -> None:
    session = os.urandom(16)
    foreign = seal_point(vault.writer.meta_key, vault.identity, 1, os.urandom(16), RECORD)
    for sealed in (b"", os.urandom(336), foreign):
        run(vault, os.urandom(16), sealed=sealed)
    points = listed(vault).points
    assert len(points) == 3
    assert [point.record for point in points] == [None] * 3
    with pytest.raises(Integrity, match=session.hex()):
        open_point(vault.writer.meta_key, vault.identity, 1, session, foreign)


def test_a_point_claims_no_policy_by_its_record_alone(vault: Unlocked) -> None:
    session = os.urandom(16)
    claim = msgspec.structs.replace(RECORD, policy="daily", point="snapshot-uid")
    run(vault, session, sealed=seal_point(vault.writer.meta_key, vault.identity, 1, session, claim))
    assert listed(vault).points[0].policy_uid == ""


def test_attests_show_the_highest_level_and_the_newest_time(vault: Unlocked) -> None:
    one, two = run(vault, os.urandom(16)), run(vault, os.urandom(16))
    entries = [vault.log.append(Attest(level, (one,), 1, 1), vault.reader.signer) for level in (4, 1)]
    first, second = listed(vault).points
    assert (first.verified_level, first.verified_at) == (4, entries[-1].head.time)
    assert (second.id, second.verified_level) == (two.hex(), None)


def test_another_root_key_or_an_empty_place_is_no_catalogue(vault: Unlocked) -> None:
    other = unlocked(vault_id=vault.identity.vault_id)
    with pytest.raises(Integrity) as caught:
        read_catalogue(vault.log.store, vault.identity.vault_id, other.catalogue)
    assert caught.value.reason == "RootMismatch"
    with pytest.raises(Integrity, match="it is empty"):
        read_catalogue(vault.log.store, os.urandom(16), vault.catalogue)


def test_a_key_that_does_not_list_shows_points_without_records(vault: Unlocked) -> None:
    run(vault, os.urandom(16))
    keys = msgspec.structs.replace(vault.catalogue, meta_keys={})
    assert read_catalogue(vault.log.store, vault.identity.vault_id, keys).points[0].record is None


def test_session_ids_are_fixed_and_differ_by_snapshot_and_volume() -> None:
    assert session_id("a", "b") == session_id("a", "b")
    assert len({session_id("a", "b"), session_id("a", "c"), session_id("ab", ""), session_id("", "ab"), session_id("b", "a")}) == 5
    assert all(len(session_id(one, "x")) == 16 for one in ("", "y"))


def test_a_ticket_of_another_run_key_opens_no_session(vault: Unlocked) -> None:
    session = os.urandom(16)
    keys = msgspec.structs.replace(vault.catalogue, run_private=SigningKey.generate().raw)
    ticket = ticket_from_text(sign_ticket(keys, "policy-uid", "slot", "pvc-a", session))
    with pytest.raises(Invalid, match="run key"):
        vault.log.append(open_body(session, ticket), vault.writer.signer)
    with pytest.raises(Invalid, match="base64"):
        ticket_from_text("ü")


@pytest.mark.parametrize(
    ("figures", "head"),
    [({}, b"\x8f"), ({"bytes_new": 0}, b"\xde"), ({"bytes_new": 7, "before": Before(1, 2, 3, 4)}, b"\xde")],
    ids=["without figures, as ever", "the first of its volume", "with the one before"],
)
def test_a_record_with_figures_and_one_without_are_both_read(
    figures: dict[str, int | Before], head: bytes, vault: Unlocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shown to fail with one struct for both: its map has another header then, and no record of before opens."""
    record, writer, session = msgspec.structs.replace(RECORD, **figures), vault.writer, bytes(16)
    monkeypatch.setattr("recoup.engine.log.points.seal_record", lambda _key, _context, plain: plain)
    monkeypatch.setattr("recoup.engine.log.points.open_record", lambda _key, _context, plain, _name: plain)
    data = seal_point(writer.meta_key, writer.identity, writer.generation, session, record)
    assert data[:1] == head
    assert open_point(writer.meta_key, writer.identity, writer.generation, session, data) == record
