"""Merging small index segments (docs/format-data.md section 6), so that a backup reads few of them however many runs there were.

A cache is rewritten: stopped anywhere it leaves objects that nobody names. What cannot be read stays as it is and is counted; `recoup
repack`, which can open packs, writes it anew (`rebuild.py`).
"""

from __future__ import annotations

import logging
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from recoup.engine.browse.spool import Spool
from recoup.engine.format.kinds import Kind
from recoup.engine.format.names import object_name
from recoup.engine.keys.roles import MaintenanceKeys
from recoup.engine.log.bodies import Index
from recoup.engine.log.follow import Log, LogRejected
from recoup.engine.log.sets import StoredSets
from recoup.engine.maintenance.mark import live_digests
from recoup.engine.maintenance.segments import FULL, Segments, Sorted, tables_of
from recoup.errors import Integrity, KeyUnavailable, NotFound

MANY: Final = 32
"""Small segments in force: if there are more, they are merged."""
SMALL: Final = FULL // 2
"""Stored bytes: larger ones are not merged again."""
AT_ONCE: Final = 1000
"""Segments that one INDEX replaces: well below the limit of an entry."""
_log = logging.getLogger(__name__)


@dataclass
class Merged:
    """What was done about index segments."""

    replaced: int = 0
    written: int = 0
    damaged: int = 0
    """Segments that could not be read, of those that were to be merged."""


def merge_segments(log: Log, keys: MaintenanceKeys, pool: Executor) -> Merged:
    """Merge if there are many. Raises Integrity if an object set cannot be read, and what the store raises."""
    state, result = log.state, Merged()
    if not state.at_home or len(state.segments) <= MANY:
        return result
    names = [object_name(state.vault_id, Kind.INDEX.area, segment) for segment in state.segments]
    sizes = list(pool.map(log.store.size, names))
    small = [segment for segment, size in zip(state.segments, sizes, strict=True) if size is not None and size < SMALL][:AT_ONCE]
    result.damaged = sizes.count(None)
    if len(small) <= MANY:
        return result
    segments = Segments(log.store, keys.identity, keys.index_keys)
    with Spool() as spool:
        rows, replaced, objects = Sorted(spool), list[bytes](), set[bytes]()
        for segment in reversed(small):  # the newest first: of two places the one that is newer
            if _add(segments, segment, rows, objects, result):
                replaced.append(segment)
        live = _live(objects, log, pool)
        if len(replaced) > 1:
            written = segments.write(rows.rows(lambda place: place.digest in live))
            _replace(log, keys, written, replaced, result)
    return result


def _add(segments: Segments, segment: bytes, rows: Sorted, objects: set[bytes], result: Merged) -> bool:
    """Take over its rows. False if it is of keys that are over, or damaged: a part of its rows may be there then, which are as good."""
    try:
        reader = segments.open(segment)
        if not segments.is_current(reader):
            return False
        for table in tables_of(reader):
            objects.update(ref.digest for ref in table.objects)
            for block, place in table:
                rows.add(block, place)
    except (Integrity, NotFound, KeyUnavailable) as error:
        _log.warning("an index segment cannot be read, `recoup repack` writes it anew: %s", error)
        result.damaged += 1
        return False
    return True


def _live(objects: set[bytes], log: Log, pool: Executor) -> set[bytes]:
    """Which of the objects some recovery point needs: nobody may refer to the others, so their rows go."""
    live = live_digests(StoredSets(log.store, log.state.vault_id), log.state, pool)
    found: set[bytes] = set()
    for byte in range(256):
        found |= live.at(byte) & objects
    return found


def _replace(log: Log, keys: MaintenanceKeys, written: list[bytes], replaced: list[bytes], result: Merged) -> None:
    try:
        log.append(Index(tuple(written), tuple(replaced)), keys.signer)
    except LogRejected as error:  # a point was forgotten meanwhile, and its segments with it: the next run tries again
        _log.info("index segments were not merged: %s", error)
    else:
        result.replaced, result.written = len(replaced), len(written)
