"""Mutations that keep the shape: bytes that are MessagePack or JSON are changed as values and encoded again, all others as bytes.

Seeded, so that what they find can be made again. Bytes alone would hardly ever get past the first length field of a record.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

Edit = Callable[[random.Random, Any], Any]

NUMBERS = (0, 1, -1, 2, 7, 127, 128, 255, 256, 1023, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 48, (1 << 63) - 1,
           1 << 63, (1 << 64) - 1, -(1 << 31), -(1 << 63))  # fmt: skip
STRINGS = (b"", b"\0", b"..", b".", b"/", b"a/b", b"\xff\xfe", b"x" * 31, b"x" * 32, bytes(32), b"\xff" * 32, b"x" * 33, b"x" * 64,
           b"x" * 255, b"x" * 256, b"x" * 4096)  # fmt: skip
TEXTS = ("", "\0", "..", "0" * 32, "-1", "1e999", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00", "9999-12-31T23:59:59-23:59",
         "\ud7ff\U0010ffff", "\u202e\x1b[31m", "[" * 20_000, '{"a":' * 5_000, "x" * 2_000)  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Another input, near `data`."""
    for codec in rng.sample((msgspec.msgpack, msgspec.json), 2):
        if rng.random() < 0.8:
            changed = _as_values(data, rng, codec)
            if changed is not None:
                return changed
    return _as_bytes(data, rng)


def _as_values(data: bytes, rng: random.Random, codec: Any) -> bytes | None:
    try:
        value = codec.decode(data)
        if not isinstance(value, list | dict):
            return None
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            value = _edit(value, rng)
        return bytes(codec.encode(value))
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        return None


def _edit(value: Any, rng: random.Random) -> Any:
    """One place somewhere in `value` changed."""
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        if rng.random() < 0.12:
            return _reshaped(value, at, rng)
        return [*value[:at], _edit(value[at], rng), *value[at + 1 :]]
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.08:
            return {name: held for name, held in value.items() if name != key} | ({"extra": 1} if rng.random() < 0.5 else {})
        return {name: _edit(held, rng) if name == key else held for name, held in value.items()}
    return _other(value, rng)


def _reshaped(value: list[Any], at: int, rng: random.Random) -> list[Any]:
    match rng.randrange(5):
        case 0:
            return value[:at] + value[at + 1 :]
        case 1:
            return [*value[:at], value[at], *value[at:]]
        case 2:
            return value[:at]
        case 3:
            return value[::-1]
        case _:
            return value * rng.choice((2, 3, 50)) if len(value) < 500 else value


def _other(value: Any, rng: random.Random) -> Any:
    """Another value, mostly of the same type."""
    if rng.random() < 0.06:
        return rng.choice((None, True, 0, b"", "", [], {}, 1.5, _nested(rng.choice((3, 40, 900)))))
    match value:
        case bool():
            return not value
        case int():
            return rng.choice((rng.choice(NUMBERS), value + rng.choice((-1, 1)), value * 2))
        case float():
            return rng.choice((0.0, -1.0, 1e308, float(rng.choice(NUMBERS))))
        case bytes():
            return rng.choice((rng.choice(STRINGS), _as_bytes(value, rng)))
        case str():
            return rng.choice((rng.choice(TEXTS), value + "x", value[:-1]))
        case _:
            return rng.choice(([], [value], {}, 0, b""))


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _as_bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(6):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << rng.randrange(8)
            case 1:
                changed[at:at] = rng.randbytes(rng.choice((1, 4, 32)))
            case 2:
                del changed[at : at + rng.choice((1, 4, 32))]
            case 3:
                width = rng.choice((1, 2, 4, 8))
                changed[at : at + width] = (rng.choice(NUMBERS) % (1 << 8 * width)).to_bytes(width, "big")
            case 4:
                del changed[at:]
            case _:
                changed[at:at] = changed[rng.randrange(len(changed) + 1) :][:64]
    return bytes(changed)
