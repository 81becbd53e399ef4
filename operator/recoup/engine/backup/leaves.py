"""Tree leaves: where the sequence of listings is cut, what is taken over, what is read, and how a leaf becomes blocks.

The main loop of a backup of a directory. A leaf ends where a name says so, so that the same directory gives the same leaves
wherever it is. Leaves wait until all blocks of their contents have ids, then go out in order.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from blake3 import blake3
from msgspec import field

from recoup.engine.backup.lineage import Lineage, OldRow
from recoup.engine.backup.lists import wire_runs
from recoup.engine.backup.sampling import Sampler
from recoup.engine.backup.units import BlockSink, KeptContent, PendingContent
from recoup.engine.format.kinds import BlockKind
from recoup.engine.records.cache import HASH, REGULAR, LeafRecord, Rows
from recoup.engine.records.content import Companion, Content, Scheme, WireContent
from recoup.engine.records.nodes import Locator, encode
from recoup.engine.records.tree import Key, Listing, Path, TreeLeaf, WireEntry, Xattr
from recoup.engine.source.attributes import XATTR_INLINE, Attributes, XattrReader, file_type, read_link, signatures
from recoup.engine.source.files import FileChanged
from recoup.engine.source.walk import Directory, OnError
from recoup.errors import Integrity
from recoup.value import Record

LEAF_ENTRIES: Final = 32
"""Entries of a leaf on average, besides the least. Leaves are small because one changed file rewrites one."""
LEAF_LEAST: Final = 16
LEAF_MOST: Final = 256
LEAF_LISTINGS: Final = 64
"""Directories of a leaf at most: their descriptors stay open until it is built."""
LEAF_BYTES: Final = 256 << 10
"""A leaf also ends when its xattrs and symlinks may have this many bytes."""


class Part(Record):
    """A stretch of one directory's listing."""

    directory: Directory
    names: list[bytes]
    stats: list[os.stat_result]
    xattrs: dict[int, Attributes]
    rows: list[bytes] = field(default_factory=list)


class NewLeaf(Record):
    """A leaf of the new tree: taken over (`record`), or made by this run."""

    key: Key
    record: LeafRecord | None = None
    taken: int = -1
    """Number of the old leaf that was taken over, -1 for one that was made."""
    blocks: bytes = b""
    """Ids of the blocks that its companion names."""
    roots: tuple[bytes, ...] = ()
    """Roots of the lists that its contents are."""


class _Built(Record):
    """A leaf that waits for the ids of its blocks."""

    leaf: NewLeaf
    listings: list[Listing]
    contents: list[PendingContent | KeptContent]
    unready: list[PendingContent]
    """Those of the contents whose blocks may not have ids yet."""
    attributes: list[bytes]
    rows: Rows
    digest: bytes
    newest: int
    entries: int
    files: int
    directories: int
    size: int
    kept: int = 0
    """Bytes of it that were not read."""


_MIX: Final = 0x9E3779B1
_BORDER: Final = (LEAF_ENTRIES - 1) << 27
"""A name ends a leaf if these bits of its mixed checksum are 0. The checksum alone is linear: numbered names would come in clumps."""

PutRows = Callable[[bytes], Locator]
PutBlock = Callable[[BlockKind, bytes], bytes]


class FileReader(Protocol):
    """Where contents come from: files of the working directory (contents.py), or a stream (piped.py)."""

    def read(self, name: bytes, listed: os.stat_result, old: Content | None) -> tuple[PendingContent, int, bool]: ...

    def close_group(self) -> None: ...


class LeafMaker:
    """Takes listed directories in order; gives the leaves of the tree."""

    def __init__(
        self,
        reader: FileReader,
        sink: BlockSink,
        *,
        put: PutBlock,
        put_rows: PutRows,
        hash_key: bytes,
        lineage: Lineage | None,
        sampler: Sampler | None,
        on_error: OnError,
        on_files: Callable[[int, int], None],
        xattrs: XattrReader | None = None,
    ) -> None:
        self._reader = reader
        self._sink = sink
        self._put = put
        self._put_rows = put_rows
        self._key = hash_key
        self._seed = int.from_bytes(blake3(b"leaf borders", key=hash_key).digest(4), "big")
        self._lineage = lineage
        self._sampler = sampler
        self._on_error = on_error
        self._on_files = on_files
        self._xattrs = xattrs or XattrReader()
        self._parts: list[Part] = []
        self._count = 0
        self._bytes = 0
        self._waiting: deque[_Built | NewLeaf] = deque()
        self._links: dict[tuple[int, int], tuple[int, PendingContent, int]] = {}
        self._device: int | None = None
        self.leaves: list[NewLeaf] = []
        self.newest = 0

    def take(self, directory: Directory) -> None:
        """Add a directory's listing. The working directory is the directory's; afterwards it may be another."""
        names, stats = directory.names, directory.stats
        if self._device is None and stats:
            self._device = stats[0].st_dev
        xattrs = self._xattrs.read_all(names, stats)
        seed, crc = self._seed, zlib.crc32
        start = 0
        for border in [index for index, name in enumerate(names) if crc(name, seed) * _MIX & _BORDER == 0]:
            start = self._fill(directory, start, border, xattrs)
            if self._count + border - start >= LEAF_LEAST:
                self._part(directory, start, border, xattrs)
                self._close_leaf()
                start = border
        start = self._fill(directory, start, len(names), xattrs)
        self._part(directory, start, len(names), xattrs)
        directory.release()
        if len(self._parts) >= LEAF_LISTINGS or self._bytes >= LEAF_BYTES:
            self._close_leaf()

    def _fill(self, directory: Directory, start: int, end: int, xattrs: dict[int, Attributes]) -> int:
        """Close leaves that are full before `end`; where the one that is open then begins."""
        while self._count + end - start >= LEAF_MOST:
            full = start + LEAF_MOST - self._count
            self._part(directory, start, full, xattrs)
            self._close_leaf()
            start = full
        return start

    def finish(self) -> list[NewLeaf]:
        """All leaves of the tree, in order."""
        self._close_leaf()
        self._reader.close_group()
        self._send()
        return self.leaves

    def _part(self, directory: Directory, start: int, end: int, xattrs: dict[int, Attributes]) -> None:
        if end == start:
            return
        own = {index - start: values for index, values in xattrs.items() if start <= index < end} if xattrs else {}
        part = Part(directory.hold(), directory.names[start:end], directory.stats[start:end], own)
        part.rows = signatures(part.stats)
        self._parts.append(part)
        self._count += end - start
        self._bytes += sum(len(n) + len(v) for values in own.values() for n, v in values)
        self._bytes += sum(4096 for s in part.stats if stat.S_ISLNK(s.st_mode) and s.st_size > 255)

    def _close_leaf(self) -> None:
        parts, self._parts = self._parts, []
        count, self._count, self._bytes = self._count, 0, 0
        if not count:
            return
        try:
            self._decide(parts, count)
        finally:
            for part in parts:
                part.directory.release()
        self._send()

    def _decide(self, parts: list[Part], count: int) -> None:
        """Take the old leaf over if everything looks as before, else build a new one."""
        digest = self._digest(parts)
        key = (parts[0].directory.path, parts[0].names[0])
        lineage = self._lineage
        number = lineage.match(digest) if lineage is not None else None
        if number is not None and lineage is not None:
            record = lineage.records[number]
            self.newest = max(self.newest, record.newest)
            if self._sampler is not None and self._sampler.chooses(record):
                self._sampler.check(parts, lineage, self._hashes)
            if lineage.settled(record.newest):
                lineage.take(number)
                self._waiting.append(NewLeaf(key, record, number))
                self._on_files(record.files, record.size)
                return
        newest = max(max(max(s.st_mtime_ns, s.st_ctime_ns) for s in part.stats) for part in parts)
        self.newest = max(self.newest, newest)
        self._waiting.append(self._build(key, parts, count, digest, newest))

    def _digest(self, parts: list[Part]) -> bytes:
        hasher = blake3(key=self._key)
        for part in parts:
            path = b"/".join(part.directory.path)
            xattrs = msgspec.msgpack.encode(part.xattrs) if part.xattrs else b""
            names = b"/".join(part.names)
            head = b"%d %d %d %d\n" % (len(part.names), len(path), len(names), len(xattrs))
            hasher.update(b"".join((head, path, names, xattrs, *part.rows)))
        return hasher.digest()

    def _hashes(self, part: Part) -> tuple[list[bytes], list[bytes]]:
        """(path hashes, signature hashes) of a part's entries."""
        key = self._key
        prefix = blake3(b"/".join(part.directory.path), key=key).digest()
        paths = [blake3(prefix + name, key=key).digest(HASH) for name in part.names]
        if part.xattrs:
            extra = [msgspec.msgpack.encode(part.xattrs[i]) if i in part.xattrs else b"" for i in range(len(part.names))]
            return paths, [blake3(row + more, key=key).digest(HASH) for row, more in zip(part.rows, extra, strict=True)]
        return paths, [blake3(row, key=key).digest(HASH) for row in part.rows]

    def _build(self, key: Key, parts: list[Part], count: int, digest: bytes, newest: int) -> _Built:
        empty = Rows(0, b"", b"", b"")
        built = _Built(NewLeaf(key), [], [], [], [], empty, digest, newest, count, 0, 0, 0)
        paths: list[bytes] = []
        marks: list[bytes] = []
        flags = bytearray()
        last: Path = ()
        reached = -1
        for part in parts:
            part.directory.enter()
            part_paths, part_marks = self._hashes(part)
            entries: list[WireEntry] = []
            for index in range(len(part.names)):
                old = self._lineage.find(part_paths[index]) if self._lineage is not None else None
                if old is not None:
                    reached = max(reached, old.leaf)
                done = self._entry(part, index, old, part_marks[index], built)
                if done is None:
                    built.digest = bytes(32)  # what could not be read is tried again by the next run
                    continue
                entry, stayed = done
                entries.append(entry)
                paths.append(part_paths[index])
                marks.append(part_marks[index] if stayed else bytes(HASH))
                flags.append(REGULAR if entry.size else 0)
                if not stayed:
                    built.digest = bytes(32)
            if entries:
                keep, rest = _relative(last, part.directory.path)
                built.listings.append(Listing(keep, rest, tuple(entries)))
                last = part.directory.path
        built.entries = len(flags)
        built.rows = Rows(0, b"".join(paths), b"".join(marks), bytes(flags))
        built.unready = [content for content in built.contents if isinstance(content, PendingContent)]
        self._on_files(built.files, built.kept)
        if self._lineage is not None and reached >= 0:
            self._lineage.passed(reached)
        return built

    def _entry(self, part: Part, index: int, old: OldRow | None, mark: bytes, built: _Built) -> tuple[WireEntry, bool] | None:
        """One entry and whether it stayed as it was listed; None if it cannot be read (which is reported)."""
        name, found = part.names[index], part.stats[index]
        mode = found.st_mode
        size, target, stayed = 0, b"", True
        try:
            if stat.S_ISREG(mode):
                content, size, stayed = self._content(name, found, old, mark, built)
                if size:
                    built.contents.append(content)
            elif stat.S_ISLNK(mode):
                target = read_link(name)
        except FileChanged as error:
            self._on_error((*part.directory.path, name), "Changed", str(error))
            return None
        except OSError as error:
            reason = "Vanished" if isinstance(error, FileNotFoundError) else "Unreadable"
            self._on_error((*part.directory.path, name), reason, error.strerror or str(error))
            return None
        if not stayed:
            self._on_error((*part.directory.path, name), "Changed", "changed while it was read; the copy may mix old and new")
        if stat.S_ISDIR(mode):
            built.directories += 1
        else:
            built.files += 1
            built.size += size
        group = 0
        if found.st_nlink > 1 and not stat.S_ISDIR(mode):
            group = found.st_ino if found.st_dev == self._device else found.st_ino ^ (found.st_dev << 40) & 0xFFFF_FFFF_FFFF_FFFF
        special = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
        entry = WireEntry(
            name,
            file_type(mode),
            stat.S_IMODE(mode),
            found.st_uid,
            found.st_gid,
            found.st_mtime_ns,
            size,
            target,
            (os.major(found.st_rdev), os.minor(found.st_rdev)) if special else (0, 0),
            group,
            self._attributes(part.xattrs[index], built) if index in part.xattrs else (),
        )
        return entry, stayed

    def _content(
        self, name: bytes, found: os.stat_result, old: OldRow | None, mark: bytes, built: _Built
    ) -> tuple[PendingContent | KeptContent, int, bool]:
        size = found.st_size
        if not size:
            return PendingContent(Scheme.WHOLE, []), 0, True
        same = old is not None and old.signature == mark
        if same and old and old.kept and self._lineage and self._lineage.settled(max(found.st_mtime_ns, found.st_ctime_ns)):
            built.kept += size
            return old.kept, size, True
        known = old.content if old is not None else None
        link = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and link in self._links:
            left, content, size = self._links[link]
            if left <= 1:
                del self._links[link]
            else:
                self._links[link] = (left - 1, content, size)
            built.kept += size
            return content, size, True
        content, size, stayed = self._reader.read(name, found, known)
        if found.st_nlink > 1 and stayed:
            self._links[link] = (found.st_nlink - 1, content, size)
        return content, size, stayed

    def _attributes(self, values: Attributes, built: _Built) -> tuple[Xattr, ...]:
        total = sum(len(value) for _, value in values)
        limit = XATTR_INLINE if total <= 16 * XATTR_INLINE else 64
        xattrs = []
        for name, value in values:
            if len(value) <= limit:
                xattrs.append(Xattr(name, value))
            else:
                block = self._sink.store_copy(memoryview(value), BlockKind.XATTR)
                built.attributes.append(block)
                xattrs.append(Xattr(name, b"", block))
        return tuple(xattrs)

    def _send(self) -> None:
        """Store the leaves at the head of the queue whose blocks all have ids."""
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, _Built):
                if not all(content.ready for content in first.unready):
                    return
                first = self._store(first)
            self.leaves.append(first)
            self._waiting.popleft()

    def _store(self, built: _Built) -> NewLeaf:
        table: dict[bytes, int] = {}
        wires = [_wire(content, table) for content in built.contents]
        companion = b""
        leaf = built.leaf
        if wires or built.attributes:
            attributes = b"".join(dict.fromkeys(built.attributes))
            blocks = b"".join(table)
            companion = self._put(BlockKind.CONTENT, encode(Companion(0, blocks, tuple(wires), attributes)))
            leaf.blocks = blocks + attributes
        tree = self._put(BlockKind.TREE, encode(TreeLeaf(0, companion, tuple(built.listings))))
        leaf.roots = tuple(c.root for c in built.contents if c.root)
        leaf.record = LeafRecord(
            built.entries,
            built.digest,
            tree,
            companion,
            self._put_rows(encode(built.rows)),
            built.newest,
            built.files,
            built.directories,
            built.size,
        )
        return leaf


def _wire(content: PendingContent | KeptContent, table: dict[bytes, int]) -> WireContent:
    """A content as its companion has it, with its blocks in `table`."""
    if isinstance(content, PendingContent):
        return WireContent(content.scheme, tuple(wire_runs(content.runs, table)[1]), content.root)
    wire, blocks = content
    if any(not 0 <= number < len(blocks) for _, _, number, _, _ in wire.runs):
        raise Integrity("a run names a block outside its node's table")
    runs = tuple(
        (offset, length, table.setdefault(blocks[number], len(table)), at, units) for offset, length, number, at, units in wire.runs
    )
    return WireContent(wire.scheme, runs, wire.root)


def _relative(last: Path, path: Path) -> tuple[int, Path]:
    keep = 0
    while keep < len(last) and keep < len(path) and last[keep] == path[keep]:
        keep += 1
    return keep, path[keep:]
