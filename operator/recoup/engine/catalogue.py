"""The catalogue: which recovery points a vault holds, as read from a location's log (docs/format.md section 6).

The one module of the engine that the controller imports. Reading again with a cursor costs one request if nothing is new. It
opens catalogue records and nothing else; it never reads a manifest or content.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Protocol

from msgspec import field, structs

from recoup.engine.descriptor import MAX_DESCRIPTOR_BYTES, decode_location
from recoup.engine.evidence import Drill, Verification
from recoup.engine.format.names import LOCATION_DESCRIPTOR, log_name
from recoup.engine.judged import Judged, Judgement
from recoup.engine.keys.roles import CatalogueKeys, VaultIdentity
from recoup.engine.keys.tickets import Ticket, issue_ticket, read_ticket, session_id, ticket_to_text
from recoup.engine.log.bodies import Pin
from recoup.engine.log.facts import Committed, Noted
from recoup.engine.log.follow import Log
from recoup.engine.log.points import PointRecord, open_point
from recoup.engine.log.state import LogState
from recoup.engine.stores.base import Store
from recoup.engine.vault import list_vaults
from recoup.errors import Integrity, NotFound
from recoup.value import Record, Value

__all__ = [
    "Catalogue",
    "CatalogueKeys",
    "Cursor",
    "Drill",
    "Judgement",
    "Point",
    "PointRecord",
    "Verification",
    "list_vaults",
    "points_of",
    "read_catalogue",
    "read_location",
    "session_id",
    "sign_ticket",
]


class MetaKeys(Protocol):
    """Roles that may list: CatalogueKeys, ReaderKeys, MaintenanceKeys."""

    @property
    def identity(self) -> VaultIdentity: ...

    @property
    def meta_keys(self) -> dict[int, bytes]: ...


class Point(Value, frozen=True):
    """One volume's recovery point. Policy, slot and PVC UID come from the run ticket; empty for a run without one."""

    id: str
    """The manifest's digest in hex: what `recoup restore --snapshot` takes."""
    session: str
    seq: int
    """Place in the log: the only order that counts."""
    generation: int
    policy_uid: str
    slot: str
    pvc_uid: str
    record: PointRecord | None
    """None if the writer's record cannot be opened; the point may still be restored."""
    verified_level: int | None = None
    """Highest level of an ATTEST of it."""
    verified_at: int | None = None
    """Milliseconds, by the verifier's clock, of the newest ATTEST."""
    judgement: Judgement | None = None
    """What verifications and drills at this location say of it; None if there was none."""
    here_at: int = 0
    """Milliseconds, by its appender's clock, of the COMMIT or MIRROR in this location's log."""
    revision: str = ""
    """Stands for what may change about a point, and has to reach its copies: the object set, which repacking renews, and the pin."""
    owner_uid: str = ""
    """The policy that it belongs to after every ADOPT."""
    pinned: str | None = None
    """The reason of its PIN."""


class Garbage(Value, frozen=True):
    """Whether a prune would find anything. Times are milliseconds, informational."""

    fresh: bool = False
    """Points were forgotten, or repacked, since it was last decided what is live."""
    condemned_at: int | None = None
    """Time of the oldest CONDEMN that waits for its SWEEP."""
    unfinished: bool = False
    """There are SWEEPs whose deletes nobody has seen to be done."""


class Seen(Value, frozen=True):
    """A point as it was last told, and the facts that it was told from."""

    point: Point
    committed: Committed
    pin: Noted[Pin] | None


class Cursor(Record):
    """How far a catalogue was read, and what was answered. Opaque; give it back to read on. Lives in memory only."""

    state: LogState
    points: dict[bytes, Seen] = field(default_factory=dict)
    judged: Judged = field(default_factory=Judged)
    owners: dict[str, str] = field(default_factory=dict)
    """What every ADOPT said when the points were last told."""
    answer: Catalogue | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Catalogue(Value, frozen=True):
    """The live points in log order, what is odd about the log, and where to read on."""

    fingerprint: str
    points: tuple[Point, ...]
    next_seq: int
    invalid_entries: int
    squatted: bool
    """Somebody without a key writes into the log: condition LogSquatted."""
    forked_at: tuple[int, ...]
    """Entries whose predecessor was damaged or replaced in the store: condition LogForked."""
    cursor: Cursor
    verifications: tuple[Verification, ...] = ()
    """The newest runs of `recoup verify` at this location, the newest last."""
    drills: tuple[Drill, ...] = ()
    location_id: str = ""
    forgotten: frozenset[str] = frozenset()
    """Ids of the points that were here and were forgotten."""
    revision: str = ""
    """Stands for what concerns the vault as a whole and has to reach its copies: keyrings, descriptor, owners."""
    garbage: Garbage = Garbage()


def read_catalogue(store: Store, vault_id: bytes, keys: MetaKeys, cursor: Cursor | None = None) -> Catalogue:
    """Read the vault's log up to its head. Raises Integrity (NoVault) if it does not lead back to the role's root key.

    If nothing is new this is the answer that was given before, and else every point in it that no new entry is about.
    """
    if cursor is None:
        cursor = Cursor(LogState(vault_id, keys.identity.root_public))
    with cursor.lock:
        newest = max(keys.meta_keys, default=0)
        state = Log(store, vault_id, root_public=keys.identity.root_public, state=cursor.state, generation=newest).follow()
        identity, last = state.require_identity(), cursor.answer
        if last is not None and last.next_seq == state.next_seq:
            return last
        points, judged, gone = _points(state, keys, cursor), cursor.judged, len(state.forgotten)
        cursor.answer = Catalogue(
            identity.fingerprint, points, state.next_seq, state.invalid, state.squatted, tuple(state.breaks), cursor,
            tuple(judged.verifications), tuple(judged.drills), state.location_id.hex(),
            forgotten=last.forgotten if last and len(last.forgotten) == gone else frozenset(map(bytes.hex, state.forgotten)),
            revision=_revision_of(state),
            garbage=_garbage_of(state),
        )  # fmt: skip
        return cursor.answer


def read_location(store: Store) -> bytes | None:
    """The location's id, or None if nothing was ever stored there. One request; raises what the store raises, and Integrity."""
    try:
        return decode_location(store.get(LOCATION_DESCRIPTOR, MAX_DESCRIPTOR_BYTES), store.url).id
    except NotFound:
        return None


def points_of(state: LogState, keys: MetaKeys) -> tuple[Point, ...]:
    """The live points of a followed log."""
    return _points(state, keys, Cursor(state))


def _points(state: LogState, keys: MetaKeys, cursor: Cursor) -> tuple[Point, ...]:
    """The live points. Opens only records that the cursor does not have, and tells anew only what new entries are about."""
    seen, judged = cursor.points, cursor.judged
    judged.follow(state)
    if cursor.owners != state.adopted:
        cursor.owners = dict(state.adopted)
        judged.touched.update(state.commits)
    for manifest, committed in state.commits.items():
        known, pin = seen.get(manifest), state.pinned.get(manifest)
        if known is None or known.committed is not committed or known.pin is not pin or manifest in judged.touched:
            point = _open(committed, keys) if known is None else known.point
            seen[manifest] = Seen(_as_of_now(point, committed, pin, state, judged.points.get(manifest)), committed, pin)
    judged.touched.clear()
    if len(seen) > len(state.commits):
        for gone in [manifest for manifest in seen if manifest not in state.commits]:
            del seen[gone]
    return tuple(seen[manifest].point for manifest in state.commits)


def sign_ticket(keys: CatalogueKeys, policy_uid: str, slot: str, pvc_uid: str, session: bytes) -> str:
    """A run ticket as text for the run file: leave for this session to commit this volume for this slot of this policy."""
    return ticket_to_text(issue_ticket(Ticket(keys.identity.vault_id, session, policy_uid, slot, pvc_uid), keys.run_signer))


def _open(committed: Committed, keys: MetaKeys) -> Point:
    body = committed.body
    record: PointRecord | None = None
    meta_key = keys.meta_keys.get(committed.generation)
    if meta_key is not None:
        try:
            record = open_point(meta_key, keys.identity, committed.generation, body.session, body.record)
        except Integrity:
            record = None
    ticket = read_ticket(body.ticket, log_name(keys.identity.vault_id, committed.seq)) if body.ticket else None
    policy, slot, pvc = (ticket.policy_uid, ticket.slot, ticket.pvc_uid) if ticket else ("", "", "")
    return Point(body.manifest.hex(), body.session.hex(), committed.seq, committed.generation, policy, slot, pvc, record)


def _as_of_now(point: Point, committed: Committed, pin: Noted[Pin] | None, state: LogState, verdict: Judgement | None) -> Point:
    """The point with what later entries said of it."""
    point = structs.replace(
        point,
        revision=committed.body.object_set.hex()[:16] + ("" if pin is None else f" {pin.body.reason}"),
        here_at=committed.time if committed.mirrored_at is None else committed.mirrored_at,
        owner_uid=state.policy_of(point.policy_uid) if point.policy_uid else "",
        pinned=pin.body.reason if pin else None,
    )
    if verdict is None:
        return point
    at = None if verdict.attested_at is None else round(verdict.attested_at * 1000)
    return structs.replace(point, verified_level=verdict.highest, verified_at=at, judgement=structs.replace(verdict))


def _revision_of(state: LogState) -> str:
    facts = (sorted(state.keyrings.items()), state.descriptor, sorted(state.adopted.items()))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _garbage_of(state: LogState) -> Garbage:
    decided = state.last_live[0] if state.last_live else -1
    waiting = [noted.time for noted in state.condemned.values()]
    return Garbage(state.last_shrinking > decided, min(waiting, default=None), bool(state.unfinished))
