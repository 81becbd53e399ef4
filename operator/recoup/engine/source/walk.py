"""Walking a directory tree in tree order: a directory's sorted listing, then its subdirectories (docs/format-data.md section 2).

By directory descriptors with O_NOFOLLOW only; a path is never joined and opened, so no depth or name is too long and no
symlink leads out. Iterative, a bounded number of descriptors is open. The walker's working directory follows the walk: whoever
walks must not depend on it (`Walk` restores it).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from msgspec import field

from recoup.engine.source.exclude import Excludes
from recoup.engine.source.rules import CACHE_TAG, WalkRules, is_cache
from recoup.value import Record

Path = tuple[bytes, ...]
_Child = tuple[Path, bytes, int, int]
"""Parent, name, device and inode of a directory to be listed."""
OnError = Callable[[Path, str, str], None]
"""Told (path, reason, message) of what could not be read: Unreadable, Vanished."""

BATCH = 8192
"""Entries of a directory that are held at once with all that lstat says of them."""
MAX_OPEN = 128
"""Ancestors whose descriptors are kept; others are opened again from the nearest one that is."""
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Directory(Record):
    """One listed directory. `fd` stays open until `release`; `enter` makes it the working directory."""

    path: Path
    fd: int
    names: list[bytes] = field(default_factory=list)
    stats: list[os.stat_result] = field(default_factory=list)
    _holders: int = 1

    def enter(self) -> None:
        os.fchdir(self.fd)

    def hold(self) -> Directory:
        self._holders += 1
        return self

    def release(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            os.close(self.fd)


class Walk:
    """Iterates the directories below an open directory.

    A context manager: on exit all descriptors are closed, and the working directory is as before.
    """

    def __init__(self, root: int, rules: WalkRules, on_error: OnError) -> None:
        self._excludes = Excludes(rules.excludes)
        self._rules = rules
        self._device = os.fstat(root).st_dev
        self._on_error = on_error
        self._before = os.open(b".", os.O_PATH | os.O_CLOEXEC)
        try:
            self.root_fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
        except OSError:
            os.close(self._before)
            raise
        self._open: list[Directory | None] = []
        self._path: Path = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            os.fchdir(self._before)
        finally:
            os.close(self._before)
            self._truncate(0)
            os.close(self.root_fd)

    def __iter__(self) -> Iterator[Directory]:
        """Directories in tree order. The working directory is the one that was yielded last, until the next is asked for.

        A directory that is yielded must be released by whoever takes it.
        """
        pending: list[_Child] = []
        directory = self._list((), os.open(b".", _OPEN, dir_fd=self.root_fd))
        while True:
            if directory is not None:
                children: list[_Child] = []
                for batch in self._batches(directory):
                    children += self._children(batch)
                    yield batch
                pending.extend(reversed(children))
            if not pending:
                return
            parent, name, device, inode = pending.pop()
            directory = self._descend(parent, name, (device, inode))

    def _batches(self, directory: Directory) -> Iterator[Directory]:
        """A listing with what lstat says of its names; of a very long one several stretches, so that memory is bounded."""
        names = directory.names
        if len(names) <= BATCH:
            self._stat(directory, names)
            yield directory
            return
        for start in range(0, len(names), BATCH):
            batch = Directory(directory.path, os.dup(directory.fd))
            batch.enter()
            self._stat(batch, names[start : start + BATCH])
            yield batch
        directory.release()

    def _descend(self, parent: Path, name: bytes, identity: tuple[int, int]) -> Directory | None:
        path = (*parent, name)
        try:
            fd = os.open(name, _OPEN, dir_fd=self._parent_fd(parent))
        except OSError as error:
            self._failed(path, error)
            return None
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != identity:
            os.close(fd)
            self._on_error(path, "Changed", "replaced by another directory while the tree was read")
            return None
        return self._list(path, fd)

    def _parent_fd(self, parent: Path) -> int:
        """A descriptor of a directory listed before; opened again by its names if it was let go."""
        shared = 0
        while shared < len(parent) and shared < len(self._path) and parent[shared] == self._path[shared]:
            shared += 1
        self._truncate(shared + 1)
        self._path = self._path[:shared]
        depth = len(self._open) - 1
        while depth >= 0 and self._open[depth] is None:
            depth -= 1
        if depth < 0:
            raise FileNotFoundError(2, "No such file or directory")
        for index in range(depth + 1, len(parent) + 1):
            above = self._open[index - 1]
            assert above is not None
            opened = Directory(parent[:index], os.open(parent[index - 1], _OPEN, dir_fd=above.fd))
            self._keep(opened)
        last = self._open[len(parent)]
        assert last is not None
        return last.fd

    def _keep(self, directory: Directory) -> None:
        """Remember the descriptor as that of its level; those far above are let go, but for the root's."""
        level = len(directory.path)
        if level < len(self._open):
            old = self._open[level]
            if old is not None:
                old.release()
            self._open[level] = directory
        else:
            self._open.append(directory)
        self._path = directory.path
        far = level - MAX_OPEN
        if far > 0:
            above = self._open[far]
            if above is not None:
                above.release()
                self._open[far] = None

    def _truncate(self, length: int) -> None:
        while len(self._open) > length:
            directory = self._open.pop()
            if directory is not None:
                directory.release()

    def _list(self, path: Path, fd: int) -> Directory | None:
        directory = Directory(path, fd)
        self._truncate(len(path))
        self._path = path[: len(self._open)]
        self._keep(directory)
        try:
            os.fchdir(fd)
            names = os.listdir(b".")  # names as bytes, of the working directory
        except OSError as error:
            self._failed(path, error)
            return None
        names.sort()
        if self._rules.exclude_caches and is_cache(names):
            names = [CACHE_TAG]
        if self._excludes:
            parent = b"/".join(path)
            names = [name for name in names if not self._excludes.matches(parent, name)]
        directory.names = names
        return directory.hold()

    def _stat(self, directory: Directory, names: list[bytes]) -> None:
        lstat = os.lstat
        try:
            directory.stats = [lstat(name) for name in names]
        except OSError:
            self._stat_each(directory, names)
        else:
            directory.names = names
        if self._rules.one_file_system:
            self._keep_own(directory)

    def _keep_own(self, directory: Directory) -> None:
        """Drop what is on another file system; directories stay, as what is mounted over, and are not entered."""
        both = zip(directory.names, directory.stats, strict=True)
        own = [(name, found) for name, found in both if found.st_dev == self._device or stat.S_ISDIR(found.st_mode)]
        directory.names, directory.stats = [name for name, _ in own], [found for _, found in own]

    def _stat_each(self, directory: Directory, names: list[bytes]) -> None:
        directory.names = []
        for name in names:
            try:
                directory.stats.append(os.lstat(name))
            except OSError as error:
                self._failed((*directory.path, name), error)
            else:
                directory.names.append(name)

    def _failed(self, path: Path, error: OSError) -> None:
        reason = "Vanished" if isinstance(error, FileNotFoundError) else "Unreadable"
        self._on_error(path, reason, error.strerror or str(error))

    def _children(self, directory: Directory) -> list[_Child]:
        path, is_dir = directory.path, stat.S_ISDIR
        both = zip(directory.names, directory.stats, strict=True)
        found = [(path, name, found.st_dev, found.st_ino) for name, found in both if is_dir(found.st_mode)]
        return [child for child in found if child[2] == self._device] if self._rules.one_file_system else found
