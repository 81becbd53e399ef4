"""One look at a location: what is live, what is there and not live, and what of the condemned is due.

Decides nothing and appends nothing; the object lists that it puts are named by nobody until a CONDEMN does. `prune.py` acts on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import Executor

from msgspec import field

from recoup.engine.keys.roles import MaintenanceKeys
from recoup.engine.log.bodies import Condemn
from recoup.engine.log.facts import Facts
from recoup.engine.log.sets import Key, StoredSets
from recoup.engine.maintenance.checkpoints import live_parts
from recoup.engine.maintenance.garbage import Listing, ListWriter, Rows
from recoup.engine.maintenance.mark import NeededDigests, forgotten_digests, live_digests
from recoup.engine.maintenance.sessions import unfinished_digests
from recoup.engine.records.objectlist import Listed
from recoup.engine.stores.base import Store
from recoup.report import Progress
from recoup.value import Record


class Due(Record):
    """A CONDEMN whose grace is over. `taken`: digests of it that something live needs again."""

    seq: int
    body: Condemn
    taken: set[bytes] = field(default_factory=set)


class Look(Record):
    """What was seen. Bytes are stored bytes, as listed."""

    marked: int
    """The log's end when what is live was read."""
    named: ListWriter
    """Not live, and named by a point that was forgotten."""
    unnamed: ListWriter
    """Not live, and perhaps an unfinished session's."""
    due: list[Due]
    later: set[int] = field(default_factory=set)
    """SWEEPs that it is too early for: what they name is locked."""
    leftovers: list[Listed] = field(default_factory=list)
    """Swept and still there: a run stopped before it had deleted them, or their lock should have ended by now."""
    locked_objects: int = 0
    """Swept and still there, of those that it is too early for."""
    locked_size: int = 0
    live_objects: int = 0
    """Digests that are needed."""
    objects: int = 0
    size: int = 0
    strange: int = 0


class _Condemned:
    """Keys that CONDEMNs, or unfinished SWEEPs, name already, by first byte."""

    def __init__(self, sets: StoredSets, lists: list[tuple[bytes, ...]]) -> None:
        self._streams = [Rows(sets.listed(digests)) for digests in lists]

    def at(self, byte: int) -> set[Key]:
        return {(row.digest, row.incarnation) for stream in self._streams for row in stream.at(byte)}


def look(
    store: Store, state: Facts, keys: MaintenanceKeys, due: set[int], later: set[int], pool: Executor, progress: Progress, *, put: bool
) -> Look:
    """Look once. `due`: seqs of CONDEMNs to prepare; `later`: SWEEPs whose objects are locked.

    Raises Integrity if anything that says what is live cannot be read.
    """
    sets = StoredSets(store, state.vault_id, state)
    progress.start("reading sets")
    live, forgotten = live_digests(sets, state, pool), forgotten_digests(sets, state, pool)
    live.add(live_parts(store, state))
    live.add(unfinished_digests(store, state, keys))
    target = store if put else None
    writers = [ListWriter(target, state.vault_id), ListWriter(target, state.vault_id)]
    found = Look(state.next_seq, writers[0], writers[1], [Due(seq, state.condemned[seq].body) for seq in sorted(due)], later)
    progress.start("listing")
    _compare(store, state, sets, found, live, forgotten, progress)
    found.live_objects = live.count
    for writer in writers:
        writer.finish()
    return found


def _compare(
    store: Store, state: Facts, sets: StoredSets, found: Look, live: NeededDigests, forgotten: NeededDigests, progress: Progress
) -> None:
    due = [(one, Rows(sets.listed(one.body.lists))) for one in found.due]
    waiting = _Condemned(sets, [noted.body.lists for noted in state.condemned.values()])
    swept = _Condemned(sets, [state.swept[seq].body.lists for seq in sorted(state.unfinished - found.later)])
    held = _Condemned(sets, [state.swept[seq].body.lists for seq in sorted(state.unfinished & found.later)])
    listing = Listing(store, state.vault_id)
    for byte in range(256):
        needed, named = live.at(byte), forgotten.at(byte)
        condemned, gone, locked = waiting.at(byte), swept.at(byte), held.at(byte)
        for row in listing.at(byte):
            key = (row.digest, row.incarnation)
            if key in gone:
                found.leftovers.append(row)
            elif key in locked:
                found.locked_objects, found.locked_size = found.locked_objects + 1, found.locked_size + row.size
            elif row.digest not in needed and key not in condemned:
                (found.named if row.digest in named else found.unnamed).add(row)
            progress.advance(files=1)
        for one, rows in due:
            one.taken |= {row.digest for row in rows.at(byte)} & needed
    found.objects, found.size, found.strange = listing.objects, listing.size, listing.strange


def surviving(sets: StoredSets, due: Due, writer: ListWriter) -> tuple[bytes, ...]:
    """The lists of what may be swept: the CONDEMN's own if nothing of it is needed again, else new ones without that."""
    if not due.taken:
        writer.objects, writer.size = due.body.objects, due.body.size
        return due.body.lists
    for row in _without(sets, due):
        writer.add(row)
    return writer.finish()


def _without(sets: StoredSets, due: Due) -> Iterator[Listed]:
    return itertools.filterfalse(lambda row: row.digest in due.taken, sets.listed(due.body.lists))
