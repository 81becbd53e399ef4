"""What a log says: the facts that its valid entries add up to (docs/format.md section 6).

Data and questions about it, no decisions: which entries count is decided in `rules.py`, and `state.py` adds them up.
"""

from __future__ import annotations

import dataclasses
from typing import Generic, TypeVar

from msgspec import field

from recoup.engine.format.kinds import DIGEST_BYTES
from recoup.engine.keys.certificate import Certificate
from recoup.engine.keys.roles import VaultIdentity
from recoup.engine.log.bodies import Attest, Commit, Condemn, DescriptorRef, Evidence, Init, ObjectRef, Open, Pin, Signer, Sweep
from recoup.engine.records.nodes import Locator
from recoup.errors import Integrity
from recoup.value import Record, Value

T = TypeVar("T")
_NONE = bytes(DIGEST_BYTES)
SQUATTED_AT = 64
"""So many invalid entries in one log are `LogSquatted`: somebody writes into it who holds no key."""


class Session(Record):
    """One attempt or several at one volume's recovery point."""

    ticket: bytes
    opens: dict[int, Open] = field(default_factory=dict)
    """Valid OPENs by seq."""
    aborted_up_to: int = -1
    committed: int | None = None
    """Seq of its COMMIT."""
    opened_at: int = 0
    """Milliseconds: the time of its last OPEN, informational."""

    @property
    def ended(self) -> bool:
        return self.committed is not None or max(self.opens, default=-1) <= self.aborted_up_to


class Committed(Value, frozen=True):
    """One live recovery point of one volume."""

    seq: int
    time: int
    """Milliseconds, informational."""
    generation: int
    body: Commit
    """At a location that is not the home, `incarnations` are those of this location. After a REPLACE the object set is the new one."""
    home_seq: int | None = None
    """Seq of the COMMIT in the home's log, if this is a MIRROR of it."""
    refs: Locator | None = None
    """The root of the refs since a REPLACE; None means the one that the manifest names."""
    replaced: int | None = None
    """Seq of the last REPLACE."""
    mirrored_at: int | None = None
    """Milliseconds: the time of the MIRROR, if this is one; `time` is the home's."""

    @property
    def named_at(self) -> int:
        """Seq of the entry that named its object set."""
        return self.seq if self.replaced is None else self.replaced

    def here(self, digest: bytes, incarnation: int = 0) -> ObjectRef:
        """An object that the point needs, in the incarnation of this location; `incarnation` is what set or refs say."""
        named = {ref.digest: ref.incarnation for ref in self.body.incarnations}
        return ObjectRef(digest, named.get(digest, 0 if self.home_seq is not None else incarnation))


class Forgotten(Value, frozen=True):
    """A point that is not live any more: what its set named is what a sweep may find."""

    seq: int
    """Of the FORGET."""
    commit: Committed
    """Without ticket and record."""


class Attested(Value, frozen=True):
    seq: int
    time: int
    body: Attest


class Noted(Value, Generic[T], frozen=True):
    """An entry that is kept as it stands. `time` is milliseconds, informational."""

    seq: int
    time: int
    body: T


@dataclasses.dataclass(slots=True)
class Facts:
    """What the entries before `next_seq` say. Changed only by `LogState.take` (state.py)."""

    vault_id: bytes
    pinned_root: bytes | None
    """None trusts the first INIT that is consistent in itself: only for a person who said so, or a KEK that proves it."""
    next_seq: int = 0
    previous: bytes = _NONE
    previous_seq: int = -1
    """Seq of the last valid entry, whose digest `previous` is."""
    base: int = 0
    """Entries before this seq were not read: a checkpoint says what they add up to."""
    init: Init | None = None
    identity: VaultIdentity | None = None
    location_id: bytes = b""
    certificates: dict[int, Certificate] = dataclasses.field(default_factory=dict)
    signed_certificates: dict[int, bytes] = dataclasses.field(default_factory=dict)
    """The same as the root key signed them."""
    keyrings: dict[int, bytes] = dataclasses.field(default_factory=dict)
    """Digest of the keyring object in force, by generation."""
    descriptor: DescriptorRef | None = None
    sessions: dict[bytes, Session] = dataclasses.field(default_factory=dict)
    commits: dict[bytes, Committed] = dataclasses.field(default_factory=dict)
    """Live recovery points by manifest digest, in log order."""
    attests: list[Attested] = dataclasses.field(default_factory=list)
    forgotten: dict[bytes, Forgotten] = dataclasses.field(default_factory=dict)
    """Every point that was live once, by manifest digest."""
    pinned: dict[bytes, Noted[Pin]] = dataclasses.field(default_factory=dict)
    adopted: dict[str, str] = dataclasses.field(default_factory=dict)
    """Policy UID that owns the points of another one by ADOPT."""
    policy_generations: dict[str, int] = dataclasses.field(default_factory=dict)
    """The highest generation of each policy that a FORGET carried."""
    condemned: dict[int, Noted[Condemn]] = dataclasses.field(default_factory=dict)
    """CONDEMNs by seq that have no SWEEP yet."""
    swept: dict[int, Noted[Sweep]] = dataclasses.field(default_factory=dict)
    """Every SWEEP by seq."""
    unfinished: set[int] = dataclasses.field(default_factory=set)
    """SWEEPs whose deletes nobody has seen to be done."""
    last_live: tuple[int, int] | None = None
    """(seq, live objects) of the newest CONDEMN or SWEEP."""
    last_shrinking: int = -1
    """Seq of the newest FORGET or REPLACE: the live set may have become smaller there."""
    merged_segments: dict[bytes, int] = dataclasses.field(default_factory=dict)
    """Index segments in force that INDEX entries brought."""
    replaced_segments: set[bytes] = dataclasses.field(default_factory=set)
    healed: dict[bytes, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """Incarnations that a HEAL named, ascending, by digest. Anybody may have claimed them: bytes that do not match are passed over."""
    incarnations: dict[bytes, int] = dataclasses.field(default_factory=dict)
    """The highest incarnation that any entry but HEAL names for an object, where it is not 0; those in list objects are not among them."""
    mirrored: dict[bytes, int] = dataclasses.field(default_factory=dict)
    """Seq, in the home's log, of the last entry that was mirrored here, by what it is about: a recovery point, or the vault (empty)."""
    evidence: list[Noted[Evidence]] = dataclasses.field(default_factory=list)
    damaged: set[ObjectRef] = dataclasses.field(default_factory=set)
    lost: set[int] = dataclasses.field(default_factory=set)
    """Entries that nobody of this vault can have written as they stand: squatted, or damaged in the store."""
    breaks: list[int] = dataclasses.field(default_factory=list)
    """Entries whose predecessor is one of the lost: `LogForked` until a person decides; what they say still counts."""
    invalid: int = 0
    """Entries that were skipped, for whatever reason."""
    complaints: list[tuple[int, str]] = dataclasses.field(default_factory=list)
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

    @property
    def at_home(self) -> bool:
        """Whether this is the log of the vault's home, and no replica's."""
        return self.identity is not None and self.identity.repo_id == self.location_id

    def segments_of(self, commit: Commit) -> list[bytes]:
        """The index segments that a live point names and no INDEX replaced."""
        return [segment for segment in commit.index_segments if segment not in self.replaced_segments]

    @property
    def segments(self) -> list[bytes]:
        """Index segments in force, the oldest first."""
        own = [segment for commit in self.commits.values() for segment in commit.body.index_segments]
        in_force = [segment for segment in [*self.merged_segments, *own] if segment not in self.replaced_segments]
        return list(dict.fromkeys(in_force))  # the points that one repack moved name the same

    def incarnation_of(self, digest: bytes) -> int:
        """The highest committed or healed incarnation of an object. Whether it was swept stands in the SWEEPs' lists (sets.py)."""
        return max(self.incarnations.get(digest, 0), *self.healed.get(digest, ())[-1:], 0)

    def candidates(self, ref: ObjectRef) -> tuple[ObjectRef, ...]:
        """Where the bytes of an object may be read here, best first: healed incarnations from the highest, then `ref` itself."""
        healed = (ObjectRef(ref.digest, k) for k in reversed(self.healed.get(ref.digest, ())) if k > ref.incarnation)
        return (*healed, ref)

    def policy_of(self, uid: str) -> str:
        """The policy that owns the points of policy `uid` now, after every ADOPT."""
        seen = {uid}
        while (owner := self.adopted.get(uid)) is not None and owner not in seen:
            seen.add(owner)
            uid = owner
        return uid

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
            for signer in (Signer.WRITER, Signer.MAINTENANCE, Signer.VERIFIER):
                if key_of(certificate, signer) == public_key:
                    return signer, generation
        return None


def key_of(certificate: Certificate, signer: Signer) -> bytes:
    """The public key by which a role signs."""
    return {Signer.WRITER: certificate.writer, Signer.MAINTENANCE: certificate.maintenance, Signer.VERIFIER: certificate.verifier}[signer]
