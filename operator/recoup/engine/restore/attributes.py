"""Owner, mode, times and extended attributes of one restored object: set them, and read back what took.

Order matters: owner first (chown clears setuid and capabilities), then mode, then attributes (capabilities, ACLs), times last.
What a file system or a missing right refuses is returned by name, never raised; a full or broken disk is raised.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from recoup.engine.records.tree import Entry, FileType, WireEntry, Xattr
from recoup.value import Value

Attributed = Entry | WireEntry
FetchXattr = Callable[[Xattr], bytes]
"""The value of an attribute, also of one that is a block of its own."""

_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS}
_COMPARED = (b"user.", b"security.capability", b"system.posix_acl_")
"""Attributes that must not be there unless the recovery point has them. Others (labels of SELinux, of the file system) may."""


_OURS = (os.geteuid(), os.getegid())
"""Whom a file belongs to that we have just made."""


class Wishes(Value, frozen=True):
    """What is restored only if it is asked for."""

    devices: bool = False
    trusted: bool = False

    def wants(self, xattr: Xattr) -> bool:
        return self.trusted or not xattr.name.startswith(b"trusted.")


def apply(handle: int | str, entry: Attributed, wishes: Wishes, fetch: FetchXattr, *, fresh: bool = False) -> list[str]:
    """Give the object behind `handle` (a descriptor, or a /proc/self/fd path to one) the entry's attributes.

    A `fresh` one was made by us just now, so that it is ours as a rule; where not, the comparison will see it.
    """
    try:
        if not entry.xattrs:  # the usual case, without ceremony
            if not fresh or (entry.uid, entry.gid) != _OURS:
                os.chown(handle, entry.uid, entry.gid)
            os.chmod(handle, entry.mode)  # a descriptor
            if not fresh:
                _strip(handle, entry)
            os.utime(handle, ns=(entry.mtime, entry.mtime))
            return []
    except (OSError, OverflowError, ValueError):
        pass  # one thing after the other, to see which it was
    return [
        *_try("owner", lambda: _own(handle, entry)),
        *_try("mode", lambda: os.chmod(handle, entry.mode)),
        *([] if fresh else _try("attributes", lambda: _strip(handle, entry))),
        *_apply_xattrs(handle, entry, wishes, fetch),
        *_try("mtime", lambda: os.utime(handle, ns=(entry.mtime, entry.mtime))),
    ]


def apply_to_symlink(folder: int, name: bytes, entry: Entry, wishes: Wishes, fetch: FetchXattr) -> list[str]:
    """As `apply`, for a symbolic link, which has neither mode nor a descriptor that could be written through."""
    missed = _try("owner", lambda: os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False))
    path = b"/proc/self/fd/%d/%s" % (folder, name)
    for xattr in filter(wishes.wants, entry.xattrs):
        missed += _try(_label(xattr), lambda x=xattr: os.setxattr(path, x.name, fetch(x), follow_symlinks=False))  # type: ignore[misc]  # mypy knows no type of a default in a lambda
    times = (entry.mtime, entry.mtime)
    return missed + _try("mtime", lambda: os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False))


def differences(found: os.stat_result, entry: Attributed) -> list[str]:
    """Which of owner, mode and mtime are not as recorded."""
    missed = []
    if (found.st_uid, found.st_gid) != (entry.uid, entry.gid):
        missed.append("owner")
    if found.st_mode & 0o7777 != entry.mode and entry.type != FileType.SYMLINK:
        missed.append("mode")
    if found.st_mtime_ns != entry.mtime:
        missed.append("mtime")
    return missed


def xattr_differences(handle: int | bytes, entry: Attributed, wishes: Wishes, fetch: FetchXattr, *, follow: bool = True) -> list[str]:
    """Which extended attributes are missing, differ, or are there though the recovery point has none of that name."""
    flags = {} if isinstance(handle, int) else {"follow_symlinks": follow}
    try:
        listed = os.listxattr(handle, **flags)
        if not listed and not entry.xattrs:
            return []
        names = {os.fsencode(name) for name in listed}
    except OSError as error:
        if error.errno in _FATAL:
            raise
        names = set()
    wanted = {xattr.name: xattr for xattr in entry.xattrs if wishes.wants(xattr)}
    missed = [_label(wanted[name]) for name in wanted if name not in names or os.getxattr(handle, name, **flags) != fetch(wanted[name])]
    extra = [name for name in names - wanted.keys() if name.startswith(_COMPARED)]
    return missed + [f"xattr {name.decode(errors='backslashreplace')} (not in the recovery point)" for name in extra]


def forget_inheritance(fd: int) -> None:
    """Take from a directory what it would hand down to new children: its default ACL and its setgid bit."""
    try:
        os.removexattr(fd, "system.posix_acl_default")
    except OSError as error:
        if error.errno not in {errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES}:
            raise
    mode = os.fstat(fd).st_mode & 0o7777
    if mode & 0o2000:
        _try("mode", lambda: os.fchmod(fd, mode & ~0o2000))


def _apply_xattrs(handle: int | str, entry: Attributed, wishes: Wishes, fetch: FetchXattr) -> list[str]:
    missed: list[str] = []
    for xattr in entry.xattrs:
        if wishes.wants(xattr):
            missed += _try(_label(xattr), lambda x=xattr: os.setxattr(handle, x.name, fetch(x)))  # type: ignore[misc]  # mypy knows no type of a default in a lambda
    return missed


def _own(handle: int | str, entry: Attributed) -> None:
    found = os.stat(handle)
    if (found.st_uid, found.st_gid) != (entry.uid, entry.gid):
        os.chown(handle, entry.uid, entry.gid)


def _strip(handle: int | str, entry: Attributed) -> None:
    """Take away attributes of which the recovery point has none of that name: those that the comparison minds."""
    wanted = {xattr.name for xattr in entry.xattrs}
    for name in map(os.fsencode, os.listxattr(handle)):
        if name.startswith(_COMPARED) and name not in wanted:
            os.removexattr(handle, name)


def _label(xattr: Xattr) -> str:
    return f"xattr {xattr.name.decode(errors='backslashreplace')}"


def _try(what: str, change: Callable[[], None]) -> list[str]:
    try:
        change()
    except OSError as error:
        if error.errno in _FATAL:
            raise
        return [what]
    except (OverflowError, ValueError):  # a time or owner that no file system can hold
        return [what]
    return []
