"""The container's builder: sizes, what it refuses, and that what it seals opens again."""

from __future__ import annotations

import os

import pytest

from recoup.engine.format.kinds import BlockKind, Codec, Kind
from recoup.engine.format.names import digest_of, parse_object_name
from recoup.engine.format.padme import padme
from recoup.engine.format.sealed import ObjectBuilder, ObjectReader, Sealing
from tests.unit.engine.format.sealing import CAPACITY, Pair, block, by_hpke, by_wrapping, seal

ID = b"\1" * 32


@pytest.mark.parametrize("pair", [by_hpke(), by_hpke(Kind.TREE, recipients=3), by_wrapping(), by_wrapping(Kind.CACHE)])
def test_what_is_sealed_opens_again(pair: Pair) -> None:
    blocks = [block(os.urandom(1000)), block(b"text " * 5000, Codec.ZSTD), block(b""), block(b"", Codec.ZSTD)]
    sealed = seal(pair.sealing, blocks)
    reader = ObjectReader(sealed.data, pair.opening, sealed.name)
    assert [entry.id for entry in reader.table[:-1]] == [ident for ident, _, _ in blocks]
    assert [bytes(reader.read(number)) for number in range(len(blocks))] == [plain for _, _, plain in blocks]
    reader.check_padding()
    assert sealed.blocks == len(blocks)
    assert sealed.digest == digest_of(sealed.data)
    assert parse_object_name(sealed.name).area == pair.sealing.kind.area


def test_no_plaintext_is_left_in_the_object() -> None:
    pair = by_hpke()
    sealed = seal(pair.sealing, [block(b"canary-canary-canary " * 100), block(b"x" * 10_000)])
    assert b"canary" not in bytes(sealed.data)
    assert b"xxxxxxxx" not in bytes(sealed.data)


@pytest.mark.parametrize("length", [0, 1, 100, 1023, 5000, 70_000])
def test_padme_is_the_size_of_a_last_pack(length: int) -> None:
    builder = ObjectBuilder(by_hpke().sealing, CAPACITY)
    builder.add(ID, BlockKind.DATA, Codec.RAW, length, bytes(length))
    used = builder.used
    assert len(builder.close(stored_size=None).data) == padme(used)


def test_a_fixed_size_is_met_to_the_byte_by_every_number_of_blocks() -> None:
    pair, capacity = by_hpke(), 128 << 10
    for count in (0, 1, 20, 21, 22, 400):
        sealed = seal(pair.sealing, [block(os.urandom(60)) for _ in range(count)], stored_size=capacity, capacity=capacity)
        assert len(sealed.data) == capacity
        assert len(ObjectReader(sealed.data, pair.opening, "x").table) == count + 1


def test_fits_is_exact() -> None:
    builder = ObjectBuilder(by_hpke().sealing, 10_000)
    room = next(length for length in range(10_000, -1, -1) if builder.fits(length))
    builder.add(ID, BlockKind.DATA, Codec.RAW, room, bytes(room))
    assert not builder.fits(0)
    assert len(builder.close(stored_size=10_000).data) == 10_000


def test_a_full_or_closed_builder_refuses_blocks() -> None:
    builder = ObjectBuilder(by_hpke().sealing, 10_000)
    with pytest.raises(ValueError, match="full"):
        builder.add(ID, BlockKind.DATA, Codec.RAW, 10_000, bytes(10_000))
    builder.close(stored_size=None)
    with pytest.raises(ValueError, match="closed"):
        builder.add(ID, BlockKind.DATA, Codec.RAW, 0, b"")
    with pytest.raises(ValueError, match="closed"):
        builder.close(stored_size=None)


def test_a_reused_buffer_leaks_nothing_of_the_object_before() -> None:
    pair, capacity = by_hpke(), 64 << 10
    buffer = memoryview(bytearray(b"\xaa" * capacity))
    builder = ObjectBuilder(pair.sealing, capacity, buffer)
    builder.add(ID, BlockKind.DATA, Codec.RAW, 3, b"abc")
    sealed = builder.close(stored_size=capacity)
    reader = ObjectReader(sealed.data, pair.opening, "x")
    reader.check_padding()
    assert bytes(reader.read(0)) == b"abc"


def test_what_no_object_may_hold_is_refused() -> None:
    builder = ObjectBuilder(by_hpke().sealing, CAPACITY)
    for ident, kind, length in (
        (bytes(32), BlockKind.DATA, 1),
        (b"short", BlockKind.DATA, 1),
        (ID, BlockKind.PADDING, 1),
        (ID, BlockKind.DATA, 2),
    ):
        with pytest.raises(ValueError, match="block"):
            builder.add(ident, kind, Codec.RAW, length, b"x")


def test_reserved_views_may_be_filled_later() -> None:
    pair = by_hpke()
    builder = ObjectBuilder(pair.sealing, CAPACITY)
    _, view = builder.reserve(ID, BlockKind.DATA, Codec.RAW, 5, 5)
    builder.add(ID, BlockKind.DATA, Codec.RAW, 6, b"second")
    view[:] = b"first"
    reader = ObjectReader(builder.close(stored_size=None).data, pair.opening, "x")
    assert (bytes(reader.read(0)), bytes(reader.read(1))) == (b"first", b"second")


@pytest.mark.parametrize(
    ("kind", "recipients", "wrapping_key"),
    [(Kind.DATA, (), None), (Kind.DATA, (), bytes(32)), (Kind.INDEX, (bytes(32),), None), (Kind.INDEX, (bytes(32),), bytes(32))],
)
def test_a_kind_is_sealed_only_by_its_own_key(kind: Kind, recipients: tuple[bytes, ...], wrapping_key: bytes | None) -> None:
    with pytest.raises(ValueError, match="not sealed this way"):
        Sealing(bytes(16), bytes(16), 1, kind, bytes(32), recipients, wrapping_key)


def test_the_same_random_state_never_repeats_a_block_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hedge: same seed and object id, another compression level: every key differs; same blocks, another object id: too."""
    pair = by_wrapping()
    plain = b"".join(number.to_bytes(4, "big") for number in range(5000))
    ident = os.urandom(32)
    blocks = [(ident, int(Codec.ZSTD), plain), (ident, int(Codec.RAW), b"same in both")]

    def header(level: int, random: bytes) -> tuple[bytes, bytes]:
        monkeypatch.setattr(os, "urandom", lambda length: random[:length])
        sealed = seal(pair.sealing, blocks, level=level)
        reader = ObjectReader(sealed.data, pair.opening, "x")
        entry = reader.table[1]
        return reader.header.hedge, bytes(sealed.data[entry.offset : entry.offset + entry.cipher_length])

    one, two, same, other = header(1, bytes(32)), header(19, bytes(32)), header(1, bytes(32)), header(1, b"\1" * 32)
    assert one == same
    assert one[0] != two[0]
    assert one[1] != two[1]
    assert one[0] != other[0]
