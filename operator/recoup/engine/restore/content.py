"""First pass over the tree: directories, and regular files with their content.

Directories are made as the walk meets them (mode 0700 until the end), files as their packs arrive. Further names of a hard-linked
file, symbolic links and special files wait for `late.py`. Budgets come from the manifest's totals: a tree that unfolds to more is forged.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from itertools import groupby

from recoup.engine.blocks import Blocks
from recoup.engine.records.content import Content, Run, iterate_runs
from recoup.engine.records.manifest import Totals
from recoup.engine.records.rows import Place
from recoup.engine.records.tree import Entry, FileType, Path, printable
from recoup.engine.restore.files import Hands, begin, finish, write_run, write_whole
from recoup.engine.restore.making import MAKING
from recoup.engine.restore.packs import Feeds, Workers
from recoup.engine.restore.plan import Pending, Planner
from recoup.engine.restore.renew import Renewal, Same
from recoup.errors import Integrity, Invalid
from recoup.report import Progress


class Budget:
    """What the signed totals allow."""

    def __init__(self, totals: Totals, *, whole: bool = True) -> None:
        """`whole`: everything is restored, so that the totals must be met."""
        self._files, self._directories, self._bytes, self._whole = totals.files, totals.directories, totals.bytes, whole

    def spend(self, entry: Entry) -> None:
        """Raise Integrity if the tree holds more than its manifest says."""
        if entry.type is FileType.DIRECTORY:
            self._directories -= 1
        else:
            self._files -= 1
            self._bytes -= entry.size
        if self._files < 0 or self._bytes < 0 or self._directories < 0:
            raise Integrity(f"the tree holds more than its manifest says, from {printable(entry.path)} on", reason="TreeExceedsManifest")

    def check_spent(self) -> None:
        """Raise Integrity if the tree holds less than its manifest says: a listing is missing."""
        if self._whole and (self._files or self._bytes or self._directories):
            message = (
                f"the tree lacks {self._files} files, {self._directories} directories and {self._bytes} bytes that its manifest counts"
            )
            raise Integrity(message, reason="TreeIncomplete")


class FileSink:
    """Writes runs into files below the target; finishes each file with its last run."""

    def __init__(self, hands: Hands, progress: Progress) -> None:
        self._hands, self._progress = hands, progress

    def write(self, plain: memoryview, feeds: Feeds) -> None:
        hands, data, written, files, whole = self._hands, 0, 0, 0, 0
        for parent, group in groupby(feeds, _parent):  # neighbours of one directory, as a rule
            with hands.directories.open(parent) as folder:
                for pending, run in group:
                    part = plain[run.at : run.at + run.length]
                    data += run.length
                    if pending.single:
                        write_whole(hands, folder, pending, part)
                        whole += 1
                        written += run.length
                        continue
                    written += write_run(folder, pending, run, part)
                    if pending.done():
                        finish(hands, pending)
                        files += 1
        hands.outcome.count(files=whole, written=written)
        self._progress.advance(data=data, files=files + whole)

    def lose(self, pending: Pending, damage: str) -> None:
        if pending.single:
            self._hands.outcome.damaged.add(pending.entry.path, damage)  # it was not even begun
        elif pending.done(damage):
            finish(self._hands, pending)


def _parent(feed: tuple[Pending, Run]) -> Path:
    return feed[0].entry.parent


class ContentPass:
    """Walks the tree once and has all regular files written."""

    def __init__(self, hands: Hands, blocks: Blocks, workers: Workers, progress: Progress, renewal: Renewal | None = None) -> None:
        """`renewal` is asked before every write, where the target holds something already."""
        self._hands, self._blocks, self._workers, self._progress, self._renewal = hands, blocks, workers, progress, renewal
        self._planner = Planner()
        self.groups: dict[int, Entry] = {}
        """The first member of each hard-link group: the one that gets the content."""
        self._place: tuple[bytes, Place] = (b"", Place(b"", 0, 0, 0))
        self.late = 0
        """Entries that wait for the second pass."""
        self._parent: Path = ()
        """The last directory that is known to be there."""

    def run(self, entries: Iterable[Entry], budget: Budget) -> None:
        for entry in entries:
            if entry.implied:
                continue  # made when something in it needs it
            budget.spend(entry)
            if entry.parent != self._parent:
                self._ensure(entry.parent)
            if entry.type is FileType.DIRECTORY:
                self._directory(entry)
            elif entry.group and self.groups.setdefault(entry.group, entry) is not entry:
                self.late += 1
            elif entry.type is FileType.REGULAR:
                self._file(entry)
            else:
                self.late += 1
        budget.check_spent()
        self._workers.submit(self._planner.take(everything=True))
        self._workers.wait()

    def _directory(self, entry: Entry) -> None:
        with self._hands.directories.open(entry.parent) as folder:
            try:
                os.mkdir(entry.name, MAKING, dir_fd=folder)
            except FileExistsError:
                self._not_directory(folder, entry.path)
        self._hands.outcome.directories += 1

    def _not_directory(self, folder: int, path: Path) -> None:
        """Something stands where a directory is to be: one that is there already, or what has to give way to it."""
        if stat.S_ISDIR(os.stat(path[-1], dir_fd=folder, follow_symlinks=False).st_mode):
            return
        if self._renewal is None:
            raise Invalid(f"target: something that is no directory stands at {printable(path)}", reason="TargetChanged")
        self._renewal.make_directory(folder, path[-1])

    def _ensure(self, path: Path) -> None:
        """Make the directories on the way to something chosen that are not there; no link on the way is followed."""
        self._parent = path
        try:
            with self._hands.directories.open(path):
                return
        except (FileNotFoundError, Invalid):
            for depth, name in enumerate(path):
                with self._hands.directories.open(path[:depth]) as folder:
                    try:
                        os.mkdir(name, MAKING, dir_fd=folder)
                    except FileExistsError:
                        self._not_directory(folder, path[: depth + 1])

    def _file(self, entry: Entry) -> None:
        if self._renewal is not None:
            known = self._renewal.file(entry, self._plan_run)
            if known is not None:
                self._is_there(entry, known)
                return
        pending = Pending(entry, self._hands.names.new())
        content = entry.content
        if content is None:
            with self._hands.directories.open(entry.parent) as folder:
                write_whole(self._hands, folder, pending, None)
            self._hands.outcome.count(files=1)
            self._progress.advance(files=1)
            return
        single = pending.single
        if not single:
            begin(self._hands, pending)
        try:
            self._plan(pending, content)
        except Integrity as error:  # its list of runs is damaged, or names a block that the refs do not know
            pending.spoil(str(error))
            if single:
                self._hands.outcome.damaged.add(entry.path, str(error))
        if pending.planned() and not single:
            finish(self._hands, pending)  # nothing but holes, or all runs are written already
            self._progress.advance(files=1)

    def _plan(self, pending: Pending, content: Content) -> None:
        holes = content.size
        for run in iterate_runs(self._blocks.fetch, content):
            self._plan_run(pending, run)
            holes -= run.length
        if holes:
            self._progress.advance(data=holes)

    def _plan_run(self, pending: Pending, run: Run) -> None:
        if run.block != self._place[0]:  # neighbours in a tree share blocks
            self._place = (run.block, self._blocks.refs.lookup(run.block))
        self._planner.add(pending, run, self._place[1])
        if self._planner.full:
            self._workers.submit(self._planner.take())

    def _is_there(self, entry: Entry, known: Pending | Same) -> None:
        """The target has the file, or those parts of it that are not planned."""
        if isinstance(known, Same):
            self._hands.outcome.count(files=1, kept=entry.size)
            self._progress.advance(data=entry.size, files=1)
            return
        self._hands.outcome.count(kept=entry.size - known.bytes)
        self._progress.advance(data=entry.size - known.bytes)
        if known.planned():
            finish(self._hands, known)
            self._progress.advance(files=1)
