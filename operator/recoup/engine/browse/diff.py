"""What changed between two recovery points: both trees walked side by side, parts that they share passed over unread.

Nodes have ids of their content, so that an equal id at the same place is an equal subtree. Where only one tree goes on, its entries
are added or removed. Memory is one node per level of either tree and the names of open directories.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from recoup.engine.browse.cursor import Cursor
from recoup.engine.browse.versions import Contents
from recoup.engine.points import OpenPoint
from recoup.engine.records.tree import Entry, FileType, Path
from recoup.engine.restore.selection import parse_path
from recoup.errors import Usage
from recoup.value import Value


class Kind(StrEnum):
    """How an entry differs."""

    ADDED = "added"
    REMOVED = "removed"
    TYPE = "type"
    """It is of another type now."""
    CONTENT = "content"
    """A file's bytes, a link's target or a device's numbers; `metadata` says whether that changed, too."""
    METADATA = "metadata"
    """Owner, mode, mtime or extended attributes only."""


class Change(Value, frozen=True):
    kind: Kind
    path: Path
    old: Entry | None
    new: Entry | None
    metadata: tuple[str, ...] = ()
    """Which attributes differ."""


def diff_points(old: OpenPoint, new: OpenPoint, under: str = "") -> Iterator[Change]:
    """Changes in tree order, of what is at and below the path `under`. Raises Usage for recovery points of devices."""
    for point in (old, new):
        if point.manifest.device is not None:
            raise Usage(f"recovery point {point.id[:16]} is of a block device: there are no paths to compare")
    path = parse_path(under)
    shared = old.blocks.id_key == new.blocks.id_key
    left = Cursor(old.blocks.fetch, old.manifest.tree, path)
    right = Cursor(new.blocks.fetch, new.manifest.tree, path)
    contents = Contents(old, new)
    while True:
        if shared:
            left.skip_shared(right)
        one, other = left.entry(), right.entry()
        if one is None and other is None:
            return
        if other is None or (one is not None and key(one) < key(other)):
            assert one is not None
            left.advance()
            yield Change(Kind.REMOVED, one.path, one, None)
        elif one is None or key(other) < key(one):
            right.advance()
            yield Change(Kind.ADDED, other.path, None, other)
        else:
            left.advance()
            right.advance()
            change = compare(one, other, contents)
            if change is not None:
                yield change


def key(entry: Entry) -> tuple[Path, bytes]:
    """The order of trees."""
    return entry.parent, entry.name


def compare(old: Entry, new: Entry, contents: Contents) -> Change | None:
    """How two entries of one path differ; None if they do not."""
    if old.type is not new.type:
        return Change(Kind.TYPE, new.path, old, new)
    names = metadata(old, new)
    if not same_body(old, new, contents):
        return Change(Kind.CONTENT, new.path, old, new, names)
    return Change(Kind.METADATA, new.path, old, new, names) if names else None


def metadata(old: Entry, new: Entry) -> tuple[str, ...]:
    """Which attributes of two entries of one type differ."""
    names = []
    if (old.uid, old.gid) != (new.uid, new.gid):
        names.append("owner")
    if old.mode != new.mode and old.type is not FileType.SYMLINK:
        names.append("mode")
    if old.mtime != new.mtime:
        names.append("mtime")
    if old.xattrs != new.xattrs:
        names.append("xattrs")
    if bool(old.group) != bool(new.group):
        names.append("links")
    return tuple(names)


def same_body(old: Entry, new: Entry, contents: Contents) -> bool:
    if old.type is FileType.REGULAR:
        return old.size == new.size and contents.same(old.content, new.content)
    return (old.target, old.device) == (new.target, new.device)
