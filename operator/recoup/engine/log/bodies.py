"""What log entries say (docs/format.md section 6): one struct per type, encoded as canonical records.

Only the types that this version acts upon are here. A signed entry of any other type makes a reader refuse the log, because it
cannot know what that entry took back.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec


class EntryType(IntEnum):
    INIT = 1
    DESCRIPTOR = 2
    KEYGEN = 3
    OPEN = 5
    COMMIT = 6
    ABORT = 7
    ATTEST = 16
    DAMAGED = 18


class Signer(IntEnum):
    """Which of the generation's keys signed an entry."""

    WRITER = 1
    MAINTENANCE = 2
    VERIFIER = 3


class KeyringRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One keyring object in force."""

    generation: int
    digest: bytes


class ObjectRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One stored object: its digest and incarnation."""

    digest: bytes
    incarnation: int = 0


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


Body = Init | Descriptor | KeyGen | Open | Commit | Abort | Attest | Damaged

BODY_TYPES: Final[dict[EntryType, type[Body]]] = {
    EntryType.INIT: Init,
    EntryType.DESCRIPTOR: Descriptor,
    EntryType.KEYGEN: KeyGen,
    EntryType.OPEN: Open,
    EntryType.COMMIT: Commit,
    EntryType.ABORT: Abort,
    EntryType.ATTEST: Attest,
    EntryType.DAMAGED: Damaged,
}
TYPE_OF: Final[dict[type[Body], EntryType]] = {body: number for number, body in BODY_TYPES.items()}
SIGNERS: Final[dict[EntryType, frozenset[Signer]]] = {
    EntryType.INIT: frozenset({Signer.MAINTENANCE}),
    EntryType.DESCRIPTOR: frozenset({Signer.MAINTENANCE}),
    EntryType.KEYGEN: frozenset({Signer.MAINTENANCE}),
    EntryType.OPEN: frozenset({Signer.WRITER}),
    EntryType.COMMIT: frozenset({Signer.WRITER}),
    EntryType.ABORT: frozenset({Signer.WRITER, Signer.MAINTENANCE}),
    EntryType.ATTEST: frozenset({Signer.VERIFIER}),
    EntryType.DAMAGED: frozenset({Signer.VERIFIER}),
}
