"""Files that stand in the target already: left alone, given other attributes, changed in place, or replaced by a new one.

**In place** a file is changed under a temporary name: it is renamed first (and the directory synced), written, renamed back. So nothing
ever stands under its own name that is neither the old nor the new file, and the next run goes on with what it finds under the
temporary name. Only files of 1 MiB and more that no other name leads to; others are written anew beside the old one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress

from recoup.engine.records.content import Run
from recoup.engine.records.tree import Entry, Path, printable
from recoup.engine.restore.attributes import apply
from recoup.engine.restore.files import Hands
from recoup.engine.restore.making import MAKING
from recoup.engine.restore.orders import Existing
from recoup.engine.restore.plan import Pending
from recoup.engine.restore.spans import dirt, make_hole
from recoup.engine.restore.survey import Basis, Found, State, Survey
from recoup.engine.restore.trash import Trash
from recoup.errors import Integrity, Invalid

_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC

PlanRun = Callable[[Pending, Run], None]


class Same:
    """The file is as recorded now, nothing has to be fetched for it."""


class Renewal:
    """What ContentPass and LatePass ask before they write to a target that is not empty."""

    def __init__(self, hands: Hands, survey: Survey, existing: Existing, trash: Trash) -> None:
        self._hands, self._survey, self._existing, self._trash = hands, survey, existing, trash

    def file(self, entry: Entry, plan: PlanRun) -> Pending | Same | None:
        """Same: the file is as recorded now. A Pending: its lacking runs are planned. None: it has to be written anew."""
        large = entry.content is not None and bool(entry.content.root)
        if large:
            return self._large(entry, plan)
        found = self._survey.look(entry)
        if found.state is State.SAME:
            return Same()
        if found.state is State.ATTRIBUTES:
            self._settle(entry)
            return Same()
        if found.state is State.PARTS:
            pending = self.begin(entry)
            runs = entry.content.runs if entry.content is not None else ()
            self._clear_holes(pending, runs)
            for run in found.lacking:
                plan(pending, run)
            return pending
        self.clear(entry, found)
        return None

    def _large(self, entry: Entry, plan: PlanRun) -> Pending | Same | None:
        """As `file`, of one whose runs are a list: compared and planned run by run, renamed when the first difference is met."""
        basis = self._survey.basis(entry)
        if not isinstance(basis, Basis):
            self.clear(entry, basis)
            return None
        pending = self.begin(entry) if basis.resumed or (basis.alone and basis.stat.st_size != entry.size) else None
        try:
            if pending is None and basis.stat.st_size != entry.size:
                return None
            end = 0
            for run, lacking in self._survey.lacking(basis.fd, entry):
                holes = list(dirt(basis.fd, end, run.offset))
                end = run.offset + run.length
                if (lacking or holes) and pending is None:
                    if not basis.alone:
                        return None
                    pending = self.begin(entry)
                for start, length in holes:
                    self._hole(pending, start, start + length)
                for part in lacking:
                    assert pending is not None
                    plan(pending, part)
            for start, length in dirt(basis.fd, end, entry.size):
                if pending is None:
                    if not basis.alone:
                        return None
                    pending = self.begin(entry)
                self._hole(pending, start, start + length)
            return self._unchanged(entry, basis) if pending is None else pending
        except Integrity as error:
            if pending is None:
                return None  # it fails again, and is noted, where the file is planned anew
            pending.spoil(str(error))
            return pending
        finally:
            basis.close()

    def _unchanged(self, entry: Entry, basis: Basis) -> Same | None:
        if not self._survey.attributes_same(basis.fd, basis.stat, entry):
            if not basis.alone:
                return None
            self._settle(entry)
        return Same()

    def begin(self, entry: Entry) -> Pending:
        """Take the name away from the file that is going to be changed; the old size is made the new one."""
        pending = Pending(entry, self._hands.names.partial(entry.name), in_place=True)
        with self._hands.directories.open(entry.parent) as folder:
            with suppress(FileNotFoundError):  # done before by a run that was interrupted
                os.rename(entry.name, pending.temporary, src_dir_fd=folder, dst_dir_fd=folder)
                os.fsync(folder)
            fd = os.open(pending.temporary, os.O_RDWR | _NO_LINK, dir_fd=folder)
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                    raise Invalid(f"target: somebody else changes {printable(entry.path)} while it is restored", reason="TargetChanged")
                if found.st_size != entry.size:
                    os.ftruncate(fd, entry.size)
            finally:
                os.close(fd)
        return pending

    def clear(self, entry: Entry, found: Found) -> None:
        """Make way for a file where a directory stands; anything else gives way to a rename by itself."""
        if found.directory:
            with self._hands.directories.open(entry.parent) as folder:
                self.remove_directory(folder, entry)

    def make_way(self, folder: int, entry: Entry) -> None:
        """As `clear`, for what is about to get its name and was not surveyed."""
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(entry.name, dir_fd=folder, follow_symlinks=False).st_mode):
                self.remove_directory(folder, entry)

    def remove_directory(self, folder: int, entry: Entry) -> None:
        if self._existing.clears_directories:
            self._trash.remove(folder, entry.name)
            return
        try:
            os.rmdir(entry.name, dir_fd=folder)
        except OSError as error:
            raise conflict(entry.path) from error

    def make_directory(self, folder: int, name: bytes) -> None:
        """Make a directory where a file or link stands, which gives way. Raises Invalid where nothing may give way."""
        if self._existing is Existing.FAIL:
            raise Invalid(f"target: something that is no directory stands at {printable((name,))}", reason="TargetChanged")
        os.unlink(name, dir_fd=folder)
        os.mkdir(name, MAKING, dir_fd=folder)

    def other_same(self, folder: int, entry: Entry) -> bool:
        return self._survey.other_same(folder, entry)

    def _settle(self, entry: Entry) -> None:
        with self._hands.directories.open(entry.parent) as folder:
            fd = os.open(entry.name, os.O_RDONLY | os.O_NONBLOCK | _NO_LINK, dir_fd=folder)
            try:
                apply(fd, entry, self._hands.wishes, self._hands.fetch_xattr)
            except Integrity as error:
                self._hands.lost_attribute(entry, error)
            finally:
                os.close(fd)

    def _clear_holes(self, pending: Pending, runs: tuple[Run, ...]) -> None:
        end, entry = 0, pending.entry
        with self._hands.directories.open(entry.parent) as folder:
            fd = os.open(pending.temporary, os.O_RDWR | _NO_LINK, dir_fd=folder)
            try:
                for stop, after in [*((run.offset, run.offset + run.length) for run in runs), (entry.size, entry.size)]:
                    for start, length in list(dirt(fd, end, stop)):
                        make_hole(fd, start, start + length)
                    end = after
            finally:
                os.close(fd)

    def _hole(self, pending: Pending | None, start: int, end: int) -> None:
        assert pending is not None
        with self._hands.directories.open(pending.entry.parent) as folder:
            fd = os.open(pending.temporary, os.O_RDWR | _NO_LINK, dir_fd=folder)
            try:
                make_hole(fd, start, end)
            finally:
                os.close(fd)


def conflict(path: Path) -> Invalid:
    """The error for a directory with something in it where the recovery point has a file."""
    message = f"target: {printable(path)} is a directory that holds something, the recovery point has a file there"
    return Invalid(f"{message}; --existing overwrite lets it give way", reason="TargetConflict")
