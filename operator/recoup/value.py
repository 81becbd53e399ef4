"""The bases of small records that live in memory only.

A msgspec struct costs a seventieth of a dataclass to define, and a command defines dozens before it does anything. What is decoded from
bytes is a plain `msgspec.Struct` instead: `typeinfo.py` prepares those for threads, and leaves these alone.
"""

from msgspec import Struct


class Value(Struct, frozen=True):
    """Does not change. Never decoded, so its annotations need not be types that msgspec knows."""


class Record(Struct):
    """The same for what does change."""
