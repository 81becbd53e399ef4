"""Copying the objects of one recovery point: all that its set names and that the copy does not hold for another live point.

What a live MIRROR at the target names was put or read back there when it was appended, so it is not looked at again (docs/format.md section
4); what is known to be damaged or was swept since gets the next incarnation.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from recoup.engine.format.names import log_name
from recoup.engine.keys.tickets import read_ticket
from recoup.engine.log.bodies import ObjectRef as LoggedObject
from recoup.engine.log.facts import Committed, Facts
from recoup.engine.log.sets import StoredSets, swept_keys
from recoup.engine.replicate.copier import Copier, Wanted
from recoup.engine.replicate.sets import Cursor, SetReader
from recoup.engine.stores.base import Store
from recoup.errors import Integrity
from recoup.report import Progress

_BASES = 2
"""Points of the same lineage that a new one is compared with, besides the newest of all."""


class PointCopier:
    """Compares and copies, one point after the other."""

    def __init__(self, source: Store, target: Store, theirs: Facts, mine: Facts, copier: Copier, progress: Progress) -> None:
        """`source` and `target` hand out objects that match their digests, wherever they stand there."""
        self._theirs, self._mine, self._copier, self._progress = theirs, mine, copier, progress
        self._sets = SetReader(theirs.vault_id, source, target)  # what a point needs here was read when it was copied from there
        self._swept = StoredSets(target, theirs.vault_id, mine)
        self._latest: dict[tuple[str, str], list[bytes]] = {}
        self._newest = b""
        for point in mine.commits:
            self.note(point)

    def note(self, point: bytes) -> None:
        """The point is live at the target now: later ones are compared with it."""
        lineage = self._latest.setdefault(_lineage(self._mine, self._mine.commits[point]), [])
        lineage[:] = [*lineage, point][-_BASES:]
        self._newest = point

    def copy(self, point: bytes) -> tuple[list[LoggedObject], list[Integrity]]:
        """Have everything of the point here: the objects whose incarnation here is not 0, and why some cannot be had."""
        commit = self._theirs.commits[point]
        inherited: list[LoggedObject] = []
        try:
            count = size = 0
            for wanted in self._missing(commit, []):
                count += 1
                size += wanted.size or 0
            self._expect(count, size)
        except Integrity as error:
            return [], [error]
        raised, lost = self._copier.copy(self._missing(commit, inherited))
        return [*(LoggedObject(one.digest, one.first) for one in raised), *inherited], lost

    def _expect(self, count: int, size: int) -> None:
        progress = self._progress
        progress.files_total = (progress.files_total or 0) + count
        progress.bytes_total = (progress.bytes_total or 0) + size

    def _missing(self, commit: Committed, inherited: list[LoggedObject]) -> Iterator[Wanted]:
        """What is not here. `inherited` takes what is here under another incarnation than 0."""
        bases = self._bases(commit)
        known = Cursor(heapq.merge(*(self._sets.known(base) for base in bases)))
        swept = Cursor(swept_keys(self._mine, self._swept))
        for wanted in self._sets.needed(commit):
            here, gone = known.highest(wanted.digest), swept.highest(wanted.digest)
            if here is not None and not self._is_damaged(wanted.digest, here):
                if here:
                    inherited.append(LoggedObject(wanted.digest, here))
                continue
            first = self._mine.incarnation_of(wanted.digest)
            if gone is not None:
                first = max(first, gone + 1)
            if LoggedObject(wanted.digest, first) in self._mine.damaged:
                first += 1
            yield wanted._replace(first=first)

    def _bases(self, commit: Committed) -> list[Committed]:
        """Live points at the target that are likely to share most with this one."""
        points = dict.fromkeys([*self._latest.get(_lineage(self._theirs, commit), ()), *([self._newest] if self._newest else [])])
        if commit.body.manifest in self._mine.commits:  # a REPLACE of a point that is here
            points[commit.body.manifest] = None
        return [self._mine.commits[point] for point in points if point in self._mine.commits]

    def _is_damaged(self, digest: bytes, incarnation: int) -> bool:
        best = self._mine.candidates(LoggedObject(digest, incarnation))[0]
        return best in self._mine.damaged


def _lineage(facts: Facts, commit: Committed) -> tuple[str, str]:
    """Whose volume it is, as far as can be known without a key: by the run ticket. All points without one are one lineage."""
    if not commit.body.ticket:
        return "", ""
    ticket = read_ticket(commit.body.ticket, log_name(facts.vault_id, commit.seq))
    return ticket.policy_uid, ticket.pvc_uid
