"""Second pass: further names of hard-linked files, symbolic links, fifos, devices. Each gets a temporary name first.

Links come after all content, so that nothing is ever written through one. A hard link is made from the descriptor of the directory that
holds the first member, by the name that we gave it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from recoup.engine.records.tree import Entry, FileType, printable
from recoup.engine.restore.attributes import apply_to_symlink
from recoup.engine.restore.files import Hands
from recoup.engine.restore.renew import Renewal
from recoup.report import Progress


class LatePass:
    def __init__(self, hands: Hands, groups: dict[int, Entry], progress: Progress, renewal: Renewal | None = None) -> None:
        self._hands, self._groups, self._progress, self._renewal = hands, groups, progress, renewal

    def run(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.type is FileType.DIRECTORY:
                continue
            first = self._groups.get(entry.group) if entry.group else None
            if first is not None and first.path != entry.path:
                self._link(entry, first)
                self._progress.advance(data=entry.size, files=1)
            elif entry.type is not FileType.REGULAR:
                self._special(entry)
                self._progress.advance(files=1)

    def _link(self, entry: Entry, first: Entry) -> None:
        if not restorable(first, self._hands):
            self._hands.outcome.not_restored.add(entry.path, why_not(first))
            return
        directories, temporary = self._hands.directories, self._hands.names.new()
        with directories.open(first.parent) as source, directories.open(entry.parent) as folder:
            if self._renewal is not None and _same_file(source, first.name, folder, entry.name):
                self._hands.outcome.count(files=1)
                return
            try:
                os.link(first.name, temporary, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:  # the first member is damaged, and so is this name
                self._hands.outcome.damaged.add(entry.path, f"it is a hard link of {printable(first.path)}")
                return
            self._name(folder, temporary, entry)

    def _special(self, entry: Entry) -> None:
        hands = self._hands
        if not restorable(entry, hands):
            hands.outcome.not_restored.add(entry.path, why_not(entry))
            return
        temporary = hands.names.new()
        with hands.directories.open(entry.parent) as folder:
            if self._renewal is not None and self._renewal.other_same(folder, entry):
                hands.outcome.count(files=1)
                return
            if entry.type is FileType.SYMLINK:
                os.symlink(entry.target, temporary, dir_fd=folder)
                apply_to_symlink(folder, temporary, entry, hands.wishes, hands.fetch_xattr)
            else:
                _make_node(temporary, entry, folder)
                handle = os.open(temporary, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
                try:
                    hands.settle(f"/proc/self/fd/{handle}", entry)
                finally:
                    os.close(handle)
            self._name(folder, temporary, entry)

    def _name(self, folder: int, temporary: bytes, entry: Entry) -> None:
        if self._renewal is not None:
            self._renewal.make_way(folder, entry)
        os.rename(temporary, entry.name, src_dir_fd=folder, dst_dir_fd=folder)
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)  # rename does nothing if both names were the same file already
        self._hands.outcome.count(files=1)


def _same_file(first_folder: int, first: bytes, folder: int, name: bytes) -> bool:
    try:
        one = os.stat(first, dir_fd=first_folder, follow_symlinks=False)
        other = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def restorable(entry: Entry, hands: Hands) -> bool:
    """Whether this type of file is brought back by this run."""
    if entry.type is FileType.SOCKET:
        return False
    return hands.wishes.devices or entry.type not in {FileType.CHARACTER, FileType.BLOCK}


def why_not(entry: Entry) -> str:
    if entry.type is FileType.SOCKET:
        return "socket: the program that listens makes it anew"
    return "device: restored with --devices only"


def _make_node(temporary: bytes, entry: Entry, folder: int) -> None:
    if entry.type is FileType.FIFO:
        os.mkfifo(temporary, 0o600, dir_fd=folder)
    else:
        kind = 0o020000 if entry.type is FileType.CHARACTER else 0o060000
        os.mknod(temporary, kind | 0o600, os.makedev(*entry.device), dir_fd=folder)
