"""What a location holds and nothing needs: its listing beside the live set, one first byte after the other.

A listing may lack objects, which then wait for the next run, and it may show strange names, which are left alone. What is found goes into
object lists, which are put as they fill; memory is one list and what begins with one byte.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import groupby

from msgspec import field

from recoup.engine.format.kinds import Area
from recoup.engine.format.names import digest_of, object_name, parse_object_name, vault_prefix
from recoup.engine.records.objectlist import MAX_ROWS, Listed, encode_list
from recoup.engine.stores.base import Store
from recoup.errors import Integrity
from recoup.value import Record

AREAS: tuple[Area, ...] = ("d", "m", "x")


class ListWriter(Record):
    """Puts object lists. Rows come sorted. With `store` None nothing is put, only counted."""

    store: Store | None
    vault_id: bytes
    lists: list[bytes] = field(default_factory=list)
    objects: int = 0
    size: int = 0
    _rows: list[Listed] = field(default_factory=list)

    def add(self, row: Listed) -> None:
        self.objects += 1
        self.size += row.size
        self._rows.append(row)
        if len(self._rows) == MAX_ROWS:
            self._put()

    def finish(self) -> tuple[bytes, ...]:
        """Digests of all lists, each put."""
        if self._rows:
            self._put()
        return tuple(self.lists)

    def _put(self) -> None:
        data, self._rows = encode_list(self._rows), []
        digest = digest_of(data)
        if self.store is not None and not self.store.create(object_name(self.vault_id, "x", digest), data):
            raise Integrity(f"{object_name(self.vault_id, 'x', digest)} exists at {self.store.url} with other bytes than its name says")
        self.lists.append(digest)


class Listing:
    """All objects of a vault by the first byte of their digests; ask `at` for 0, 1, … 255 in this order."""

    def __init__(self, store: Store, vault_id: bytes) -> None:
        self.objects = 0
        self.size = 0
        self.strange = 0
        """Names in the areas of objects that are no object's."""
        self._groups = {area: _by_byte(self._area(store, vault_id, area)) for area in AREAS}
        self._ahead = {area: next(groups, None) for area, groups in self._groups.items()}

    def at(self, byte: int) -> list[Listed]:
        """Everything that begins with `byte`, sorted by (digest, incarnation)."""
        found: list[list[Listed]] = []
        for area in AREAS:
            ahead = self._ahead[area]
            if ahead is not None and ahead[0] < byte:
                raise Integrity(f"the listing of area {area} is not in order: the store does not list by name", reason="ListingUnordered")
            if ahead is not None and ahead[0] == byte:
                found.append(sorted(ahead[1]))
                self._ahead[area] = next(self._groups[area], None)
        rows = list(heapq.merge(*found))
        self.objects += len(rows)
        self.size += sum(row.size for row in rows)
        return rows

    def _area(self, store: Store, vault_id: bytes, area: Area) -> Iterator[Listed]:
        for name, size in store.list(f"{vault_prefix(vault_id)}{area}/"):
            try:
                parsed = parse_object_name(name)
            except Integrity:
                self.strange += 1
                continue
            yield Listed(parsed.digest, parsed.incarnation, area, size)


def _by_byte(rows: Iterable[Listed]) -> Iterator[tuple[int, list[Listed]]]:
    for byte, group in groupby(rows, key=lambda row: row.digest[0]):
        yield byte, list(group)


class Rows:
    """A sorted stream of listed objects, taken in stretches of one first byte."""

    def __init__(self, rows: Iterator[Listed]) -> None:
        self._rows = rows
        self._ahead = next(rows, None)

    def at(self, byte: int) -> list[Listed]:
        taken = []
        while self._ahead is not None and self._ahead.digest[0] <= byte:
            taken.append(self._ahead)
            self._ahead = next(self._rows, None)
        return taken
