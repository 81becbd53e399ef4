"""Whatever is sealed opens again, and whatever bytes come in, only our errors come out."""

from __future__ import annotations

import os

import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from recoup.engine.format.kinds import BlockKind, Codec, Kind
from recoup.engine.format.padme import padme
from recoup.engine.format.reader import ObjectReader
from recoup.engine.format.records import open_record, seal_record
from recoup.engine.format.sealed import ObjectBuilder
from recoup.engine.keys.keyring import decode_keyring
from recoup.engine.log.entries import decode_entry
from recoup.errors import Integrity, RecoupError
from tests.unit.engine.format.sealing import Pair, by_hpke, by_wrapping

PAIRS = {kind: by_wrapping(kind) if kind.readable_by_writer else by_hpke(kind, recipients=1 + kind % 3) for kind in Kind}
BLOCK_KINDS = [kind for kind in BlockKind if kind is not BlockKind.PADDING]
PLAIN = st.one_of(st.binary(max_size=3000), st.builds(lambda piece, times: piece * times, st.binary(max_size=20), st.integers(0, 2000)))
BLOCKS = st.lists(st.tuples(st.sampled_from(BLOCK_KINDS), st.sampled_from(Codec), PLAIN), max_size=60)
SOURCES = {kind: bytes(ObjectBuilder(pair.sealing, 1 << 16).close(stored_size=None).data) for kind, pair in PAIRS.items()}


class Source:
    """Ranged reading of the same bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self.size = data, len(data)

    def read(self, start: int, length: int) -> bytes:
        return self._data[start : start + length]


@given(st.sampled_from(Kind), BLOCKS, st.one_of(st.none(), st.integers(0, 50_000)))
@settings(max_examples=150, deadline=None)
def test_what_is_sealed_opens_again(kind: Kind, blocks: list[tuple[BlockKind, Codec, bytes]], slack: int | None) -> None:
    pair = PAIRS[kind]
    builder = ObjectBuilder(pair.sealing, 1 << 20)
    staged = []
    for block_kind, codec, plain in blocks:
        payload = zstandard.compress(plain) if codec is Codec.ZSTD else plain
        if builder.fits(len(payload)):
            ident = os.urandom(32)
            builder.add(ident, block_kind, codec, len(plain), payload)
            staged.append((ident, block_kind, plain))
    used = builder.used
    size = None if slack is None else min(used + slack, 1 << 20)
    sealed = builder.close(stored_size=size)
    assert len(sealed.data) == (size or min(padme(used), 1 << 20))
    for data in (sealed.data, Source(bytes(sealed.data))):
        reader = ObjectReader(data, pair.opening, sealed.name)
        assert [(e.id, e.kind, bytes(reader.read(n))) for n, e in enumerate(reader.table[:-1])] == staged
        reader.check_padding()


@given(st.sampled_from(Kind), st.integers(0, 1 << 16), st.binary(min_size=1, max_size=40))
@settings(max_examples=300, deadline=None)
def test_an_overwritten_span_is_noticed(kind: Kind, position: int, junk: bytes) -> None:
    pair, whole = PAIRS[kind], SOURCES[kind]
    at = position % len(whole)
    changed = whole[:at] + junk + whole[at + len(junk) :]
    if changed != whole:
        assert not opens(pair, changed)


def opens(pair: Pair, data: bytes) -> bool:
    try:
        ObjectReader(data, pair.opening, "x").check_padding()
    except RecoupError:
        return False
    return True


@given(st.binary(max_size=600))
@settings(max_examples=300, deadline=None)
def test_no_decoder_raises_anything_but_our_errors(data: bytes) -> None:
    for prefix in (b"", b"RCP1", b"RCPE\0\1", b"RCPK\0\1\0\0"):
        assert not opens(PAIRS[Kind.DATA], prefix + data)
        for decode in (decode_entry, decode_keyring):
            try:
                decode(prefix + data, "x")
            except Integrity:
                continue
            raise AssertionError("noise was decoded")


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=50), st.binary(max_size=2000), st.integers(0, 1 << 16))
@settings(max_examples=200, deadline=None)
def test_sealed_records_open_again_and_notice_a_changed_byte(key: bytes, context: bytes, plain: bytes, position: int) -> None:
    sealed = seal_record(key, context, plain)
    assert open_record(key, context, sealed, "x") == plain
    at = position % len(sealed)
    try:
        open_record(key, context, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], "x")
    except Integrity:
        return
    raise AssertionError("a changed byte was not noticed")
