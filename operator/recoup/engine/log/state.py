"""Adding up a log, entry by entry (docs/format.md section 6).

`LogState.take` is fed every entry in order of seq; it believes nothing that does not lead back to the pinned root key. An entry
that does not count is skipped and counted, never an exception: one bad object must not stop a restore. The rules themselves are
in `rules.py`, what an entry changes in `apply.py`; reading and appending in `follow.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from recoup.engine.format.names import log_name
from recoup.engine.keys.certificate import Certificate, verify_certificate
from recoup.engine.log.apply import apply_entry
from recoup.engine.log.bodies import SIGNERS, TYPE_OF, Init, Mirror, Signer
from recoup.engine.log.entries import Entry, decode_entry
from recoup.engine.log.facts import Facts, key_of
from recoup.engine.log.mirror import check_home_signature
from recoup.engine.log.rules import objection
from recoup.errors import Integrity, Invalid

_REMEMBERED = 32


@dataclass(slots=True)
class LogState(Facts):
    """The facts, and the one way to add to them."""

    def take(self, seq: int, data: bytes) -> Entry | None:
        """Read the entry at `seq`, which must be the next one. Returns it if it is valid.

        Raises Invalid (NewerFormat) for an entry that a key of this vault signed and that this version does not understand.
        """
        if seq != self.next_seq:
            raise ValueError(f"entry {seq} out of order, {self.next_seq} is next")
        try:
            entry = decode_entry(data, log_name(self.vault_id, seq))
            self._authenticate(entry, seq)
        except Integrity as error:
            self.next_seq += 1
            self.lost.add(seq)
            self._lost_since = True
            self._skip(seq, str(error))
            return None
        if entry.body is None or (isinstance(entry.body, Mirror) and decode_entry(entry.body.entry, "the mirrored entry").body is None):
            raise Invalid(f"log entry {seq} has type {entry.head.type}: a newer version wrote it, update recoup", reason="NewerFormat")
        self.next_seq += 1
        broken = entry.head.previous != self.previous
        if broken and not self._lost_since:
            self._skip(seq, "its previous entry is not the last valid one")
            return None
        reason = objection(self, entry.body, Signer(entry.head.signer), entry.head.generation)
        if reason is not None:
            self._skip(seq, reason)
            return None
        if broken:
            self.breaks.append(seq)
        self._lost_since = False
        self.previous, self.previous_seq = entry.digest, seq
        apply_entry(self, entry)
        return entry

    def _authenticate(self, entry: Entry, seq: int) -> None:
        """Place and signature: whether a key of this vault wrote exactly this entry for exactly this place, or it proves itself."""
        head = entry.head
        if head.vault_id != self.vault_id or head.seq != seq:
            raise Integrity(f"log entry {seq} was written for another place")
        if self.identity is not None and (head.repo_id != self.identity.repo_id or head.location_id != self.location_id):
            raise Integrity(f"log entry {seq} was written for another location")
        if head.signer == Signer.NOBODY:
            self._authenticate_unsigned(entry, seq)
            return
        certificate = self.certificates.get(head.generation) if self.identity is not None else self._first_certificate(entry)
        if certificate is None or head.signer not in set(Signer):
            raise Integrity(f"log entry {seq} names a signer that the vault does not have")
        if not entry.signed_by(key_of(certificate, Signer(head.signer))):
            raise Integrity(f"log entry {seq} is not signed by a key of this vault")

    def _authenticate_unsigned(self, entry: Entry, seq: int) -> None:
        """An unsigned entry of an unknown type is nobody's: it must not be able to stop readers."""
        if not entry.unsigned or entry.body is None or Signer.NOBODY not in SIGNERS[TYPE_OF[type(entry.body)]]:
            raise Integrity(f"log entry {seq} is not signed")
        if not isinstance(entry.body, Mirror):
            if self.identity is None:
                raise Integrity("the log does not begin with an INIT")
            return
        home = decode_entry(entry.body.entry, f"mirrored in log entry {seq}")
        certificate = self._first_certificate(home) if self.identity is None else None
        if self.identity is None and (home.head.repo_id != entry.head.repo_id or home.head.location_id == entry.head.location_id):
            raise Integrity("the mirrored INIT belongs to this very location, or to another repository than its MIRROR says")
        check_home_signature(self, home, certificate)

    def _first_certificate(self, entry: Entry) -> Certificate:
        if not isinstance(entry.body, Init):
            raise Integrity("the log does not begin with an INIT")
        certificate = verify_certificate(entry.body.certificate, "the certificate in INIT")
        if self.pinned_root is not None and certificate.root != self.pinned_root:
            self.foreign_root = True
            raise Integrity("INIT leads to another root key than the pinned one", reason="RootMismatch")
        if (certificate.vault_id, certificate.repo_id, certificate.generation) != (
            self.vault_id,
            entry.head.repo_id,
            entry.head.generation,
        ):
            raise Integrity("the certificate in INIT belongs to another vault or generation")
        return certificate

    def _skip(self, seq: int, reason: str) -> None:
        self.invalid += 1
        self.complaints = [*self.complaints[: _REMEMBERED - 1], (seq, reason)]
