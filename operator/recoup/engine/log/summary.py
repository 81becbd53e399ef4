"""The state of a log as rows, and back (docs/format.md section 6, Checkpoints).

The same log gives everybody the same rows, whatever was read from a checkpoint and what from entries; that is how a checkpoint is checked.
Left out is what no later rule or reader asks for: tickets and OPENs of committed sessions, bodies of points whose objects were condemned,
ATTESTs of points that are gone. Rows that did not change stand in the same parts as before.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final

import msgspec
from blake3 import blake3

from recoup.engine.format.kinds import DIGEST_BYTES
from recoup.engine.keys.certificate import verify_certificate
from recoup.engine.keys.roles import VaultIdentity
from recoup.engine.log.bodies import Commit, Condemn, DescriptorRef, Evidence, Init, ObjectRef, Pin, Sweep
from recoup.engine.log.facts import Attested, Committed, Facts, Forgotten, Noted, Session
from recoup.errors import Integrity

MIN_PART: Final = 256 << 10
MAX_PART: Final = 1 << 20
MAX_PART_BYTES: Final = MAX_PART + (128 << 10)
"""Stored; the last row, which is at most an entry long, may reach beyond MAX_PART."""
_MAGIC: Final = b"RCPT\x01\x00\x00\x00"
_NONCE: Final = 16
_LENGTH: Final = struct.Struct(">I")
_CUT: Final = 64
_building: Final = threading.Lock()
_UNKNOWN: Final = "it was skipped before a checkpoint was made; `recoup verify --level 0` reads the log from its beginning"


class _Vault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything of which there is one."""

    init: Init
    certificates: tuple[bytes, ...]
    """As the root key signed them, by generation."""
    keyrings: dict[int, bytes]
    descriptor: DescriptorRef
    invalid: int
    complaints: tuple[int, ...]
    """Seqs of the last entries that were skipped."""
    lost: tuple[int, ...]
    lost_since: bool
    breaks: tuple[int, ...]
    foreign_root: bool
    unfinished: tuple[int, ...]
    last_live: tuple[int, int] | None
    last_shrinking: int


_TABLES: Final[dict[int, tuple[str, Any, Any]]] = {
    1: ("sessions", bytes, Session),
    2: ("commits", bytes, Committed),
    3: ("forgotten", bytes, Forgotten),
    4: ("pinned", bytes, Noted[Pin]),
    5: ("adopted", str, str),
    6: ("policy_generations", str, int),
    7: ("condemned", int, Noted[Condemn]),
    8: ("swept", int, Noted[Sweep]),
    9: ("merged_segments", bytes, int),
    10: ("healed", bytes, tuple[int, ...]),
    11: ("incarnations", bytes, int),
    12: ("mirrored", bytes, int),
}
"""Facts that are dicts: number of the table, name, types of key and value."""
_LISTS: Final[dict[int, tuple[str, Any]]] = {
    13: ("attests", Attested),
    14: ("evidence", Noted[Evidence]),
    15: ("damaged", ObjectRef),
    16: ("replaced_segments", bytes),
}
_VAULT: Final = 17
_LARGE: Final = frozenset({1, 2, 3})
"""Tables that grow with the number of runs."""


def rows_of(facts: Facts) -> Iterator[bytes]:
    """The rows, each a MessagePack array `[table, key, value]` or `[table, value]`, in their order."""
    encode = msgspec.msgpack.Encoder().encode
    trimmed = _trimmed(facts)
    for table, (name, _, _) in _TABLES.items():
        for key, value in trimmed.get(name, getattr(facts, name)).items():
            yield encode([table, key, value])
    for table, (name, _) in _LISTS.items():
        for value in trimmed.get(name, getattr(facts, name)):
            yield encode([table, value])
    yield encode([_VAULT, _vault_row(facts)])


def cut(rows: Iterable[bytes]) -> Iterator[bytes]:
    """Rows as the contents of parts: a part ends with a large table, or by what its last row is, so that changes move few borders."""
    part: list[bytes] = []
    size, table = 0, 0
    for row in rows:
        if part and row[1] != table and table in _LARGE:
            yield b"".join(part)
            part, size = [], 0
        part.append(_LENGTH.pack(len(row)) + row)
        size, table = size + len(row) + _LENGTH.size, row[1]
        if size >= MAX_PART or (size >= MIN_PART and blake3(row).digest()[0] % _CUT == 0):
            yield b"".join(part)
            part, size = [], 0
    if part:
        yield b"".join(part)


def encode_part(content: bytes) -> bytes:
    """Stored bytes: a nonce, so that a name never comes back, and the rows."""
    return _MAGIC + os.urandom(_NONCE) + content


def decode_part(data: bytes, what: str) -> bytes:
    """The rows of a part. Raises Integrity."""
    start = len(_MAGIC) + _NONCE
    if not start <= len(data) <= MAX_PART_BYTES or data[: len(_MAGIC)] != _MAGIC:
        raise Integrity(f"{what} is no part of a checkpoint")
    return data[start:]


def content_digest(content: bytes) -> bytes:
    """What a checkpoint says of a part's rows."""
    return blake3(content).digest()


def restore(contents: Iterable[bytes], vault_id: bytes, pinned_root: bytes | None, what: str) -> Facts:
    """Facts from the contents of all parts, without `next_seq`, `previous` and `location_id`, which the checkpoint says.

    Raises Integrity for anything malformed, and for certificates that the root key did not sign.
    """
    facts, seen = Facts(vault_id, pinned_root), False
    try:
        for content in contents:
            for row in _split(content):
                seen = _take(facts, row) or seen
    except (msgspec.MsgspecError, struct.error, IndexError, RecursionError, UnicodeDecodeError, OverflowError) as error:
        raise Integrity(f"{what} is malformed: {error}") from None
    if not seen or facts.identity is None:
        raise Integrity(f"{what} is malformed: it does not say whose vault it is")
    return facts


def _split(content: bytes) -> Iterator[memoryview]:
    view, at = memoryview(content), 0
    while at < len(view):
        (length,) = _LENGTH.unpack_from(view, at)
        at += _LENGTH.size
        if not length or at + length > len(view):
            raise IndexError("a row is cut short")
        yield view[at : at + length]
        at += length


def _take(facts: Facts, row: memoryview) -> bool:
    """Add a row; True if it is the one about the vault."""
    table = row[1]  # after the byte that says that it is an array of two or three
    if table == _VAULT:
        _restore_vault(facts, _decoder(table).decode(row)[1])
        return True
    if table in _TABLES:
        _, key, value = _decoder(table).decode(row)
        getattr(facts, _TABLES[table][0])[key] = value
        return False
    if table not in _LISTS:
        raise IndexError(f"unknown table {table}")
    value = _decoder(table).decode(row)[1]
    target = getattr(facts, _LISTS[table][0])
    (target.add if isinstance(target, set) else target.append)(value)
    return False


def _decoder(table: int) -> msgspec.msgpack.Decoder[Any]:
    with _building:  # msgspec builds what it knows of a type once, and not safely from two threads (recoup/typeinfo.py)
        return _build_decoder(table)


@cache
def _build_decoder(table: int) -> msgspec.msgpack.Decoder[Any]:
    if table == _VAULT:
        row: Any = tuple[int, _Vault]
    elif table in _LISTS:
        row = tuple.__class_getitem__((int, _LISTS[table][1]))
    else:
        row = tuple.__class_getitem__((int, *_TABLES[table][1:]))
    return msgspec.msgpack.Decoder(row)


def _trimmed(facts: Facts) -> dict[str, Any]:
    """The facts of which only a part is kept."""
    since = max([*facts.condemned, *(noted.body.condemned for noted in facts.swept.values())], default=-1)
    attests = []
    for attest in facts.attests:
        manifests = tuple(manifest for manifest in attest.body.manifests if manifest in facts.commits)
        if manifests:
            attests.append(msgspec.structs.replace(attest, body=msgspec.structs.replace(attest.body, manifests=manifests)))
    named = {segment for commit in facts.commits.values() for segment in commit.body.index_segments}
    return {
        "sessions": {ident: _short(session) for ident, session in facts.sessions.items()},
        "forgotten": {ident: gone if gone.seq > since else _bare(ident, gone) for ident, gone in facts.forgotten.items()},
        "attests": attests,
        "damaged": sorted(facts.damaged, key=lambda ref: (ref.digest, ref.incarnation)),
        "replaced_segments": sorted(facts.replaced_segments & named),
    }


def _short(session: Session) -> Session:
    """A committed session can only be refused."""
    return session if session.committed is None else Session(b"", committed=session.committed)


def _bare(manifest: bytes, gone: Forgotten) -> Forgotten:
    """A point whose objects were condemned already: what is left is that it may not come back."""
    return Forgotten(gone.seq, Committed(gone.seq, 0, 0, Commit(b"", 0, b"", manifest, b"", (), b"", b"")))


def _vault_row(facts: Facts) -> _Vault:
    assert facts.init is not None
    assert facts.descriptor is not None
    return _Vault(
        facts.init,
        tuple(facts.signed_certificates[generation] for generation in sorted(facts.signed_certificates)),
        dict(sorted(facts.keyrings.items())),
        facts.descriptor,
        facts.invalid,
        tuple(seq for seq, _ in facts.complaints),
        tuple(sorted(facts.lost)),
        facts._lost_since,  # noqa: SLF001  # this module is the other half of Facts
        tuple(facts.breaks),
        facts.foreign_root,
        tuple(sorted(facts.unfinished)),
        facts.last_live,
        facts.last_shrinking,
    )


def _restore_vault(facts: Facts, row: _Vault) -> None:
    for signed in row.certificates:
        certificate = verify_certificate(signed, "a certificate in a checkpoint's state")
        if facts.pinned_root is not None and certificate.root != facts.pinned_root:
            raise Integrity("a checkpoint's state leads to another root key than the pinned one", reason="RootMismatch")
        if certificate.vault_id != facts.vault_id:
            raise Integrity("a checkpoint's state is of another vault")
        facts.certificates[certificate.generation] = certificate
        facts.signed_certificates[certificate.generation] = signed
        facts.identity = VaultIdentity(certificate.repo_id, certificate.vault_id, certificate.root)
    if any(len(digest) != DIGEST_BYTES for digest in row.keyrings.values()):
        raise Integrity("a checkpoint's state is malformed: a keyring's digest")
    facts.init, facts.descriptor, facts.keyrings = row.init, row.descriptor, dict(row.keyrings)
    facts.invalid, facts.complaints = row.invalid, [(seq, _UNKNOWN) for seq in row.complaints]
    facts.lost, facts.breaks, facts.foreign_root = set(row.lost), list(row.breaks), row.foreign_root
    facts._lost_since = row.lost_since  # noqa: SLF001  # this module is the other half of Facts
    facts.unfinished, facts.last_live, facts.last_shrinking = set(row.unfinished), row.last_live, row.last_shrinking
