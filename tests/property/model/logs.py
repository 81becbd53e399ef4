"""One location in the model: its log, its store, and what its entries add up to.

An object is (digest, incarnation). Entries are what the rules need and no more; `by` and `after` stand for nonce and `previous`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

Object = tuple[str, int]
Objects = frozenset[Object]
NOTHING: Objects = frozenset()


class Entry(NamedTuple):
    kind: str
    """OPEN, COMMIT (or MIRROR of one), ABORT, FORGET, CONDEMN, SWEEP."""
    by: str
    after: Entry | None
    about: str = ""
    """The session, which is also its recovery point."""
    objects: Objects = NOTHING
    marked: int = 0
    condemned: int = -1
    unnamed: bool = False

    def __str__(self) -> str:
        words = [self.kind, self.about, *(f"{name}.{k}" for name, k in sorted(self.objects))]
        return " ".join(word for word in words if word)


Log = tuple[Entry, ...]


class Place(NamedTuple):
    log: Log = ()
    store: Objects = NOTHING
    late: Objects = NOTHING
    """Deletes that were sent and may arrive at any time."""


class Facts(NamedTuple):
    live: dict[str, Objects]
    forgotten: dict[str, tuple[int, Objects]]
    opened: dict[str, int]
    """Seq of a session's first OPEN."""
    ended: frozenset[str]
    aborted: frozenset[str]
    condemned: dict[int, Entry]
    swept: dict[int, Entry]
    twice: bool
    """Some point was named by two entries."""


@lru_cache(maxsize=1 << 20)
def facts(log: Log) -> Facts:
    """What the entries that are chained add up to."""
    found = Facts({}, {}, {}, frozenset(), frozenset(), {}, {}, twice=False)
    last: Entry | None = None
    for seq, entry in enumerate(log):
        if entry.after is not last and entry.after != last:
            continue
        last = entry
        found = _apply(found, seq, entry)
    return found


def _apply(found: Facts, seq: int, entry: Entry) -> Facts:
    about = entry.about
    match entry.kind:
        case "OPEN":
            return found._replace(opened={about: seq} | found.opened)
        case "COMMIT":
            twice = found.twice or about in found.live or about in found.forgotten
            return found._replace(live=found.live | {about: entry.objects}, ended=found.ended | {about}, twice=twice)
        case "ABORT":
            return found._replace(ended=found.ended | {about}, aborted=found.aborted | {about})
        case "FORGET":
            live = {point: objects for point, objects in found.live.items() if point != about}
            return found._replace(live=live, forgotten=found.forgotten | {about: (seq, found.live[about])})
        case "CONDEMN":
            return found._replace(condemned=found.condemned | {seq: entry})
        case "SWEEP":
            condemned = {at: one for at, one in found.condemned.items() if at != entry.condemned}
            return found._replace(condemned=condemned, swept=found.swept | {seq: entry})
    raise AssertionError(entry.kind)


def swept_since(log: Log, since: int) -> Objects:
    return frozenset(one for seq, entry in facts(log).swept.items() if seq > since for one in entry.objects)


def live_names(found: Facts) -> frozenset[str]:
    """Digests that live points need, in whatever incarnation."""
    return frozenset(name for objects in found.live.values() for name, _ in objects)
