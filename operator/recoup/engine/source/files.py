"""Opening and reading regular files: without following links, without touching access times, hole by hole.

A file is what it was when its entry was listed; if inode, size, mtime or ctime differ after reading, it is reported as changed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Final

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_NOATIME = os.O_NOATIME
READ_BYTES: Final = 4 << 20


class FileChanged(Exception):  # a fact about the source, not a failure of ours
    """The name leads to something else than what was listed."""


def open_file(name: bytes, dir_fd: int | None = None) -> int:
    """Open for reading. Raises OSError; FileChanged if the name is a link by now."""
    try:
        return os.open(name, _FLAGS | _NOATIME, dir_fd=dir_fd)
    except PermissionError:  # O_NOATIME is for owners and root
        return _open_plainly(name, dir_fd)
    except OSError as error:
        raise _as_change(error) from None


def _open_plainly(name: bytes, dir_fd: int | None) -> int:
    try:
        return os.open(name, _FLAGS, dir_fd=dir_fd)
    except OSError as error:
        raise _as_change(error) from None


def _as_change(error: OSError) -> Exception:
    if error.errno in {errno.ELOOP, errno.ENXIO}:
        return FileChanged("replaced by another kind of file while the tree was read")
    return error


def same_file(listed: os.stat_result, found: os.stat_result) -> bool:
    """Whether an open file is the one that was listed, as it was then."""
    return (
        listed.st_mtime_ns == found.st_mtime_ns
        and listed.st_ctime_ns == found.st_ctime_ns
        and listed.st_size == found.st_size
        and listed.st_ino == found.st_ino
        and listed.st_dev == found.st_dev
    )


def has_holes(fd: int, found: os.stat_result) -> bool:
    """Whether an open regular file has a hole. Fewer blocks than bytes alone may come from compression or inlining."""
    if found.st_blocks * 512 >= found.st_size:
        return False
    try:
        return os.lseek(fd, 0, os.SEEK_HOLE) < found.st_size
    except OSError:
        return False
    finally:
        os.lseek(fd, 0, os.SEEK_SET)


def data_extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of the parts of a sparse file that hold data. A file system without holes gives one extent."""
    at = 0
    while at < size:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
            end = min(os.lseek(fd, begin, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            yield at, size - at
            return
        if begin >= size:
            return
        yield begin, end - begin
        at = end


def read_into(fd: int, buffer: memoryview, offset: int) -> int:
    """Fill `buffer` from `offset`; fewer bytes only at the end of the file."""
    done = 0
    while done < len(buffer):
        count = os.preadv(fd, [buffer[done:]], offset + done)
        if count == 0:
            break
        done += count
    return done
