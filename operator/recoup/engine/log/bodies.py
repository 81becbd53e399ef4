"""What log entries say (docs/format.md section 6): one struct per type, encoded as canonical records.

A signed entry of a type that is not here makes a reader refuse the log, because it cannot know what that entry took back. Long lists of
objects stand in list objects (records/objectlist.py), which entries name by digest.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from recoup.engine.records.nodes import Locator
from recoup.engine.records.nodes import ObjectRef as ObjectRef  # noqa: PLC0414  # exported: entries name objects by it


class EntryType(IntEnum):
    INIT = 1
    DESCRIPTOR = 2
    KEYGEN = 3
    ADOPT = 4
    OPEN = 5
    COMMIT = 6
    ABORT = 7
    MIRROR = 8
    FORGET = 9
    PIN = 10
    UNPIN = 11
    CONDEMN = 12
    SWEEP = 13
    REPLACE = 14
    INDEX = 15
    ATTEST = 16
    HEAL = 17
    DAMAGED = 18
    EVIDENCE = 19


class Signer(IntEnum):
    """Which of the generation's keys signed an entry."""

    NOBODY = 0
    """MIRROR and HEAL are not signed: what they carry proves itself."""
    WRITER = 1
    MAINTENANCE = 2
    VERIFIER = 3


class KeyringRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One keyring object in force."""

    generation: int
    digest: bytes


class DescriptorRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vault descriptor in force; the run keys stand here too, so that a log is validated without a GET of it."""

    number: int
    digest: bytes
    run_keys: tuple[bytes, ...]


class Init(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first valid entry of a log: everything later leads back to its certificate."""

    certificate: bytes
    keyring: KeyringRef
    descriptor: DescriptorRef
    labels: bytes
    """Whose vault it is, for people: a JSON object sealed under K_meta."""


class Descriptor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new vault descriptor replaces the one in force."""

    descriptor: DescriptorRef


class KeyGen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keyring objects in force from here on; the certificate is that of the newest generation."""

    certificate: bytes
    keyrings: tuple[KeyringRef, ...]


class Open(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A session works. Its objects are live until it ends; its partial index segments may be used by its next attempt."""

    session: bytes
    ticket: bytes
    """A signed run ticket, or empty for a run without a policy."""
    pack_size: int
    index_segments: tuple[bytes, ...] = ()


class Commit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recovery point of one volume exists."""

    session: bytes
    open_seq: int
    """The OPEN of this session that it ends."""
    ticket: bytes
    manifest: bytes
    object_set: bytes
    """Digest of the root of the set of every object that the point needs."""
    index_segments: tuple[bytes, ...]
    cache: bytes
    """Digest of the lineage cache's root object; empty if there is none."""
    record: bytes
    """The catalogue record, sealed under K_meta."""
    incarnations: tuple[ObjectRef, ...] = ()
    """Of the objects named, or in the set, those whose incarnation is not 0."""


class Abort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ends the OPENs of a session up to and including one."""

    session: bytes
    open_seq: int


class Adopt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The points of one policy belong to another from here on: a policy was deleted and made again."""

    old_policy_uid: str
    new_policy_uid: str


class Mirror(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of the home's log, byte for byte, and where its objects are here."""

    entry: bytes
    incarnations: tuple[ObjectRef, ...] = ()
    """Of all objects that a COMMIT or REPLACE needs, those whose incarnation *at this location* is not 0, whatever it is at home."""


class Forget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Recovery points exist no longer."""

    points: tuple[bytes, ...]
    """Manifest digests."""
    policy_uid: str
    """The policy whose retention decided it; empty if a person did."""
    policy_generation: int
    """metadata.generation of that policy; 0 without one."""
    rule: str
    """What decided, for people: `daily 7, weekly 4`."""


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recovery point is kept, whatever retention says."""

    point: bytes
    reason: str


class Unpin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Retention decides again."""

    point: bytes
    reason: str


class Condemn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Objects that nothing live needs: they will be swept when their grace is over."""

    lists: tuple[bytes, ...]
    """Digests of list objects, which together are sorted."""
    objects: int
    size: int
    """Stored bytes of all of them."""
    unnamed: bool
    """No recovery point, forgotten or not, named them when they were found: an unfinished session may still be going to."""
    marked: int
    """Where the log ended when the sweeper computed what is live: a SWEEP by somebody else since then makes it void."""
    live_objects: int
    """Objects that were live then. What the next decision is compared with."""
    finished: tuple[int, ...] = ()
    """SWEEPs whose deletes were all seen to be done."""


class Sweep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a CONDEMN named, or the part of it that nothing needs still, is going to be deleted, and its incarnations never come back."""

    condemned: int
    """Seq of the CONDEMN."""
    marked: int
    """What entries before this seq need was compared with the lists; what came after is compared when the entry is appended."""
    lists: tuple[bytes, ...]
    objects: int
    size: int
    live_objects: int


class Replace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The blocks of a recovery point were moved: other refs and another object set stand for it."""

    point: bytes
    previous: int
    """Seq of the point's last REPLACE, or of its COMMIT."""
    session: bytes
    open_seq: int
    """The OPEN under which the moved blocks were written."""
    refs: Locator
    object_set: bytes
    index_segments: tuple[bytes, ...] = ()
    incarnations: tuple[ObjectRef, ...] = ()


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Merged index segments take the place of others."""

    segments: tuple[bytes, ...]
    replaced: tuple[bytes, ...]


class Heal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Objects that stand here again, with the bytes that their digests say, under a new incarnation."""

    objects: tuple[ObjectRef, ...]


LOCKED: Final = "Locked"
"""Kind of EVIDENCE: until when what is live here is locked (engine/evidence.py)."""


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that was done and seen, for those who ask later: a shred, a restore drill. Kind LOCKED is the maintenance key's."""

    kind: str
    """CamelCase."""
    statement: str
    """JSON."""


class Attest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a verification read back, and that it was good."""

    level: int
    manifests: tuple[bytes, ...]
    objects: int
    bytes_read: int


class Damaged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Objects that are missing here or not what their names say: nothing new may refer to them."""

    objects: tuple[ObjectRef, ...]
    reason: str


Body = (
    Init
    | Descriptor
    | KeyGen
    | Adopt
    | Open
    | Commit
    | Abort
    | Mirror
    | Forget
    | Pin
    | Unpin
    | Condemn
    | Sweep
    | Replace
    | Index
    | Attest
    | Heal
    | Damaged
    | Evidence
)

BODY_TYPES: Final[dict[EntryType, type[Body]]] = {
    EntryType.INIT: Init,
    EntryType.DESCRIPTOR: Descriptor,
    EntryType.KEYGEN: KeyGen,
    EntryType.ADOPT: Adopt,
    EntryType.OPEN: Open,
    EntryType.COMMIT: Commit,
    EntryType.ABORT: Abort,
    EntryType.MIRROR: Mirror,
    EntryType.FORGET: Forget,
    EntryType.PIN: Pin,
    EntryType.UNPIN: Unpin,
    EntryType.CONDEMN: Condemn,
    EntryType.SWEEP: Sweep,
    EntryType.REPLACE: Replace,
    EntryType.INDEX: Index,
    EntryType.ATTEST: Attest,
    EntryType.HEAL: Heal,
    EntryType.DAMAGED: Damaged,
    EntryType.EVIDENCE: Evidence,
}
TYPE_OF: Final[dict[type[Body], EntryType]] = {body: number for number, body in BODY_TYPES.items()}
_BY_MAINTENANCE: Final = frozenset({Signer.MAINTENANCE})
_BY_WRITER: Final = frozenset({Signer.WRITER})
_BY_VERIFIER: Final = frozenset({Signer.VERIFIER})
_BY_NOBODY: Final = frozenset({Signer.NOBODY})
SIGNERS: Final[dict[EntryType, frozenset[Signer]]] = {
    EntryType.INIT: _BY_MAINTENANCE,
    EntryType.DESCRIPTOR: _BY_MAINTENANCE,
    EntryType.KEYGEN: _BY_MAINTENANCE,
    EntryType.ADOPT: _BY_MAINTENANCE,
    EntryType.OPEN: _BY_WRITER,
    EntryType.COMMIT: _BY_WRITER,
    EntryType.ABORT: _BY_WRITER | _BY_MAINTENANCE,
    EntryType.MIRROR: _BY_NOBODY,
    EntryType.FORGET: _BY_MAINTENANCE,
    EntryType.PIN: _BY_MAINTENANCE,
    EntryType.UNPIN: _BY_MAINTENANCE,
    EntryType.CONDEMN: _BY_MAINTENANCE,
    EntryType.SWEEP: _BY_MAINTENANCE,
    EntryType.REPLACE: _BY_WRITER,
    EntryType.INDEX: _BY_MAINTENANCE,
    EntryType.ATTEST: _BY_VERIFIER,
    EntryType.HEAL: _BY_NOBODY,
    EntryType.DAMAGED: _BY_VERIFIER,
    EntryType.EVIDENCE: _BY_VERIFIER | _BY_MAINTENANCE,
}
