"""What unfinished sessions said that they stored: their partial index segments, and the objects that those name.

Keeps prune from condemning what an interrupted backup will go on with. Safety does not rest on it: whatever else such a session stored
is not swept before it ends. A segment that cannot be read is passed over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from recoup.engine.backup.resume import segments_of
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.format.names import digest_of, object_name
from recoup.engine.format.reader import ObjectReader, Opening, WrappingKey
from recoup.engine.keys.roles import MaintenanceKeys
from recoup.engine.log.facts import Facts
from recoup.engine.records.index import decode_segment
from recoup.engine.stores.base import Store
from recoup.errors import Integrity, KeyUnavailable, NotFound

_log = logging.getLogger(__name__)


def unfinished_digests(store: Store, state: Facts, keys: MaintenanceKeys) -> Iterator[bytes]:
    """Digests of the segments, and of what they name."""
    identity = keys.identity
    wrapping = tuple(WrappingKey(key) for key in keys.index_keys.values())
    opening = Opening(identity.repo_id, identity.vault_id, Kind.INDEX, wrapping_keys=wrapping)
    for session in state.sessions.values():
        if session.ended:
            continue
        for segment in segments_of(session):
            yield segment
            try:
                yield from _objects(store, state.vault_id, segment, opening)
            except (Integrity, NotFound, KeyUnavailable) as error:
                _log.warning("a partial index segment cannot be read, what it names may be condemned: %s", error)


def _objects(store: Store, vault_id: bytes, segment: bytes, opening: Opening) -> Iterator[bytes]:
    name = object_name(vault_id, Kind.INDEX.area, segment)
    data = store.get(name)
    if digest_of(data) != segment:
        raise Integrity(f"object {name} is damaged", reason="DigestMismatch")
    reader = ObjectReader(data, opening, name)
    for number, row in enumerate(reader.table):
        if row.kind == BlockKind.INDEX:
            yield from (ref.digest for ref in decode_segment(reader.read(number)).objects)
