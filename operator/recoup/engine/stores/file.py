"""A location in a directory: file:///srv/backups.

Responsible for: atomic, durable create-if-absent by an unnamed (or temporary) file and link(), reading without following any
symbolic link below the root, and errors that say what to do. Not for what the objects mean. Half-written files never get a name;
temporary names begin with a dot, so no object name can collide with one and `list` never shows them. Unlike in a bucket, `a` and
`a/b` cannot both be objects; no name of the format needs that.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from recoup.engine.stores.base import MAX_OBJECT, Buffer, check_length, check_limit, check_name, check_prefix
from recoup.errors import Denied, Integrity, Invalid, NotFound, RecoupError, Retryable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES = 10
_NO_UNNAMED = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}  # what open(O_TMPFILE) or linkat(/proc) say where they can't


class FileStore:
    """The directory is made by the first `create`; its parent must exist, so that a missing mount is noticed."""

    def __init__(self, root: str) -> None:
        self._root = root

    @property
    def url(self) -> str:
        return f"file://{self._root}"

    def create(self, name: str, data: Buffer) -> bool:
        with self._errors(name):
            for _ in range(_TRIES):
                with suppress(FileNotFoundError):  # a delete beside us took the directory away
                    return self._create(name, data)
            return self._create(name, data)

    def _create(self, name: str, data: Buffer) -> bool:
        with self._folder(name, make=True) as (folder, leaf):
            made: bool | None = False
            if not _exists(folder, leaf):
                made = self._link_unnamed(folder, leaf, data)
                if made is None:
                    made = self._link_named(folder, leaf, data)
            os.fsync(folder)  # also when another writer was first: its name must be durable before anybody relies on it
            return bool(made)

    def get(self, name: str, limit: int = MAX_OBJECT) -> bytes:
        with self._open(name) as (fd, size):
            check_limit(self.url, name, size, limit)
            buffer = bytearray(size)
            check_length(self.url, name, size, _read(fd, memoryview(buffer), 0))
            return bytes(buffer)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        with self._open(name) as (fd, size):
            if start < 0:
                length = min(-start, size)
                start = size - length
            buffer = bytearray(length)
            check_length(self.url, name, length, _read(fd, memoryview(buffer), start))
            return bytes(buffer)

    def get_into(self, name: str, buffer: memoryview) -> int:
        with self._open(name) as (fd, size):
            check_limit(self.url, name, size, len(buffer))
            check_length(self.url, name, size, _read(fd, buffer[:size], 0))
            return size

    def size(self, name: str) -> int | None:
        try:
            with self._open(name) as (_, size):
                return size
        except NotFound:
            return None

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        check_prefix(prefix)
        base, _, start = prefix.rpartition("/")
        with self._errors(prefix):
            yield from self._walk(base, prefix, start)

    def folders(self, prefix: str) -> Iterator[str]:
        check_prefix(prefix)
        with self._errors(prefix):
            entries = self._scan(prefix.rstrip("/"))
        yield from (name for name, info in entries if stat.S_ISDIR(info.st_mode))

    def delete(self, name: str) -> None:
        try:
            with self._errors(name), self._folder(name, make=False) as (folder, leaf):
                os.unlink(leaf, dir_fd=folder)
                os.fsync(folder)
            self._remove_empty(name)
        except NotFound:
            return

    def _remove_empty(self, name: str) -> None:
        """Remove the directories above a deleted object that hold nothing any more."""
        with suppress(OSError, RecoupError):
            while "/" in name:
                name = name.rpartition("/")[0]
                with self._folder(name, make=False) as (folder, leaf):
                    os.rmdir(leaf, dir_fd=folder)

    # -- one object ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _open(self, name: str) -> Iterator[tuple[int, int]]:
        with self._errors(name), self._folder(name, make=False) as (folder, leaf):
            fd = os.open(leaf, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
            try:
                info = os.fstat(fd)
                if not stat.S_ISREG(info.st_mode):
                    raise Integrity(f"{name} at {self.url} is not a regular file", reason="UnexpectedFileType")
                yield fd, info.st_size
            finally:
                os.close(fd)

    @staticmethod
    def _link_unnamed(folder: int, leaf: str, data: Buffer) -> bool | None:
        """Write a file that has no name until it is complete. None = this file system (or a missing /proc) can't."""
        try:
            fd = os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o444, dir_fd=folder)
        except OSError as error:
            if error.errno in _NO_UNNAMED:
                return None
            raise
        try:
            _write(fd, data)
            os.link(f"/proc/self/fd/{fd}", leaf, dst_dir_fd=folder, follow_symlinks=True)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno in _NO_UNNAMED:
                return None
            raise
        finally:
            os.close(fd)
        return True

    def _link_named(self, folder: int, leaf: str, data: Buffer) -> bool:
        temporary = f".{leaf[:200]}.{secrets.token_hex(8)}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o444, dir_fd=folder)
        try:
            _write(fd, data)
            os.link(temporary, leaf, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno in {errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}:
                message = f"{self.url}: its file system has no hard links, so no object can be made atomically; use another one"
                raise Invalid(message, reason="HardLinksUnsupported") from error
            raise
        finally:
            os.close(fd)
            os.unlink(temporary, dir_fd=folder)
        return True

    # -- directories -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _folder(self, name: str, *, make: bool) -> Iterator[tuple[int, str]]:
        """The open directory that holds `name`, and the last segment. Every step is one openat() that follows no link."""
        *folders, leaf = check_name(name).split("/")
        fd = self._open_root(make=make)
        try:
            for segment in folders:
                following = _enter(fd, segment, make=make)
                os.close(fd)
                fd = following
            yield fd, leaf
        finally:
            os.close(fd)

    def _open_root(self, *, make: bool) -> int:
        for attempt in (0, 1):
            try:
                return os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                if make and not attempt and os.path.isdir(os.path.dirname(self._root.rstrip("/"))):
                    _make_durable(self._root)
                    continue
                message = f"{self.url}: no such directory; check the path and that its file system is mounted"
                raise Invalid(message, reason="LocationNotFound") from error
        raise AssertionError("unreachable")

    def _scan(self, folder: str, start: str = "") -> Sequence[tuple[str, os.stat_result]]:
        """Entries of one directory whose names begin with `start`, in the byte order of object names (directories with a slash)."""
        try:
            with self._folder(f"{folder}/x" if folder else "x", make=False) as (fd, _), os.scandir(fd) as entries:
                found = [(e.name, e.stat(follow_symlinks=False)) for e in entries if e.name.startswith(start) and e.name[0] != "."]
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda e: e[0] + "/" if stat.S_ISDIR(e[1].st_mode) else e[0])

    def _walk(self, folder: str, prefix: str, start: str = "") -> Iterator[tuple[str, int]]:
        for leaf, info in self._scan(folder, start):
            name = f"{folder}/{leaf}" if folder else leaf
            if stat.S_ISDIR(info.st_mode):
                if f"{name}/".startswith(prefix) or prefix.startswith(f"{name}/"):
                    yield from self._walk(name, prefix)
            elif stat.S_ISREG(info.st_mode) and name.startswith(prefix):
                yield name, info.st_size

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except RecoupError:
            raise
        except OSError as error:
            raise self._translate(name, error) from error

    def _translate(self, name: str, error: OSError) -> RecoupError:
        where, code = f"{name} at {self.url}", error.errno
        if code == errno.ENOENT:
            return NotFound(f"{where}: no such object", reason="ObjectNotFound")
        if code in {errno.EACCES, errno.EPERM, errno.EROFS}:
            return Denied(f"{where}: {error.strerror}; give this user the right to do it, or mount it writable")
        if code in {errno.ENOSPC, errno.EDQUOT}:
            return Retryable(f"{where}: {error.strerror}; free some space there", reason="OutOfSpace")
        if code in {errno.ELOOP, errno.ENOTDIR, errno.EISDIR}:
            return Integrity(f"{where}: a link or a wrong type of file stands in the way", reason="UnexpectedFileType")
        return Retryable(f"{where}: {error.strerror}", reason="LocationUnreachable")


def _exists(folder: int, leaf: str) -> bool:
    try:
        os.stat(leaf, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _enter(folder: int, segment: str, *, make: bool) -> int:
    try:
        return os.open(segment, _DIRECTORY, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    try:
        os.mkdir(segment, 0o755, dir_fd=folder)
        os.fsync(folder)
    except FileExistsError:
        pass  # another writer was first
    return os.open(segment, _DIRECTORY, dir_fd=folder)


def _make_durable(path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return
    parent = os.open(os.path.dirname(path.rstrip("/")), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _write(fd: int, data: Buffer) -> None:
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(fd, rest) :]
    os.fsync(fd)


def _read(fd: int, buffer: memoryview, start: int) -> int:
    done = 0
    while done < len(buffer):
        count = os.preadv(fd, [buffer[done:]], start + done)
        if not count:
            break
        done += count
    return done
