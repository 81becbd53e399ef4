"""What unfinished sessions said that they stored: their partial index segments, and the objects that those name.

Keeps prune from condemning what an interrupted backup will go on with. Safety does not rest on it: whatever else such a session stored
is not swept before it ends. A segment that cannot be read is passed over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from recoup.engine.backup.resume import segments_of
from recoup.engine.keys.roles import MaintenanceKeys
from recoup.engine.log.facts import Facts
from recoup.engine.maintenance.segments import Segments
from recoup.engine.stores.base import Store
from recoup.errors import Integrity, KeyUnavailable, NotFound

_log = logging.getLogger(__name__)


def unfinished_digests(store: Store, state: Facts, keys: MaintenanceKeys) -> Iterator[bytes]:
    """Digests of the segments, and of what they name."""
    segments = Segments(store, keys.identity, keys.index_keys)
    for session in state.sessions.values():
        if session.ended:
            continue
        for segment in segments_of(session):
            yield segment
            try:
                yield from (ref.digest for table in segments.tables(segment) for ref in table.objects)
            except (Integrity, NotFound, KeyUnavailable) as error:
                _log.warning("a partial index segment cannot be read, what it names may be condemned: %s", error)
