"""The directory to restore into: made if it is absent, refused if somebody else's data is in it, marked while it is incomplete.

A marker file named after the manifest stands in the root from the first write until everything has been compared. It tells people that
the directory is incomplete, and the next run of the same restore that what is here is its own work.
"""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Self

from recoup.engine.records.tree import printable
from recoup.engine.restore.files import is_temporary
from recoup.engine.restore.selection import parse_path
from recoup.errors import Denied, Invalid, Retryable

MARKER = b".recoup-incomplete-"
_TEXT = b"A restore by recoup has not ended here, or it failed: files may be missing. Run it again, or empty this directory.\n"
_OWN = {b"lost+found"}
"""What an empty file system may hold."""


class Found(Enum):
    EMPTY = "empty"
    """Or not there before."""
    INTERRUPTED = "interrupted"
    """Holds what an earlier run of the same restore left."""
    OCCUPIED = "occupied"
    """Holds something: either this recovery point already, or somebody's data."""


class Target:
    """An open target directory. Everything else works on `fd`."""

    def __init__(self, path: str, mark: bytes, fd: int) -> None:
        """`fd` is the open directory; it is the target's from now on."""
        self.path, self.mark, self.fd = path, mark, fd
        self._marker = MARKER + mark

    @classmethod
    def open(cls, path: str, mark: bytes, into: str = "") -> Target:
        """`into` is a directory below `path`. Both are made if they are absent; no link is followed on the way from one to the other."""
        return cls(f"{path}/{into}" if into else path, mark, _open(path, into))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def inspect(self) -> Found:
        names = names_in(self.fd) - _OWN
        if not names:
            return Found.EMPTY
        return Found.INTERRUPTED if self._marker in names else Found.OCCUPIED

    def begin(self) -> None:
        """Mark the directory as incomplete, durably."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._marker, flags, 0o644, dir_fd=self.fd)
        try:
            os.write(fd, _TEXT)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.fsync(self.fd)

    def complete(self) -> None:
        """Everything is there and compared."""
        os.unlink(self._marker, dir_fd=self.fd)

    def is_own(self, name: bytes, *, root: bool) -> bool:
        """Whether a name that the recovery point does not have may be there: the marker, or what file systems come with."""
        return root and (name in _OWN or name == self._marker)

    def is_leftover(self, name: bytes) -> bool:
        """Whether it is a temporary name of this restore."""
        return is_temporary(name, self.mark)

    def forget_others(self) -> None:
        """Remove the markers of other restores that did not end: this one has brought everything into the state that it names."""
        for name in names_in(self.fd):
            if name.startswith(MARKER) and name != self._marker:
                os.unlink(name, dir_fd=self.fd)

    def tells_case_apart(self) -> bool:
        """Whether its file system knows `a` and `A` as two names; asked while the marker stands."""
        try:
            os.stat(self._marker.upper(), dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return True
        return False

    def check_space(self, needed: int) -> None:
        """Raise Invalid if `needed` bytes of data cannot fit. What they take beyond that (blocks, inodes) is not foreseen."""
        free = self.free()
        if needed > free:
            message = f"target {self.path} has {free} bytes free, the recovery point needs {needed}; take a larger one"
            raise Invalid(message, reason="TargetTooSmall")

    def free(self) -> int:
        """Bytes that we may still write to its file system."""
        state = os.fstatvfs(self.fd)
        return state.f_bavail * state.f_frsize

    def sync(self) -> None:
        """Make all that was written durable. Raises Retryable if the disk fails."""
        if _libc.syncfs(self.fd):
            code = ctypes.get_errno()
            raise Retryable(f"target {self.path}: {os.strerror(code)} while writing it to disk", reason="TargetFailed")

    def refuse(self, detail: str) -> Invalid:
        """The error for a target that holds other data."""
        message = f"target {self.path} is not empty ({detail}); nothing was written"
        advice = "give an empty directory, or say with --existing what becomes of this one"
        return Invalid(f"{message}; {advice}", reason="TargetNotEmpty")

    def close(self) -> None:
        os.close(self.fd)


_libc = ctypes.CDLL(None, use_errno=True)


def _open(path: str, into: str) -> int:
    fd = _open_directory(path)
    try:
        for name in parse_path(into):
            with suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=fd)
            try:
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            except OSError as error:
                if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
                    raise
                message = f"--into {into}: {printable((name,))} is a link or no directory; it is not followed"
                raise Invalid(message, reason="TargetNotDirectory") from error
            os.close(fd)
            fd = inner
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open_directory(path: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            os.mkdir(path, 0o755)
            return os.open(path, flags)
    except FileNotFoundError as error:
        raise Invalid(f"target {path}: its parent directory does not exist", reason="TargetNotFound") from error
    except NotADirectoryError as error:
        raise Invalid(f"target {path} is no directory", reason="TargetNotDirectory") from error
    except PermissionError as error:
        raise Denied(f"target {path}: {error.strerror}") from error


def names_in(fd: int) -> set[bytes]:
    """Raw names in an open directory."""
    return {os.fsencode(name) for name in os.listdir(fd)}
