"""Looking at what stands in a target already: what of a file is as the recovery point has it, by unit ids, and what is not.

Reads, never writes; nothing is fetched but content lists. Directories and links on the way are never followed. Used before content is
written over something (renew.py), and for a plan (forecast.py).
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum

from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import MAX_PLAIN_BYTES, BlockKind
from recoup.engine.records.content import Run, Scheme, iterate_runs, unit_spans
from recoup.engine.records.nodes import Fetch
from recoup.engine.records.tree import Entry, FileType
from recoup.engine.restore.attributes import differences, xattr_differences
from recoup.engine.restore.files import Hands
from recoup.engine.restore.spans import dirt
from recoup.engine.source.files import read_into
from recoup.errors import Invalid
from recoup.value import Value

THREADS = 2
_BATCH = 64
"""Runs of a large file that one thread compares at a time."""
_AHEAD = 8
_BUFFER = 4 << 20
IN_PLACE_FROM = 1 << 20
"""Bytes. A smaller file that differs is written anew: that is one write, and the old one stays whole until the new one is."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class State(Enum):
    """What has to be done for an entry."""

    SAME = "same"
    ATTRIBUTES = "attributes"
    """Content is right; owner, mode, times or attributes are not, and no other name leads to the file."""
    PARTS = "parts"
    """Some of its content is there already: it may be changed in place."""
    REPLACED = "replaced"
    """Something else is there, or too little of it is right, or another name leads to it, so that it must not be changed."""
    ABSENT = "absent"


class Found(Value, frozen=True):
    """A verdict. `lacking` are the parts of runs to write (of PARTS, of a file whose runs stand in its entry)."""

    state: State
    lacking: tuple[Run, ...] = ()
    directory: bool = False
    """A directory stands there."""


class Basis:
    """An open file that stands where an entry is to be, or the one that an interrupted run was changing in place."""

    def __init__(self, fd: int, *, resumed: bool) -> None:
        self.fd, self.resumed = fd, resumed
        self.stat = os.fstat(fd)

    @property
    def alone(self) -> bool:
        """No other name leads to it, inside the target or outside."""
        return self.stat.st_nlink == 1

    def close(self) -> None:
        os.close(self.fd)


class Survey:
    """Compares entries with what is there."""

    def __init__(self, hands: Hands, id_key: bytes, fetch: Fetch) -> None:
        self._hands, self._id_key, self._fetch = hands, id_key, fetch
        self._view = memoryview(mmap.mmap(-1, _BUFFER))

    def look(self, entry: Entry) -> Found:
        """The verdict on a regular file whose runs stand in its entry, or that has none."""
        with_basis = self.basis(entry)
        if not isinstance(with_basis, Basis):
            return with_basis
        try:
            return self._judge(entry, with_basis)
        finally:
            with_basis.close()

    def basis(self, entry: Entry) -> Basis | Found:
        """What there is to compare a regular file with; the caller closes it."""
        try:
            with self._hands.directories.open(entry.parent) as folder:
                return _open_basis(folder, entry, self._hands.names.partial(entry.name))
        except (FileNotFoundError, Invalid):  # nothing there, or a link or a file where a directory is going to be
            return Found(State.ABSENT)

    def content_same(self, basis: Basis, entry: Entry) -> bool:
        """Whether an open file of the right size has the entry's content."""
        content, end = entry.content, 0
        if content is None:
            return True
        pairs = (
            self.lacking(basis.fd, entry)
            if content.root
            else ((run, tuple(differing(basis.fd, self._view, self._id_key, content.scheme, run))) for run in content.runs)
        )
        for run, lacking in pairs:
            if lacking or any(dirt(basis.fd, end, run.offset)):
                return False
            end = run.offset + run.length
        return not any(dirt(basis.fd, end, entry.size))

    def attributes_same(self, fd: int, found: os.stat_result, entry: Entry) -> bool:
        hands = self._hands
        return not differences(found, entry) and not xattr_differences(fd, entry, hands.wishes, hands.fetch_xattr)

    def other_same(self, folder: int, entry: Entry) -> bool:
        """Whether a symbolic link, fifo or device stands there as recorded."""
        try:
            found = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if stat.S_IFMT(found.st_mode) != _FORMATS[entry.type] or differences(found, entry):
            return False
        if entry.type is FileType.SYMLINK and os.readlink(entry.name, dir_fd=folder) != entry.target:
            return False
        if entry.type in {FileType.CHARACTER, FileType.BLOCK} and (os.major(found.st_rdev), os.minor(found.st_rdev)) != entry.device:
            return False
        path = b"/proc/self/fd/%d/%s" % (folder, entry.name)
        return not xattr_differences(path, entry, self._hands.wishes, self._hands.fetch_xattr, follow=False)

    def lacking(self, fd: int, entry: Entry) -> Iterator[tuple[Run, tuple[Run, ...]]]:
        """(run, the parts of it that differ) of a large file, in order, compared by several threads. Raises Integrity from its list."""
        assert entry.content is not None
        yield from compare_runs(fd, self._id_key, entry.content.scheme, iterate_runs(self._fetch, entry.content))

    def _judge(self, entry: Entry, basis: Basis) -> Found:
        runs: Iterable[Run] = entry.content.runs if entry.content is not None else ()
        scheme = entry.content.scheme if entry.content is not None else Scheme.WHOLE
        lacking: list[Run] = []
        clean, end = basis.stat.st_size == entry.size, 0
        for run in runs:
            clean = clean and next(dirt(basis.fd, end, run.offset), None) is None
            end = run.offset + run.length
            lacking += differing(basis.fd, self._view, self._id_key, scheme, run)
        clean = clean and next(dirt(basis.fd, end, entry.size), None) is None
        if basis.resumed:
            return Found(State.PARTS, tuple(lacking))
        if clean and not lacking:
            if self.attributes_same(basis.fd, basis.stat, entry):
                return Found(State.SAME)
            return Found(State.ATTRIBUTES if basis.alone else State.REPLACED)
        some = sum(run.length for run in lacking) < sum(run.length for run in runs) or not lacking
        if basis.alone and some and entry.size >= IN_PLACE_FROM:
            return Found(State.PARTS, tuple(lacking))
        return Found(State.REPLACED)


_FORMATS = {
    FileType.SYMLINK: stat.S_IFLNK,
    FileType.FIFO: stat.S_IFIFO,
    FileType.CHARACTER: stat.S_IFCHR,
    FileType.BLOCK: stat.S_IFBLK,
}


def _open_basis(folder: int, entry: Entry, partial: bytes) -> Basis | Found:
    try:
        fd = os.open(entry.name, _READ, dir_fd=folder)
    except FileNotFoundError:
        return _interrupted(folder, partial)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM, errno.ENODEV}:  # a link, a socket, not ours to read
            return Found(State.REPLACED)
        raise
    basis = Basis(fd, resumed=False)
    if stat.S_ISREG(basis.stat.st_mode):
        return basis
    basis.close()
    return Found(State.REPLACED, directory=stat.S_ISDIR(basis.stat.st_mode))


def _interrupted(folder: int, partial: bytes) -> Basis | Found:
    """What a run before was changing in place; anything but a file of one name has been planted, and is swept away as a leftover."""
    try:
        basis = Basis(os.open(partial, _READ, dir_fd=folder), resumed=True)
    except OSError:
        return Found(State.ABSENT)
    if stat.S_ISREG(basis.stat.st_mode) and basis.alone:
        return basis
    basis.close()
    return Found(State.ABSENT)


def compare_runs(fd: int, id_key: bytes, scheme: Scheme, runs: Iterable[Run]) -> Iterator[tuple[Run, tuple[Run, ...]]]:
    """(run, its parts that differ from the open file or device), in order; memory is a few batches of runs and buffers."""

    def compare(batch: list[Run]) -> list[tuple[Run, tuple[Run, ...]]]:
        view = memoryview(mmap.mmap(-1, _BUFFER))
        return [(run, tuple(differing(fd, view, id_key, scheme, run))) for run in batch]

    ahead: deque[Future[list[tuple[Run, tuple[Run, ...]]]]] = deque()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="survey") as pool:
        batch: list[Run] = []
        for run in runs:
            batch.append(run)
            if len(batch) >= _BATCH:
                ahead.append(pool.submit(compare, batch))
                batch = []
            if len(ahead) > _AHEAD:
                yield from ahead.popleft().result()
        ahead.append(pool.submit(compare, batch))
        while ahead:
            yield from ahead.popleft().result()


def differing(fd: int, view: memoryview, id_key: bytes, scheme: Scheme, run: Run) -> Iterator[Run]:
    """The parts of a run whose units are not in the file, neighbours joined."""
    start = end = run.offset
    for offset, length, unit in unit_spans(run, scheme):
        if _holds(fd, view, id_key, offset, length, unit):
            if end > start:
                yield _part(run, start, end)
            start = end = offset + length
        else:
            end = offset + length
    if end > start:
        yield _part(run, start, end)


def _part(run: Run, start: int, end: int) -> Run:
    return Run(start, end - start, run.block, run.at + start - run.offset, b"")


def _holds(fd: int, view: memoryview, id_key: bytes, offset: int, length: int, unit: bytes) -> bool:
    if length > min(len(view), MAX_PLAIN_BYTES):
        return False  # no writer of ours makes such a unit
    part = view[:length]
    return read_into(fd, part, offset) == length and block_id(id_key, BlockKind.DATA, part) == unit
