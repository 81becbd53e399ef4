"""Index segments that cannot be read, written anew from the footers of packs (docs/format-data.md section 6).

An index is a cache: nothing is deleted because of it, and what it lacked costs space until this is done. Needs the keys that open packs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from recoup.engine.blocks import Objects
from recoup.engine.browse.spool import Spool
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.log.bodies import Index
from recoup.engine.log.follow import Log, LogRejected
from recoup.engine.maintenance.merge import AT_ONCE
from recoup.engine.maintenance.segments import Segments, Sorted, tables_of
from recoup.engine.maintenance.waste import Use
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.rows import Place
from recoup.engine.vault import Unlocked
from recoup.errors import Integrity, KeyUnavailable, NotFound

_log = logging.getLogger(__name__)


@dataclass
class Survey:
    """The index segments in force."""

    segments: Segments
    damaged: list[bytes] = field(default_factory=list)
    covered: set[ObjectRef] = field(default_factory=set)
    """Packs that the readable ones name."""


def survey(unlocked: Unlocked) -> Survey:
    """Read all segments. Memory is a hundred bytes for each pack."""
    keys, log = unlocked.maintenance, unlocked.log
    found = Survey(Segments(log.store, keys.identity, keys.index_keys))
    for segment in log.state.segments:
        try:
            for table in tables_of(found.segments.open(segment)):
                found.covered.update(table.objects)
        except KeyUnavailable:
            continue  # of a generation whose keys are destroyed
        except (Integrity, NotFound) as error:
            _log.warning("an index segment cannot be read: %s", error)
            found.damaged.append(segment)
    return found


def rebuild(unlocked: Unlocked, found: Survey, use: Use, objects: Objects) -> int:
    """Put segments of the packs in use that no readable one names, in place of those that are damaged; how many blocks they name.

    Raises Integrity if a pack's footer cannot be read.
    """
    log: Log = unlocked.log
    with Spool() as spool:
        rows, blocks = Sorted(spool), 0
        for ref in sorted(use.packs.keys() - found.covered):
            for number, row in enumerate(objects.ranged(Kind.DATA, ref).table):
                if row.kind == BlockKind.DATA and use.packs[ref] >> number & 1:
                    rows.add(row.id, Place(ref.digest, ref.incarnation, number, 0))
                    blocks += 1
        written = found.segments.write(rows.rows(lambda _place: True))
    try:
        log.append(Index(tuple(written), tuple(found.damaged[:AT_ONCE])), unlocked.maintenance.signer)
    except LogRejected as error:  # the point that named one was forgotten meanwhile: the next run looks again
        _log.info("the index was not put in force: %s", error)
        return 0
    return blocks
