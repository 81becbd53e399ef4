"""When a recovery point looks as if its source was emptied, lost or encrypted: the decision that holds retention (docs/retention.md).

Pure, and about one point: its record says what it holds and what the point before it held, so that the answer stays the same
whatever is forgotten meanwhile. Applied to a log by engine/forget.py, to a policy by plan/suspicion.py.
"""

from __future__ import annotations

from recoup.value import Value

LEAST_BYTES = 1 << 20
"""What held less before is not judged by its bytes, only by being empty."""
LEAST_FILES = 20
"""The same for the number of files."""
CLEARLY = 10
"""Percent points by which the stored share of earlier data has to lie below the threshold."""


class Thresholds(Value, frozen=True):
    """Percentages, each from 1 to 100. lost_*: of the point before. rewritten: of the source's size, content that is new and is stored
    in stored_share of its size or more.
    """

    lost_bytes: int = 50
    lost_files: int = 50
    rewritten: int = 25
    stored_share: int = 95


class Earlier(Value, frozen=True):
    """The point before; bytes_new, bytes_stored: sums over it and all before it."""

    files: int
    bytes_total: int
    bytes_new: int
    bytes_stored: int


class Figures(Value, frozen=True):
    """One recovery point of one volume. before: None if it is the first, or made by a version that did not say."""

    files: int
    bytes_total: int
    bytes_stored: int
    bytes_new: int | None = None
    before: Earlier | None = None


class Finding(Value, frozen=True):
    """Why a point is suspicious: one CamelCase word, and the figures before and after for people."""

    reason: str
    message: str


def find_suspicion(figures: Figures, thresholds: Thresholds) -> Finding | None:
    """What is wrong with the point by these thresholds, if anything is. Exact: integers only."""
    before = figures.before
    if before is None:
        return None
    change = f"{before.files} files of {before.bytes_total} bytes before, {figures.files} files of {figures.bytes_total} bytes now"
    if (before.files and not figures.files) or (before.bytes_total and not figures.bytes_total):
        return Finding("SourceEmpty", f"the source is empty: {change}")
    if before.bytes_total >= LEAST_BYTES and _lost(before.bytes_total, figures.bytes_total) >= thresholds.lost_bytes:
        lost = _lost(before.bytes_total, figures.bytes_total)
        return Finding("SourceShrunk", f"{lost} % of the bytes are gone: {change}")
    if before.files >= LEAST_FILES and _lost(before.files, figures.files) >= thresholds.lost_files:
        return Finding("SourceShrunk", f"{_lost(before.files, figures.files)} % of the files are gone: {change}")
    return _incompressible(figures, before, thresholds)


def _lost(before: int, now: int) -> int:
    return max(0, before - now) * 100 // before


def _incompressible(figures: Figures, before: Earlier, thresholds: Thresholds) -> Finding | None:
    """A good part of the source was written anew and hardly compresses, while what was there before did: as encryption leaves it."""
    new = figures.bytes_new or 0
    if new < LEAST_BYTES or before.bytes_new < LEAST_BYTES or new * 100 < figures.bytes_total * thresholds.rewritten:
        return None
    share, earlier = figures.bytes_stored * 100 // new, before.bytes_stored * 100 // before.bytes_new
    if share < thresholds.stored_share or earlier > thresholds.stored_share - CLEARLY:
        return None
    part = min(100, new * 100 // max(1, figures.bytes_total))
    message = (
        f"{part} % of the source ({new} bytes) was written anew and is stored in {min(share, 100)} % of its size; before it was {earlier} %"
    )
    return Finding("NoLongerCompressible", message)
