"""Run tickets (docs/format.md section 2): the controller's leave for one session to commit one volume of one policy run.

A mover that was taken over can commit its own session once, and nothing for another volume, slot or policy.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec

from recoup.engine.format.kinds import ID_BYTES
from recoup.engine.format.records import decode_record, encode_record
from recoup.engine.keys.signing import SIGNATURE_BYTES, SigningKey, verify
from recoup.errors import Integrity, Invalid

_PURPOSE = b"rcp1/ticket"


class Ticket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run may commit. UIDs are opaque; nothing here is a name that a tenant chose."""

    vault_id: bytes
    session: bytes
    policy_uid: str
    slot: str
    pvc_uid: str


def session_id(snapshot_uid: str, pvc_uid: str) -> bytes:
    """The session of one volume of one BackupSnapshot: the same for every attempt, 16 bytes."""
    return hashlib.sha256(b"rcp1/session\0" + snapshot_uid.encode() + b"\0" + pvc_uid.encode()).digest()[:ID_BYTES]


def issue_ticket(ticket: Ticket, run_key: SigningKey) -> bytes:
    """The ticket's record followed by the run key's signature, as OPEN and COMMIT carry it."""
    record = encode_record(ticket)
    return record + run_key.sign(_PURPOSE, record)


def ticket_to_text(signed: bytes) -> str:
    return base64.urlsafe_b64encode(signed).decode("ascii")


def ticket_from_text(text: str) -> bytes:
    """Undo `ticket_to_text`. Raises Invalid: the text comes from the run's file, not from the bucket."""
    try:
        return base64.urlsafe_b64decode(text.encode("ascii"))
    except (binascii.Error, ValueError):
        raise Invalid("the run's ticket is not base64: the controller wrote another run file", reason="InvalidTicket") from None


def read_ticket(signed: bytes, name: str) -> Ticket:
    """What a ticket says, for those who know already that it counts. Raises Integrity naming `name`."""
    return decode_record(signed[:-SIGNATURE_BYTES], Ticket, name)


def verify_ticket(signed: bytes, run_keys: tuple[bytes, ...], name: str) -> Ticket:
    """Read a ticket and check that one of the vault's run keys signed it. Raises Integrity naming `name`."""
    ticket = read_ticket(signed, name)
    if not any(verify(key, _PURPOSE, signed[:-SIGNATURE_BYTES], signed[-SIGNATURE_BYTES:]) for key in run_keys):
        raise Integrity(f"{name}: the ticket is not signed by a run key of this vault")
    return ticket
