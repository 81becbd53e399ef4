"""Locking one name for longer, and putting it back into sight: what `protect.py` does to each of them (docs/object-lock.md).

Of all versions under a name one is what was put: the first, or, where the name says a digest, the first with these bytes. That one is
locked; what somebody put on top of it is removed where these credentials may. Safe to use from several threads.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from recoup.engine.format.names import digest_in, digest_of
from recoup.engine.stores.base import MAX_OBJECT, Lock
from recoup.engine.stores.versions import History, Version, Versioned
from recoup.errors import Denied, Integrity, Invalid, NotFound
from recoup.value import Record

_ENOUGH = 64
"""Refusals, and not one lock: then it is no use to go on."""
_TRIED = 64
"""Versions of one name that are read: what was put is the first that an honest party put."""


class Held(Record):
    """What came of it, added up."""

    extended: int = 0
    """Locked for longer than before, or for the first time."""
    until: datetime | None = None
    """When the first of all locks ends that were made or looked at, by the provider's clock."""
    unlocked: int = 0
    """Not locked for as long as it should be."""
    refusal: str = ""
    """Why, of one of them."""
    missing: int = 0
    """Names under which nothing is, or nothing with the right bytes."""
    uncovered: int = 0
    """Were hidden or overwritten, and are in sight again."""
    hidden: int = 0
    """Are hidden or overwritten still: readers find them in the older versions."""


class Holder:
    """Locks for `lock.period` from `now`, the provider's time."""

    def __init__(self, store: Versioned, lock: Lock, now: datetime) -> None:
        self.held = Held()
        self.target, self._due = now + lock.period, now + lock.period / 2
        self._store, self._mode = store, lock.mode
        self._mutex = threading.Lock()

    def extend(self, history: History) -> None:
        """Lock what was put under a name until the target, whatever its lock is now."""
        version = self._standing(history)
        if version is not None:
            self._hold(version)
            self._uncover(history, version)

    def check(self, history: History) -> None:
        """The same only if less than half of the period is left."""
        version = self._standing(history)
        if version is None:
            return
        until = self._store.retention(version).until
        if until is None or until < self._due:
            self._hold(version)
        else:
            self._note(until)
        self._uncover(history, version)

    def uncover(self, history: History) -> None:
        """Only put it back into sight."""
        if history.contested:
            version = self._standing(history)
            if version is not None:
                self._uncover(history, version)

    def miss(self, count: int = 1) -> None:
        """Note names that nothing stands under."""
        with self._mutex:
            self.held.missing += count

    def _standing(self, history: History) -> Version | None:
        """What was put under the name; None, and counted, if it is not there."""
        digest = digest_in(history.name)
        if history.versions and (digest is None or len(history.versions) == 1):
            return history.versions[-1]
        for version in history.versions[: -_TRIED - 1 : -1]:
            try:
                if digest_of(self._store.read_version(version, MAX_OBJECT)) == digest:
                    return version
            except (NotFound, Integrity):
                continue
        self.miss()
        return None

    def _hold(self, version: Version) -> None:
        try:
            self._store.hold_version(version, self.target, self._mode)
        except NotFound:  # deleted since it was listed
            self.miss()
        except Invalid as error:
            with self._mutex:
                self.held.unlocked += 1
                self.held.refusal = str(error)
                hopeless = self.held.unlocked >= _ENOUGH and not self.held.extended
            if hopeless:
                raise Denied(f"nothing can be locked here: {error}", reason="LockShortfall") from error
        else:
            with self._mutex:
                self.held.extended += 1
            self._note(self.target)

    def _uncover(self, history: History, standing: Version) -> None:
        """Remove delete markers, and the versions that came after what was put. Nothing else is ever removed."""
        if not history.contested:
            return
        newer = history.versions[: history.versions.index(standing)]
        if not newer and not history.markers:
            return
        refused = 0
        for version in (*newer, *history.markers):
            try:
                self._store.delete_version(version)
            except NotFound:
                continue
            except Invalid:  # locked by whoever put it, or a right that these credentials do not have
                refused += 1
        with self._mutex:
            self.held.uncovered += not refused
            self.held.hidden += bool(refused)

    def _note(self, until: datetime) -> None:
        with self._mutex:
            self.held.until = until if self.held.until is None else min(self.held.until, until)


def half_is_over(until: datetime, now: datetime, period: timedelta) -> bool:
    """Whether a lock that ends at `until` is to be extended: less than half of the period is left."""
    return until < now + period / 2
