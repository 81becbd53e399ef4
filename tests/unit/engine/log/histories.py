"""Long logs with entries of every kind, in memory, for what only long logs show."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from recoup.engine.keys.signing import SigningKey
from recoup.engine.log.bodies import (
    Abort,
    Adopt,
    Attest,
    Body,
    Condemn,
    Damaged,
    Evidence,
    Forget,
    Heal,
    Index,
    ObjectRef,
    Pin,
    Replace,
    Sweep,
    Unpin,
)
from recoup.engine.log.facts import Committed, Facts
from recoup.engine.log.follow import Log, LogRejected
from recoup.engine.log.state import LogState
from recoup.engine.log.summary import rows_of
from recoup.engine.maintenance.checkpoints import extend
from recoup.engine.records.nodes import Locator
from recoup.engine.records.objectlist import Listed
from recoup.engine.stores.base import Store
from recoup.engine.vault import Unlocked
from tests.faults.memory import MemoryStore
from tests.unit.engine.keys.vaults import unlocked
from tests.unit.engine.log.entries import commit_body, digest, open_body, plant, ticket_for


class NoSets:
    """Nothing that an entry names was swept."""

    def needed(self, commit: Committed) -> Iterator[tuple[bytes, int]]:  # noqa: ARG002  # a protocol's signature
        return iter(())

    def listed(self, digests: Iterable[bytes]) -> Iterator[Listed]:  # noqa: ARG002  # a protocol's signature
        return iter(())


@dataclass
class History:
    """A vault in memory whose log grows by what `random` says."""

    seed: int
    store: MemoryStore = field(default_factory=MemoryStore)
    vault: Unlocked = field(init=False)
    log: Log = field(init=False)

    def __post_init__(self) -> None:
        self.vault = unlocked(self.store)
        root = self.vault.identity.root_public
        self.log = Log(self.store, self.vault.identity.vault_id, root_public=root, sets=NoSets(), checkpoints=False)
        self._random = random.Random(self.seed)  # the same history for the same seed

    @property
    def state(self) -> LogState:
        return self.log.follow()

    def fresh(self, store: Store | None = None, *, checkpoints: bool = True) -> LogState:
        """The state as a new process reads it."""
        return self.reader(store, checkpoints=checkpoints).follow()

    def reader(self, store: Store | None = None, *, checkpoints: bool = True) -> Log:
        identity = self.vault.identity
        return Log(store or self.store, identity.vault_id, root_public=identity.root_public, checkpoints=checkpoints, sets=NoSets())

    def keep(self) -> int:
        """Write the checkpoints that are missing."""
        return extend(self.reader(), self.vault.maintenance.signer)

    def grow(self, until: int) -> None:
        """Append entries, every kind among them, some junk, until the log has `until`."""
        while self.state.next_seq < until:
            if self._random.random() < 0.002:
                plant(self.log, os.urandom(200))
                continue
            body, key = self._next()
            try:
                self.log.append(body, key)
            except LogRejected:
                continue

    def runs(self, until: int) -> None:
        """Append OPEN and COMMIT of one run after the other, as years of backups do."""
        while self.state.next_seq < until:
            session = os.urandom(16)
            ticket = ticket_for(self.vault, session)
            opened = self.log.append(open_body(session, ticket), self.vault.writer.signer).head.seq
            self.log.append(commit_body(session, opened, ticket), self.vault.writer.signer)

    def _next(self) -> tuple[Body, SigningKey | None]:
        state, pick = self.state, self._random.choice
        live, writer, keeper, verifier = list(state.commits), *self._keys
        running = [(ident, max(one.opens)) for ident, one in state.sessions.items() if not one.ended]
        session = os.urandom(16)
        choices: list[tuple[Body, SigningKey | None]] = [
            (open_body(session, ticket_for(self.vault, session) if self._random.random() < 0.5 else b""), writer),
            (Evidence("Drill", '{"rto":1}'), verifier),
            (Evidence("Locked", "{}"), keeper),
            (Heal((ObjectRef(digest(), 1),)), None),
            (Damaged((ObjectRef(digest(), 0),), "test"), verifier),
            (Condemn((digest(),), 3, 10, False, state.next_seq, 5), keeper),
            (Adopt(f"policy-{state.next_seq}", "policy-uid"), keeper),
        ]
        if running:
            ident, opened = pick(running)
            commit = commit_body(ident, opened, state.sessions[ident].ticket)
            choices += [(commit, writer)] * 6 + [(Abort(ident, opened), writer)]
        if live:
            point = pick(live)
            choices += [
                (Forget((point,), "", 0, "test"), keeper),
                (Pin(point, "kept"), keeper),
                (Attest(4, tuple(live[-5:]), 1, 1), verifier),
            ]
        if live and running:
            ident, opened = pick(running)
            place = Locator(digest(), 0, 0)
            choices.append(
                (
                    Replace(point, state.commits[point].named_at, ident, opened, place, digest(), (digest(),), (ObjectRef(digest(), 2),)),
                    writer,
                )
            )
        if state.pinned:
            choices.append((Unpin(pick(list(state.pinned)), "over"), keeper))
        if state.condemned:
            choices.append((Sweep(pick(list(state.condemned)), state.next_seq, (digest(),), 1, 1, 5), keeper))
        if len(state.segments) > 3:
            choices.append((Index((digest(),), tuple(state.segments[:3])), keeper))
        return pick(choices)

    @property
    def _keys(self) -> tuple[SigningKey, SigningKey, SigningKey]:
        return self.vault.writer.signer, self.vault.maintenance.signer, self.vault.reader.signer


def facts_of(state: Facts) -> tuple[int, bytes, bytes, list[bytes]]:
    """Everything that a state says, to be compared."""
    return state.next_seq, state.previous, state.location_id, list(rows_of(state))
