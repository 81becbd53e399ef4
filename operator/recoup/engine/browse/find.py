"""Finding paths in one recovery point or in all, and which points hold which version of them.

Points share most nodes of their trees: a node in which one point had no match is passed over, unread, in the others. Matches of several
points go to a spool and come back merged by path, so that memory is the same for any number of files.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from recoup.engine.browse.spool import Spool
from recoup.engine.browse.versions import content_id
from recoup.engine.format.kinds import BlockKind
from recoup.engine.points import OpenPoint
from recoup.engine.records.nodes import level_of, split_ids
from recoup.engine.records.tree import (
    Entry,
    FileType,
    Listing,
    Path,
    WireEntry,
    child_keys,
    decode_inner,
    decode_leaf,
    leads_to,
    leaf_entries,
)
from recoup.engine.restore.selection import literal_prefix
from recoup.engine.source.exclude import Excludes
from recoup.errors import Integrity
from recoup.value import Value

REMEMBERED = 65_536
"""Nodes without a match that are remembered; more are read again for each point."""


class Wanted(Value, frozen=True):
    """What to find. Globs as those of --exclude; of everything else None is anything."""

    globs: tuple[str, ...]
    types: frozenset[FileType] = frozenset()
    at_least: int | None = None
    at_most: int | None = None
    newer: int | None = None
    """Nanoseconds since 1970: the mtime is later."""


class Version(msgspec.Struct, frozen=True):
    """One version of one path, and the points that hold it."""

    path: Path
    type: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    target: bytes
    content: bytes
    """Equal for equal content within one generation of keys."""
    points: tuple[str, ...] = ()


class _Row(msgspec.Struct, frozen=True, array_like=True):
    version: Version
    point: int


@dataclass
class Finder:
    """Finds in one point after the other."""

    wanted: Wanted
    _barren: dict[bytes, set[bytes]] = field(default_factory=dict)
    """By id key: nodes without a match."""

    def __post_init__(self) -> None:
        self._globs = Excludes(self.wanted.globs, "find")
        prefixes = [literal_prefix(pattern) for pattern in self.wanted.globs]
        self._prefixes: list[Path] = [()] if () in prefixes else prefixes

    def in_point(self, point: OpenPoint) -> Iterator[Version]:
        """Matches of one point in tree order."""
        if point.manifest.device is not None:
            return
        barren = self._barren.setdefault(point.blocks.id_key, set())
        for entry in self._in_node(point, point.manifest.tree, None, barren):
            content = content_id(point, entry.content) if entry.type is FileType.REGULAR else b""
            fields = (int(entry.type), entry.mode, entry.uid, entry.gid, entry.size, entry.mtime, entry.target)
            yield Version(entry.path, *fields, content, (point.id,))

    def in_points(self, points: Iterable[OpenPoint]) -> Iterator[Version]:
        """Versions found in several points, by path in tree order, each with its points in the order given."""
        ids: list[str] = []
        with Spool() as spool:
            for number, point in enumerate(points):
                ids.append(point.id)
                for version in self.in_point(point):
                    spool.add(_sortable(version, number))
                spool.end_run()
            rows = (_decode(row.partition(_END)[2]) for row in spool.merged())
            for _, group in itertools.groupby(rows, lambda row: row.version.path):
                yield from _by_version(group, ids)

    def _in_node(self, point: OpenPoint, node: bytes, level: int | None, barren: set[bytes]) -> Iterator[Entry]:
        if node in barren:
            return
        data = point.blocks.fetch(node, BlockKind.TREE)
        found = level_of(data, "a tree's node")
        if level is not None and found != level:
            raise Integrity("a tree's node is on another level than its parent says")
        matched = False
        if found == 0:
            matched = self._has_match(data)
            if matched:
                yield from (entry for entry in leaf_entries(point.blocks.fetch, data) if self._matches(entry.parent, entry))
        else:
            inner = decode_inner(data, "a tree's node")
            children, keys = split_ids(inner.children, "a tree's node"), child_keys(inner)
            if len(children) != len(keys):
                raise Integrity("the children of a tree's node are not in order")
            for child, first, after in zip(children, keys, [*keys[1:], None], strict=True):
                if any(leads_to(first, after, prefix) for prefix in self._prefixes):
                    for entry in self._in_node(point, child, found - 1, barren):
                        matched = True
                        yield entry
        if not matched and len(barren) < REMEMBERED:
            barren.add(node)

    def _has_match(self, data: bytes | memoryview) -> bool:
        """Looks at names and attributes alone: contents of leaves without a match are never fetched."""
        path: Path = ()
        for listing in decode_leaf(data, "a tree's leaf").listings:
            path = _path(path, listing)
            if any(self._matches(path, entry) for entry in listing.entries):
                return True
        return False

    def _matches(self, parent: Path, entry: Entry | WireEntry) -> bool:
        wanted = self.wanted
        if wanted.types and entry.type not in wanted.types:  # of a leaf that was not judged yet: any number
            return False
        if wanted.newer is not None and entry.mtime <= wanted.newer:
            return False
        if wanted.at_least is not None and (entry.type != FileType.REGULAR or entry.size < wanted.at_least):
            return False
        if wanted.at_most is not None and (entry.type != FileType.REGULAR or entry.size > wanted.at_most):
            return False
        return not self._globs or self._globs.matches(b"/".join(parent), entry.name)


_END = b"\0\0\0"
_decode = msgspec.msgpack.Decoder(_Row).decode
_encode = msgspec.msgpack.Encoder().encode


def _path(previous: Path, listing: Listing) -> Path:
    return previous[: listing.keep] + listing.rest


def _sortable(version: Version, point: int) -> bytes:
    """A row that sorts by (parent, name, point): no component holds a NUL, so that one ends a component and two end the parent."""
    parent = b"".join(component + b"\0" for component in version.path[:-1])
    order = parent + b"\0" + version.path[-1] + b"\0" + point.to_bytes(4, "big")
    return order.hex().encode() + _END + _encode(_Row(version, point))


def _by_version(rows: Iterable[_Row], ids: list[str]) -> Iterator[Version]:
    """The versions of one path, in the order in which they first appear."""
    versions: dict[Version, list[str]] = {}
    for row in rows:
        plain = msgspec.structs.replace(row.version, points=())
        versions.setdefault(plain, []).append(ids[row.point])
    yield from (msgspec.structs.replace(version, points=tuple(points)) for version, points in versions.items())
