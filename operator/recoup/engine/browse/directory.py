"""What changed between a recovery point and a directory: types, content by unit ids, attributes, and names on one side only.

Nothing in the directory is changed and no link in it is followed; content is read there, never fetched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from recoup.engine.browse.diff import Change, Kind
from recoup.engine.points import OpenPoint
from recoup.engine.records.tree import Entry, FileType, Path
from recoup.engine.restore.attributes import Wishes, differences, xattr_differences
from recoup.engine.restore.beneath import Directories
from recoup.engine.restore.files import Hands
from recoup.engine.restore.orders import Existing, Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.run import disk_errors
from recoup.engine.restore.selection import Choice, Selection
from recoup.engine.restore.survey import Basis, Survey
from recoup.engine.restore.sweep import Sweep
from recoup.engine.restore.target import Target, names_in
from recoup.engine.restore.tree import hands_for
from recoup.engine.source.attributes import file_type
from recoup.errors import Invalid, Usage
from recoup.report import Progress

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def diff_directory(point: OpenPoint, path: str, progress: Progress) -> Iterator[Change]:
    """Changes from `point` to the directory `path`: first those of the point's own paths, in tree order, then what is only there.

    Raises Usage for a recovery point of a device, and what reading the directory raises.
    """
    if point.manifest.device is not None:
        raise Usage(f"recovery point {point.id[:16]} is of a block device: there are no paths to compare")
    totals = point.manifest.totals
    progress.start("comparing", bytes_total=totals.bytes, files_total=totals.files)
    orders = Orders(Wishes(devices=True, trusted=True))
    with disk_errors(path), Target(path, orders.mark(point.id), os.open(path, _OPEN)) as target:
        directories = Directories(target.fd)
        try:
            hands = hands_for(point, directories, orders, Outcome(), inherits=False)
            yield from _Comparison(point, hands, progress).run(target)
        finally:
            directories.close()


class _Comparison:
    def __init__(self, point: OpenPoint, hands: Hands, progress: Progress) -> None:
        self._point, self._hands, self._progress = point, hands, progress
        self._survey = Survey(hands, point.blocks.id_key, point.blocks.fetch)

    def run(self, target: Target) -> Iterator[Change]:
        stream = Selection(Choice()).streams[0]
        fetch, root = self._point.blocks.fetch, self._point.manifest.tree
        for entry in stream.entries(fetch, root):
            change = self._compare(entry)
            self._progress.advance(data=entry.size, files=int(entry.type is not FileType.DIRECTORY))
            if change is not None:
                yield change
        strange: list[Path] = []
        sweep = Sweep(target, self._hands, Existing.MIRROR, lambda _folder, path, _leftover: strange.append(path))
        for _ in sweep.steps(stream, stream.entries(fetch, root)):
            for path in strange:
                yield from self._added(path)
            strange.clear()

    def _compare(self, entry: Entry) -> Change | None:
        try:
            with self._hands.directories.open(entry.parent) as folder:
                found = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
                there = _entry(folder, entry.parent, entry.name, found)
                if there.type is not entry.type:
                    return Change(Kind.TYPE, entry.path, entry, there)
                names = self._metadata(folder, entry, found)
        except (FileNotFoundError, Invalid):
            return Change(Kind.REMOVED, entry.path, entry, None)
        if not self._same_body(entry, there, found):
            return Change(Kind.CONTENT, entry.path, entry, there, names)
        return Change(Kind.METADATA, entry.path, entry, there, names) if names else None

    def _metadata(self, folder: int, entry: Entry, found: os.stat_result) -> tuple[str, ...]:
        names = differences(found, entry)
        path = b"/proc/self/fd/%d/%s" % (folder, entry.name)
        if xattr_differences(path, entry, self._hands.wishes, self._hands.fetch_xattr, follow=False):
            names.append("xattrs")
        return tuple(names)

    def _same_body(self, entry: Entry, there: Entry, found: os.stat_result) -> bool:
        if entry.type is not FileType.REGULAR:
            return (entry.target, entry.device) == (there.target, (os.major(found.st_rdev), os.minor(found.st_rdev)))
        if entry.size != found.st_size:
            return False
        basis = self._survey.basis(entry)
        if not isinstance(basis, Basis):
            with self._hands.directories.open(entry.parent) as folder:  # it is there: say why it cannot be read
                os.close(os.open(entry.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder))
            return False
        try:
            return self._survey.content_same(basis, entry)
        finally:
            basis.close()

    def _added(self, path: Path) -> Iterator[Change]:
        """What is only in the directory, with all that is below it."""
        waiting = [path]
        while waiting:
            path = waiting.pop()
            try:
                with self._hands.directories.open(path[:-1]) as folder:
                    found = os.stat(path[-1], dir_fd=folder, follow_symlinks=False)
                    entry = _entry(folder, path[:-1], path[-1], found)
            except FileNotFoundError:
                continue  # gone meanwhile
            yield Change(Kind.ADDED, path, None, entry)
            if entry.type is FileType.DIRECTORY:
                with self._hands.directories.open(path) as folder:
                    waiting += ((*path, name) for name in sorted(names_in(folder), reverse=True))


def _entry(folder: int, parent: Path, name: bytes, found: os.stat_result) -> Entry:
    """A file of a directory as an entry of a tree, without its content."""
    kind = file_type(found.st_mode)
    target = os.readlink(name, dir_fd=folder) if kind is FileType.SYMLINK else b""
    device = (os.major(found.st_rdev), os.minor(found.st_rdev))
    size = found.st_size if kind is FileType.REGULAR else 0
    mode = found.st_mode & 0o7777
    return Entry(parent, name, kind, mode, found.st_uid, found.st_gid, found.st_mtime_ns, size, target, device)
