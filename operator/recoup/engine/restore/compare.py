"""Reading the target back before success is claimed: names, types, content by unit ids, links, owners, modes, times, attributes.

Content, sizes, types and names that differ are an Integrity error with the path; attributes that the file system did not keep are
noted, not raised. Holes are skipped where the file system knows them and must read as zeros elsewhere.
"""

from __future__ import annotations

import mmap
import os
import stat
import threading
from collections.abc import Iterable

from recoup.engine.format.ids import framed_id
from recoup.engine.format.kinds import MAX_PLAIN_BYTES, BlockKind
from recoup.engine.records.content import Run, Scheme, unit_spans
from recoup.engine.records.tree import Entry, FileType, WireEntry, printable
from recoup.engine.restore.attributes import apply, apply_to_symlink, differences, xattr_differences
from recoup.engine.restore.files import Hands
from recoup.engine.source.files import read_into
from recoup.errors import Integrity

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BUFFER = 4 * 2**20

DIFFERS = "ReadBackDiffers"

_FORMATS = {
    FileType.REGULAR: stat.S_IFREG,
    FileType.DIRECTORY: stat.S_IFDIR,
    FileType.SYMLINK: stat.S_IFLNK,
    FileType.FIFO: stat.S_IFIFO,
    FileType.CHARACTER: stat.S_IFCHR,
    FileType.BLOCK: stat.S_IFBLK,
}


class _Buffer(threading.local):
    """A unit is read right behind the byte of its kind, so that both are hashed at once."""

    def __init__(self) -> None:
        self.take(_BUFFER)

    def take(self, length: int) -> memoryview:
        self.framed = memoryview(mmap.mmap(-1, 1 + length))
        self.framed[0] = BlockKind.DATA
        self.view = self.framed[1:]
        return self.framed


class Missing(Exception):
    """There is nothing of that name. A signal between two modules, no failure by itself."""


class Comparer:
    """Compares entries with what stands in the target. Safe for several threads. Raises Missing, Integrity."""

    def __init__(self, hands: Hands, id_key: bytes, *, change: bool = True) -> None:
        """With `change`, attributes that differ are set once more before they are noted; otherwise nothing is touched."""
        self._hands, self._id_key, self._change = hands, id_key, change
        self._buffer = _Buffer()
        self._groups: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def file(self, folder: int, entry: Entry) -> int:
        """A regular file whose runs stand in the entry; the bytes that were compared."""
        compared = 0
        fd = self._open(folder, entry, _READ)
        try:
            found = os.fstat(fd)
            if self._check_file(found, entry):
                if entry.content is not None:
                    compared = self.content(fd, entry, entry.content.scheme, entry.content.runs)
                self._settle(fd, found, entry)
        finally:
            os.close(fd)
        return compared

    def is_new(self, folder: int, entry: Entry) -> bool:
        """Of a large file: whether it has the right type and size and no other name of it was compared before."""
        fd = self._open(folder, entry, _READ)
        try:
            return self._check_file(os.fstat(fd), entry)
        finally:
            os.close(fd)

    def runs(self, folder: int, entry: Entry, runs: Iterable[Run], scheme: Scheme) -> None:
        """Of a large file: some of its runs."""
        fd = self._open(folder, entry, _READ)
        try:
            self._hands.outcome.count(compared=self._units(fd, entry, scheme, runs))
        finally:
            os.close(fd)

    def rest(self, folder: int, entry: Entry, holes: Iterable[tuple[int, int]]) -> None:
        """Of a large file: its holes, and its attributes."""
        fd = self._open(folder, entry, _READ)
        try:
            for start, end in holes:
                self._check_hole(fd, entry, start, end)
            self._settle(fd, os.fstat(fd), entry)
        finally:
            os.close(fd)

    def directory(self, folder: int, entry: Entry) -> None:
        """A directory's own attributes. They are set now, after everything that changes its times."""
        fd = self._open(folder, entry, _READ | os.O_DIRECTORY)
        try:
            self.settle(fd, entry)
        finally:
            os.close(fd)

    def settle(self, fd: int, entry: Entry | WireEntry) -> None:
        """Set owner, mode, times and attributes of an open directory, and note what did not take."""
        self._settle(fd, None, entry)

    def other(self, folder: int, entry: Entry) -> None:
        """A symbolic link, fifo or device."""
        try:
            found = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            raise Missing from None
        self._check_type(found, entry)
        if self._is_known_link(found, entry):
            return
        hands = self._hands
        path = b"/proc/self/fd/%d/%s" % (folder, entry.name)
        if entry.type is FileType.SYMLINK:
            if os.readlink(entry.name, dir_fd=folder) != entry.target:
                raise differs(entry, "the link says something else")
            if self._change and differences(found, entry):
                apply_to_symlink(folder, entry.name, entry, hands.wishes, hands.fetch_xattr)
                found = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
        elif entry.type is not FileType.FIFO and (os.major(found.st_rdev), os.minor(found.st_rdev)) != entry.device:
            raise differs(entry, "it is another device")
        self._note(entry, differences(found, entry) + xattr_differences(path, entry, hands.wishes, hands.fetch_xattr, follow=False))

    # -- parts -----------------------------------------------------------------------------------------------------------

    def _open(self, folder: int, entry: Entry, flags: int) -> int:
        try:
            return os.open(entry.name, flags, dir_fd=folder)
        except FileNotFoundError:
            raise Missing from None
        except OSError as error:
            raise differs(entry, f"it cannot be read back: {error.strerror}") from None

    def _check_file(self, found: os.stat_result, entry: Entry) -> bool:
        self._check_type(found, entry)
        if found.st_size != entry.size:
            raise differs(entry, f"it has {found.st_size} bytes instead of {entry.size}")
        return not self._is_known_link(found, entry)

    def _check_type(self, found: os.stat_result, entry: Entry) -> None:
        if stat.S_IFMT(found.st_mode) != _FORMATS.get(entry.type):
            raise differs(entry, f"it is no {entry.type.name.lower()}")

    def _is_known_link(self, found: os.stat_result, entry: Entry) -> bool:
        """Whether it is a further name of a file that is compared already. Raises Integrity if it should be, but is another file."""
        if not entry.group:
            return False
        here = (found.st_dev, found.st_ino)
        with self._lock:
            first = self._groups.get(entry.group)
            if first is None:
                self._groups[entry.group] = here
                return False
        if first != here:
            raise differs(entry, "it is a file of its own instead of a hard link")
        return True

    def _settle(self, fd: int, found: os.stat_result | None, entry: Entry | WireEntry) -> None:
        """Compare attributes; set them again if they differ (modes that would have locked us out come only now)."""
        hands = self._hands
        missed = differences(found, entry) if found is not None else differences(os.fstat(fd), entry)
        try:
            if self._change and (missed or found is None):
                apply(fd, entry, hands.wishes, hands.fetch_xattr)
                missed = differences(os.fstat(fd), entry)
            missed += xattr_differences(fd, entry, hands.wishes, hands.fetch_xattr)
        except Integrity as error:
            hands.lost_attribute(entry, error)
        self._note(entry, missed)

    def _note(self, entry: Entry | WireEntry, missed: list[str]) -> None:
        for what in missed:
            self._hands.not_kept(entry, what)

    def content(self, fd: int, entry: Entry, scheme: Scheme, runs: Iterable[Run]) -> int:
        """All of an open file or device: its runs, and the holes between them; the bytes of the runs."""
        end = compared = 0
        for run in runs:
            self._check_hole(fd, entry, end, run.offset)
            compared += self._units(fd, entry, scheme, (run,))
            end = run.offset + run.length
        self._check_hole(fd, entry, end, entry.size)
        return compared

    def _units(self, fd: int, entry: Entry, scheme: Scheme, runs: Iterable[Run]) -> int:
        framed, compared = self._buffer.framed, 0
        for run in runs:
            for offset, length, unit in unit_spans(run, scheme):
                if length > MAX_PLAIN_BYTES:
                    raise differs(entry, f"a unit of {length} bytes is larger than the format allows")
                if length >= len(framed):
                    framed = self._buffer.take(length)
                part = framed[: 1 + length]
                if read_into(fd, part[1:], offset) != length or framed_id(self._id_key, part) != unit:
                    raise differs(entry, f"its bytes {offset} to {offset + length} are not those of the recovery point")
                compared += length
        return compared

    def _check_hole(self, fd: int, entry: Entry, start: int, end: int) -> None:
        view = self._buffer.view
        while start < end:
            try:
                start = os.lseek(fd, start, os.SEEK_DATA)
            except OSError:
                return  # ENXIO: no data up to the end of the file
            if start >= end:
                return
            part = view[: min(end - start, len(view))]
            count = read_into(fd, part, start)
            if bytes(part[:count]) != bytes(count) or not count:
                raise differs(entry, f"there is data from byte {start} on, where a hole should be")
            start += count


def differs(entry: Entry, what: str) -> Integrity:
    """The error for an entry that is not in the target as recorded."""
    return Integrity(f"reading the target back: {printable(entry.path)}: {what}", reason=DIFFERS)
