"""Regular files in the making: a temporary name, the content, the attributes, then the final name (docs/format.md section 7).

Nothing has its final name before it is complete. Temporary names say which recovery point they belong to, so that the next run of the
same restore knows what it may remove. Used by several threads at once.
"""

from __future__ import annotations

import hashlib
import os
import threading

from msgspec import field

from recoup.engine.records.content import Run
from recoup.engine.records.tree import Entry, Path, WireEntry
from recoup.engine.restore.attributes import FetchXattr, Wishes, apply
from recoup.engine.restore.beneath import Directories
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.plan import Pending
from recoup.engine.restore.spans import write_at, write_differing
from recoup.errors import Integrity
from recoup.value import Value

TEMPORARY = b".recoup-partial-"
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHANGE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class Names:
    """Temporary names, each used once, also over several runs of one restore."""

    def __init__(self, mark: bytes) -> None:
        self._prefix = TEMPORARY + mark + b"-"
        self._run = self._prefix + os.urandom(4).hex().encode() + b"-"
        self._lock = threading.Lock()
        self._next = 0

    def new(self) -> bytes:
        with self._lock:
            self._next += 1
            return self._run + b"%x" % self._next

    def partial(self, name: bytes) -> bytes:
        """The name under which the file `name` of a directory is changed in place: the same in each run of this restore."""
        return self._prefix + b"i" + hashlib.blake2b(name, digest_size=12).hexdigest().encode()


class Hands(Value, frozen=True):
    """What every writing step needs."""

    directories: Directories
    outcome: Outcome
    wishes: Wishes
    fetch_xattr: FetchXattr
    names: Names
    unreadable_later: bool
    """We are not root: files that their owner may not read stay readable until they have been compared."""
    inherits: bool = False
    """The target held something: what we make in it may inherit owners and attributes that the recovery point does not have."""
    lost_attributes: set[Path] = field(default_factory=set)
    """Paths whose attributes could not be had whole."""

    def settle(self, handle: int | str, entry: Entry, *, fresh: bool = True) -> None:
        """Set the attributes. What did not take shows in the comparison, and modes that would lock us out wait for it."""
        try:
            apply(handle, entry, self.wishes, self.fetch_xattr, fresh=fresh and not self.inherits)
        except Integrity as error:
            self.lost_attribute(entry, error)
        if self.unreadable_later and not entry.mode & 0o400:
            os.chmod(handle, entry.mode | 0o400)

    def lost_attribute(self, entry: Entry | WireEntry, error: Integrity) -> None:
        """The object that holds an attribute's value is damaged: the file is not as it was. Noted once, however often it is met."""
        path = entry.path if isinstance(entry, Entry) else ()
        if path not in self.lost_attributes:
            self.lost_attributes.add(path)
            self.outcome.damaged.add(path, str(error))

    def not_kept(self, entry: Entry | WireEntry, what: str) -> None:
        """Note an attribute that the target does not have as recorded."""
        self.outcome.not_preserved.add(entry.path if isinstance(entry, Entry) else (), what)


def is_temporary(name: bytes, mark: bytes) -> bool:
    """Whether `name` is a leftover of this restore."""
    return name.startswith(TEMPORARY + mark + b"-")


def begin(hands: Hands, pending: Pending) -> None:
    """Make the file at its full size and with no data in it: whatever no run writes stays a hole."""
    entry = pending.entry
    with hands.directories.open(entry.parent) as folder:
        fd = _create(pending.temporary, folder)
        try:
            if entry.size:
                os.ftruncate(fd, entry.size)
        finally:
            os.close(fd)


def write_run(folder: int, pending: Pending, run: Run, plain: memoryview) -> int:
    """Write one of several runs of a file that `begin` made, or that is changed in place; how many bytes were written."""
    fd = os.open(pending.temporary, _CHANGE if pending.in_place else _OPEN, dir_fd=folder)
    try:
        if pending.in_place:
            return write_differing(fd, plain, run.offset)
        write_at(fd, plain, run.offset)
        return len(plain)
    finally:
        os.close(fd)


def write_whole(hands: Hands, folder: int, pending: Pending, plain: memoryview | None) -> None:
    """Make, fill and finish a file that one run fills, or an empty one, with one open. The caller counts it."""
    entry, temporary = pending.entry, pending.temporary
    fd = _create(temporary, folder)
    try:
        if plain is not None:
            write_at(fd, plain, 0)
        hands.settle(fd, entry)
    finally:
        os.close(fd)
    os.rename(temporary, entry.name, src_dir_fd=folder, dst_dir_fd=folder)


def finish(hands: Hands, pending: Pending) -> None:
    """Give a complete file its attributes and its name; a damaged one is removed and noted."""
    entry = pending.entry
    with hands.directories.open(entry.parent) as folder:
        if pending.damage is not None:
            if not pending.in_place:  # else it is most of somebody's file, and what the next run goes on with
                os.unlink(pending.temporary, dir_fd=folder)
            hands.outcome.damaged.add(entry.path, pending.damage)
            return
        fd = os.open(pending.temporary, _OPEN, dir_fd=folder)
        try:
            hands.settle(fd, entry, fresh=not pending.in_place)
        finally:
            os.close(fd)
        os.rename(pending.temporary, entry.name, src_dir_fd=folder, dst_dir_fd=folder)
    hands.outcome.count(files=1)


def _create(temporary: bytes, folder: int) -> int:
    try:
        return os.open(temporary, _MAKE, 0o600, dir_fd=folder)
    except FileExistsError:  # left by a run that was interrupted
        os.unlink(temporary, dir_fd=folder)
        return os.open(temporary, _MAKE, 0o600, dir_fd=folder)
