"""The container's reader against hostile bytes: every flip, every cut, and objects made by somebody who holds the keys."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import product

import pytest
import zstandard

from recoup.engine.format import envelopes, layout, sealed
from recoup.engine.format.kinds import MAX_PLAIN_BYTES, BlockKind, Codec, Kind
from recoup.engine.format.layout import BlockEntry
from recoup.engine.format.reader import ObjectReader, Opening
from recoup.engine.format.sealed import ObjectBuilder, Sealing
from recoup.errors import Integrity, KeyUnavailable, RecoupError
from tests.unit.engine.format.sealing import Pair, block, by_hpke, by_wrapping, seal


def read_all(data: bytes, opening: Opening) -> list[bytes]:
    reader = ObjectReader(data, opening, "m/the-object")
    plain = [bytes(reader.read(number)) for number in range(len(reader.table) - 1)]
    reader.check_padding()
    return plain


@pytest.mark.parametrize("pair", [by_hpke(recipients=2), by_wrapping()], ids=["hpke", "kwp"])
def test_every_single_bit_flip_is_noticed(pair: Pair) -> None:
    whole = bytearray(seal(pair.sealing, [block(b"raw"), block(b"zstd" * 50, Codec.ZSTD)]).data)
    assert read_all(bytes(whole), pair.opening)
    for position, bit in product(range(len(whole)), (1 << shift for shift in range(8))):
        whole[position] ^= bit
        with pytest.raises((Integrity, KeyUnavailable)) as caught:
            read_all(bytes(whole), pair.opening)
        assert "m/the-object" in str(caught.value)
        whole[position] ^= bit


def test_a_flip_in_what_names_the_recipient_says_that_no_key_fits_or_that_it_is_damaged() -> None:
    """The only bytes that may answer KeyUnavailable: the recipient id of the one envelope."""
    pair = by_wrapping()
    whole = bytearray(seal(pair.sealing, [block(b"x")]).data)
    unavailable = []
    for position in range(len(whole)):
        whole[position] ^= 0x80
        try:
            read_all(bytes(whole), pair.opening)
        except KeyUnavailable:
            unavailable.append(position)
        except Integrity:
            pass
        whole[position] ^= 0x80
    start = layout.HEADER_BYTES + 4
    assert unavailable == list(range(start, start + 16))


@pytest.mark.parametrize("pair", [by_hpke(), by_wrapping()], ids=["hpke", "kwp"])
def test_every_truncation_and_extension_is_noticed(pair: Pair) -> None:
    whole = bytes(seal(pair.sealing, [block(b"raw"), block(b"zstd" * 50, Codec.ZSTD)]).data)
    for length in range(len(whole)):
        for data in (whole[:length], whole[len(whole) - length :]):
            with pytest.raises(Integrity):
                read_all(data, pair.opening)
    for data in (whole + b"\0", b"\0" + whole, whole + whole):
        with pytest.raises(Integrity):
            read_all(data, pair.opening)


def test_an_object_of_another_vault_kind_or_key_is_refused() -> None:
    pair = by_hpke()
    data = bytes(seal(pair.sealing, [block(b"x")]).data)
    ours = pair.opening
    with pytest.raises(Integrity, match="another vault"):
        read_all(data, Opening(ours.repo_id, os.urandom(16), Kind.DATA, ours.private_keys))
    with pytest.raises(Integrity, match="another vault"):
        read_all(data, Opening(os.urandom(16), ours.vault_id, Kind.DATA, ours.private_keys))
    with pytest.raises(Integrity, match="DATA where TREE"):
        read_all(data, Opening(ours.repo_id, ours.vault_id, Kind.TREE, ours.private_keys))
    with pytest.raises(KeyUnavailable, match="none of the keys"):
        read_all(data, Opening(ours.repo_id, ours.vault_id, Kind.DATA))


def test_blocks_of_two_objects_cannot_be_exchanged() -> None:
    pair = by_hpke()
    ident = os.urandom(32)
    one, two = (bytearray(seal(pair.sealing, [(ident, Codec.RAW, b"same length %d" % number)]).data) for number in (1, 2))
    entry = ObjectReader(bytes(one), pair.opening, "x").table[0]
    span = slice(entry.offset, entry.offset + entry.cipher_length)
    one[span], two[span] = two[span], one[span]
    for data in (one, two):
        with pytest.raises(Integrity, match="block 0"):
            read_all(bytes(data), pair.opening)


Change = Callable[[list[BlockEntry]], list[BlockEntry]]


def forged(pair: Pair, monkeypatch: pytest.MonkeyPatch, change: Change) -> bytes:
    """An object whose block table somebody with the keys wrote otherwise."""
    honest = layout.encode_table
    monkeypatch.setattr(sealed, "encode_table", lambda entries: honest(change(list(entries))))
    data = bytes(seal(pair.sealing, [block(b"a" * 100), block(b"b" * 100)]).data)
    monkeypatch.undo()
    return data


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("unknown kind", lambda t: [t[0]._replace(kind=77), *t[1:]]),
        ("unknown codec", lambda t: [t[0]._replace(codec=9), *t[1:]]),
        ("plain length over the limit", lambda t: [t[0]._replace(codec=Codec.ZSTD, plain_length=MAX_PLAIN_BYTES + 1), *t[1:]]),
        ("raw block of another length", lambda t: [t[0]._replace(plain_length=99), *t[1:]]),
        ("no room for frame and tag", lambda t: [t[0]._replace(cipher_length=23, codec=Codec.ZSTD), *t[1:]]),
        ("first block not behind the header", lambda t: [t[0]._replace(offset=t[0].offset + 1), *t[1:]]),
        ("overlapping blocks", lambda t: [t[0], t[1]._replace(offset=t[0].offset), t[2]]),
        (
            "gap before the footer",
            lambda t: [*t[:2], t[2]._replace(cipher_length=t[2].cipher_length - 1, plain_length=t[2].plain_length - 1)],
        ),
        ("no padding block", lambda t: [*t[:2], t[2]._replace(kind=BlockKind.DATA, id=b"\1" * 32)]),
        ("padding in the middle", lambda t: [t[0]._replace(kind=BlockKind.PADDING, id=bytes(32)), *t[1:]]),
        ("padding with an id", lambda t: [*t[:2], t[2]._replace(id=b"\1" * 32)]),
        ("data under the padding's id", lambda t: [t[0]._replace(id=bytes(32)), *t[1:]]),
        ("no rows at all", lambda t: t[:0]),
    ],
)
def test_a_forged_block_table_is_refused_before_any_block_is_shown(name: str, change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = by_hpke()
    data = forged(pair, monkeypatch, change)
    with pytest.raises(Integrity, match="block table"):
        ObjectReader(data, pair.opening, "x")


@pytest.mark.parametrize(
    "change",
    [lambda t: [t[0]._replace(codec=Codec.ZSTD, plain_length=100), *t[1:]], lambda t: [t[0]._replace(kind=BlockKind.TREE), *t[1:]]],
)
def test_a_frame_that_says_otherwise_than_its_row_is_refused(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = by_hpke()
    reader = ObjectReader(forged(pair, monkeypatch, change), pair.opening, "x")
    with pytest.raises(Integrity, match="block 0: frame"):
        reader.read(0)


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, b"RCP2"),
        (4, b"\0\2"),
        (6, b"\0\2"),
        (60, b"\7"),
        (60, b"\0"),
        (61, b"\1"),
        (62, b"\0\0"),
        (62, b"\0\21"),
        (128, b"\0\1\0\1"),
        (140, b"\1"),
    ],
)
def test_a_header_that_is_sealed_rightly_but_says_what_no_header_says_is_refused(
    at: int, value: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds the keys can seal any header: magic, version, suite, kind, flags, recipients, envelope bytes, reserved."""
    pair, honest = by_hpke(), layout.encode_header
    monkeypatch.setattr(sealed, "encode_header", lambda header: patched(honest(header), at, value))
    data = bytes(seal(pair.sealing, [block(b"x")]).data)
    with pytest.raises(Integrity, match="header"):
        ObjectReader(data, pair.opening, "x")


@pytest.mark.parametrize(
    ("change", "recipients"),
    [
        (lambda e: b"\3" + e[1:], 1),
        (lambda e: e[:1] + b"\1" + e[2:], 1),
        (lambda e: e[:2] + b"\0\x4f" + e[4:], 1),
        (lambda e: e, 2),
        (lambda e: e + b"\0", 1),
        (lambda e: e + e[:100] + b"\0", 2),
        (lambda e: e + b"\1\0\0\x50" + bytes(16) + bytes(79), 2),
    ],
    ids=["unknown type", "reserved byte", "length", "one too few", "a byte behind", "a byte behind two", "second one cut"],
)
def test_envelopes_that_are_malformed_are_refused_though_one_opens(
    change: Callable[[bytes], bytes], recipients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, honest, header = by_hpke(), envelopes.seal_envelopes, layout.encode_header
    length = len(change(bytes(100)))
    monkeypatch.setattr(sealed, "seal_envelopes", lambda *arguments: change(honest(*arguments)))
    monkeypatch.setattr(sealed, "encode_header", lambda h: header(h._replace(recipients=recipients, envelope_bytes=length)))
    monkeypatch.setattr(Sealing, "header_length", 144 + length)
    data = bytes(seal(pair.sealing, [block(b"x")]).data)
    with pytest.raises(Integrity, match="envelope"):
        ObjectReader(data, pair.opening, "x")


@pytest.mark.parametrize(("at", "value"), [(0, b"\0\0\0\0"), (0, b"\0\1\0\1"), (0, b"\0\0\0\41"), (38, b"\1"), (1023, b"\1")])
def test_a_table_that_is_sealed_rightly_but_malformed_is_refused(at: int, value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts that do not fit its length, a reserved byte in a row, bytes behind the rows."""
    pair, honest = by_hpke(), layout.encode_table
    monkeypatch.setattr(sealed, "encode_table", lambda entries: patched(honest(entries), at, value))
    data = bytes(seal(pair.sealing, [block(b"x")]).data)
    with pytest.raises(Integrity, match="block table"):
        ObjectReader(data, pair.opening, "x")


def test_the_forger_of_these_tests_forges_nothing_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = by_hpke()
    assert read_all(forged(pair, monkeypatch, lambda table: table), pair.opening) == [b"a" * 100, b"b" * 100]


def zstd_object(pair: Pair, payload: bytes, plain_length: int) -> bytes:
    builder = ObjectBuilder(pair.sealing, 1 << 20)
    builder.add(os.urandom(32), BlockKind.DATA, Codec.ZSTD, plain_length, payload)
    return bytes(builder.close(stored_size=None).data)


def test_decompression_never_gives_another_length_than_declared() -> None:
    pair = by_hpke()
    frame = zstandard.ZstdCompressor().compress(b"z" * 1000)
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(b"z" * 1000)
    assert read_all(zstd_object(pair, frame, 1000), pair.opening) == [b"z" * 1000]
    bomb = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    wrong = [
        (frame, 999),
        (frame, 1001),
        (unsized, 1000),
        (frame + frame, 1000),
        (frame + frame, 2000),
        (frame[:-1], 1000),
        (b"", 0),
        (b"junk", 4),
        (bomb, 1000),
        (bomb, MAX_PLAIN_BYTES),
    ]
    for payload, declared in wrong:
        with pytest.raises(Integrity, match="block 0"):
            read_all(zstd_object(pair, payload, declared), pair.opening)


def test_a_commitment_to_another_key_is_refused_though_everything_would_decrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, honest = by_hpke(), layout.encode_header
    monkeypatch.setattr(sealed, "encode_header", lambda header: patched(honest(header), 96, bytes(32)))
    data = bytes(seal(pair.sealing, [block(b"x")]).data)
    with pytest.raises(Integrity, match="commitment"):
        ObjectReader(data, pair.opening, "x")


@pytest.mark.parametrize("footer", [1023, 1025, 1500, 3 << 20, 8 << 20, 16])
def test_a_footer_of_a_length_that_no_table_has_is_refused_before_it_is_read(footer: int) -> None:
    size = 32 << 20
    trailer = layout.encode_trailer(layout.Trailer(footer + 16, 244, size - 24 - footer - 16))
    with pytest.raises(Integrity, match="footer length"):
        layout.decode_trailer(trailer, size, "x")


@pytest.mark.parametrize("trailer", [layout.Trailer(1040, 143, 8936), layout.Trailer(1040, 8937, 8936), layout.Trailer(1040, 244, 8935)])
def test_a_trailer_that_does_not_fit_the_object_is_refused(trailer: layout.Trailer) -> None:
    assert layout.decode_trailer(layout.encode_trailer(layout.Trailer(1040, 244, 8936)), 10_000, "x")
    with pytest.raises(Integrity, match="trailer offsets"):
        layout.decode_trailer(layout.encode_trailer(trailer), 10_000, "x")


@pytest.mark.parametrize("size", [0, 167, (256 << 20) + 1, 1 << 60])
def test_an_object_of_a_size_that_no_object_has_is_refused_unread(size: int) -> None:
    class Huge:
        def __init__(self) -> None:
            self.size = size

        def read(self, start: int, length: int) -> bytes:
            raise AssertionError(f"{length} bytes from {start} were read before the size was checked")

    with pytest.raises(Integrity, match="size"):
        ObjectReader(Huge(), by_hpke().opening, "x")


class Ranges:
    """A source that counts what is read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)
        self.reads: list[tuple[int, int]] = []

    def read(self, start: int, length: int) -> bytes:
        self.reads.append((start, length))
        assert 0 <= start <= start + length <= self.size
        return self._data[start : start + length]


@pytest.mark.parametrize("count", [1, 400])
def test_ranged_reading_fetches_ends_and_the_wanted_block_only(count: int) -> None:
    pair = by_hpke()
    blocks = [block(os.urandom(2000)) for _ in range(count)]
    source = Ranges(bytes(seal(pair.sealing, blocks).data))
    reader = ObjectReader(source, pair.opening, "x")
    opened = sum(length for _, length in source.reads)
    assert bytes(reader.read(count - 1)) == blocks[-1][2]
    assert len(source.reads) <= 4
    assert opened < 60_000


def test_errors_of_the_reader_never_leave_our_kinds() -> None:
    """Random bytes behind a good magic, of every length up to the smallest object."""
    pair = by_hpke()
    good = bytes(seal(pair.sealing, [block(b"x")]).data)
    for _ in range(300):
        data = good[:4] + os.urandom(len(good) - 28) + good[-24:]
        with pytest.raises(RecoupError):
            read_all(data, pair.opening)
