"""Targets: the sealed object as it is stored, and as a malicious writer with the keys seals it: its table, its frames, its zstd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from unittest import mock

import zstandard

from recoup.engine.format import sealed
from recoup.engine.format.kinds import BlockKind, Codec, Kind
from recoup.engine.format.layout import encode_table
from recoup.engine.format.reader import ObjectReader
from recoup.engine.format.records import open_record, seal_record
from recoup.engine.format.sealed import ObjectBuilder
from tests.fuzz.target import Target
from tests.unit.engine.format.sealing import CAPACITY, Pair, block, by_hpke, by_wrapping, seal

KEY = bytes(range(32))
PLAIN = b"plain text " * 40


def _read(pair: Pair, data: bytes) -> None:
    reader = ObjectReader(data, pair.opening, "x")
    for number, row in enumerate(reader.table):
        assert len(reader.read(number)) == row.plain_length
    reader.check_padding()


def _with_table(pair: Pair) -> Callable[[bytes], None]:
    """The block table is the input, padded to what its object has room for."""

    def read(table: bytes) -> None:
        with mock.patch.object(sealed, "encode_table", lambda entries: table[:1024].ljust(1024, b"\0") if entries else b""):
            data = bytes(seal(pair.sealing, [block(PLAIN), block(PLAIN, Codec.ZSTD)]).data)
        _read(pair, data)

    return read


def _with_payload(pair: Pair) -> Callable[[bytes], None]:
    """A block's zstd frame is the input; what it claims to unfold to is in its first two bytes."""

    def read(payload: bytes) -> None:
        builder = ObjectBuilder(pair.sealing, CAPACITY)
        builder.add(b"i" * 32, BlockKind.DATA, Codec.ZSTD, int.from_bytes(payload[:2], "big"), payload[2:])
        _read(pair, bytes(builder.close(stored_size=None).data))

    return read


def container_targets() -> Iterator[Target]:
    """Stored bytes of both ways of sealing, then what is inside."""
    pairs = {"hpke": by_hpke(recipients=2), "kwp": by_wrapping(Kind.CACHE)}
    objects = {name: bytes(seal(pair.sealing, [block(PLAIN), block(PLAIN, Codec.ZSTD)]).data) for name, pair in pairs.items()}
    for name, pair in pairs.items():
        yield Target(f"object-{name}", (objects[name],), partial(_read, pair))
    table = encode_table(list(ObjectReader(objects["kwp"], pairs["kwp"].opening, "x").table))
    yield Target("object-table", (table,), _with_table(pairs["kwp"]))
    length = len(PLAIN).to_bytes(2, "big")
    frames = (
        length + zstandard.compress(PLAIN),
        b"\xff\xff" + zstandard.compress(bytes(0xFFFF)),
        length + zstandard.ZstdCompressor(write_content_size=False).compress(PLAIN),
    )
    yield Target("object-zstd", frames, _with_payload(pairs["kwp"]), declared=600)
    yield Target("sealed-record", (seal_record(KEY, b"x", PLAIN),), lambda data: open_record(KEY, b"x", data, "x"))
