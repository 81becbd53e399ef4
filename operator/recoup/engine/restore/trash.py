"""Removing what stands in a restore's way, or what a mirror does not have, below the target and nowhere else.

Links are removed, never followed. A directory is first moved, whole, under one of our temporary names, so that it is gone at once and a
crash leaves something that the next run knows as ours; then it is emptied level by level with two descriptors, however deep it is. A
mounted file system is never entered: moving it fails, and that is said.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from recoup.errors import Invalid

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Trash:
    """Removes things below one root directory."""

    def __init__(self, root: int, name: bytes) -> None:
        """`name` is the temporary name, in the root, of the directory that holds what is being removed."""
        self._root, self.name = root, name
        self._next = 0

    def remove(self, folder: int, name: bytes) -> int:
        """Remove `name` of the open directory `folder`, with everything in it; how many entries those were."""
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=folder)
            return 1
        bin_fd = self._open()
        try:
            self._take(folder, name, bin_fd)
            return self._empty(bin_fd)
        finally:
            os.close(bin_fd)

    def close(self) -> None:
        """Remove what is left in the bin, also by a run that was interrupted, and the bin itself."""
        try:
            bin_fd = os.open(self.name, _OPEN, dir_fd=self._root)
        except FileNotFoundError:
            return
        try:
            self._empty(bin_fd)
        finally:
            os.close(bin_fd)
        os.rmdir(self.name, dir_fd=self._root)

    def _open(self) -> int:
        with suppress(FileExistsError):
            os.mkdir(self.name, 0o700, dir_fd=self._root)
        return os.open(self.name, _OPEN, dir_fd=self._root)

    def _take(self, folder: int, name: bytes, bin_fd: int) -> None:
        while True:
            self._next += 1
            try:
                os.rename(name, b"%x" % self._next, src_dir_fd=folder, dst_dir_fd=bin_fd)
            except FileExistsError:
                continue  # left by a run that was interrupted
            except OSError as error:
                if error.errno == errno.ENOTEMPTY:
                    continue
                if error.errno in {errno.EBUSY, errno.EXDEV}:
                    shown = name.decode("utf-8", "backslashreplace")
                    message = f"target: {shown} is a mounted file system, which is never removed; unmount it first"
                    raise Invalid(message, reason="TargetInUse") from error
                raise
            return

    def _empty(self, bin_fd: int) -> int:
        removed = 0
        while names := os.listdir(bin_fd):
            for name in names:
                removed += self._level(bin_fd, os.fsencode(name))
        return removed

    def _level(self, bin_fd: int, name: bytes) -> int:
        """Remove one directory of the bin; its subdirectories come into the bin first."""
        try:
            fd = os.open(name, _OPEN, dir_fd=bin_fd)
        except PermissionError:
            os.chmod(name, 0o700, dir_fd=bin_fd)
            fd = os.open(name, _OPEN, dir_fd=bin_fd)
        removed = 1
        try:
            with os.scandir(fd) as entries:
                listed = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
            for child, is_directory in listed:
                if is_directory:
                    self._take(fd, child, bin_fd)
                else:
                    os.unlink(child, dir_fd=fd)
                    removed += 1
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=bin_fd)
        return removed
