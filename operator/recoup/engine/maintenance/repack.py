"""`repack`: what is needed of packs that are mostly waste goes into new ones, and every point is told where it is now (REPLACE).

The old packs are then nobody's, and the next prune deletes them: whoever repacks needs content keys and the writer's key, and no right to
delete. Stopped anywhere it leaves what nothing names; points are told one by one, each whole before or after.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from recoup.engine.backup.packs import PACK_BYTES, MetaWriter, put_object
from recoup.engine.backup.pipeline import Pipeline
from recoup.engine.blocks import Objects
from recoup.engine.format.kinds import ID_BYTES, Kind
from recoup.engine.log.bodies import Abort, Open, Replace
from recoup.engine.log.follow import Log, LogRejected
from recoup.engine.log.sets import StoredSets
from recoup.engine.maintenance.checkpoints import audit
from recoup.engine.maintenance.move import Mover, Rewriter, put_index
from recoup.engine.maintenance.prune import check_log
from recoup.engine.maintenance.rebuild import rebuild, survey
from recoup.engine.maintenance.waste import Use, judge_packs, used_blocks
from recoup.engine.points import OpenPoint, open_point
from recoup.engine.vault import Unlocked
from recoup.errors import Invalid, RecoupError
from recoup.report import Progress
from recoup.value import Record

WASTE: Final = 0.25
"""Of the bytes of a pack's blocks: packs that waste less stay as they are."""


class Repacked(Record):
    """What was done, or in a dry run would be. Bytes are those of encrypted blocks."""

    packs: int = 0
    """Packs that live points need."""
    wasteful: int = 0
    wasted: int = 0
    """Bytes of all packs that nothing needs."""
    size: int = 0
    moved: int = 0
    """Bytes that were written again."""
    freed: int = 0
    """Bytes that the next prune will free."""
    points: int = 0
    """Recovery points that were told."""
    segments_damaged: int = 0
    """Index segments that could not be read, and were written anew from the footers of packs."""
    blocks_indexed: int = 0
    skipped: int = 0
    """Points of an older generation, whose blocks this writer's key cannot seal."""


def repack(unlocked: Unlocked, waste: float, progress: Progress, *, dry_run: bool = False, pack_bytes: int = PACK_BYTES) -> Repacked:
    """Repack once. Raises Integrity if anything that it needs is not whole, with every point as it was; what the store raises."""
    log, keys = unlocked.log, unlocked.writer
    audit(log, None)
    check_log(log)
    if not log.state.at_home:
        raise Invalid("this is not the vault's home: repack there, the copies follow", reason="NotHome")
    try:
        progress.start("reading refs", files_total=len(log.state.commits))
        mine = [commit for commit in log.state.commits.values() if keys.builds_on(commit.generation)]
        points = [open_point(unlocked, commit) for commit in mine]
        sets, objects = StoredSets(log.store, log.state.vault_id, log.state), Objects(log.store, unlocked.reader)
        use = used_blocks(points, sets)
        progress.start("judging packs", files_total=len(use.packs))
        for _ in judge_packs(use, objects, waste):
            progress.advance(files=1)
        others = len(log.state.commits) - len(mine)
        result = Repacked(len(use.packs), len(use.wasteful), use.wasted, use.size, sum(use.wasteful.values()), skipped=others)
        result.freed = _freed(use, objects)
        found = survey(unlocked)
        result.segments_damaged = len(found.damaged)
        if found.damaged and not dry_run:
            progress.start("rebuilding the index")
            result.blocks_indexed = rebuild(unlocked, found, use, objects)
        if use.wasteful and not dry_run:
            result.points = _Run(unlocked, log, objects, sets, use, progress, pack_bytes).run(points)
        return result
    finally:
        progress.end()


def _freed(use: Use, objects: Objects) -> int:
    sizes = (objects.store.size(objects.name(Kind.DATA, ref)) or 0 for ref in use.wasteful)
    return sum(sizes) - sum(use.wasteful.values())


class _Run:
    def __init__(
        self, unlocked: Unlocked, log: Log, objects: Objects, sets: StoredSets, use: Use, progress: Progress, pack_bytes: int
    ) -> None:
        self._log, self._objects, self._sets, self._use, self._progress = log, objects, sets, use, progress
        self._keys, self._bytes, self._unlocked = unlocked.writer, pack_bytes, unlocked

    def run(self, points: list[OpenPoint]) -> int:
        """Move and tell; how many points were told."""
        keys, session = self._keys, os.urandom(ID_BYTES)
        opened = self._log.append(Open(session, b"", self._bytes), keys.signer).head.seq
        try:
            return self._move(points, session, opened)
        finally:
            with suppress(RecoupError):  # a session without an end is allowed: prune ends it some day
                self._log.append(Abort(session, opened), keys.signer)

    def _move(self, points: list[OpenPoint], session: bytes, opened: int) -> int:
        self._progress.start("moving", bytes_total=sum(self._use.wasteful.values()), files_total=len(self._use.wasteful))
        mover = Mover(self._objects, self._keys, self._bytes)
        for ref, used in self._use.wasteful.items():
            mover.move(ref, self._use.packs[ref])
            self._progress.advance(data=used, files=1)
        mover.finish()
        self._progress.start("telling points", files_total=len(points))
        told = 0
        with Pipeline(lambda sealed: put_object(self._objects.store, sealed.name, sealed.data), workers=1, uploaders=2) as pipeline:
            meta = [MetaWriter(pipeline, self._keys.sealing(kind), mover.ledger, self._keys.id_key) for kind in (Kind.INDEX, Kind.REFS)]
            segment = put_index(meta[0], mover.ledger)
            rewriter = Rewriter(meta[1], mover.ledger, self._objects, self._sets, set(self._use.wasteful), pipeline.drain)
            for point in points:
                told += self._tell(rewriter, point, segment, session, opened)
                self._progress.advance(files=1)
            pipeline.drain()
        return told

    def _tell(self, rewriter: Rewriter, point: OpenPoint, segment: bytes, session: bytes, opened: int) -> bool:
        """Append REPLACE for one point. False if it needs none, or was forgotten or replaced by somebody else meanwhile."""
        made = rewriter.rewrite(point)
        if made is None:
            return False
        commit = point.commit
        incarnations = commit.body.incarnations
        body = Replace(commit.body.manifest, commit.named_at, session, opened, made[0], made[1], (segment,), incarnations)
        try:
            self._log.append(body, self._keys.signer)
        except LogRejected:
            return False
        return True
