"""Directories below the target's root, opened without ever following a link or leaving it (docs/format.md section 7).

Responsible for: descriptors of directories by path components, by openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS) where the kernel has
it and step by step with O_NOFOLLOW elsewhere, in a small cache that several threads share. Paths are never joined to the target's.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections import OrderedDict
from types import TracebackType

from recoup.errors import Invalid

Path = tuple[bytes, ...]

_OPENAT2 = 437  # the same number on every architecture
_RESOLVE = 0x08 | 0x04 | 0x02  # BENEATH, NO_SYMLINKS, NO_MAGICLINKS
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST = 4000  # bytes of one path for the kernel, below PATH_MAX
_ABSENT = {errno.ENOSYS, errno.EPERM, errno.EINVAL}  # no openat2, or a filter that does not know it

CAPACITY = 128


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_syscall = ctypes.CDLL(None, use_errno=True).syscall
_how = _How(_FLAGS, 0, _RESOLVE)


class Directory:
    """A borrowed descriptor: `with directories.open(path) as fd`. It stays open while anybody borrows it."""

    __slots__ = ("_owner", "evicted", "fd", "users")

    def __init__(self, owner: Directories, fd: int) -> None:
        self._owner, self.fd, self.users, self.evicted = owner, fd, 0, False

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._owner.give_back(self)


class Directories:
    """Descriptors of the directories below one root."""

    def __init__(self, root: int, capacity: int = CAPACITY) -> None:
        self._root, self._capacity = root, capacity
        self._lock = threading.Lock()
        self._cache: OrderedDict[Path, Directory] = OrderedDict()
        self._whole_paths = True  # until openat2 turns out to be missing

    def open(self, path: Path) -> Directory:
        """Borrow the directory at `path`. Raises Invalid if something on the way is a link or no directory, OSError otherwise."""
        with self._lock:
            found = self._cache.get(path)
            if found is not None:
                self._cache.move_to_end(path)
                found.users += 1
                return found
        made = Directory(self, self._open(path))
        made.users = 1
        with self._lock:
            raced = self._cache.get(path)
            if raced is not None:
                os.close(made.fd)
                raced.users += 1
                return raced
            self._cache[path] = made
            if len(self._cache) > self._capacity:
                self._evict()
        return made

    def give_back(self, directory: Directory) -> None:
        with self._lock:
            directory.users -= 1
            if directory.evicted and not directory.users:
                os.close(directory.fd)

    def close(self) -> None:
        """Close what nobody borrows; call it when all work has ended."""
        with self._lock:
            while self._cache:
                self._evict()

    def _evict(self) -> None:
        _, oldest = self._cache.popitem(last=False)
        oldest.evicted = True
        if not oldest.users:
            os.close(oldest.fd)

    def _open(self, path: Path) -> int:
        fd = os.open(".", _FLAGS, dir_fd=self._root)
        try:
            rest = path
            while rest:
                step = self._step(rest)
                following = self._descend(fd, rest[:step], path)
                os.close(fd)
                fd, rest = following, rest[step:]
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _step(self, rest: Path) -> int:
        """How many components the kernel can take at once."""
        if not self._whole_paths:
            return 1
        length = count = 0
        for component in rest:
            length += len(component) + 1
            if length > _LONGEST:
                break
            count += 1
        return max(1, count)

    def _descend(self, fd: int, step: Path, path: Path) -> int:
        try:
            if self._whole_paths:
                opened = open_beneath(fd, b"/".join(step))
                if opened is not None:
                    return opened
                self._whole_paths = False
            return self._component_wise(fd, step)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EXDEV}:
                where = b"/".join(path).decode("utf-8", "backslashreplace")
                message = f"target: a link or something that is no directory stands where {where} should be; somebody else writes there"
                raise Invalid(message, reason="TargetChanged") from error
            raise

    @staticmethod
    def _component_wise(fd: int, step: Path) -> int:
        current = os.dup(fd)
        for component in step:
            try:
                following = os.open(component, _FLAGS, dir_fd=current)
            finally:
                os.close(current)
            current = following
        return current


def open_beneath(fd: int, path: bytes) -> int | None:
    """openat2 of a directory below `fd`; None where the kernel or a filter does not offer it. Raises OSError."""
    opened: int = _syscall(_OPENAT2, fd, path, ctypes.byref(_how), ctypes.sizeof(_how))
    if opened >= 0:
        return opened
    code = ctypes.get_errno()
    if code in _ABSENT:
        return None
    raise OSError(code, os.strerror(code))
