"""What EVIDENCE entries of verifications, drills and object locks state (docs/format.md section 6): one struct per kind, as JSON.

The log is signed but not sealed, so a statement names recovery points by digest and counts paths; it never names a path. Written by
`engine/verify/`, `engine/drill.py` and `engine/maintenance/protect.py`, added up by `engine/judged.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from recoup.engine.format.records import MALFORMED
from recoup.engine.log.bodies import Evidence

VERIFICATION: Final = "Verification"
DRILL: Final = "Drill"
POINTS_PER_ENTRY = 300
"""Damaged points that one entry names: well below its limit of 56 KiB. More of them make more entries."""

T = TypeVar("T", bound=msgspec.Struct)


class DamagedPoint(msgspec.Struct, frozen=True, rename="camel"):
    """One recovery point that cannot be restored whole from this location."""

    id: str
    whole: bool = False
    """Nothing of it can be restored."""
    paths: int = 0
    """How many of its files are lost, if not all."""
    cleared_by: int = 1
    """The lowest level whose ATTEST, later in this log, takes it back. 1: damaged objects, which every verification reads again."""


class Verification(msgspec.Struct, frozen=True, rename="camel"):
    """One run of `recoup verify`, whatever it found. Times as `2026-11-23T03:00:00Z`, bytes are stored bytes."""

    started: str
    ended: str
    level: int
    points: int
    objects: int
    objects_live: int
    bytes_read: int
    chosen: bool = False
    """Only some of the vault's points were looked at."""
    damaged_objects: int = 0
    """Still damaged at the end."""
    healed_objects: int = 0
    healing: str = ""
    """`Tried`, or the reason why nothing could be healed; empty if no other location was given, or nothing was damaged."""
    log: tuple[str, ...] = ()
    """Reasons of what is wrong with the log itself."""
    damaged: tuple[DamagedPoint, ...] = ()
    round: str = ""
    """What this run was asked for: the word of whoever started it."""
    tool: str = ""


class Drill(msgspec.Struct, frozen=True, rename="camel"):
    """One restore to a scratch volume, compared with the recovery point, and what came of it."""

    started: str
    ended: str
    point: str
    """The recovery point: the digest of its manifest, which the restore was compared with."""
    passed: bool
    seconds: float
    """From opening the vault to the last byte compared."""
    reason: str = ""
    """CamelCase, of a drill that did not pass."""
    files: int = 0
    bytes: int = 0
    """Bytes of content that were written."""
    damaged_paths: int = 0
    round: str = ""
    tool: str = ""


class Locked(msgspec.Struct, frozen=True, rename="camel"):
    """What one run of `recoup protect` saw to: everything that was live at `head` of this log is locked until `until`."""

    started: str
    ended: str
    mode: str
    """GOVERNANCE or COMPLIANCE."""
    period: int
    """Seconds from a PUT, or an extension, to the end of the lock."""
    head: int
    """Entries of this log before the run looked. What came later is not spoken of."""
    until: str
    """When the first of those locks ends, by the provider's clock; empty if none was seen."""
    objects: int = 0
    """Names that were looked at."""
    extended: int = 0
    unlocked: int = 0
    """Of them not locked for so long, or not at all: then `until` does not hold for all."""
    missing: int = 0
    hidden: int = 0
    """Hidden or overwritten, and not put back into sight."""
    upto: int = 256
    """Only digests that begin with a byte below it were seen to yet: the run goes on, or was stopped. 256: all."""
    tool: str = ""


def to_entry(kind: str, statement: Verification | Drill | Locked) -> Evidence:
    """The body of the entry that says so."""
    return Evidence(kind, msgspec.json.encode(statement).decode())


def read_statement(body: Evidence, kind: type[T]) -> T | None:
    """What an entry states; None if a later version states it in another way."""
    try:
        return msgspec.json.decode(body.statement, type=kind)
    except MALFORMED:
        return None


def time_text(seconds: float) -> str:
    """Seconds since 1970 as statements have times; what is outside the calendar stays a number: `@584556019`."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"@{seconds:.0f}"


def seconds_of(text: str) -> float:
    """The reverse; 0 for what is no time."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
