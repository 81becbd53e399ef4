"""`protect`: what recovery points need stays locked, and in sight (docs/object-lock.md).

When less than half of the period is left, everything that is live is locked anew, for one period from now. Between two such rounds only
what came since the last run is looked at. What was seen to stands in the log (EVIDENCE `Locked`), so that the next run knows; one
that was stopped goes on there. Memory is what begins with one byte of the digests, as in prune.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import datetime
from typing import Final

from recoup import __version__
from recoup.engine.evidence import Locked, read_statement, seconds_of, time_text, to_entry
from recoup.engine.format.names import LOCATION_DESCRIPTOR, descriptor_name, keyring_name, log_name, parse_object_name, vault_prefix
from recoup.engine.keys.roles import MaintenanceKeys
from recoup.engine.log.bodies import LOCKED
from recoup.engine.log.facts import Facts
from recoup.engine.log.follow import Log
from recoup.engine.log.sets import StoredSets
from recoup.engine.maintenance.checkpoints import live_parts
from recoup.engine.maintenance.garbage import AREAS
from recoup.engine.maintenance.holds import Held, Holder, half_is_over
from recoup.engine.maintenance.mark import NeededDigests, live_digests
from recoup.engine.maintenance.sessions import unfinished_digests
from recoup.engine.shred import begun
from recoup.engine.stores.base import Lock
from recoup.engine.stores.versions import History, Versioned, history_of
from recoup.errors import Integrity, Invalid, Usage
from recoup.report import Progress
from recoup.value import Record

_THREADS: Final = 16
_ALL: Final = 256
NOTED_EVERY: Final = 600.0
"""Seconds of work after which a run notes how far it is."""


class Protected(Record):
    """What a run did."""

    held: Held
    whole: bool
    """Everything was locked anew, not only what came since the last run."""
    objects: int = 0
    """Names that something stands under and that are needed."""
    until: datetime | None = None
    """Everything that was live when the run began is locked until then; None if not everything is."""
    noted: bool = False
    """It stands in the log."""


def protect(log: Log, keys: MaintenanceKeys, progress: Progress, *, threads: int = _THREADS, everything: bool = False) -> Protected:
    """Extend what is due, and put back into sight what was hidden. `everything`: whatever earlier runs say.

    Raises Usage where no object lock is asked for, Invalid for a shredded vault, Integrity if it cannot be read what is live, Denied if
    versions may not be listed or nothing may be locked, and what the store raises.
    """
    store = log.store
    lock = store.object_lock if isinstance(store, Versioned) else None
    if not isinstance(store, Versioned) or lock is None:
        raise Usage(f"{store.url}: what is locked, and for how long? Give --object-lock, as it is given for backups")
    pool = ThreadPoolExecutor(threads, thread_name_prefix="protect")
    try:
        return _Run(log, store, lock, keys, progress, pool, everything=everything).run()
    finally:
        pool.shutdown(cancel_futures=True)
        progress.end()


def newest_locked(state: Facts) -> Locked | None:
    """What the last run that noted anything in this log saw to."""
    said = (read_statement(noted.body, Locked) for noted in reversed(state.evidence) if noted.body.kind == LOCKED)
    return next((one for one in said if one is not None), None)


class _Run:
    def __init__(
        self, log: Log, store: Versioned, lock: Lock, keys: MaintenanceKeys, progress: Progress, pool: Executor, *, everything: bool
    ) -> None:
        self._log, self._store, self._lock, self._keys, self._progress, self._pool = log, store, lock, keys, progress, pool
        self._state = log.follow()
        self._state.require_identity()
        if begun(log):
            raise Invalid(
                f"vault {self._state.vault_id.hex()} was shredded: its keys are not to be kept, nothing is locked", reason="VaultShredded"
            )
        self._head, self._vault = self._state.next_seq, self._state.vault_id
        self._now, self._begun = store.provider_time(), time.monotonic()
        self._holder = Holder(store, lock, self._now)
        last = None if everything else newest_locked(self._state)
        self._last = last if last is not None and self._still_holds(last) else None
        self._skip = self._last.upto if self._last is not None else 0
        """Digests that begin with a byte below it: only what came since the last run is looked at."""
        self._objects = 0

    def run(self) -> Protected:
        self._progress.start("reading sets")
        sets = StoredSets(self._log.store, self._vault, self._state)
        live, before = live_digests(sets, self._state, self._pool), self._seen_to(sets)
        live.add(live_parts(self._log.store, self._state))
        live.add(unfinished_digests(self._log.store, self._state, self._keys))
        self._progress.start("extending locks")
        self._log_and_keys()
        listing = _Histories(self._store, self._vault)
        for byte in range(_ALL):
            needed = live.at(byte)
            self._objects_at(listing.at(byte), needed, before.at(byte) if byte < self._skip else set(), whole=byte >= self._skip)
            if byte + 1 < _ALL and time.monotonic() - self._begun >= NOTED_EVERY and byte >= self._skip:
                self._note(byte + 1)
                self._begun = time.monotonic()
        held = self._holder.held
        noted = self._has_news()
        if noted:
            self._note(_ALL)
        until = self._until() if not held.unlocked else None
        return Protected(held, self._skip < _ALL, self._objects, until, noted)

    def _still_holds(self, last: Locked) -> bool:
        """Whether that run need not be done again: at half of the period it must, and if it could not lock everything."""
        until = _time_of(last.until)
        same = last.mode == self._lock.mode and not last.unlocked
        return same and until is not None and not half_is_over(until, self._now, self._lock.period)

    def _seen_to(self, sets: StoredSets) -> NeededDigests:
        """What the last run saw to and that is still needed."""
        head, state = (self._last.head if self._last is not None else 0), self._state
        commits = [commit for commit in state.commits.values() if commit.named_at < head]
        before = NeededDigests(sets, commits, self._pool)
        before.add(segment for commit in commits for segment in commit.body.index_segments)
        before.add(segment for segment, seq in state.merged_segments.items() if seq < head)
        before.add(digest for seq, noted in state.condemned.items() if seq < head for digest in noted.body.lists)
        before.add(digest for seq, swept in state.swept.items() if seq < head for digest in swept.body.lists)
        return before

    def _objects_at(self, histories: list[History], needed: set[bytes], before: set[bytes], *, whole: bool) -> None:
        holder, there = self._holder, set[bytes]()
        todo: list[tuple[Callable[[History], None], History]] = []
        for history in histories:
            digest, incarnation = parse_object_name(history.name)[2:]
            if digest not in needed:
                continue
            there.add(digest)
            if whole:
                todo.append((holder.extend, history))
            elif digest not in before or (incarnation and self._came_since(history)):
                todo.append((holder.check, history))
            elif history.contested:
                todo.append((holder.uncover, history))
        self._do(todo)
        self._objects += len(there)
        holder.miss(len(needed - there))

    def _came_since(self, history: History) -> bool:
        """Whether it was put after the last run had begun: what was missing or damaged then was brought back."""
        first = history.versions[-1].modified if history.versions else None
        return self._last is not None and first is not None and first.timestamp() >= seconds_of(self._last.started)

    def _log_and_keys(self) -> None:
        """Entries up to the head, junk among them too: without it the log would end there. Keyrings and descriptors in force."""
        state, end = self._state, log_name(self._vault, self._head)
        names = [LOCATION_DESCRIPTOR, *(keyring_name(self._vault, number, digest) for number, digest in state.keyrings.items())]
        if state.descriptor is not None:
            names.append(descriptor_name(self._vault, state.descriptor.number))
        whole = self._skip < _ALL
        act = self._holder.extend if whole else self._holder.check
        for name, history in zip(names, self._pool.map(lambda name: history_of(self._store, name), names), strict=True):
            if history is None:
                self._holder.miss()
            else:
                self._do([(act, history)])
                self._objects += name == history.name
        seen_to = log_name(self._vault, self._last.head if self._last is not None and not whole else 0)
        entries = itertools.takewhile(lambda history: history.name < end, self._store.histories(end[:-16]))
        while batch := list(itertools.islice(entries, 1024)):
            self._do([(self._holder.uncover if history.name < seen_to else act, history) for history in batch])
            self._objects += len(batch)

    def _do(self, todo: list[tuple[Callable[[History], None], History]]) -> None:
        for _ in self._pool.map(lambda one: one[0](one[1]), todo):
            self._progress.advance(files=1)

    def _until(self) -> datetime | None:
        """Of this run, and of what it left as it was."""
        dates = [self._holder.held.until, _time_of(self._last.until) if self._last is not None else None]
        return min((date for date in dates if date is not None), default=None)

    def _has_news(self) -> bool:
        """Whether there is more to say than the last run did. Otherwise nothing is written."""
        held, last = self._holder.held, self._last
        if last is None or self._skip < _ALL or held.unlocked or held.missing or held.hidden != last.hidden:
            return True
        return any(commit.named_at >= last.head for commit in self._state.commits.values())

    def _note(self, upto: int) -> None:
        held, until = self._holder.held, self._until()
        statement = Locked(
            started=time_text(self._now.timestamp()),
            ended=time_text(self._store.provider_time().timestamp()),
            mode=self._lock.mode,
            period=int(self._lock.period.total_seconds()),
            head=self._head,
            until="" if until is None else time_text(until.timestamp()),
            objects=self._objects,
            extended=held.extended,
            unlocked=held.unlocked,
            missing=held.missing,
            hidden=held.hidden,
            upto=upto,
            tool=__version__,
        )
        self._log.append(to_entry(LOCKED, statement), self._keys.signer)


class _Histories:
    """Versions of all objects of a vault by the first byte of their digests; ask `at` for 0, 1, … 255 in this order."""

    def __init__(self, store: Versioned, vault_id: bytes) -> None:
        self._groups = [_by_byte(store, f"{vault_prefix(vault_id)}{area}/") for area in AREAS]
        self._ahead = [next(groups, None) for groups in self._groups]

    def at(self, byte: int) -> list[History]:
        found: list[History] = []
        for number, ahead in enumerate(self._ahead):
            if ahead is not None and ahead[0] < byte:
                raise Integrity("versions are not listed in the order of their names", reason="ListingUnordered")
            if ahead is not None and ahead[0] == byte:
                found += ahead[1]
                self._ahead[number] = next(self._groups[number], None)
        return found


def _by_byte(store: Versioned, prefix: str) -> Iterator[tuple[int, list[History]]]:
    for byte, group in itertools.groupby(_objects_below(store, prefix), key=lambda pair: pair[0]):
        yield byte, [history for _, history in group]


def _objects_below(store: Versioned, prefix: str) -> Iterator[tuple[int, History]]:
    for history in store.histories(prefix):
        try:
            yield parse_object_name(history.name).digest[0], history
        except Integrity:  # no object's name: prune reports those
            continue


def _time_of(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if seconds_of(text) else None
