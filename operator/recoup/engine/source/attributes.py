"""What a file is besides its content: type, attributes, xattrs, and the signature that says whether it changed.

Reads relative to the working directory (the walk's). ACLs and capabilities are extended attributes. Nothing is kept.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from recoup.engine.records.tree import FileType
from recoup.engine.source.files import FileChanged

XATTR_INLINE = 4096
"""A longer value becomes a block of its own."""

_TYPES = {
    stat.S_IFREG: FileType.REGULAR,
    stat.S_IFDIR: FileType.DIRECTORY,
    stat.S_IFLNK: FileType.SYMLINK,
    stat.S_IFIFO: FileType.FIFO,
    stat.S_IFSOCK: FileType.SOCKET,
    stat.S_IFCHR: FileType.CHARACTER,
    stat.S_IFBLK: FileType.BLOCK,
}
_ROW = struct.Struct("<IIIQQqqQQ").pack
_SKIPPED = frozenset({"security.selinux"})
"""Labels belong to the node, not to the data."""
_NO_XATTRS = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP})

Attributes = tuple[tuple[bytes, bytes], ...]
"""(name, value) of extended attributes, sorted by name."""


def file_type(mode: int) -> FileType:
    return _TYPES[stat.S_IFMT(mode)]


def signatures(stats: list[os.stat_result]) -> list[bytes]:
    """What of each file, were it changed, would show: all that a tree entry says, inode and ctime. Never the device number."""
    return [_ROW(s.st_mode, s.st_uid, s.st_gid, s.st_nlink, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_rdev) for s in stats]


def read_link(name: bytes) -> bytes:
    """What a symlink of the working directory says. Raises OSError; FileChanged if it is none any more."""
    try:
        return os.readlink(name)  # bytes, of the working directory
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise FileChanged("replaced by another kind of file while the tree was read") from None
        raise


class XattrReader:
    """Reads extended attributes; learns which file systems have none, and asks those no more."""

    def __init__(self) -> None:
        self._without: set[int] = set()

    def read_all(self, names: list[bytes], stats: list[os.stat_result]) -> dict[int, Attributes]:
        """Attributes of the files of the working directory, by index; only of those that have some. Raises OSError never:
        a file that vanished is noticed when its content is read, or by its entry staying as it was seen.
        """
        if not stats or stats[0].st_dev in self._without:
            return {}
        found: dict[int, Attributes] = {}
        listxattr = os.listxattr
        for index, name in enumerate(names):
            try:
                keys = listxattr(name, follow_symlinks=False)
            except OSError as error:
                plain = stats[index].st_dev == stats[0].st_dev and stat.S_IFMT(stats[index].st_mode) in {stat.S_IFREG, stat.S_IFDIR}
                if error.errno in _NO_XATTRS and plain:
                    self._without.add(stats[0].st_dev)
                    return found
                continue
            if keys:
                values = self._values(name, keys)
                if values:
                    found[index] = values
        return found

    def read_one(self, fd: int) -> Attributes:
        """Attributes of an open file or directory."""
        try:
            return self._values(fd, os.listxattr(fd))
        except OSError:
            return ()

    def _values(self, target: bytes | int, keys: list[str]) -> Attributes:
        values = []
        for key in keys:
            if key in _SKIPPED:
                continue
            try:
                value = os.getxattr(target, key) if isinstance(target, int) else os.getxattr(target, key, follow_symlinks=False)
            except OSError:
                continue  # removed since it was listed, or not for us to see
            values.append((os.fsencode(key), value))
        return tuple(sorted(values))
