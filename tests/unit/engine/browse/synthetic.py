"""Recovery points of any number of small files, written node by node: what a backup of as many files makes, in seconds and without them.

100 files a directory, 100 directories in one above; leaves of 50 entries, as a backup cuts them on average. All content lies in one
pack. Two points of nearly the same files share all nodes but those that differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.records.content import Companion, Scheme, WireContent, encode_node
from recoup.engine.records.manifest import SourceKind, Totals
from recoup.engine.records.nodes import Locator, encode
from recoup.engine.records.refs import RefsInner
from recoup.engine.records.rows import encode_table
from recoup.engine.records.tree import FileType, Key, Listing, TreeInner, TreeLeaf, WireEntry
from tests.unit.engine.restore.forge import HERE, NOW, Forger

LEAF = 50
FAN_OUT = 200
OBJECT_BYTES = 8 << 20
TABLE_ROWS = 8000
LENGTH = 16
_SLOTS = 4096
DATA = bytes(range(256)) * (LENGTH * _SLOTS // 256)


def folder_of(number: int) -> tuple[bytes, ...]:
    return (b"d%04d" % (number // 10_000), b"e%02d" % (number // 100 % 100))


def content_of(number: int) -> bytes:
    at = number % _SLOTS * LENGTH
    return DATA[at : at + LENGTH]


@dataclass
class Synthetic:
    """Writes points through a forger."""

    forger: Forger
    object_bytes: int = OBJECT_BYTES
    _staged: dict[Kind, list[tuple[BlockKind, bytes]]] = field(default_factory=dict)
    _sizes: dict[Kind, int] = field(default_factory=dict)
    _put: set[bytes] = field(default_factory=set)
    """Blocks that some point has put already, so that the next one shares them."""
    _known: dict[bytes, object] = field(default_factory=dict)

    def point(self, files: int, *, changed: Iterable[int] = ()) -> str:
        """A point of `files` files; the `changed` ones have another mtime."""
        forger, later = self.forger, set(changed)
        forger._places, forger._members = {}, []
        data = self._stage(Kind.DATA, BlockKind.DATA, DATA)
        units = [forger._id(BlockKind.DATA, content_of(number)) for number in range(min(files, _SLOTS))]
        nodes: list[tuple[Key, bytes]] = []
        for first, listings, numbers in _leaves(files, later):
            runs = tuple(
                WireContent(int(Scheme.WHOLE), ((0, LENGTH, 0, number % _SLOTS * LENGTH, units[number % _SLOTS]),)) for number in numbers
            )
            companion = self._stage(Kind.REFS, BlockKind.CONTENT, encode_node(Companion(0, data, runs))) if runs else b""
            nodes.append((first, self._stage(Kind.TREE, BlockKind.TREE, encode(TreeLeaf(0, companion, listings)))))
        level = 0
        while len(nodes) > 1:
            level += 1
            nodes = [self._inner(level, nodes[at : at + FAN_OUT]) for at in range(0, len(nodes), FAN_OUT)]
        for kind in tuple(self._staged):
            self._flush(kind)
        directories = -(-files // 100) + -(-files // 10_000)
        return self._commit(Totals(files, directories, files * LENGTH), nodes[0][1])

    def _inner(self, level: int, nodes: list[tuple[Key, bytes]]) -> tuple[Key, bytes]:
        keys = tuple((0, key[0], key[1]) for key, _ in nodes)
        return nodes[0][0], self._stage(Kind.TREE, BlockKind.TREE, encode(TreeInner(level, keys, b"".join(node for _, node in nodes))))

    def _stage(self, kind: Kind, block: BlockKind, plain: bytes) -> bytes:
        """The id of a block, put with others of its kind unless a point before has put it."""
        name = self.forger._id(block, plain)
        if name in self._known:
            self.forger._places[name] = self._known[name]  # type: ignore[assignment]
            return name
        self._known[name] = None
        self._staged.setdefault(kind, []).append((block, plain))
        self._sizes[kind] = self._sizes.get(kind, 0) + len(plain)
        if self._sizes[kind] >= self.object_bytes:
            self._flush(kind)
        return name

    def _flush(self, kind: Kind) -> None:
        blocks, self._staged[kind], self._sizes[kind] = self._staged.get(kind, []), [], 0
        if blocks:
            for name in self.forger._put_blocks(kind, blocks):
                self._known[name] = self.forger._places[name]

    def _commit(self, totals: Totals, tree: bytes) -> str:
        forger = self.forger
        rows = sorted(forger._places.items())
        tables = [encode_table(rows[at : at + TABLE_ROWS]) for at in range(0, len(rows), TABLE_ROWS)]
        firsts = [bytes(32)] + [rows[at][0] for at in range(TABLE_ROWS, len(rows), TABLE_ROWS)]
        inner = encode(RefsInner(1, b"".join(firsts), tuple(Locator(b"", 0, number) for number in range(len(tables)))))
        places = dict(forger._places)
        forger._put_blocks(Kind.REFS, [*((BlockKind.REFS, table) for table in tables), (BlockKind.REFS, inner)])
        forger._places = places
        refs = Locator(forger._members[-1].digest, 0, len(tables))
        root = WireEntry(b"", int(FileType.DIRECTORY), 0o755, *HERE, NOW, 0)
        return forger._commit(SourceKind.DIRECTORY, totals, tree=tree, root=root, refs=refs)


def _leaves(files: int, changed: set[int]) -> Iterator[tuple[Key, tuple[Listing, ...], list[int]]]:
    """(key, listings, numbers of its files) of all leaves in tree order, one directory each."""
    tops = -(-files // 10_000)
    yield from _directories((), [b"d%04d" % top for top in range(tops)])
    for top in range(tops):
        count = min(100, -(-(files - top * 10_000) // 100))
        yield from _directories((b"d%04d" % top,), [b"e%02d" % inner for inner in range(count)])
        for inner in range(count):
            start = top * 10_000 + inner * 100
            for first in range(start, min(start + 100, files), LEAF):
                numbers = list(range(first, min(first + LEAF, start + 100, files)))
                entries = tuple(WireEntry(b"f%08d" % n, int(FileType.REGULAR), 0o644, *HERE, NOW + (n in changed), LENGTH) for n in numbers)
                yield (folder_of(first), entries[0].name), (Listing(0, folder_of(first), entries),), numbers


def _directories(path: tuple[bytes, ...], names: list[bytes]) -> Iterator[tuple[Key, tuple[Listing, ...], list[int]]]:
    for at in range(0, len(names), LEAF):
        entries = tuple(WireEntry(name, int(FileType.DIRECTORY), 0o755, *HERE, NOW, 0) for name in names[at : at + LEAF])
        yield (path, entries[0].name), (Listing(0, path, entries),), []
