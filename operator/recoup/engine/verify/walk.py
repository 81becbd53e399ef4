"""Walking recovery points: V4's proof that every name in a tree leads to blocks that exist, and which paths a damaged object costs.

Content is not read again: the objects were opened before, and what is known of their blocks is compared with refs and runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from recoup.engine.format.kinds import BlockKind
from recoup.engine.log.facts import Committed
from recoup.engine.points import OpenPoint, open_point
from recoup.engine.records.content import Content, Run, iterate_runs
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.tree import Entry, FileType, iterate_tree, printable
from recoup.engine.restore.content import Budget
from recoup.engine.vault import Unlocked
from recoup.engine.verify.findings import LISTED_PATHS, Affected, Findings
from recoup.errors import Integrity, KeyUnavailable


class PointWalker:
    """Walks one recovery point after the other."""

    def __init__(self, unlocked: Unlocked, findings: Findings) -> None:
        self._unlocked, self._findings = unlocked, findings
        self._complete = findings.level >= 4
        self._explained = True

    def walk(self, commit: Committed) -> None:
        """Note which paths of the point cannot be restored, and why."""
        affected = Affected(commit.body.manifest.hex())
        self._explained = True
        try:
            point = open_point(self._unlocked, commit)
            if point.manifest.device is not None:
                self._device(point, point.manifest.device, affected)
            else:
                self._tree(point, affected)
        except (Integrity, KeyUnavailable) as error:
            affected.whole, self._explained = str(error), self._explains(error)
        affected.explained = self._explained
        if affected.whole or affected.paths_total:
            self._findings.affected.append(affected)

    def _explains(self, error: Exception) -> bool:
        return any(damage.name in str(error) for damage in self._findings.damages.values())

    def _tree(self, point: OpenPoint, affected: Affected) -> None:
        budget = Budget(point.manifest.totals)
        for entry in iterate_tree(point.blocks.fetch, point.manifest.tree):
            budget.spend(entry)
            self._findings.files += entry.type is not FileType.DIRECTORY
            if self._is_lost(point, entry):
                affected.paths_total += 1
                if len(affected.paths) < LISTED_PATHS:
                    affected.paths.append(printable(entry.path))
        budget.check_spent()

    def _is_lost(self, point: OpenPoint, entry: Entry) -> bool:
        blocks = [(xattr.block, BlockKind.XATTR, 0) for xattr in entry.xattrs if xattr.block]
        if any(self._block_is_lost(point, *block) for block in blocks):
            return True
        if entry.type is not FileType.REGULAR or entry.content is None:
            return False
        try:
            return self._runs_are_lost(point, iterate_runs(point.blocks.fetch, entry.content))
        except Integrity as error:  # its list of runs is damaged, which costs this file only
            self._explained = self._explained and self._explains(error)
            return True

    def _runs_are_lost(self, point: OpenPoint, runs: Iterator[Run]) -> bool:
        return any(self._block_is_lost(point, run.block, BlockKind.DATA, run.at + run.length) for run in runs)

    def _block_is_lost(self, point: OpenPoint, block: bytes, kind: BlockKind, end: int) -> bool:
        place = point.blocks.refs.find(block)
        if place is None:
            self._explained = False
            return True
        ref = ObjectRef(place.digest, place.incarnation)
        if ref in self._findings.damages:
            return True
        if not self._complete:
            return False
        facts = self._findings.facts.get(ref)
        lost = facts is None or not facts.holds(place.number, block, kind) or facts.lengths[place.number] < end
        self._explained = self._explained and not lost
        return lost

    def _device(self, point: OpenPoint, content: Content, affected: Affected) -> None:
        if self._runs_are_lost(point, iterate_runs(point.blocks.fetch, content, BlockKind.DEVICE_MAP)):
            affected.whole = "parts of the device are damaged or missing"
        self._findings.files += 1
