"""Entries as a test wants them: good ones, and ones that break a single rule, put into the log behind the appender's back."""

from __future__ import annotations

import os

from recoup.engine.format.names import log_name
from recoup.engine.keys.signing import SigningKey
from recoup.engine.keys.tickets import Ticket, issue_ticket
from recoup.engine.log.bodies import TYPE_OF, Body, Commit, Open, Signer
from recoup.engine.log.entries import Head, encode_entry
from recoup.engine.log.follow import Log
from recoup.engine.vault import Unlocked

PACK = 16 << 20


def digest() -> bytes:
    return os.urandom(32)


def open_body(session: bytes | None = None, ticket: bytes = b"") -> Open:
    return Open(session or os.urandom(16), ticket, PACK)


def commit_body(session: bytes, open_seq: int, ticket: bytes = b"") -> Commit:
    return Commit(session, open_seq, ticket, digest(), digest(), (digest(),), digest(), b"")


def ticket_for(vault: Unlocked, session: bytes, *, run_key: SigningKey | None = None, vault_id: bytes | None = None) -> bytes:
    ticket = Ticket(vault_id or vault.identity.vault_id, session, "policy-uid", "20260101t000000z", "pvc-uid")
    return issue_ticket(ticket, run_key or vault.catalogue.run_signer)


def signed(vault: Unlocked, body: Body, key: SigningKey, **head: object) -> bytes:
    """The bytes of an entry for the next place, with fields of its head changed on request."""
    state = vault.log.follow()
    identity = vault.identity
    role, generation = state.role_of(key.public) or (Signer.WRITER, 1)
    fields = Head(
        TYPE_OF[type(body)],
        role,
        generation,
        identity.repo_id,
        identity.vault_id,
        state.location_id,
        state.next_seq,
        state.previous,
        0,
        os.urandom(16),
    )
    return encode_entry(fields._replace(**head), body, key)  # type: ignore[arg-type]


def plant(log: Log, data: bytes) -> None:
    """Put bytes at the head, whatever they are."""
    state = log.follow()
    assert log.store.create(log_name(state.vault_id, state.next_seq), data)
