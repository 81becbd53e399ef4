"""What one fuzz target is, and how an input is judged."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

from recoup.errors import RecoupError

FLOOR = 2 << 20
"""Bytes that anything may take, however short its input: buffers to read into, error texts, caches of the libraries."""


@dataclass(frozen=True)
class Target:
    """One reader of hostile bytes. `read` raises RecoupError, or succeeds; whatever else it raises is a finding."""

    name: str
    seeds: tuple[bytes, ...]
    """What an honest writer makes: mutation begins there."""
    read: Callable[[bytes], object]
    slow: bool = False
    """It restores, verifies, backs up: hundreds of inputs a second at best."""
    declared: int = 24
    """Bytes of memory that an honest record of this kind takes for each of its own bytes, when it is as dense as the format allows."""


def judge(target: Target, data: bytes) -> bool:
    """True if `data` was taken, False if it was refused. Raises what is neither."""
    try:
        target.read(data)
    except RecoupError as error:
        said = error
    else:
        return True
    assert said.reason, "an error without a reason"
    assert str(said), "an error without a message"
    return False


def memory_of(target: Target, data: bytes) -> int:
    """Most bytes of Python's memory that reading took at any time."""
    tracemalloc.start()
    try:
        judge(target, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def allowed(target: Target, data: bytes) -> int:
    """Twice what is declared."""
    return 2 * (FLOOR + target.declared * len(data))
