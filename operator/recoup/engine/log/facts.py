"""What a log says: the facts that its valid entries add up to (docs/format.md section 6).

Data and questions about it, no decisions: which entries count is decided in `rules.py`, and `state.py` adds them up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from recoup.engine.format.kinds import DIGEST_BYTES
from recoup.engine.keys.certificate import Certificate
from recoup.engine.keys.roles import VaultIdentity
from recoup.engine.log.bodies import Attest, Commit, DescriptorRef, Init, ObjectRef, Open, Signer
from recoup.errors import Integrity

_NONE = bytes(DIGEST_BYTES)
SQUATTED_AT = 64
"""So many invalid entries in one log are `LogSquatted`: somebody writes into it who holds no key."""


@dataclass(slots=True)
class Session:
    """One attempt or several at one volume's recovery point."""

    ticket: bytes
    opens: dict[int, Open] = field(default_factory=dict)
    """Valid OPENs by seq."""
    aborted_up_to: int = -1
    committed: int | None = None
    """Seq of its COMMIT."""

    @property
    def ended(self) -> bool:
        return self.committed is not None or max(self.opens, default=-1) <= self.aborted_up_to


@dataclass(frozen=True, slots=True)
class Committed:
    """One live recovery point of one volume."""

    seq: int
    time: int
    """Milliseconds, informational."""
    generation: int
    body: Commit


@dataclass(frozen=True, slots=True)
class Attested:
    seq: int
    time: int
    body: Attest


@dataclass(slots=True)
class Facts:
    """What the entries before `next_seq` say. Changed only by `LogState.take` (state.py)."""

    vault_id: bytes
    pinned_root: bytes | None
    """None trusts the first INIT that is consistent in itself: only for a person who said so, or a KEK that proves it."""
    next_seq: int = 0
    previous: bytes = _NONE
    init: Init | None = None
    identity: VaultIdentity | None = None
    location_id: bytes = b""
    certificates: dict[int, Certificate] = field(default_factory=dict)
    keyrings: dict[int, bytes] = field(default_factory=dict)
    """Digest of the keyring object in force, by generation."""
    descriptor: DescriptorRef | None = None
    sessions: dict[bytes, Session] = field(default_factory=dict)
    commits: dict[bytes, Committed] = field(default_factory=dict)
    """Live recovery points by manifest digest, in log order."""
    attests: list[Attested] = field(default_factory=list)
    damaged: set[ObjectRef] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    """Entries that nobody of this vault can have written as they stand: squatted, or damaged in the store."""
    breaks: list[int] = field(default_factory=list)
    """Entries whose predecessor is one of the lost: `LogForked` until a person decides; what they say still counts."""
    invalid: int = 0
    """Entries that were skipped, for whatever reason."""
    complaints: list[tuple[int, str]] = field(default_factory=list)
    """Why, for the last few of them."""
    foreign_root: bool = False
    """An INIT stands in the log that leads to another root key than the pinned one."""
    _lost_since: bool = False

    @property
    def initialised(self) -> bool:
        return self.identity is not None

    @property
    def generation(self) -> int:
        """The newest generation: the one to write with."""
        return max(self.certificates, default=0)

    @property
    def squatted(self) -> bool:
        return self.invalid >= SQUATTED_AT

    def require_identity(self) -> VaultIdentity:
        """Who the vault is. Raises Integrity if the log holds no INIT that leads back to the pinned root key."""
        if self.identity is None:
            if self.foreign_root:
                planted = "its INIT leads to another root key than the pinned one; somebody may have put a false vault in its place"
                raise Integrity(f"vault {self.vault_id.hex()} is not the one that was first seen: {planted}", reason="RootMismatch")
            cause = self.complaints[0][1] if self.complaints else "it is empty"
            raise Integrity(f"the log of vault {self.vault_id.hex()} has no valid INIT: {cause}", reason="NoVault")
        return self.identity

    def role_of(self, public_key: bytes) -> tuple[Signer, int] | None:
        """Which role a public key has, in the newest generation that lists it."""
        for generation in sorted(self.certificates, reverse=True):
            certificate = self.certificates[generation]
            for signer in Signer:
                if key_of(certificate, signer) == public_key:
                    return signer, generation
        return None


def key_of(certificate: Certificate, signer: Signer) -> bytes:
    """The public key by which a role signs."""
    return {Signer.WRITER: certificate.writer, Signer.MAINTENANCE: certificate.maintenance, Signer.VERIFIER: certificate.verifier}[signer]
