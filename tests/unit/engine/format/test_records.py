"""Canonical records and small sealed records."""

from __future__ import annotations

import hmac
import os

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recoup.engine.format.derive import expand
from recoup.engine.format.records import decode_record, encode_record, open_record, seal_record
from recoup.errors import Integrity


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int
    data: bytes
    words: tuple[str, ...] = ()


def test_records_round_trip() -> None:
    example = Example(7, b"\0\xff", ("a", "ü"))
    assert decode_record(encode_record(example), Example, "x") == example


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        encode_record(Example(1, b"")) + b"\0",
        encode_record(Example(1, b""))[:-1],
        msgspec.msgpack.encode({"data": b"", "number": 1, "words": []}),
        msgspec.msgpack.encode({"number": 1, "data": b""}),
        msgspec.msgpack.encode({"number": 1, "data": b"", "words": [], "more": 1}),
        msgspec.msgpack.encode({"number": "1", "data": b"", "words": []}),
        b"\x83\xa6number\xcd\x00\x01\xa4data\xc4\x00\xa5words\x90",
        b"\x91" * 5000,
    ],
)
def test_only_the_canonical_form_is_read(data: bytes) -> None:
    with pytest.raises(Integrity, match="the record"):
        decode_record(data, Example, "the record")


@pytest.mark.parametrize("length", [0, 1, 251, 252, 253, 5000])
def test_sealed_records_round_trip_and_hide_their_length(length: int) -> None:
    key, plain = os.urandom(32), os.urandom(length)
    sealed = seal_record(key, b"context", plain)
    assert open_record(key, b"context", sealed, "x") == plain
    assert (len(sealed) - 80) % 256 == 0


def test_every_flip_and_cut_of_a_sealed_record_is_noticed() -> None:
    key = os.urandom(32)
    sealed = bytearray(seal_record(key, b"context", b"hello"))
    for position in range(len(sealed)):
        sealed[position] ^= 1
        with pytest.raises(Integrity):
            open_record(key, b"context", bytes(sealed), "x")
        sealed[position] ^= 1
        with pytest.raises(Integrity):
            open_record(key, b"context", bytes(sealed[:position]), "x")
    for other_key, context in ((os.urandom(32), b"context"), (key, b"another")):
        with pytest.raises(Integrity):
            open_record(other_key, context, bytes(sealed), "x")


@pytest.mark.parametrize(
    "padded",
    [b"", b"\0\0\0\5hello", bytes(255), (300).to_bytes(4, "big") + bytes(252), b"\0\0\0\1a" + bytes(250) + b"\1", bytes(512)],
    ids=["nothing", "not padded", "short", "longer than it is", "padding not zero", "padded too far"],
)
def test_a_record_that_is_sealed_rightly_but_padded_otherwise_is_refused(padded: bytes) -> None:
    """Whoever holds the key can seal anything."""
    key, salt = os.urandom(32), os.urandom(32)
    prk = hmac.digest(salt, key, "sha512")
    material = expand(prk, b"rcp1/recordcontextkey", 44)
    cipher = AESGCM(material[:32]).encrypt(material[32:], padded, None)
    with pytest.raises(Integrity, match="padding"):
        open_record(key, b"context", salt + expand(prk, b"rcp1/recordcontextcommit", 32) + cipher, "x")


def test_a_record_committed_to_another_key_is_refused() -> None:
    key = os.urandom(32)
    sealed = seal_record(key, b"context", b"hello")
    with pytest.raises(Integrity, match="another key"):
        open_record(key, b"context", sealed[:32] + bytes(32) + sealed[64:], "x")
