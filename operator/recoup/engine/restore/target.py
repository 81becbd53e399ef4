"""The directory to restore into: made if it is absent, refused if somebody else's data is in it, marked while it is incomplete.

A marker file named after the manifest stands in the root from the first write until everything has been compared. It tells people that
the directory is incomplete, and the next run of the same restore that what is here is its own work.
"""

from __future__ import annotations

import ctypes
import os
from enum import Enum

from recoup.engine.restore.files import is_temporary
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

    def __init__(self, path: str, mark: bytes) -> None:
        self.path, self.mark = path, mark
        self._marker = MARKER + mark
        self.fd = _open(path)

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
        return is_temporary(name, self.mark)

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
        message = f"target {self.path} is not empty ({detail}); give an empty directory: nothing was written"
        return Invalid(message, reason="TargetNotEmpty")

    def close(self) -> None:
        os.close(self.fd)


_libc = ctypes.CDLL(None, use_errno=True)


def _open(path: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            os.mkdir(path, 0o755)  # noqa: PTH102
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
