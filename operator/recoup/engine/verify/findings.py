"""What a verification found. Filled by several threads."""

from __future__ import annotations

import threading
from array import array

from msgspec import field

from recoup.engine.records.nodes import ObjectRef
from recoup.value import Record, Value

LISTED_PATHS = 1000
"""Paths listed for each recovery point; the rest is counted."""


class Damage(Value, frozen=True):
    """One object that is missing or is not what it should be."""

    name: str
    reason: str
    """CamelCase: ObjectMissing, ObjectTruncated, DigestMismatch, ObjectDamaged."""
    message: str
    ref: ObjectRef


class Affected(Record):
    """What a recovery point loses. `paths` empty with `whole` set: nothing of it can be restored."""

    point: str
    whole: str = ""
    """Why nothing of it can be had, if so."""
    paths: list[str] = field(default_factory=list)
    paths_total: int = 0
    explained: bool = True
    """Damaged objects are all that is wrong. Otherwise only a verification at level 4 can take it back."""


class BlockFacts(Record):
    """What V4 keeps of an object that it opened: enough to check refs and runs against it without reading it again."""

    ids: bytes
    """Block ids, 32 bytes each, in the order of the table."""
    lengths: array[int]
    kinds: bytes

    def holds(self, number: int, block: bytes, kind: int) -> bool:
        return 0 <= number < len(self.lengths) and self.ids[32 * number : 32 * number + 32] == block and self.kinds[number] == kind


class Findings(Record):
    """Result of one verification. Bytes are stored bytes that were fetched."""

    level: int
    points: int = 0
    objects: int = 0
    """Objects checked at this level."""
    objects_live: int = 0
    bytes_read: int = 0
    files: int = 0
    """Files whose tree entries and runs were walked (V4)."""
    log: list[str] = field(default_factory=list)
    """What is wrong with the log itself."""
    damages: dict[ObjectRef, Damage] = field(default_factory=dict)
    affected: list[Affected] = field(default_factory=list)
    harmless: list[str] = field(default_factory=list)
    """Names of damaged objects that no recovery point needs to be restored: caches and index segments."""
    found_objects: int = 0
    """Objects that were damaged before anything was healed."""
    healed: int = 0
    """Objects that were brought back from other locations, and are good now."""
    healing: str = ""
    """`Tried`, or the reason why it could not be; empty if it was not wanted."""
    facts: dict[ObjectRef, BlockFacts] = field(default_factory=dict)
    recorded: str = ""
    """What was appended to the log about it, or why nothing was."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def good(self) -> bool:
        return not self.damages and not self.affected and not self.log

    def checked(self, read: int) -> None:
        with self._lock:
            self.objects += 1
            self.bytes_read += read

    def damage(self, damage: Damage) -> None:
        with self._lock:
            self.damages[damage.ref] = damage

    def know(self, ref: ObjectRef, facts: BlockFacts) -> None:
        with self._lock:
            self.facts[ref] = facts
