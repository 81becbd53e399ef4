"""Targets: the log as a malicious writer, maintainer or verifier with valid keys writes it, and its checkpoints.

What is fuzzed is the record inside; it is signed again, taken by a state that knows every kind of entry, and then everything is asked
that readers ask: catalogue, judgements, incarnations, evidence, the rows of a checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import msgspec

from recoup.cli.snapshots import _fields, _row, origin, time_text
from recoup.controller.points import to_drill, to_point, to_verification
from recoup.engine.catalogue import points_of
from recoup.engine.evidence import Drill, Verification, to_entry
from recoup.engine.format.names import log_name
from recoup.engine.format.records import encode_record, seal_record
from recoup.engine.judged import Judged
from recoup.engine.keys.signing import SIGNATURE_BYTES, SigningKey
from recoup.engine.log.bodies import BODY_TYPES, SIGNERS, TYPE_OF, Descriptor, EntryType, KeyGen, KeyringRef, Mirror, Signer
from recoup.engine.log.checkpoint import _HEAD as CHECKPOINT_HEAD
from recoup.engine.log.checkpoint import EVERY, decode_checkpoint
from recoup.engine.log.entries import _HEAD, _MAGIC, _PURPOSE, MAX_SIGNED_BYTES, decode_entry
from recoup.engine.log.follow import Log
from recoup.engine.log.jump import Checkpoints
from recoup.engine.log.points import PointRecord, _context, open_point
from recoup.engine.log.rules import objection
from recoup.engine.log.state import LogState
from recoup.engine.log.summary import cut, decode_part, encode_part, restore, rows_of
from recoup.engine.proof import read_proofs
from recoup.errors import Integrity
from recoup.report import Progress
from tests.fuzz.target import Target
from tests.unit.engine.log.histories import History, NoSets

QUIET = Progress(quiet=True)


def _has_everything(state: LogState) -> bool:
    """Whether an entry of any kind could come next."""
    running = [one for one in state.sessions.values() if not one.ended]
    return all((len(running) > 1, len(state.commits) > 2, state.pinned, state.condemned, len(state.segments) > 3, state.healed))


class World:
    """A home's log with entries of every kind, once; each input is tried on a fresh reading of it."""

    def __init__(self) -> None:
        self.history = History(seed=11)
        while not _has_everything(self.history.state):
            self.history.grow(self.history.state.next_seq + 1)
        identity = self.history.vault.identity
        self.identity, self.vault = identity, self.history.vault
        self.state = self.history.fresh(checkpoints=False)
        self.rows = list(rows_of(self.state))
        self.init = self.history.store.get(log_name(identity.vault_id, 0))
        self.keys: dict[Signer, SigningKey | None] = {
            Signer.NOBODY: None,
            Signer.WRITER: self.vault.writer.signer,
            Signer.MAINTENANCE: self.vault.maintenance.signer,
            Signer.VERIFIER: self.vault.reader.signer,
        }

    def again(self) -> LogState:
        """The facts anew, from their rows: quicker than ninety signatures."""
        facts = restore(cut(self.rows), self.identity.vault_id, self.identity.root_public, "the world's rows")
        fields = {name: getattr(facts, name) for name in facts.__dataclass_fields__}
        state = LogState(**fields)
        state.next_seq, state.previous, state.previous_seq = self.state.next_seq, self.state.previous, self.state.previous_seq
        state.location_id = self.state.location_id
        return state

    def signed(self, type_: EntryType, record: bytes, time: int) -> bytes:
        signer = _signer(type_)
        key = self.keys[signer]
        generation = 0 if key is None else self.state.generation
        place = (self.identity.repo_id, self.identity.vault_id, self.state.location_id, self.state.next_seq, self.state.previous)
        signed = _HEAD.pack(_MAGIC, 1, type_, signer, generation, *place, time, os.urandom(16), len(record)) + record
        return signed + (bytes(SIGNATURE_BYTES) if key is None else key.sign(_PURPOSE, signed))

    def bodies(self) -> dict[EntryType, list[bytes]]:
        """What honest appenders would write next, and what they wrote."""
        found: dict[EntryType, list[bytes]] = {type_: [] for type_ in BODY_TYPES}
        for _ in range(600):
            body, _key = self.history._next()
            if len(found[TYPE_OF[type(body)]]) < 4 and objection(self.state, body, _signer(TYPE_OF[type(body)]), 1) is None:
                found[TYPE_OF[type(body)]].append(encode_record(body))
        for seq in range(self.state.next_seq):
            name = log_name(self.identity.vault_id, seq)
            try:
                entry = decode_entry(self.history.store.get(name), name)
            except Integrity:
                continue
            if entry.body is not None and len(found[EntryType(entry.head.type)]) < 5:
                found[EntryType(entry.head.type)].append(encode_record(entry.body))
        certificate = self.state.signed_certificates[1]
        keyrings = tuple(KeyringRef(generation, digest) for generation, digest in self.state.keyrings.items())
        found[EntryType.KEYGEN].append(encode_record(KeyGen(certificate, keyrings)))
        assert self.state.descriptor is not None
        newer = msgspec.structs.replace(self.state.descriptor, number=self.state.descriptor.number + 1)
        found[EntryType.DESCRIPTOR].append(encode_record(Descriptor(newer)))
        found[EntryType.MIRROR].append(encode_record(Mirror(self.init)))
        return found

    def replica(self) -> LogState:
        """The log of another location, which begins with the MIRROR of the home's INIT."""
        state = LogState(self.identity.vault_id, self.identity.root_public)
        assert state.take(0, self.mirrored(0, bytes(32), encode_record(Mirror(self.init)))) is not None
        return state

    def mirrored(self, seq: int, previous: bytes, record: bytes) -> bytes:
        place = (self.identity.repo_id, self.identity.vault_id, b"replica".ljust(16), seq, previous)
        signed = _HEAD.pack(_MAGIC, 1, EntryType.MIRROR, 0, 0, *place, 5, os.urandom(16), len(record)) + record
        return signed + bytes(SIGNATURE_BYTES)

    def ask(self, state: LogState) -> None:
        """Everything that readers ask of a log."""
        points = points_of(state, self.vault.catalogue)
        judged = Judged().follow(state)
        for point in points:  # as the command line shows them, and as the controller takes them
            _ = _fields(point), _row(point), to_point(point)
        for run in judged.verifications:
            to_verification(run)
        for drill in judged.drills:
            to_drill(drill)
        _ = state.segments, state.generation, state.squatted
        for ref in list(state.damaged)[:20]:
            state.candidates(ref)
        for digest in list(state.healed):
            state.incarnation_of(digest)
        for row in rows_of(state):
            assert len(row) < MAX_SIGNED_BYTES * 2
        restore(cut(rows_of(state)), self.identity.vault_id, self.identity.root_public, "its own rows")


def _entry(world: World, type_: EntryType) -> Callable[[bytes], None]:
    def read(record: bytes) -> None:
        for time in (0, (1 << 64) - 1):
            data = world.signed(type_, record, time)
            if len(data) > MAX_SIGNED_BYTES:
                raise Integrity("longer than any entry")
            state = world.again()
            taken = state.take(state.next_seq, data)
            if type_ is not EntryType.MIRROR:
                copy = world.replica()
                if copy.take(1, world.mirrored(1, copy.previous, encode_record(Mirror(data)))) is not None:
                    world.ask(copy)
            if taken is None:
                raise Integrity(state.complaints[-1][1])
            world.ask(state)
            _proofs(world, state, data)

    return read


def _proofs(world: World, state: LogState, data: bytes) -> None:
    """What `recoup evidence` shows, if the new entry is one."""
    seq = state.next_seq - 1
    if state.evidence and state.evidence[-1].seq == seq:
        store = world.history.store.copy()
        store.objects[log_name(world.identity.vault_id, seq)] = data
        log = Log(store, world.identity.vault_id, root_public=world.identity.root_public, sets=NoSets(), state=state)
        state.evidence[:] = state.evidence[-1:]
        read_proofs(log)


def _raw(world: World, data: bytes) -> None:
    """Bytes that nobody signed, at the next place and as the whole log."""
    state = world.again()
    state.take(state.next_seq, data)
    world.ask(state)
    LogState(world.identity.vault_id, None).take(0, data)


def _checkpoint(world: World, record: bytes) -> None:
    signed = CHECKPOINT_HEAD.pack(b"RCPC", 1, 0) + record
    data = signed + world.vault.maintenance.signer.sign(b"rcp1/checkpoint", signed)
    checkpoint, _ = decode_checkpoint(data, "x", world.identity.root_public)
    store = world.history.store
    Checkpoints(store, world.again(), lambda get, names: [get(name) for name in names]).parts(checkpoint)


def _part(world: World, data: bytes) -> None:
    """The rows of a state's last part, which the others stand before."""
    facts = restore([decode_part(encode_part(data), "x")], world.identity.vault_id, world.identity.root_public, "x")
    state = LogState(**{name: getattr(facts, name) for name in facts.__dataclass_fields__})
    state.next_seq, state.location_id = EVERY, world.identity.repo_id
    world.ask(state)


def _one_row(world: World, data: bytes) -> None:
    """One row more, at the end of honest ones."""
    if len(data) < 2:
        raise Integrity("no row is so short")
    _part(world, b"".join(cut([*world.rows, data])))


def _record(world: World, record: bytes) -> None:
    """A catalogue record, sealed as a writer seals it."""
    meta, generation, session = world.vault.writer.meta_key, world.vault.writer.generation, bytes(16)
    sealed = seal_record(meta, _context(world.identity, generation, session), record)
    found = open_point(meta, world.identity, generation, session, sealed)
    _ = origin(found.source), time_text(found.finished), time_text(found.started)


def log_targets() -> Iterator[Target]:
    """Each type of entry, junk, checkpoints, their rows, catalogue records."""
    world = World()
    verification = Verification("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 4, 1, 1, 1, 1)
    drill = Drill("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "ab" * 32, True, 1.5)
    said = tuple(encode_record(to_entry(kind, one)) for kind, one in (("Verification", verification), ("Drill", drill)))
    honest = world.history.store.get(log_name(world.identity.vault_id, 1))
    record = PointRecord("p", "s", "daily", "None", ("u",), '{"path":"/data","host":"h"}', "directory", 1, 2, 3, 4, 5, 6, 0, "recoup")
    seeds_of = world.bodies()
    for type_ in BODY_TYPES:
        seeds = tuple(seeds_of[type_]) + (said if type_ is EntryType.EVIDENCE else ())
        yield Target(f"entry-{type_.name.lower()}", seeds, _entry(world, type_))
    yield Target("entry-raw", (honest,), lambda data: _raw(world, data))
    world.history.grow(EVERY + 5)
    world.history.keep()
    made = Checkpoints(world.history.store, world.state, lambda get, names: [get(name) for name in names]).at(1)
    assert made is not None
    yield Target("checkpoint-signed", (encode_record(made),), lambda data: _checkpoint(world, data))
    yield Target("checkpoint-part", tuple(cut(world.rows)), lambda data: _part(world, data))
    yield Target("checkpoint-row", tuple({row[1]: row for row in world.rows}.values()), lambda data: _one_row(world, data))
    yield Target("catalogue-record", (encode_record(record),), lambda data: _record(world, data))


def _signer(type_: EntryType) -> Signer:
    """Who signs such an entry; of EVIDENCE the maintenance key signs one kind only."""
    return Signer.VERIFIER if type_ == EntryType.EVIDENCE else min(SIGNERS[type_])
