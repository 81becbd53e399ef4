"""Keyed ids (docs/format.md section 4): what blocks and units are known by, within one vault and generation."""

from __future__ import annotations

from blake3 import blake3


def block_id(id_key: bytes, kind: int, plain: bytes | bytearray | memoryview) -> bytes:
    """BLAKE3-256 keyed by K_id over kind and plaintext: 32 bytes, never truncated in stored objects."""
    return blake3(bytes((kind,)), key=id_key).update(plain).digest()


def framed_id(id_key: bytes, framed: bytes | bytearray | memoryview) -> bytes:
    """`block_id` of bytes that stand in memory right behind the byte of their kind: twice as fast for a unit of 64 KiB.

    The hash takes whole chunks at once only from the beginning of an update.
    """
    return blake3(framed, key=id_key).digest()
