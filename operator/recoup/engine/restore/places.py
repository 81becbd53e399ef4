"""What a block device is restored to: a block device, or a regular file as its image. Opened, checked, marked while it is incomplete.

A device carries the mark in its head; an image file stands under a temporary name in its directory until it is whole. A next run of the
same restore knows either. No link is followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recoup.engine.restore.files import TEMPORARY
from recoup.engine.restore.spans import make_hole, write_at
from recoup.errors import Invalid
from recoup.value import Record

_TEXT = b"A restore by recoup to this device has not ended, or it failed: its content is of no use. Run it again. Restore: "


class Place(Record):
    """An open target."""

    path: str
    fd: int
    device: bool
    ours: bool
    """An earlier run of the same restore has begun to write it."""
    mark: bytes
    size: int
    """What is to be restored has."""
    folder: int = -1
    """Of an image file: its directory."""

    def begin(self, head: int) -> None:
        """Mark it as incomplete, durably. `head` bytes of a device are given up for it."""
        if self.device:
            make_hole(self.fd, 0, head)
            write_at(self.fd, memoryview(_TEXT + self.mark + b"\n")[:head], 0)
            os.fsync(self.fd)
            return
        if not self.ours:
            os.rename(self._name, self.partial, src_dir_fd=self.folder, dst_dir_fd=self.folder)
            os.fsync(self.folder)
        os.ftruncate(self.fd, self.size)

    def complete(self) -> None:
        """Everything is there and compared (the head of a device has been written by now)."""
        if not self.device:
            os.rename(self.partial, self._name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
            os.fsync(self.folder)

    def occupied(self) -> Invalid:
        """The error for a target that holds other data."""
        message = f"target {self.path} holds other data: nothing was written; --existing overwrite replaces them"
        return Invalid(message, reason="TargetNotEmpty")

    @property
    def wrong_size(self) -> bool:
        """Of an image: it is longer or shorter than the device was."""
        return not self.device and os.fstat(self.fd).st_size != self.size

    @property
    def _name(self) -> bytes:
        return os.fsencode(Path(self.path).name)

    @property
    def partial(self) -> bytes:
        """Of an image: its name until it is whole."""
        return TEMPORARY + self.mark + b"-" + self._name[:180]


@contextmanager
def open_place(path: str, size: int, mark: bytes, *, change: bool = True) -> Iterator[Place]:
    """Open the block device or image file `path` for `size` bytes. Without `change` nothing at all is touched.

    Raises Invalid (TargetNotFound, TargetNotDevice, TargetInUse, TargetTooSmall), OSError.
    """
    folder = _folder(path)
    try:
        place = _open(path, folder, mark, size, change=change)
        try:
            if place.device:
                _check_device(place, size)
            yield place
        finally:
            os.close(place.fd)
    finally:
        os.close(folder)


def _check_device(place: Place, size: int) -> None:
    found = os.lseek(place.fd, 0, os.SEEK_END)
    if found < size:
        message = f"target {place.path} has {found} bytes, the recovery point {size}; take a device at least as large"
        raise Invalid(message, reason="TargetTooSmall")
    text = _TEXT + place.mark + b"\n"
    place.ours = os.pread(place.fd, len(text), 0) == text


def _open(path: str, folder: int, mark: bytes, size: int, *, change: bool) -> Place:
    flags = (os.O_RDWR | os.O_EXCL if change else os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    resolved = os.path.realpath(path) if path.startswith("/dev/") else path  # there links are how devices are named
    try:
        fd = os.open(resolved, flags & ~os.O_EXCL if not _is_device(resolved) else flags)
    except FileNotFoundError as error:
        return _interrupted_image(Place(path, -1, device=False, ours=True, mark=mark, size=size, folder=folder), flags & ~os.O_EXCL, error)
    except OSError as error:
        raise _refusal(path, error) from error
    found = os.fstat(fd)
    if stat.S_ISBLK(found.st_mode):
        return Place(path, fd, device=True, ours=False, mark=mark, size=size)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        return Place(path, fd, device=False, ours=False, mark=mark, size=size, folder=folder)
    os.close(fd)
    message = f"target {path} is neither a block device nor a regular file of one name; the recovery point is of a block device"
    raise Invalid(message, reason="TargetNotDevice")


def _interrupted_image(place: Place, flags: int, error: OSError) -> Place:
    path = place.path
    try:
        place.fd = os.open(place.partial, flags, dir_fd=place.folder)
    except FileNotFoundError:
        message = f"target {path} does not exist; give a block device, or make an empty file for an image of it (touch {path})"
        raise Invalid(message, reason="TargetNotFound") from error
    return place


def _is_device(path: str) -> bool:
    try:
        return stat.S_ISBLK(Path(path).lstat().st_mode)
    except OSError:
        return False


def _refusal(path: str, error: OSError) -> OSError | Invalid:
    if error.errno == errno.EISDIR:
        message = f"target {path} is a directory; the recovery point is of a block device and needs one, or a file for its image"
        return Invalid(message, reason="TargetNotDevice")
    if error.errno == errno.ELOOP:
        return Invalid(f"target {path} is a link, which is not followed: name the file itself", reason="TargetNotDevice")
    if error.errno == errno.EBUSY:
        return Invalid(f"target {path} is in use: unmount it first", reason="TargetInUse")
    return error


def _folder(path: str) -> int:
    parent = Path(path).absolute().parent
    try:
        return os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Invalid(f"target {path}: its directory does not exist", reason="TargetNotFound") from error
