"""Which entries count: each rule by an entry that breaks only that rule, once refused by the appender, once skipped by readers."""

# ruff: noqa: ARG005 - a row that needs nothing of the scene takes it all the same

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec
import pytest

from recoup.engine.keys.keyring import Material
from recoup.engine.keys.signing import SigningKey
from recoup.engine.log.bodies import (
    Abort,
    Attest,
    Body,
    Commit,
    Damaged,
    Descriptor,
    DescriptorRef,
    Init,
    KeyGen,
    KeyringRef,
    ObjectRef,
    Open,
    Signer,
)
from recoup.engine.log.facts import Facts
from recoup.engine.log.follow import Log, LogRejected
from recoup.engine.log.rules import objection
from recoup.engine.vault import Unlocked
from tests.unit.engine.keys.vaults import unlocked
from tests.unit.engine.log.entries import commit_body, digest, open_body, plant, signed, ticket_for


class Scene:
    """A vault with one open session, one committed and one aborted."""

    def __init__(self) -> None:
        self.vault: Unlocked = unlocked()
        writer = self.vault.writer.signer
        self.ticketed, self.open_new = os.urandom(16), os.urandom(16)
        self.open, self.done, self.dead = os.urandom(16), os.urandom(16), os.urandom(16)
        self.ticket = ticket_for(self.vault, self.ticketed)
        self.seq = {session: self.append(open_body(session), writer) for session in (self.open, self.done, self.dead)}
        self.seq[self.ticketed] = self.append(open_body(self.ticketed, self.ticket), writer)
        self.commit = commit_body(self.done, self.seq[self.done])
        self.append(self.commit, writer)
        self.append(Abort(self.dead, self.seq[self.dead]), writer)

    def append(self, body: Body, key: SigningKey) -> int:
        return self.vault.log.append(body, key).head.seq

    @property
    def init(self) -> Init:
        init = self.vault.log.state.init
        assert init is not None
        return init


def keygen(scene: Scene, *, generation: int = 2, material: Material | None = None, vault_id: bytes | None = None) -> KeyGen:
    material = material or Material(scene.vault.materials[1].root, *(os.urandom(32) for _ in range(6)))
    certificate = material.certify(scene.vault.identity.repo_id, vault_id or scene.vault.identity.vault_id, generation)
    return KeyGen(certificate, (KeyringRef(1, digest()), KeyringRef(generation, digest())))


Make = Callable[[Scene], Body]
BY_WRITER: dict[str, Make] = {
    "OPEN of a committed session": lambda s: open_body(s.done),
    "OPEN with another ticket": lambda s: open_body(s.ticketed),
    "OPEN whose ticket is for another session": lambda s: open_body(os.urandom(16), s.ticket),
    "OPEN whose ticket is for another vault": lambda s: open_body(s.open_new, ticket_for(s.vault, s.open_new, vault_id=bytes(16))),
    "OPEN whose ticket the run key did not sign": lambda s: open_body(
        s.open_new, ticket_for(s.vault, s.open_new, run_key=s.vault.writer.signer)
    ),
    "OPEN whose ticket is noise": lambda s: open_body(os.urandom(16), os.urandom(200)),
    "OPEN without a session": lambda s: open_body(b"short"),
    "OPEN of packs without size": lambda s: Open(os.urandom(16), b"", 0),
    "COMMIT without OPEN": lambda s: commit_body(os.urandom(16), 1),
    "COMMIT of another session's OPEN": lambda s: commit_body(s.open, s.seq[s.done]),
    "second COMMIT of a session": lambda s: commit_body(s.done, s.seq[s.done]),
    "COMMIT after ABORT": lambda s: commit_body(s.dead, s.seq[s.dead]),
    "COMMIT without the ticket of its OPEN": lambda s: commit_body(s.ticketed, s.seq[s.ticketed]),
    "COMMIT with a ticket that its OPEN had not": lambda s: commit_body(s.open, s.seq[s.open], ticket_for(s.vault, s.open)),
    "COMMIT of another point's manifest": lambda s: Commit(s.open, s.seq[s.open], b"", s.commit.manifest, digest(), (), b"", b""),
    "COMMIT with a short digest": lambda s: Commit(s.open, s.seq[s.open], b"", digest(), b"short", (), b"", b""),
    "COMMIT with a negative incarnation": lambda s: Commit(
        s.open, s.seq[s.open], b"", digest(), digest(), (), b"", b"", (ObjectRef(digest(), -1),)
    ),
    "ABORT without OPEN": lambda s: Abort(os.urandom(16), 1),
    "ABORT of another session's OPEN": lambda s: Abort(s.open, s.seq[s.done]),
    "ABORT of a committed session": lambda s: Abort(s.done, s.seq[s.done]),
    "second ABORT": lambda s: Abort(s.dead, s.seq[s.dead]),
    "ATTEST by a writer": lambda s: Attest(4, (), 0, 0),
    "DAMAGED by a writer": lambda s: Damaged((ObjectRef(digest()),), ""),
    "DESCRIPTOR by a writer": lambda s: Descriptor(DescriptorRef(9, digest(), ())),
    "KEYGEN by a writer": keygen,
}
BY_MAINTENANCE: dict[str, Make] = {
    "second INIT": lambda s: s.init,
    "OPEN by maintenance": lambda s: open_body(),
    "COMMIT by maintenance": lambda s: commit_body(s.open, s.seq[s.open]),
    "DESCRIPTOR that is not newer": lambda s: Descriptor(DescriptorRef(0, digest(), ())),
    "DESCRIPTOR with a short run key": lambda s: Descriptor(DescriptorRef(1, digest(), (b"short",))),
    "KEYGEN under another root": lambda s: keygen(s, material=Material.generate()),
    "KEYGEN for another vault": lambda s: keygen(s, vault_id=bytes(16)),
    "KEYGEN that leaves a generation out": lambda s: keygen(s, generation=3),
    "KEYGEN that changes a generation's keys": lambda s: KeyGen(keygen(s, generation=1).certificate, (KeyringRef(1, digest()),)),
    "KEYGEN without its own keyring": lambda s: KeyGen(keygen(s).certificate, (KeyringRef(1, digest()),)),
    "KEYGEN with a broken certificate": lambda s: KeyGen(b"x" * 200, (KeyringRef(1, digest()),)),
}
BY_VERIFIER: dict[str, Make] = {
    "ATTEST of an unknown point": lambda s: Attest(4, (digest(),), 1, 1),
    "ATTEST of no level": lambda s: Attest(9, (s.commit.manifest,), 1, 1),
    "DAMAGED nothing": lambda s: Damaged((), ""),
    "DAMAGED with a short digest": lambda s: Damaged((ObjectRef(b"short"),), ""),
    "OPEN by a verifier": lambda s: open_body(),
}
CASES = [
    (name, make, role)
    for role, cases in (("writer", BY_WRITER), ("maintenance", BY_MAINTENANCE), ("reader", BY_VERIFIER))
    for name, make in cases.items()
]


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize(("name", "make", "role"), CASES, ids=[name for name, _, _ in CASES])
def test_an_entry_that_breaks_one_rule_counts_for_nobody(scene: Scene, name: str, make: Make, role: str) -> None:
    key: SigningKey = getattr(scene.vault, role).signer
    body = make(scene)
    with pytest.raises(LogRejected):
        scene.vault.log.append(body, key)
    before = facts(scene.vault.log)
    invalid = scene.vault.log.state.invalid
    plant(scene.vault.log, signed(scene.vault, body, key))
    after = scene.vault.log.follow()
    assert facts(scene.vault.log) == before
    assert after.invalid == invalid + 1
    fresh = Log(scene.vault.log.store, after.vault_id, root_public=scene.vault.identity.root_public)
    fresh.follow()
    assert facts(fresh) == before


def facts(log: Log) -> tuple[object, ...]:
    state = log.state
    sessions = {
        key: (session.ticket, set(session.opens), session.aborted_up_to, session.committed) for key, session in state.sessions.items()
    }
    return sessions, dict(state.commits), state.keyrings, state.descriptor, set(state.damaged), list(state.attests), state.previous


GOOD: dict[str, tuple[str, Make]] = {
    "OPEN again": ("writer", lambda s: open_body(s.open)),
    "OPEN after ABORT": ("writer", lambda s: open_body(s.dead)),
    "COMMIT with its ticket": ("writer", lambda s: commit_body(s.ticketed, s.seq[s.ticketed], s.ticket)),
    "COMMIT": ("writer", lambda s: commit_body(s.open, s.seq[s.open])),
    "ABORT by maintenance": ("maintenance", lambda s: Abort(s.open, s.seq[s.open])),
    "ABORT by the writer": ("writer", lambda s: Abort(s.open, s.seq[s.open])),
    "ATTEST": ("reader", lambda s: Attest(4, (s.commit.manifest,), 3, 1000)),
    "DAMAGED": ("reader", lambda s: Damaged((ObjectRef(digest(), 1),), "missing")),
    "DESCRIPTOR": ("maintenance", lambda s: Descriptor(DescriptorRef(1, digest(), (bytes(32),)))),
    "KEYGEN": ("maintenance", keygen),
    "KEYGEN of new KEKs for the same keys": ("maintenance", lambda s: KeyGen(s.init.certificate, (KeyringRef(1, digest()),))),
}


@pytest.mark.parametrize(("role", "make"), GOOD.values(), ids=list(GOOD))
def test_the_same_scene_takes_what_breaks_no_rule(role: str, make: Make) -> None:
    scene = Scene()
    entry = scene.vault.log.append(make(scene), getattr(scene.vault, role).signer)
    assert entry.head.seq == scene.vault.log.state.next_seq - 1
    assert scene.vault.log.state.invalid == 0


def test_a_commit_that_names_a_damaged_object_is_refused() -> None:
    scene = Scene()
    commit = commit_body(scene.open, scene.seq[scene.open])
    scene.append(Damaged((ObjectRef(commit.object_set),), "missing"), scene.vault.reader.signer)
    with pytest.raises(LogRejected, match="damaged"):
        scene.append(commit, scene.vault.writer.signer)
    healed = Commit(
        commit.session, commit.open_seq, b"", commit.manifest, commit.object_set, (), b"", b"", (ObjectRef(commit.object_set, 1),)
    )
    scene.append(healed, scene.vault.writer.signer)


def test_after_a_new_generation_the_old_writer_is_refused_and_the_old_verifier_is_not() -> None:
    scene = Scene()
    scene.append(keygen(scene), scene.vault.maintenance.signer)
    with pytest.raises(LogRejected, match="generation 1 is over"):
        scene.append(open_body(), scene.vault.writer.signer)
    scene.append(Attest(4, (scene.commit.manifest,), 1, 1), scene.vault.reader.signer)


def test_an_init_names_a_keyring_of_its_own_generation_and_comes_first() -> None:
    init = Scene().init
    empty = Facts(bytes(16), None)
    assert objection(empty, init, Signer.MAINTENANCE, 1) is None
    for wrong in (KeyringRef(2, digest()), KeyringRef(1, b"short")):
        assert objection(empty, msgspec.structs.replace(init, keyring=wrong), Signer.MAINTENANCE, 1) is not None
    assert objection(empty, init, Signer.WRITER, 1) is not None
    assert objection(empty, open_body(), Signer.WRITER, 1) is not None


def test_a_commit_whose_open_was_lost_needs_a_ticket_that_is_valid_by_itself() -> None:
    scene = Scene()
    state = scene.vault.log.state
    plant(scene.vault.log, b"this was an OPEN")
    lost = state.next_seq
    scene.vault.log.follow()
    session = os.urandom(16)
    tickets = {b"": True, ticket_for(scene.vault, session): True, ticket_for(scene.vault, os.urandom(16)): False, os.urandom(99): False}
    for ticket, counts in tickets.items():
        assert (objection(state, commit_body(session, lost, ticket), Signer.WRITER, 1) is None) is counts
    assert objection(state, commit_body(session, lost - 1), Signer.WRITER, 1) is not None


def test_a_reopened_session_commits_its_new_open_only() -> None:
    scene = Scene()
    writer = scene.vault.writer.signer
    again = scene.append(open_body(scene.dead), writer)
    with pytest.raises(LogRejected, match="aborted"):
        scene.append(commit_body(scene.dead, scene.seq[scene.dead]), writer)
    scene.append(commit_body(scene.dead, again), writer)
