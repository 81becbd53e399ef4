"""Stretches of an open file or device: read, write, compare before writing, make them read as zeros. Offsets and lengths in bytes."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator

_PUNCH = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
_ZEROS = bytes(1 << 20)
_STEP = 64 << 10
_libc = ctypes.CDLL(None, use_errno=True)


def write_at(fd: int, data: memoryview, offset: int) -> None:
    """Write all of `data`."""
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count


def write_differing(fd: int, plain: memoryview, offset: int) -> int:
    """Write those parts of `plain` that are not there yet; how many bytes those were."""
    there = os.pread(fd, len(plain), offset)
    if there == plain:
        return 0
    written = 0
    for start in range(0, len(plain), _STEP):
        part = plain[start : start + _STEP]
        if there[start : start + _STEP] != part:
            write_at(fd, part, offset + start)
            written += len(part)
    return written


def dirt(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Stretches of a range that are not zeros, as (offset, length); what the file system knows as a hole is not read."""
    while start < end:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # no data up to the end
            if error.errno != errno.EINVAL:  # a block device knows no holes
                raise
        if start >= end:
            return
        data = os.pread(fd, min(end - start, len(_ZEROS)), start)
        if not data:
            return
        if data.count(0) != len(data):
            yield start, len(data)
        start += len(data)


def make_hole(fd: int, start: int, end: int) -> None:
    """Make a range read as zeros, deallocating it where the file system or device can."""
    if end <= start or _punch(fd, start, end):
        return
    while start < end:
        length = min(end - start, len(_ZEROS))
        if os.pread(fd, length, start) != _ZEROS[:length]:
            write_at(fd, memoryview(_ZEROS)[:length], start)
        start += length


def _punch(fd: int, start: int, end: int) -> bool:
    """Deallocate a range; False where that is not known, or the range is not aligned to a device's sectors."""
    if not _libc.fallocate(fd, _PUNCH, ctypes.c_long(start), ctypes.c_long(end - start)):
        return True
    code = ctypes.get_errno()
    if code in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV}:
        return False
    raise OSError(code, os.strerror(code))
