"""A log under any order of runs, retries, squatters and faults: every reader sees the same, and nothing that was claimed is lost."""

from __future__ import annotations

import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from recoup.engine.log.bodies import Abort, Attest, Commit
from recoup.engine.log.follow import Log, LogRejected
from recoup.errors import Retryable
from tests.faults.store import Crashed, Fault, FaultStore
from tests.unit.engine.keys.vaults import unlocked
from tests.unit.engine.log.entries import commit_body, open_body, plant, ticket_for


class Writers(RuleBasedStateMachine):
    """Three movers with logs of their own; a model of what each was told."""

    opened = Bundle("opened")

    @initialize()
    def begin(self) -> None:
        self.vault = unlocked()
        self.logs = [self.fresh() for _ in range(3)]
        self.told: dict[bytes, Commit] = {}
        self.unsure: dict[bytes, list[Commit]] = {}

    def fresh(self) -> Log:
        return Log(self.vault.log.store, self.vault.identity.vault_id, root_public=self.vault.identity.root_public, pause=lambda _: None)

    @rule(target=opened, mover=st.integers(0, 2), ticketed=st.booleans())
    def open(self, mover: int, ticketed: bool) -> tuple[bytes, int, bytes]:
        session = os.urandom(16)
        ticket = ticket_for(self.vault, session) if ticketed else b""
        return session, self.logs[mover].append(open_body(session, ticket), self.vault.writer.signer).head.seq, ticket

    @rule(mover=st.integers(0, 2), run=opened)
    def commit(self, mover: int, run: tuple[bytes, int, bytes]) -> None:
        session, seq, ticket = run
        body = commit_body(session, seq, ticket)
        try:
            self.logs[mover].append(body, self.vault.writer.signer)
        except LogRejected:
            return
        assert session not in self.told, "one session was told twice that it had committed"
        self.told[session] = body

    @rule(run=opened, call=st.integers(0, 4), fault=st.sampled_from(Fault))
    def commit_in_trouble(self, run: tuple[bytes, int, bytes], call: int, fault: Fault) -> None:
        session, seq, ticket = run
        body = commit_body(session, seq, ticket)
        log = Log(
            FaultStore(self.vault.log.store, {call: fault}),
            self.vault.identity.vault_id,
            root_public=self.vault.identity.root_public,
            pause=lambda _: None,
        )
        try:
            log.append(body, self.vault.writer.signer)
        except LogRejected:
            return
        except (Retryable, Crashed):
            self.unsure.setdefault(session, []).append(body)
            return
        assert session not in self.told
        self.told[session] = body

    @rule(mover=st.integers(0, 2), run=opened)
    def abort(self, mover: int, run: tuple[bytes, int, bytes]) -> None:
        try:
            self.logs[mover].append(Abort(run[0], run[1]), self.vault.writer.signer)
        except LogRejected:
            return
        assert run[0] not in self.told

    @rule(mover=st.integers(0, 2))
    def attest(self, mover: int) -> None:
        log = self.logs[mover]
        manifests = tuple(log.follow().commits)
        log.append(Attest(4, manifests, 1, 1), self.vault.reader.signer)

    @rule(junk=st.binary(max_size=300))
    def squat(self, junk: bytes) -> None:
        plant(self.vault.log, junk)

    @invariant()
    def everybody_sees_what_was_told(self) -> None:
        if not hasattr(self, "vault"):
            return
        state = self.fresh().follow()
        committed = {one.body.session: one.body for one in state.commits.values()}
        assert all(committed[session] == body for session, body in self.told.items())
        extra = {session: body for session, body in committed.items() if session not in self.told}
        assert all(body in self.unsure.get(session, []) for session, body in extra.items())
        assert state.breaks == []
        for log in self.logs:
            assert list(log.follow().commits) == list(state.commits)
            assert log.state.previous == state.previous


TestWriters = Writers.TestCase
TestWriters.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
