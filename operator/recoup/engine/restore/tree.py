"""Restoring a recovery point of files into a directory: the order of the passes, and what counts as success.

content → late (links, special files) → sweep (only where something was there before) → settle (compare everything, directory attributes)
→ disk → marker away. Success is returned only after the comparison. Start reading here; the passes are in modules of those names.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress

from recoup.engine.format.kinds import BlockKind
from recoup.engine.points import OpenPoint
from recoup.engine.records.content import iterate_runs
from recoup.engine.records.manifest import Totals
from recoup.engine.records.tree import Entry, FileType, Path, Xattr
from recoup.engine.restore.attributes import forget_inheritance
from recoup.engine.restore.beneath import Directories
from recoup.engine.restore.compare import DIFFERS, Comparer
from recoup.engine.restore.content import Budget, ContentPass, FileSink
from recoup.engine.restore.files import TEMPORARY, Hands, Names
from recoup.engine.restore.late import LatePass
from recoup.engine.restore.orders import Existing, Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.packs import Workers
from recoup.engine.restore.renew import Renewal, conflict
from recoup.engine.restore.selection import Selection, Unmatched
from recoup.engine.restore.settle import SettlePass
from recoup.engine.restore.survey import Survey
from recoup.engine.restore.sweep import Sweep
from recoup.engine.restore.target import Found, Target, names_in
from recoup.engine.restore.trash import Trash
from recoup.errors import Integrity, Invalid, RecoupError
from recoup.report import Progress


def restore_tree(point: OpenPoint, path: str, orders: Orders, outcome: Outcome, progress: Progress) -> None:
    """Restore what `orders` choose of `point` into the directory `path`, filling in `outcome`.

    Raises Invalid (TargetNotEmpty, TargetTooSmall, NothingChosen, …), OSError, and Integrity if objects are damaged: then everything
    else has been restored, `outcome.damaged` lists what has not, and the target stays marked as incomplete.
    """
    selection = Selection(orders.choice)
    totals = chosen_totals(point, selection)
    with Target.open(path, orders.mark(point.id), orders.into) as target:
        TreeRestore(point, target, orders, selection, totals, outcome, progress).run()


def chosen_totals(point: OpenPoint, selection: Selection) -> Totals:
    """How much is going to be restored. Raises Invalid if the choice, or one of its includes, takes nothing, or moves what it cannot."""
    if selection.choice.everything:
        return point.manifest.totals
    selection.check(point.blocks.fetch, point.manifest.tree)
    files = directories = size = 0
    unmatched = Unmatched(selection.choice)
    for entry in selection.entries(point.blocks.fetch, point.manifest.tree, unmatched.see):
        if entry.type is FileType.DIRECTORY:
            directories += not entry.implied
        else:
            files, size = files + 1, size + entry.size
    if unmatched.patterns:
        shown = ", ".join(repr(pattern) for pattern in unmatched.patterns[:5])
        more = f" and {len(unmatched.patterns) - 5} more" if len(unmatched.patterns) > 5 else ""
        message = f"nothing that is to be restored of recovery point {point.id[:16]} matches the include pattern {shown}{more}"
        raise Invalid(f"{message}; `recoup ls` and `recoup find` show what it has", reason="PatternMatchesNothing")
    if not files and not directories:
        message = f"nothing in recovery point {point.id[:16]} is chosen; `recoup ls` shows what it has, and globs are those of --exclude"
        raise Invalid(message, reason="NothingChosen")
    return Totals(files, directories, size)


class TreeRestore:
    """One restore into an open target."""

    def __init__(
        self, point: OpenPoint, target: Target, orders: Orders, selection: Selection, totals: Totals, outcome: Outcome, progress: Progress
    ) -> None:
        self._point, self._target, self._orders, self._selection = point, target, orders, selection
        self._totals, self._outcome, self._progress = totals, outcome, progress
        self._found = target.inspect()
        self._directories = Directories(target.fd)
        self._hands = hands_for(point, self._directories, orders, outcome, inherits=self._found is not Found.EMPTY)
        self._trash = Trash(target.fd, TEMPORARY + target.mark + b"-trash")

    def run(self) -> None:
        try:
            if self._found is Found.OCCUPIED and self._orders.existing is Existing.FAIL:
                self._expect_exactly_this()
                return
            if self._found is Found.EMPTY:
                self._check_space()
            elif self._orders.existing is Existing.MERGE:
                self._check_conflicts()
            self._target.begin()
            self._check_case()
            if self._found is Found.EMPTY:
                forget_inheritance(self._target.fd)
            self._write()
            if not self._outcome.damaged.total:
                self._sweep()
            self._compare()
            if self._outcome.damaged.total:
                raise damaged_error(self._outcome)
            if self._orders.existing is not Existing.FAIL:
                self._target.forget_others()
            self._target.complete()
            self._root()
            self._target.sync()
        finally:
            self._directories.close()

    def _write(self) -> None:
        self._progress.start("restoring", bytes_total=self._totals.bytes, files_total=self._totals.files)
        workers = Workers(self._point.objects, self._point.blocks.id_key, FileSink(self._hands, self._progress))
        renewal = None
        if self._found is not Found.EMPTY:
            survey = Survey(self._hands, self._point.blocks.id_key, self._point.blocks.fetch)
            renewal = Renewal(self._hands, survey, self._orders.existing, self._trash)
        content = ContentPass(self._hands, self._point.blocks, workers, self._progress, renewal)
        try:
            content.run(self._entries(), Budget(self._point.manifest.totals, whole=self._selection.everything))
        finally:
            workers.close()
        if content.late:
            LatePass(self._hands, content.groups, self._progress, renewal).run(self._entries())

    def _sweep(self) -> None:
        """Remove leftovers, and for a mirror what the recovery point does not have. Nothing of either can be in a target that was empty."""
        if self._found is Found.EMPTY:
            return
        sweep = Sweep(self._target, self._hands, self._orders.existing, self._remove)
        for stream in self._selection.streams:
            sweep.run(stream, stream.entries(self._point.blocks.fetch, self._point.manifest.tree))
        self._trash.close()

    def _remove(self, folder: int, path: Path, leftover: bool) -> None:
        if len(path) == 1 and path[0] == self._trash.name:
            return
        removed = self._trash.remove(folder, path[-1])
        if not leftover:
            self._outcome.deleted += removed

    def _compare(self) -> None:
        """Compare while the kernel writes to disk; both must end well."""
        self._progress.start("comparing", bytes_total=self._totals.bytes, files_total=self._totals.files)
        failures: list[RecoupError] = []

        def to_disk() -> None:
            try:
                self._target.sync()
            except RecoupError as error:
                failures.append(error)

        disk = threading.Thread(target=to_disk, name="sync")
        disk.start()
        try:
            self._settle(change=True)
        finally:
            disk.join()
        if failures:
            raise failures[0]

    def _settle(self, *, change: bool) -> None:
        comparer = Comparer(self._hands, self._point.blocks.id_key, change=change)
        lenient = self._orders.existing is not Existing.FAIL
        for stream in self._selection.streams:
            entries = stream.entries(self._point.blocks.fetch, self._point.manifest.tree)
            settle = SettlePass(self._target, self._hands, self._point.blocks, self._progress, comparer, lenient=lenient)
            settle.run(entries, stream.base, stream.placed)

    def _expect_exactly_this(self) -> None:
        """A target that is not empty is fine if a run before us completed it and could only not say so."""
        self._progress.start("comparing", bytes_total=self._totals.bytes, files_total=self._totals.files)
        try:
            self._settle(change=False)
        except FileNotFoundError as error:
            raise self._target.refuse("it lacks directories of the recovery point") from error
        except (Integrity, Invalid) as error:
            if error.reason not in {DIFFERS, "TargetChanged"}:
                raise
            raise self._target.refuse(str(error)) from error
        if self._outcome.damaged.total:
            raise damaged_error(self._outcome)
        self._outcome.already_there = True
        self._root()

    def _root(self) -> None:
        """The root directory's own attributes, last of all, because taking the marker away changes its time."""
        root = self._point.manifest.root
        if root is not None and self._selection.root:
            Comparer(self._hands, self._point.blocks.id_key).settle(self._target.fd, root)

    def _check_conflicts(self) -> None:
        """Refuse before anything is written what a merge would have to refuse in the middle."""
        for entry in self._entries():
            if entry.type is FileType.DIRECTORY:
                continue
            with suppress(FileNotFoundError, Invalid), self._directories.open(entry.parent) as folder:
                if not stat.S_ISDIR(os.stat(entry.name, dir_fd=folder, follow_symlinks=False).st_mode):
                    continue
                with self._directories.open(entry.path) as there:
                    full = bool(names_in(there))
                if full:
                    break
        else:
            return
        raise conflict(entry.path)

    def _check_case(self) -> None:
        if self._orders.existing is Existing.MIRROR and not self._target.tells_case_apart():
            message = (
                f"target {self._target.path}: its file system takes `a` and `A` for one name: a mirror could delete what it has written"
            )
            raise Invalid(f"{message}; use --existing overwrite", reason="TargetUnsuitable")

    def _check_space(self) -> None:
        """Sizes say too much where files are sparse, so only if they do not fit is the data itself counted."""
        if self._totals.bytes > self._target.free():
            self._target.check_space(sum(self._data(entry) for entry in self._entries()))

    def _data(self, entry: Entry) -> int:
        if entry.type is not FileType.REGULAR or entry.content is None:
            return 0
        return sum(run.length for run in iterate_runs(self._point.blocks.fetch, entry.content))

    def _entries(self) -> Iterator[Entry]:
        return self._selection.entries(self._point.blocks.fetch, self._point.manifest.tree)


def hands_for(point: OpenPoint, directories: Directories, orders: Orders, outcome: Outcome, *, inherits: bool) -> Hands:
    """What the passes over a tree share."""

    def xattr(one: Xattr) -> bytes:
        return bytes(point.blocks.fetch(one.block, BlockKind.XATTR)) if one.block else one.value

    names = Names(orders.mark(point.id))
    return Hands(directories, outcome, orders.wishes, xattr, names, unreadable_later=os.geteuid() != 0, inherits=inherits)


def damaged_error(outcome: Outcome) -> Integrity:
    """What to raise when some files could not be had."""
    path, reason = outcome.damaged.listed[0]
    more = f" and {outcome.damaged.total - 1} more" if outcome.damaged.total > 1 else ""
    message = f"not restored: {path}{more}: {reason}; everything else is in the target, which stays marked as incomplete"
    return Integrity(message, reason="ObjectDamaged")
