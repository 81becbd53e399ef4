"""Catalogue records: what a COMMIT says of its recovery point to those who list points (docs/format.md section 6).

Sealed under K_meta inside the COMMIT. Which policy, slot and volume a point counts for is not said here but by the COMMIT's run
ticket, which a mover cannot write.
"""

from __future__ import annotations

import msgspec

from recoup.engine.format.records import decode_record, encode_record, open_record, seal_record
from recoup.engine.keys.roles import VaultIdentity
from recoup.suspicion import Earlier, Figures

_MAP_OF_15 = b"\x8f"
"""How a record without figures begins: MessagePack's map of as many fields as it has."""


class Before(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of the point of the same volume before this one: what tells a sudden change also when that point is forgotten."""

    files: int
    bytes_total: int
    bytes_new: int
    """Sums over it and all before it, as is the next: how compressible the volume was."""
    bytes_stored: int


class _Unmeasured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The record as it was before it had figures of sudden changes: a form of its own, which stays readable."""

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


class PointRecord(_Unmeasured, frozen=True):
    """What people and planners need to know of one volume's recovery point without reading its manifest."""

    bytes_new: int | None = None
    """Content that no earlier point had, before it was compressed; `bytes_stored` is what it came to, with all else. None: unknown."""
    before: Before | None = None
    """Never without `bytes_new`."""

    @property
    def figures(self) -> Figures:
        """What retention judges a sudden change by."""
        last = self.before
        before = Earlier(last.files, last.bytes_total, last.bytes_new, last.bytes_stored) if last is not None else None
        return Figures(self.files, self.bytes_total, self.bytes_stored, self.bytes_new, before)


def seal_point(meta_key: bytes, identity: VaultIdentity, generation: int, session: bytes, record: PointRecord) -> bytes:
    """The record as COMMIT carries it, bound to vault, generation and session."""
    return seal_record(meta_key, _context(identity, generation, session), _encode(record))


def open_point(meta_key: bytes, identity: VaultIdentity, generation: int, session: bytes, sealed: bytes) -> PointRecord:
    """Undo `seal_point`. Raises Integrity naming the session."""
    name = f"the catalogue record of session {session.hex()}"
    plain = open_record(meta_key, _context(identity, generation, session), sealed, name)
    if plain[:1] != _MAP_OF_15:
        return decode_record(plain, PointRecord, name)
    return PointRecord(*msgspec.structs.astuple(decode_record(plain, _Unmeasured, name)))


def _encode(record: PointRecord) -> bytes:
    """Without figures the older form: of what is the same there is one encoding, which every reader knows."""
    return encode_record(record if record.bytes_new is not None else _Unmeasured(*msgspec.structs.astuple(record)[:15]))


def _context(identity: VaultIdentity, generation: int, session: bytes) -> bytes:
    return b"catalogue" + identity.repo_id + identity.vault_id + generation.to_bytes(4, "big") + session
