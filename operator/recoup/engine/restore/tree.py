"""Restoring a recovery point of files into a directory: the order of the passes, and what counts as success.

content → late (links, special files) → settle (compare everything, directory attributes) → disk → marker away. Success is returned only
after the comparison. Start reading here; the passes are in modules of those names.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

from recoup.engine.format.kinds import BlockKind
from recoup.engine.points import OpenPoint
from recoup.engine.records.content import iterate_runs
from recoup.engine.records.tree import Entry, FileType, Xattr, iterate_tree
from recoup.engine.restore.attributes import Wishes, forget_inheritance
from recoup.engine.restore.beneath import Directories
from recoup.engine.restore.compare import DIFFERS, Comparer
from recoup.engine.restore.content import Budget, ContentPass, FileSink
from recoup.engine.restore.files import Hands, Names
from recoup.engine.restore.late import LatePass
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.packs import Workers
from recoup.engine.restore.settle import SettlePass
from recoup.engine.restore.target import Found, Target
from recoup.errors import Integrity, RecoupError
from recoup.report import Progress


def restore_tree(point: OpenPoint, path: str, wishes: Wishes, outcome: Outcome, progress: Progress) -> None:
    """Restore all files of `point` into the directory `path`, filling in `outcome`.

    Raises Invalid (TargetNotEmpty, TargetTooSmall, …), OSError, and Integrity if objects are damaged: then everything else has
    been restored, `outcome.damaged` lists what has not, and the target stays marked as incomplete.
    """
    target = Target(path, point.id[:16].encode())
    try:
        _TreeRestore(point, target, wishes, outcome, progress).run()
    finally:
        target.close()


class _TreeRestore:
    def __init__(self, point: OpenPoint, target: Target, wishes: Wishes, outcome: Outcome, progress: Progress) -> None:
        self._point, self._target, self._outcome, self._progress = point, target, outcome, progress
        self._directories = Directories(target.fd)
        self._hands = Hands(self._directories, outcome, wishes, self._xattr, Names(target.mark), unreadable_later=os.geteuid() != 0)

    def run(self) -> None:
        try:
            found = self._target.inspect()
            if found is Found.OCCUPIED:
                self._expect_exactly_this()
                return
            if found is Found.EMPTY:
                self._check_space()
            self._target.begin()
            forget_inheritance(self._target.fd)
            self._write()
            self._compare(clean=found is Found.INTERRUPTED)
            if self._outcome.damaged.total:
                raise damaged_error(self._outcome)
            self._target.complete()
            self._root()
            self._target.sync()
        finally:
            self._directories.close()

    def _write(self) -> None:
        totals = self._point.manifest.totals
        self._progress.start("restoring", bytes_total=totals.bytes, files_total=totals.files)
        workers = Workers(self._point.objects, self._point.blocks.id_key, FileSink(self._hands, self._progress))
        content = ContentPass(self._hands, self._point.blocks, workers, self._progress)
        try:
            content.run(self._entries(), Budget(totals))
        finally:
            workers.close()
        if content.late:
            LatePass(self._hands, content.groups, self._progress).run(self._entries())

    def _compare(self, *, clean: bool) -> None:
        """Compare while the kernel writes to disk; both must end well."""
        totals = self._point.manifest.totals
        self._progress.start("comparing", bytes_total=totals.bytes, files_total=totals.files)
        failures: list[RecoupError] = []

        def to_disk() -> None:
            try:
                self._target.sync()
            except RecoupError as error:
                failures.append(error)

        disk = threading.Thread(target=to_disk, name="sync")
        disk.start()
        try:
            SettlePass(self._target, self._hands, self._point.blocks, self._progress, clean=clean).run(self._entries())
        finally:
            disk.join()
        if failures:
            raise failures[0]

    def _expect_exactly_this(self) -> None:
        """A target that is not empty is fine if a run before us completed it and could only not say so."""
        self._progress.start("comparing", bytes_total=self._point.manifest.totals.bytes, files_total=self._point.manifest.totals.files)
        settle = SettlePass(self._target, self._hands, self._point.blocks, self._progress, clean=False, change=False)
        try:
            settle.run(self._entries())
        except Integrity as error:
            if error.reason != DIFFERS:
                raise
            raise self._target.refuse(str(error)) from error
        if self._outcome.damaged.total:
            raise damaged_error(self._outcome)
        self._outcome.already_there = True
        self._root()

    def _root(self) -> None:
        """The root directory's own attributes, last of all, because taking the marker away changes its time."""
        root = self._point.manifest.root
        if root is not None:
            Comparer(self._hands, self._point.blocks.id_key).settle(self._target.fd, root)

    def _check_space(self) -> None:
        """Sizes say too much where files are sparse, so only if they do not fit is the data itself counted."""
        if self._point.manifest.totals.bytes > self._target.free():
            self._target.check_space(sum(self._data(entry) for entry in self._entries()))

    def _data(self, entry: Entry) -> int:
        if entry.type is not FileType.REGULAR or entry.content is None:
            return 0
        return sum(run.length for run in iterate_runs(self._point.blocks.fetch, entry.content))

    def _entries(self) -> Iterator[Entry]:
        return iterate_tree(self._point.blocks.fetch, self._point.manifest.tree)

    def _xattr(self, xattr: Xattr) -> bytes:
        return bytes(self._point.blocks.fetch(xattr.block, BlockKind.XATTR)) if xattr.block else xattr.value


def damaged_error(outcome: Outcome) -> Integrity:
    """What to raise when some files could not be had."""
    path, reason = outcome.damaged.listed[0]
    more = f" and {outcome.damaged.total - 1} more" if outcome.damaged.total > 1 else ""
    message = f"not restored: {path}{more}: {reason}; everything else is in the target, which stays marked as incomplete"
    return Integrity(message, reason="ObjectDamaged")
