"""Whether two contents are the same bytes: by unit ids where they can be compared, by reading only where they cannot."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from recoup.engine.browse.reading import ContentReader
from recoup.engine.points import OpenPoint
from recoup.engine.records.content import Content, Scheme, iterate_runs, unit_spans


def content_id(point: OpenPoint, content: Content | None) -> bytes:
    """A digest of the units of a content: equal for equal bytes that were cut alike under one key. Fetches its list, no data."""
    digest = hashlib.blake2b(digest_size=16)
    if content is not None:
        for offset, length, unit in units(point, content):
            digest.update(offset.to_bytes(8, "big") + length.to_bytes(8, "big") + unit)
    return digest.digest()


def units(point: OpenPoint, content: Content) -> Iterator[tuple[int, int, bytes]]:
    """(offset, length, id) of all units in order."""
    for run in iterate_runs(point.blocks.fetch, content):
        yield from unit_spans(run, content.scheme)


class Contents:
    """Compares contents of two recovery points, which may be of different generations or cut by different schemes."""

    def __init__(self, old: OpenPoint, new: OpenPoint) -> None:
        self._old, self._new = old, new
        self._one_key = old.blocks.id_key == new.blocks.id_key
        self._readers = ContentReader(old), ContentReader(new)

    def same(self, old: Content | None, new: Content | None) -> bool:
        """Whether they are the same bytes."""
        if old is None or new is None:
            return old is new
        if old.size != new.size:
            return False
        if self._one_key and old == new:
            return True
        if self._one_key and old.scheme == new.scheme and old.scheme is not Scheme.WHOLE:
            if content_id(self._old, old) == content_id(self._new, new):
                return True
            if old.scheme is Scheme.FIXED and self._aligned(old, new):
                return False
        elif self._one_key and old.scheme is new.scheme:
            return content_id(self._old, old) == content_id(self._new, new)
        return self._same_bytes(old, new)

    def _aligned(self, old: Content, new: Content) -> bool:
        """Whether both were cut at the same places, so that different ids are different bytes."""
        pairs = zip(units(self._old, old), units(self._new, new), strict=False)
        return all(one[:2] == other[:2] for one, other in pairs)

    def _same_bytes(self, old: Content, new: Content) -> bool:
        readers = (self._readers[0].read(old, 0, old.size), self._readers[1].read(new, 0, new.size))
        return _equal(*readers)


def _equal(one: Iterator[bytes | memoryview], other: Iterator[bytes | memoryview]) -> bool:
    """Whether two streams of the same length are the same, however they are cut."""
    left = right = memoryview(b"")
    while True:
        if not left:
            left = memoryview(next(one, b""))
        if not right:
            right = memoryview(next(other, b""))
        count = min(len(left), len(right))
        if not count:
            return len(left) == len(right)
        if left[:count] != right[:count]:
            return False
        left, right = left[count:], right[count:]
