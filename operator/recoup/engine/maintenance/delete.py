"""Deleting what a SWEEP named: many at a time, as often as one likes. What may not be deleted is counted and tried again next time."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from itertools import islice

from recoup.engine.format.names import digest_of, log_name, object_name
from recoup.engine.log.entries import MAX_ENTRY_BYTES, Entry
from recoup.engine.log.facts import Facts
from recoup.engine.records.objectlist import Listed
from recoup.engine.stores.base import Store
from recoup.errors import Denied, Integrity, NotFound
from recoup.report import Progress
from recoup.value import Record

_BATCH = 1024


class Deleted(Record):
    """What became of deletes. Bytes are stored bytes."""

    objects: int = 0
    size: int = 0
    refused: int = 0
    refusal: str = ""
    """Why the last one was refused: a policy, or an object lock."""


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

    def delete(row: Listed) -> str:
        try:
            store.delete(object_name(vault_id, row.area, row.digest, row.incarnation))
        except Denied as error:
            return str(error)
        return ""

    iterator = iter(rows)
    while batch := list(islice(iterator, _BATCH)):
        for row, refusal in zip(batch, pool.map(delete, batch), strict=True):
            if refusal:
                done.refused, done.refusal = done.refused + 1, refusal
            else:
                done.objects, done.size = done.objects + 1, done.size + row.size
                progress.advance(data=row.size, files=1)
