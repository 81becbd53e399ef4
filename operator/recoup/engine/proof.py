"""EVIDENCE entries as whoever must believe them wants them: the entry as stored, with its signature checked again.

Following the log checked each entry already, by a certificate that leads to the pinned root key; here the stored bytes are read once
more, so that what is shown is what stands in the bucket now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from recoup.engine.evidence import time_text
from recoup.engine.format.names import digest_of, log_name
from recoup.engine.format.records import MALFORMED
from recoup.engine.log.bodies import Evidence, Signer
from recoup.engine.log.entries import decode_entry
from recoup.engine.log.facts import key_of
from recoup.engine.log.firsts import read_entry
from recoup.engine.log.follow import Log
from recoup.errors import Integrity


@dataclass(frozen=True, slots=True)
class Proof:
    """One signed statement. `public_key` is the verifier key that signed it, in hex; `digest` that of the whole entry."""

    seq: int
    name: str
    digest: str
    time: str
    kind: str
    statement: dict[str, Any]
    public_key: str
    generation: int


def read_proofs(log: Log) -> list[Proof]:
    """Every EVIDENCE entry of a followed log, in its order. Raises Integrity if one is not what it was when the log was followed."""
    return [_read(log, noted.seq) for noted in log.state.evidence]


def _read(log: Log, seq: int) -> Proof:
    name = log_name(log.state.vault_id, seq)
    data = read_entry(log.store, log.state.vault_id, seq)
    entry = decode_entry(data, name)
    certificate = log.state.certificates.get(entry.head.generation)
    if certificate is None or not entry.signed_by(key := key_of(certificate, Signer.VERIFIER)) or not isinstance(entry.body, Evidence):
        raise Integrity(f"{name} at {log.store.url} is not the evidence that it was: the signature does not fit", reason="EvidenceForged")
    try:
        statement = msgspec.json.decode(entry.body.statement, type=dict[str, Any])
    except MALFORMED:
        statement = {"text": entry.body.statement}
    at = time_text(entry.head.time / 1000)
    return Proof(seq, name, digest_of(data).hex(), at, entry.body.kind, statement, key.hex(), entry.head.generation)
