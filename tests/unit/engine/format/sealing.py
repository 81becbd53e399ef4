"""Keys and small objects for the tests of the container."""

from __future__ import annotations

import os
from dataclasses import dataclass

import zstandard

from recoup.engine.format.derive import hedge_key_of
from recoup.engine.format.envelopes import PrivateKey
from recoup.engine.format.kinds import BlockKind, Codec, Kind
from recoup.engine.format.reader import Opening, WrappingKey
from recoup.engine.format.sealed import ObjectBuilder, SealedObject, Sealing

CAPACITY = 1 << 20
Block = tuple[bytes, int, bytes]
"""(block id, codec, plaintext)"""


@dataclass(frozen=True)
class Pair:
    sealing: Sealing
    opening: Opening


def by_hpke(kind: Kind = Kind.DATA, recipients: int = 1) -> Pair:
    repo, vault = os.urandom(16), os.urandom(16)
    keys = tuple(PrivateKey(os.urandom(32)) for _ in range(recipients))
    sealing = Sealing(repo, vault, 1, kind, os.urandom(32), recipients=tuple(key.public for key in keys))
    return Pair(sealing, Opening(repo, vault, kind, private_keys=keys[-1:]))


def by_wrapping(kind: Kind = Kind.INDEX) -> Pair:
    repo, vault, key = os.urandom(16), os.urandom(16), os.urandom(32)
    sealing = Sealing(repo, vault, 1, kind, hedge_key_of(key), wrapping_key=key)
    return Pair(sealing, Opening(repo, vault, kind, wrapping_keys=(WrappingKey(key),)))


def block(plain: bytes, codec: int = Codec.RAW) -> Block:
    return os.urandom(32), codec, plain


def seal(
    sealing: Sealing, blocks: list[Block], *, level: int = 3, stored_size: int | None = None, capacity: int = CAPACITY
) -> SealedObject:
    builder = ObjectBuilder(sealing, capacity)
    for ident, codec, plain in blocks:
        payload = zstandard.ZstdCompressor(level=level).compress(plain) if codec == Codec.ZSTD else plain
        builder.add(ident, BlockKind.DATA, codec, len(plain), payload)
    return builder.close(stored_size=stored_size)
