"""Reading objects from wherever they are good: several places of one vault behind one Store.

Responsible for: asking the next place when an object is missing, a place is away, or bytes do not match the digest that the name says,
and for the incarnation under which each place keeps an object (docs/format.md section 1). What is not named by its digest, and all
writing, goes to the first place. Which places there are is decided by engine/places.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from msgspec import field

from recoup.engine.format.names import ObjectName, digest_of, object_name, parse_object_name
from recoup.engine.stores.base import MAX_OBJECT, Buffer, Store
from recoup.errors import Integrity, Invalid, NotFound, RecoupError, Retryable
from recoup.value import Record

T = TypeVar("T")
Errors = list[RecoupError]
"""Named here, because the store has a method `list`."""

AWAY_FIRST = 60.0
"""Seconds for which a place that did not answer is asked last; doubled each time up to AWAY_LONGEST."""
AWAY_LONGEST = 960.0
NOTED = 100
"""Objects that are listed by name for each place; the rest is counted."""


class Place(Record):
    """One location of the vault. `incarnations` tells under which it may keep a digest, best first; it may raise what a store raises."""

    store: Store
    incarnations: Callable[[bytes], Iterable[int]]
    objects: int = 0
    """Objects that came from here."""
    bytes: int = 0
    bad: list[str] = field(default_factory=list)
    """Objects that are missing or damaged here, the first NOTED of them."""
    bad_total: int = 0
    failures: int = 0
    """How often it did not answer."""
    trouble: str = ""
    """What it said, or did not say, when it failed last."""
    asked_again_at: float = 0.0

    def names(self, wanted: ObjectName) -> list[str]:
        """Where the object may be here: as the log of this place says, then as whoever asks believes."""
        known = dict.fromkeys((*self.incarnations(wanted.digest), wanted.incarnation))
        return [object_name(wanted.vault, wanted.area, wanted.digest, k) for k in known]


class FailoverStore:
    """`places` in the order in which they are asked. With `check`, whole objects are compared with their digests."""

    def __init__(
        self,
        places: Sequence[Place],
        *,
        check: bool = True,
        notice: Callable[[str], None] = lambda _text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.places = places
        self._check, self._notice, self._clock = check, notice, clock
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return self._home.url

    @property
    def _home(self) -> Store:
        return self.places[0].store

    def create(self, name: str, data: Buffer) -> bool:
        return self._home.create(name, data)

    def get(self, name: str, limit: int = MAX_OBJECT) -> bytes:
        def read(store: Store, candidate: str, wanted: ObjectName) -> tuple[bytes, int]:
            data = store.get(candidate, limit)
            self._compare(data, wanted, candidate, store)
            return data, len(data)

        wanted = _parse(name)
        return self._home.get(name, limit) if wanted is None else self._first_good(wanted, read)

    def get_into(self, name: str, buffer: memoryview) -> int:
        def read(store: Store, candidate: str, wanted: ObjectName) -> tuple[int, int]:
            length = store.get_into(candidate, buffer)
            self._compare(buffer[:length], wanted, candidate, store)
            return length, length

        wanted = _parse(name)
        return self._home.get_into(name, buffer) if wanted is None else self._first_good(wanted, read)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """A part cannot be compared with the digest: whoever finds it damaged reads the whole object, which can."""

        def read(store: Store, candidate: str, _wanted: ObjectName) -> tuple[bytes, int]:
            data = store.get_range(candidate, start, length)
            return data, len(data)

        wanted = _parse(name)
        return self._home.get_range(name, start, length) if wanted is None else self._first_good(wanted, read, whole=False)

    def size(self, name: str) -> int | None:
        def read(store: Store, candidate: str, _wanted: ObjectName) -> tuple[int, int]:
            size = store.size(candidate)
            if size is None:
                raise NotFound(f"{candidate} at {store.url}: no such object")
            return size, 0

        wanted = _parse(name)
        if wanted is None:
            return self._home.size(name)
        try:
            return self._first_good(wanted, read)
        except NotFound:
            return None

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return self._home.list(prefix)

    def folders(self, prefix: str) -> Iterator[str]:
        return self._home.folders(prefix)

    def delete(self, name: str) -> None:
        self._home.delete(name)

    def _compare(self, data: Buffer, wanted: ObjectName, candidate: str, store: Store) -> None:
        if self._check and digest_of(data) != wanted.digest:
            raise Integrity(f"{candidate} at {store.url}: its bytes are not those that its name says", reason="DigestMismatch")

    def _first_good(self, wanted: ObjectName, read: Callable[[Store, str, ObjectName], tuple[T, int]], *, whole: bool = True) -> T:
        errors: Errors = []
        for place in self._in_order():
            before = len(errors)
            try:
                for candidate in place.names(wanted):
                    try:
                        result, length = read(place.store, candidate, wanted)
                    except (NotFound, Integrity) as error:
                        errors.append(error)
                        continue
                    self._count(place, whole, length)
                    return result
            except (Retryable, Invalid, Integrity) as error:  # Invalid: no rights, no bucket; Integrity: its log is not this vault's
                if len(self.places) == 1:
                    raise
                self._miss(place, error)
                errors.append(error)
            else:
                self._note_bad(place, wanted, errors[before:])
        raise _verdict(errors)

    def _in_order(self) -> Sequence[Place]:
        """All places; those that were away a moment ago come last."""
        now = self._clock()
        return sorted(self.places, key=lambda place: place.asked_again_at > now)

    def _count(self, place: Place, whole: bool, length: int) -> None:
        with self._lock:
            place.objects += whole
            place.bytes += length

    def _miss(self, place: Place, error: RecoupError) -> None:
        with self._lock:
            first = place.asked_again_at <= self._clock()
            if first:
                place.failures += 1
                place.asked_again_at = self._clock() + min(AWAY_LONGEST, AWAY_FIRST * 2 ** (place.failures - 1))
            place.trouble = str(error)
        if first:
            self._notice(f"{place.store.url} is left out for now: {error}")

    def _note_bad(self, place: Place, wanted: ObjectName, errors: Sequence[RecoupError]) -> None:
        """The object is missing or damaged at a place that answered."""
        name = object_name(wanted.vault, wanted.area, wanted.digest, wanted.incarnation)
        with self._lock:
            if name in place.bad:
                return
            place.bad_total += 1
            if len(place.bad) < NOTED:
                place.bad.append(name)
            place.trouble = str(errors[0])
            first = place.bad_total == 1 and len(self.places) > 1
        if first:
            self._notice(f"an object is bad at {place.store.url} and is looked for elsewhere: {errors[0]}")


def _parse(name: str) -> ObjectName | None:
    try:
        return parse_object_name(name)
    except Integrity:
        return None


def _verdict(errors: list[RecoupError]) -> RecoupError:
    """What to say when no place had it. Where one answered, the object is lost for now, and only what needs it fails."""
    damaged = [error for error in errors if isinstance(error, Integrity)]
    absent = [error for error in errors if isinstance(error, NotFound)]
    away = [error for error in errors if error not in damaged and error not in absent]
    first = (damaged or absent or away)[0]
    if len(errors) == 1 or not (damaged or absent):
        return first
    said = "; ".join(dict.fromkeys(str(error) for error in [*damaged, *absent, *away]))
    return Integrity(said, reason=first.reason) if damaged else NotFound(said, reason="ObjectNotFound")
