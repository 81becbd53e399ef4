"""Bytes of log entries: nothing of one can be changed, moved or cut."""

from __future__ import annotations

import os
from itertools import product

import pytest

from recoup.engine.keys.signing import SigningKey
from recoup.engine.log.bodies import Abort, Attest, Body, Commit, Damaged, EntryType, ObjectRef, Open
from recoup.engine.log.entries import MAX_ENTRY_BYTES, Entry, Head, decode_entry, encode_entry
from recoup.errors import Integrity

KEY = SigningKey.generate()
HEAD = Head(EntryType.OPEN, 1, 1, bytes(16), os.urandom(16), bytes(16), 5, os.urandom(32), 1_700_000_000_000, os.urandom(16))
BODIES: dict[EntryType, Body] = {
    EntryType.OPEN: Open(os.urandom(16), b"ticket", 1 << 24, (os.urandom(32),)),
    EntryType.COMMIT: Commit(os.urandom(16), 4, b"", os.urandom(32), os.urandom(32), (), b"", b"sealed", (ObjectRef(os.urandom(32), 2),)),
    EntryType.ABORT: Abort(os.urandom(16), 3),
    EntryType.ATTEST: Attest(4, (os.urandom(32),), 17, 123_456),
    EntryType.DAMAGED: Damaged((ObjectRef(os.urandom(32)),), "missing"),
}


def believed(data: bytes) -> Entry:
    """What a reader does with bytes from a bucket, as far as bytes and signature go."""
    entry = decode_entry(data, "the-entry")
    if not entry.signed_by(KEY.public):
        raise Integrity("not signed")
    return entry


@pytest.mark.parametrize(("type_", "body"), BODIES.items())
def test_entries_round_trip(type_: EntryType, body: Body) -> None:
    data = encode_entry(HEAD._replace(type=type_), body, KEY)
    entry = believed(data)
    assert entry.body == body
    assert entry.head == HEAD._replace(type=type_)


def test_every_single_bit_flip_is_noticed() -> None:
    whole = bytearray(encode_entry(HEAD, BODIES[EntryType.OPEN], KEY))
    for position, bit in product(range(len(whole)), (1 << shift for shift in range(8))):
        whole[position] ^= bit
        with pytest.raises(Integrity):
            believed(bytes(whole))
        whole[position] ^= bit


def test_every_truncation_and_extension_is_noticed() -> None:
    whole = encode_entry(HEAD, BODIES[EntryType.COMMIT], KEY)
    for length in range(len(whole)):
        with pytest.raises(Integrity):
            decode_entry(whole[:length], "x")
    for data in (whole + b"\0", bytes(MAX_ENTRY_BYTES + 1)):
        with pytest.raises(Integrity):
            decode_entry(data, "x")


def test_an_entry_longer_than_the_format_allows_is_not_written() -> None:
    huge = Damaged(tuple(ObjectRef(os.urandom(32)) for _ in range(2000)), "")
    with pytest.raises(ValueError, match="longer"):
        encode_entry(HEAD, huge, KEY)


def test_a_signature_for_another_purpose_is_none() -> None:
    data = encode_entry(HEAD, BODIES[EntryType.OPEN], KEY)
    body = data[:-64]
    assert not decode_entry(body + KEY.sign(b"rcp1/ticket", body), "x").signed_by(KEY.public)
