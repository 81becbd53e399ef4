"""Deleting what a SWEEP named: many at a time, as often as one likes. What may not be deleted is counted and tried again next time.

With object lock an object goes with all its versions. One that is locked still stays as it is, in sight, and its SWEEP unfinished
(docs/object-lock.md): a delete marker would free nothing and be forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from datetime import datetime
from itertools import islice

from recoup.engine.format.names import digest_of, log_name, object_name
from recoup.engine.log.entries import MAX_ENTRY_BYTES, Entry
from recoup.engine.log.facts import Facts
from recoup.engine.records.objectlist import Listed
from recoup.engine.stores.base import Store
from recoup.engine.stores.versions import Versioned, erase
from recoup.errors import Denied, Integrity, NotFound
from recoup.report import Progress
from recoup.value import Record, Value

_BATCH = 1024


class Deleted(Record):
    """What became of deletes. Bytes are stored bytes."""

    objects: int = 0
    size: int = 0
    refused: int = 0
    refusal: str = ""
    """Why the last one was refused, by a policy for instance."""
    deferred: int = 0
    """Locked still: deleted by a run after that."""
    deferred_size: int = 0
    first_until: datetime | None = None
    """When the first lock of those ends, by the provider's clock; None if none has an end, or none is."""
    last_until: datetime | None = None
    covered: int = 0
    """Deleted for readers, while the bucket keeps a version: these credentials may not delete versions."""

    def defer(self, size: int, until: datetime | None) -> None:
        self.deferred, self.deferred_size = self.deferred + 1, self.deferred_size + size
        if until is not None:
            self.first_until = until if self.first_until is None else min(self.first_until, until)
            self.last_until = until if self.last_until is None else max(self.last_until, until)


class _Outcome(Value, frozen=True):
    refusal: str = ""
    locked: bool = False
    until: datetime | None = None
    covered: bool = False


def check_sweep(store: Store, state: Facts, sweep: Entry) -> None:
    """Read the SWEEP again before anything is deleted for it: it must stand byte for byte. Raises Integrity (LogForked)."""
    name = log_name(state.vault_id, sweep.head.seq)
    try:
        data = store.get(name, MAX_ENTRY_BYTES)
    except NotFound:
        data = b""
    if digest_of(data) != sweep.digest:
        raise Integrity(
            f"{name} is not the SWEEP that was written there: the location lost or replaced it, nothing is deleted", reason="LogForked"
        )


def delete_all(store: Store, vault_id: bytes, rows: Iterable[Listed], pool: Executor, progress: Progress, done: Deleted) -> None:
    """Delete objects; absent ones are done. Raises what the store raises but Denied, which is counted."""

    def delete(row: Listed) -> _Outcome:
        try:
            return _delete(store, object_name(vault_id, row.area, row.digest, row.incarnation))
        except Denied as error:
            return _Outcome(refusal=str(error))

    iterator = iter(rows)
    while batch := list(islice(iterator, _BATCH)):
        for row, outcome in zip(batch, pool.map(delete, batch), strict=True):
            if outcome.refusal:
                done.refused, done.refusal = done.refused + 1, outcome.refusal
            elif outcome.locked:
                done.defer(row.size, outcome.until)
            else:
                done.covered += outcome.covered
                done.objects, done.size = done.objects + 1, done.size + row.size
                progress.advance(data=row.size, files=1)


def _delete(store: Store, name: str) -> _Outcome:
    if not isinstance(store, Versioned) or store.object_lock is None:
        store.delete(name)
        return _Outcome()
    kept = erase(store, name, hide=False)
    locked = [version for version in kept if version.locked]
    if locked:
        return _Outcome(locked=True, until=max((version.until for version in locked if version.until is not None), default=None))
    if kept and store.size(name) is not None:
        store.delete(name)
    return _Outcome(covered=bool(kept))
