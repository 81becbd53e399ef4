"""What a restore did, and what it could not do, said by path. Filled by several threads."""

from __future__ import annotations

import threading

from msgspec import field

from recoup.engine.records.tree import Path, printable
from recoup.value import Record

LISTED = 1000
"""Paths listed per kind; the rest is counted."""


class Notes(Record):
    """Paths with one reason each: all are counted, the first ones are listed."""

    total: int = 0
    listed: list[tuple[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, path: Path, reason: str) -> None:
        with self._lock:
            self.total += 1
            if len(self.listed) < LISTED:
                self.listed.append((printable(path), reason))


class Outcome(Record):
    """Counts of one restore. Bytes are bytes of file content."""

    files: int = 0
    directories: int = 0
    bytes_written: int = 0
    bytes_compared: int = 0
    bytes_kept: int = 0
    """Content that the target had already: neither fetched nor written."""
    deleted: int = 0
    """Entries that a mirror removed because the recovery point does not have them."""
    bytes_fetched: int = 0
    already_there: bool = False
    """The target held exactly this recovery point before we began: nothing was written."""
    damaged: Notes = field(default_factory=Notes)
    """Files that were not restored because an object is damaged or missing."""
    not_preserved: Notes = field(default_factory=Notes)
    """Attributes that the target's file system, or a missing right, did not keep."""
    not_restored: Notes = field(default_factory=Notes)
    """Sockets, and devices and trusted.* attributes that were not asked for."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, *, files: int = 0, written: int = 0, compared: int = 0, fetched: int = 0, kept: int = 0) -> None:
        with self._lock:
            self.files += files
            self.bytes_written += written
            self.bytes_compared += compared
            self.bytes_fetched += fetched
            self.bytes_kept += kept
