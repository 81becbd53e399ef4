"""Entries of those who tidy up, and of other locations: each rule by an entry that breaks only that rule, and what each entry changes."""

# ruff: noqa: ARG005 - a row that needs nothing of the scene takes it all the same

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec
import pytest

from recoup.engine.format.names import log_name
from recoup.engine.keys.signing import SigningKey
from recoup.engine.log.bodies import (
    LOCKED,
    Abort,
    Adopt,
    Attest,
    Body,
    Commit,
    Condemn,
    Evidence,
    Forget,
    Heal,
    Index,
    Mirror,
    ObjectRef,
    Pin,
    Replace,
    Sweep,
    Unpin,
)
from recoup.engine.log.follow import Log, LogRejected
from recoup.engine.records.nodes import Locator
from tests.faults.memory import MemoryStore
from tests.unit.engine.keys.vaults import unlocked
from tests.unit.engine.log.entries import commit_body, digest, open_body, plant, signed, ticket_for


class Scene:
    """Points: one plain, one pinned, one of a policy, one forgotten; two open sessions, one CONDEMN that waits, one of leaked objects."""

    def __init__(self) -> None:
        self.vault = unlocked()
        self.log, self.writer, self.keeper = self.vault.log, self.vault.writer.signer, self.vault.maintenance.signer
        self.open, self.open_seq = os.urandom(16), 0
        self.open_seq = self.append(open_body(self.open), self.writer)
        self.plain, self.pinned, self.gone = self.commit(), self.commit(), self.commit()
        self.owned = self.commit(policy=True)
        self.append(Pin(self.pinned.manifest, "kept"), self.keeper)
        self.append(Forget((self.gone.manifest,), "", 0, "test"), self.keeper)
        self.append(Forget((self.commit(policy=True).manifest,), "policy-uid", 5, "test"), self.keeper)
        self.condemned = self.append(condemn(self), self.keeper)
        self.leaked = self.append(condemn(self, unnamed=True), self.keeper)

    def append(self, body: Body, key: SigningKey | None) -> int:
        return self.log.append(body, key).head.seq

    def commit(self, *, policy: bool = False) -> Commit:
        session = os.urandom(16)
        ticket = ticket_for(self.vault, session) if policy else b""
        body = commit_body(session, self.append(open_body(session, ticket), self.writer), ticket)
        self.append(body, self.writer)
        return body

    @property
    def now(self) -> int:
        return self.log.follow().next_seq


def condemn(scene: Scene, *, unnamed: bool = False, lists: int = 1, marked: int | None = None, finished: tuple[int, ...] = ()) -> Condemn:
    names = tuple(digest() for _ in range(lists))
    return Condemn(names, lists, lists * 100, unnamed, scene.now if marked is None else marked, 10, finished)


def sweep(seq: int, *, marked: int = 1, objects: int = 0, lists: tuple[bytes, ...] = ()) -> Sweep:
    return Sweep(seq, marked, lists, objects, 0, 10)


def replace(scene: Scene, **more: object) -> Replace:
    previous = scene.log.follow().commits[scene.plain.manifest].named_at
    body = Replace(scene.plain.manifest, previous, scene.open, scene.open_seq, Locator(digest(), 0, 1), digest())
    return msgspec.structs.replace(body, **more)


Make = Callable[[Scene], Body]
BY_MAINTENANCE: dict[str, Make] = {
    "ADOPT without a policy": lambda s: Adopt("", "new"),
    "ADOPT of itself": lambda s: Adopt("policy-uid", "policy-uid"),
    "FORGET nothing": lambda s: Forget((), "", 0, ""),
    "FORGET an unknown point": lambda s: Forget((digest(),), "", 0, ""),
    "FORGET a forgotten point": lambda s: Forget((s.gone.manifest,), "", 0, ""),
    "FORGET a pinned point": lambda s: Forget((s.plain.manifest, s.pinned.manifest), "", 0, ""),
    "FORGET one point twice": lambda s: Forget((s.plain.manifest,) * 2, "", 0, ""),
    "FORGET another policy's point": lambda s: Forget((s.owned.manifest,), "other-uid", 9, ""),
    "FORGET a point without policy for a policy": lambda s: Forget((s.plain.manifest,), "policy-uid", 9, ""),
    "FORGET by an old generation of the policy": lambda s: Forget((s.owned.manifest,), "policy-uid", 4, ""),
    "PIN a forgotten point": lambda s: Pin(s.gone.manifest, ""),
    "PIN twice": lambda s: Pin(s.pinned.manifest, ""),
    "PIN with a novel": lambda s: Pin(s.plain.manifest, "x" * 1025),
    "UNPIN what is not pinned": lambda s: Unpin(s.plain.manifest, ""),
    "CONDEMN nothing": lambda s: Condemn((), 0, 0, False, 0, 1),
    "CONDEMN a short digest": lambda s: Condemn((b"short",), 1, 1, False, 0, 1),
    "CONDEMN after what is to come": lambda s: condemn(s, marked=10_000),
    "CONDEMN that calls finished what is no SWEEP": lambda s: condemn(s, finished=(1,)),
    "SWEEP without CONDEMN": lambda s: sweep(1),
    "SWEEP more than was condemned": lambda s: sweep(s.condemned, objects=2, lists=(digest(),)),
    "SWEEP objects without lists": lambda s: sweep(s.condemned, objects=1),
    "SWEEP after what is to come": lambda s: sweep(s.condemned, marked=10_000),
    "SWEEP what an open session may have put": lambda s: sweep(s.leaked, objects=1, lists=(digest(),)),
    "INDEX that replaces nothing": lambda s: Index((digest(),), ()),
    "INDEX of an unknown segment": lambda s: Index((digest(),), (digest(),)),
    "INDEX of a forgotten point's segment": lambda s: Index((), s.gone.index_segments),
    "REPLACE by maintenance": replace,
    "EVIDENCE by maintenance": lambda s: Evidence("Drill", "{}"),
}
BY_WRITER: dict[str, Make] = {
    "REPLACE of a forgotten point": lambda s: replace(s, point=s.gone.manifest),
    "REPLACE of an older state": lambda s: replace(s, previous=1),
    "REPLACE without OPEN": lambda s: replace(s, session=os.urandom(16)),
    "REPLACE under a session that ended": lambda s: replace(s, session=s.plain.session, open_seq=s.plain.open_seq),
    "REPLACE with a short digest": lambda s: replace(s, object_set=b"short"),
    "COMMIT of a forgotten manifest": lambda s: Commit(s.open, s.open_seq, b"", s.gone.manifest, digest(), (), b"", b""),
    "FORGET by a writer": lambda s: Forget((s.plain.manifest,), "", 0, ""),
    "SWEEP by a writer": lambda s: sweep(s.condemned),
    "HEAL by a writer": lambda s: Heal((ObjectRef(digest(), 1),)),
}
BY_READER: dict[str, Make] = {"EVIDENCE of locks by a verifier": lambda s: Evidence(LOCKED, "{}")}
BY_NOBODY: dict[str, Make] = {
    "HEAL nothing": lambda s: Heal(()),
    "HEAL incarnation 0": lambda s: Heal((ObjectRef(digest(), 0),)),
    "HEAL a far incarnation": lambda s: Heal((ObjectRef(digest(), 1000),)),
    "MIRROR at home": lambda s: Mirror(entry_at(s, s.plain.open_seq + 1)),
}
CASES = [
    (name, make, role)
    for role, cases in (("maintenance", BY_MAINTENANCE), ("writer", BY_WRITER), ("reader", BY_READER), ("nobody", BY_NOBODY))
    for name, make in cases.items()
]


def entry_at(scene: Scene, seq: int) -> bytes:
    return scene.log.store.get(log_name(scene.vault.identity.vault_id, seq))


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize(("name", "make", "role"), CASES, ids=[name for name, _, _ in CASES])
def test_an_entry_that_breaks_one_rule_counts_for_nobody(scene: Scene, name: str, make: Make, role: str) -> None:
    body = make(scene)
    key = None if role == "nobody" else getattr(scene.vault, role).signer
    before, invalid = facts(scene.log), scene.log.state.invalid
    with pytest.raises(LogRejected):
        scene.log.append(body, key)
    if key is not None:
        plant(scene.log, signed(scene.vault, body, key))
        assert scene.log.follow().invalid == invalid + 1
    fresh = Log(scene.log.store, scene.vault.identity.vault_id, root_public=scene.vault.identity.root_public)
    fresh.follow()
    assert facts(scene.log) == facts(fresh) == before


def facts(log: Log) -> tuple[object, ...]:
    state = log.follow()
    return (
        dict(state.commits),
        dict(state.forgotten),
        dict(state.pinned),
        dict(state.condemned),
        dict(state.swept),
        state.segments,
        dict(state.healed),
        dict(state.adopted),
        state.previous,
    )


def test_what_forget_pin_and_adopt_change() -> None:
    scene = Scene()
    state = scene.log.state
    assert (scene.gone.manifest in state.commits, scene.gone.manifest in state.forgotten) == (False, True)
    scene.append(Unpin(scene.pinned.manifest, ""), scene.keeper)
    scene.append(Forget((scene.pinned.manifest,), "", 0, ""), scene.keeper)
    with pytest.raises(LogRejected, match="another policy"):
        scene.append(Forget((scene.owned.manifest,), "new-uid", 1, ""), scene.keeper)
    scene.append(Adopt("policy-uid", "new-uid"), scene.keeper)
    scene.append(Forget((scene.owned.manifest,), "new-uid", 1, ""), scene.keeper)
    assert set(state.commits) == {scene.plain.manifest}


def test_what_may_be_an_open_sessions_is_swept_when_that_session_ended() -> None:
    scene = Scene()
    body = sweep(scene.leaked)  # of nothing: may be swept at once
    scene.append(Abort(scene.open, scene.open_seq), scene.keeper)
    scene.append(open_body(), scene.writer)  # opened after the CONDEMN: cannot have put it
    scene.append(body, scene.keeper)
    assert set(scene.log.state.condemned) == {scene.condemned}


def test_a_decision_from_before_a_sweep_is_void() -> None:
    scene = Scene()
    marked = scene.now
    seq = scene.append(sweep(scene.condemned, marked=marked), scene.keeper)
    with pytest.raises(LogRejected, match="somebody else swept"):
        scene.append(condemn(scene, marked=marked), scene.keeper)
    scene.append(condemn(scene, finished=(seq,)), scene.keeper)
    assert scene.log.state.unfinished == set()


def test_a_replaced_point_has_other_refs_and_the_same_session() -> None:
    scene = Scene()
    body = replace(scene, index_segments=(digest(),))
    seq = scene.append(body, scene.writer)
    commit = scene.log.state.commits[scene.plain.manifest]
    assert (commit.refs, commit.body.object_set, commit.named_at) == (body.refs, body.object_set, seq)
    assert (commit.body.session, commit.body.cache) == (scene.plain.session, scene.plain.cache)
    assert set(body.index_segments) | set(scene.plain.index_segments) <= set(scene.log.state.segments)
    scene.append(replace(scene), scene.writer)


def test_a_healed_object_is_read_at_its_new_place_first() -> None:
    scene = Scene()
    ref = ObjectRef(digest())
    scene.append(Heal((ObjectRef(ref.digest, 1),)), None)
    scene.append(Heal((ObjectRef(ref.digest, 2),)), None)
    state = scene.log.state
    assert state.incarnation_of(ref.digest) == 2
    assert state.candidates(ref) == (ObjectRef(ref.digest, 2), ObjectRef(ref.digest, 1), ref)


def test_an_unsigned_entry_of_a_signed_or_unknown_type_is_nobodys() -> None:
    """Otherwise whoever may create an object could stop all readers, or forget points."""
    scene = Scene()
    before = facts(scene.log)
    for type_, body in ((9, Forget((scene.plain.manifest,), "", 0, "")), (23, Heal((ObjectRef(digest(), 1),)))):
        data = signed(scene.vault, body, scene.keeper, type=type_, signer=0, generation=0)
        lost = len(scene.log.state.lost)
        plant(scene.log, data[:-64] + bytes(64))
        assert len(scene.log.follow().lost) == lost + 1
    assert facts(scene.log) == before


def replica_of(scene: Scene) -> Log:
    identity = scene.vault.identity
    log = Log(MemoryStore(), identity.vault_id, root_public=identity.root_public)
    log.append(Mirror(entry_at(scene, 0)), None, init_ids=(identity.repo_id, os.urandom(16)))
    return log


def test_a_log_elsewhere_begins_with_the_homes_init_and_takes_what_home_signed() -> None:
    scene = Scene()
    log = replica_of(scene)
    log.append(Mirror(entry_at(scene, scene.plain.open_seq + 1), (ObjectRef(scene.plain.object_set, 2),)), None)
    commit = log.state.commits[scene.plain.manifest]
    assert commit.here(scene.plain.object_set) == ObjectRef(scene.plain.object_set, 2)
    assert commit.here(scene.plain.manifest, 7) == ObjectRef(scene.plain.manifest)  # what home says of incarnations is home's
    assert (log.state.at_home, commit.home_seq) == (False, scene.plain.open_seq + 1)
    log.append(Attest(1, (scene.plain.manifest,), 1, 0), scene.vault.reader.signer)
    fresh = Log(log.store, log.state.vault_id, root_public=scene.vault.identity.root_public)
    assert fresh.follow().commits == log.state.commits
    assert fresh.state.invalid == 0


def test_what_no_key_of_the_vault_signed_for_its_home_is_mirrored_by_nobody() -> None:
    scene, other = Scene(), Scene()
    log = replica_of(scene)
    good = entry_at(scene, scene.plain.open_seq + 1)
    foreign = entry_at(other, other.plain.open_seq + 1)
    log.append(Attest(1, (), 0, 0), scene.vault.reader.signer)
    own = log.store.get(log_name(log.state.vault_id, 1))
    for data in (good[:-1] + bytes([good[-1] ^ 1]), foreign, own, b"noise" * 60, b""):
        with pytest.raises(LogRejected):
            log.append(Mirror(data), None)


def test_a_point_that_was_forgotten_elsewhere_does_not_come_back_there() -> None:
    scene = Scene()
    log = replica_of(scene)
    mirror = Mirror(entry_at(scene, scene.plain.open_seq + 1))
    log.append(mirror, None)
    log.append(Forget((scene.plain.manifest,), "", 0, "space"), scene.keeper)
    with pytest.raises(LogRejected):
        log.append(mirror, None)
    assert scene.plain.manifest in scene.log.follow().commits


def test_writers_commit_at_home_only() -> None:
    scene = Scene()
    with pytest.raises(LogRejected, match="not the vault's home"):
        replica_of(scene).append(open_body(), scene.writer)
