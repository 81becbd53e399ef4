"""What a location really does, found out by trying: is it fit to be a vault's home (docs/format.md section 6)?

Responsible for: the checks, their findings in words a person can act on, and cleaning up. Works under `probe/<random>/` of the location,
knows nothing of vaults. A home must be atomic: of several writers that create one name at once exactly one may be told that it won.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol, runtime_checkable

from msgspec import field

from recoup.engine.stores.base import Store
from recoup.engine.stores.versions import Versioned, erase
from recoup.errors import Denied, Integrity, Invalid, NotFound, RecoupError, Retryable
from recoup.value import Record, Value

WRITERS = 4
RACES = 48
"""Keys that the writers race for. A place that lets two win in one race of five escapes all of them once in 40,000 probes."""
LEAST_RACES = 16
"""Fewer than these within the time say too little."""
TIME_LIMIT = 60.0
SKEW_LIMIT = 300.0
"""Seconds; S3 refuses requests from a clock 15 minutes off."""
_DATA = b"recoup probe: may be deleted\n"


class Verdict:
    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Could not be tried with these credentials."""


class Finding(Value, frozen=True):
    """One check. `reason` is CamelCase and empty if it passed."""

    check: str
    verdict: str
    reason: str
    message: str


class Probe(Record):
    """All findings. `conformant` means that the location may be a home."""

    url: str
    findings: list[Finding] = field(default_factory=list)
    races: int = 0
    left_behind: int = 0
    """Objects that we were not allowed to delete."""
    clock_skew: float | None = None
    """Seconds that the server is ahead; None where there is no server."""

    @property
    def conformant(self) -> bool:
        return all(finding.verdict != Verdict.FAILED for finding in self.findings)

    def first_failure(self) -> Finding | None:
        return next((finding for finding in self.findings if finding.verdict == Verdict.FAILED), None)


@runtime_checkable
class Clocked(Protocol):
    """A store whose server tells its time."""

    def clock_skew(self) -> float | None: ...


@runtime_checkable
class Checksummed(Protocol):
    """A store that can ask its server to check what arrives."""

    def refuses_wrong_checksum(self, name: str) -> bool: ...


def probe(store: Store, *, time_limit: float = TIME_LIMIT, clock: Callable[[], float] = time.monotonic, races: int = RACES) -> Probe:
    """Try everything. Raises Denied, Invalid or Retryable if the location cannot even be written to and read."""
    return _Prober(store, clock() + time_limit, clock, races).run()


class _Prober:
    def __init__(self, store: Store, deadline: float, clock: Callable[[], float], races: int) -> None:
        self._store, self._deadline, self._clock, self._races = store, deadline, clock, races
        self._prefix = f"probe/{secrets.token_hex(8)}/"
        self._names: list[str] = []
        self._result = Probe(store.url)

    def run(self) -> Probe:
        try:
            self._basics()
            self._ranges()
            self._race()
            self._listing()
            self._checksum()
            self._clock_skew()
        except BaseException:
            with suppress(RecoupError):
                self._deletes()
            raise
        self._deletes()
        return self._result

    def _name(self, leaf: str) -> str:
        self._names.append(self._prefix + leaf)
        return self._names[-1]

    def _passed(self, check: str, message: str) -> None:
        self._result.findings.append(Finding(check, Verdict.PASSED, "", message))

    def _failed(self, check: str, reason: str, message: str) -> None:
        self._result.findings.append(Finding(check, Verdict.FAILED, reason, message))

    def _unknown(self, check: str, reason: str, message: str) -> None:
        self._result.findings.append(Finding(check, Verdict.UNKNOWN, reason, message))

    def _basics(self) -> None:
        """One object: create, read, create again."""
        name = self._name("once")
        if not self._store.create(name, _DATA) or self._store.get(name) != _DATA or self._store.size(name) != len(_DATA):
            self._failed("write and read", "ReadsDiffer", "what was written is not what is read back: do not use this place")
            return
        self._passed("write and read", "an object is read back as written")
        if self._store.create(name, _DATA + b"other") or self._store.get(name) != _DATA:
            message = (
                "an object that exists was overwritten although the request forbade it (If-None-Match): this place cannot hold a vault"
            )
            self._failed("create if absent", "NotAtomic", message)
        else:
            self._passed("create if absent", "an object that exists is not overwritten")

    def _ranges(self) -> None:
        name, size = self._names[0], len(_DATA)
        try:
            parts = [self._store.get_range(name, 7, 5), self._store.get_range(name, -4, 4)]
        except Integrity as error:
            self._failed("ranges", "RangesIgnored", f"parts of an object cannot be read: {error}")
            return
        if parts == [_DATA[7:12], _DATA[size - 4 :]]:
            self._passed("ranges", "parts of an object are read exactly")
        else:
            self._failed("ranges", "RangesIgnored", "asked for a part of an object, the place answers with other bytes")

    def _race(self) -> None:
        """Several writers create one name at the same moment, again and again."""
        double, lost = 0, 0
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="probe") as pool:
            for number in range(self._races):
                if self._clock() > self._deadline and number >= LEAST_RACES:
                    break
                winners, right = self._one_race(pool, number)
                double += winners > 1
                lost += winners == 0 or not right
                self._result.races += 1
        races = self._result.races
        if double or lost:
            message = (
                f"in {double} of {races} races {WRITERS} writers created one object at once and more than one was told that it won"
                f"{f', in {lost} the object is not the winner' + chr(39) + 's' if lost else ''}: "
                "the place may only hold replicas; choose another home (AWS S3 and minio pass)"
            )
            self._failed("create if absent, under races", "NotAtomic", message)
        else:
            self._passed("create if absent, under races", f"one winner in each of {races} races of {WRITERS} writers")

    def _one_race(self, pool: ThreadPoolExecutor, number: int) -> tuple[int, bool]:
        name, barrier = self._name(f"race-{number:04}"), threading.Barrier(WRITERS)

        def write(writer: int) -> bool:
            barrier.wait()
            return self._store.create(name, _DATA + b"writer %d" % writer)

        won = list(pool.map(write, range(WRITERS)))
        right = not any(won) or self._store.get(name) == _DATA + b"writer %d" % won.index(True)
        return won.count(True), right

    def _listing(self) -> None:
        try:
            listed = {name for name, _ in self._store.list(self._prefix)}
        except Denied:
            self._unknown("listing", "ListDenied", "these credentials may not list, which movers need not")
            return
        missing = len(set(self._names) - listed)
        if missing:
            message = f"{missing} of {len(self._names)} objects just written are not listed; nothing relies on it, but people may"
            self._unknown("listing", "ListIncomplete", message)
        else:
            self._passed("listing", f"all {len(self._names)} objects are listed at once")

    def _checksum(self) -> None:
        if not isinstance(self._store, Checksummed):
            return
        try:
            refused = self._store.refuses_wrong_checksum(self._name("checksum"))
        except (Invalid, Retryable) as error:
            self._unknown("checksums", "ChecksumUnknown", f"could not be tried: {error}")
            return
        if refused:
            self._passed("checksums", "an object that was damaged on its way is refused")
        else:
            message = "an object whose checksum is wrong is accepted; damage on the way is noticed when it is read or verified, not before"
            self._unknown("checksums", "ChecksumIgnored", message)

    def _clock_skew(self) -> None:
        skew = self._store.clock_skew() if isinstance(self._store, Clocked) else None
        self._result.clock_skew = skew
        if skew is None:
            return
        if abs(skew) > SKEW_LIMIT:
            message = (
                f"the server's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's; set the wrong one right"
            )
            self._failed("clock", "ClockSkewed", message)
        else:
            self._passed("clock", f"the server's clock and this machine's differ by {abs(skew):.0f} s")

    def _deletes(self) -> None:
        """Clean up, and see whether deletes delete."""
        first, *rest = self._names or [""]
        if not first:
            return
        try:
            self._store.delete(first)
            gone = self._is_gone(first)
            for name in rest:
                self._store.delete(name)
            self._erase_versions()
        except Denied:
            self._result.left_behind = len(self._names)
            message = (
                f"these credentials may not delete, as it should be for movers; {len(self._names)} small objects stay under {self._prefix}"
            )
            self._passed("deletes", message)
            return
        except Retryable as error:
            self._result.left_behind = len(self._names)
            self._unknown("deletes", error.reason, f"could not be tried: {error}")
            return
        if gone:
            self._passed("deletes", "a deleted object is gone")
        else:
            self._failed("deletes", "DeletesIgnored", "a delete was accepted, but the object is still there: space would never be freed")

    def _erase_versions(self) -> None:
        """What is left of deleted objects where versions are kept. Credentials that may not delete those leave them behind."""
        if isinstance(self._store, Versioned) and self._store.keeps_versions:
            self._result.left_behind = sum(bool(erase(self._store, name, hide=False)) for name in self._names)

    def _is_gone(self, name: str) -> bool:
        try:
            self._store.get(name)
        except NotFound:
            return self._store.size(name) is None
        return False
