"""Catalogue records: what a COMMIT says of its recovery point to those who list points (docs/format.md section 6).

Sealed under K_meta inside the COMMIT. Which policy, slot and volume a point counts for is not said here but by the COMMIT's run
ticket, which a mover cannot write.
"""

from __future__ import annotations

import msgspec

from recoup.engine.format.records import decode_record, encode_record, open_record, seal_record
from recoup.engine.keys.roles import VaultIdentity


class PointRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What people and planners need to know of one volume's recovery point without reading its manifest."""

    point: str
    """The recovery point that this volume belongs to: the BackupSnapshot's UID, or the session in hex on the command line."""
    snapshot: str
    """The BackupSnapshot's name, or empty."""
    policy: str
    """The policy's name as the run was told; which policy it counts for stands in the ticket."""
    consistency: str
    volumes_expected: tuple[str, ...]
    """PVC UIDs of all volumes of the point; it is complete when each has its COMMIT."""
    source: str
    """JSON: where the data came from, as given in the run file or by the command line."""
    kind: str
    """directory, file or device."""
    started: int
    """Milliseconds since 1970 by the mover's clock, as all times here."""
    finished: int
    files: int
    bytes_total: int
    """Size of the content that the point restores to."""
    bytes_read: int
    bytes_stored: int
    errors: int
    """Source files that could not be read; listed by path in the manifest."""
    tool: str


def seal_point(meta_key: bytes, identity: VaultIdentity, generation: int, session: bytes, record: PointRecord) -> bytes:
    """The record as COMMIT carries it, bound to vault, generation and session."""
    return seal_record(meta_key, _context(identity, generation, session), encode_record(record))


def open_point(meta_key: bytes, identity: VaultIdentity, generation: int, session: bytes, sealed: bytes) -> PointRecord:
    """Undo `seal_point`. Raises Integrity naming the session."""
    name = f"the catalogue record of session {session.hex()}"
    return decode_record(open_record(meta_key, _context(identity, generation, session), sealed, name), PointRecord, name)


def _context(identity: VaultIdentity, generation: int, session: bytes) -> bytes:
    return b"catalogue" + identity.repo_id + identity.vault_id + generation.to_bytes(4, "big") + session
