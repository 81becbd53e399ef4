"""Reading a source into blocks, leaves and lists: the part of a run that takes the time.

Everything here happens in the main thread; the pipeline's threads compress and put. What comes out is small: leaves by their
records, roots by their ids, errors by path.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from recoup.engine.backup.contents import ContentReader
from recoup.engine.backup.cutting import Chosen, Unit
from recoup.engine.backup.dedup import Dedup
from recoup.engine.backup.fixed import FixedReader
from recoup.engine.backup.leaves import LeafMaker, NewLeaf
from recoup.engine.backup.lineage import Lineage
from recoup.engine.backup.lists import ListBuilder, MadeList
from recoup.engine.backup.pace import Pace
from recoup.engine.backup.packs import META_BYTES, Ledger, MetaWriter, PackWriter
from recoup.engine.backup.piped import NoXattrs, StreamReader, take_stream
from recoup.engine.backup.pipeline import Pipeline
from recoup.engine.backup.places import NodeWriter
from recoup.engine.backup.sampling import Sampler
from recoup.engine.backup.source import OpenSource
from recoup.engine.backup.trunk import put_trunk
from recoup.engine.backup.units import BlockSink
from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.keys.roles import WriterKeys
from recoup.engine.records.content import Content, Run, Scheme
from recoup.engine.records.manifest import MAX_LISTED_ERRORS, FileError, SourceKind, Totals
from recoup.engine.records.tree import Path, WireEntry, Xattr
from recoup.engine.source.attributes import XATTR_INLINE, XattrReader, file_type
from recoup.engine.source.rules import WalkRules
from recoup.engine.source.walk import Directory, Walk
from recoup.errors import Invalid
from recoup.value import Record


@dataclass
class Work:
    """What all parts of one attempt share, and the writers of its metadata."""

    pipeline: Pipeline
    keys: WriterKeys
    ledger: Ledger
    dedup: Dedup
    lineage: Lineage | None
    pace: Pace
    pack_bytes: int
    uploaders: int
    region_blocks: int
    started: int
    on_progress: Callable[[int, int], None]

    def __post_init__(self) -> None:
        keys, ledger = self.keys, self.ledger
        self.id_key = keys.id_key
        self.packs = PackWriter(self.pipeline, keys.sealing(Kind.DATA), ledger, self.pace, self.pack_bytes, self.uploaders + 1)
        self.sink = BlockSink(self.pipeline, self.packs, self.id_key, self.dedup)
        self.trees = self.meta(Kind.TREE)
        self.contents = self.meta(Kind.REFS)
        self.cache_meta = self.meta(Kind.CACHE)
        self.cache = NodeWriter(self.cache_meta, ledger, BlockKind.CACHE)
        self.refs = NodeWriter(self.meta(Kind.REFS), ledger, BlockKind.REFS)
        self.lists = ListBuilder(self.put_block)

    def meta(self, kind: Kind, capacity: int = META_BYTES) -> MetaWriter:
        """A writer of objects of one kind of metadata."""
        return MetaWriter(self.pipeline, self.keys.sealing(kind), self.ledger, self.id_key, capacity=capacity)

    def put_block(self, kind: BlockKind, plain: bytes) -> bytes:
        """Store a block of trees or content lists unless this run or the lineage has it; its id."""
        block = block_id(self.id_key, kind, plain)
        old = self.lineage is not None and self.lineage.refs.find(block) is not None
        if block not in self.dedup.new and not old and not self.dedup.was_sent(block, kind):
            self.dedup.new.add(block)
            (self.trees if kind is BlockKind.TREE else self.contents).add(kind, plain, block)
        return block


class Captured(Record):
    """What was read."""

    totals: Totals
    bytes_read: int
    leaves: list[NewLeaf] = msgspec.field(default_factory=list)
    tree: bytes = b""
    inner: list[bytes] = msgspec.field(default_factory=list)
    root: WireEntry | None = None
    root_blocks: bytes = b""
    device: Content | None = None
    lists: dict[bytes, MadeList] = msgspec.field(default_factory=dict)
    errors: list[FileError] = msgspec.field(default_factory=list)
    errors_total: int = 0
    rewritten: int = 0
    """Bytes of unchanged units that were written afresh because they lay in too many blocks."""
    chosen: dict[tuple[str, str], Chosen] = msgspec.field(default_factory=dict)
    """How large files that were read were cut, and why."""
    newest: int = 0
    """Latest time that any entry has, in nanoseconds."""


class Errors:
    """What could not be taken as it was: counted, and listed as far as a manifest has room."""

    def __init__(self) -> None:
        self.listed: list[FileError] = []
        self.total = 0

    def add(self, path: Path, reason: str, message: str) -> None:
        self.total += 1
        if len(self.listed) < MAX_LISTED_ERRORS:
            self.listed.append(FileError(b"/".join(path) or b".", reason, message))


def capture(work: Work, source: OpenSource, rules: WalkRules, unit: Unit) -> Captured:
    """Read everything that is new. Raises CacheDistrusted, and what the pipeline's threads met."""
    if source.kind is SourceKind.DEVICE:
        return _capture_device(work, source)
    errors = Errors()
    reader = ContentReader(
        work.sink, work.lists, work.keys.gear_seed, lambda data: work.on_progress(data, 0), _runs_of(work.lineage), unit, work.region_blocks
    )
    sampler = Sampler(work.id_key, work.lineage.root.run) if work.lineage is not None else None
    maker = LeafMaker(
        StreamReader(reader, source.stream) if source.stream is not None else reader,
        work.sink,
        put=work.put_block,
        put_rows=work.cache.put,
        hash_key=work.keys.path_key,
        lineage=work.lineage,
        sampler=sampler,
        on_error=errors.add,
        on_files=lambda files, data: work.on_progress(data, files),
        xattrs=NoXattrs() if source.stream is not None else None,
    )
    captured = Captured(Totals(), 0, lists=work.lists.made)
    if source.kind is SourceKind.DIRECTORY:
        with Walk(source.fd, rules, errors.add) as walk:
            captured.root, captured.root_blocks = _root_entry(work, source)
            listed = False
            for directory in walk:
                listed = True
                maker.take(directory)
            if not listed:
                raise Invalid(f"the source {source.path} cannot be listed: {errors.listed[0].message}", reason="SourceUnreadable")
            captured.leaves = maker.finish()
    elif source.stream is not None:
        captured.leaves = take_stream(maker, source.stream)
    else:
        captured.leaves = _capture_file(maker, source)
    captured.tree, captured.inner = put_trunk(captured.leaves, work.put_block)
    records = [leaf.record for leaf in captured.leaves if leaf.record is not None]
    captured.totals = Totals(sum(r.files for r in records), sum(r.directories for r in records), sum(r.size for r in records))
    captured.bytes_read = reader.bytes_read + reader.cutting.bytes_read + (sampler.bytes_read if sampler is not None else 0)
    captured.rewritten, captured.chosen = reader.rewritten, reader.cutting.chosen
    captured.errors, captured.errors_total, captured.newest = errors.listed, errors.total, maker.newest
    return captured


def _runs_of(lineage: Lineage | None) -> Callable[[Content], list[Run]]:
    return lambda content: list(lineage.runs_of(content)) if lineage is not None else []


def _capture_file(maker: LeafMaker, source: OpenSource) -> list[NewLeaf]:
    """A single file: a tree with one entry."""
    parent, name = os.path.split(os.fsencode(source.path))
    before = os.open(b".", os.O_PATH | os.O_CLOEXEC)
    try:
        fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        directory = Directory((), fd, [name], [source.stat])
        directory.enter()
        maker.take(directory)
        return maker.finish()
    finally:
        os.fchdir(before)
        os.close(before)


def _root_entry(work: Work, source: OpenSource) -> tuple[WireEntry, bytes]:
    """Attributes of the source directory itself."""
    found = source.stat
    xattrs: list[Xattr] = []
    blocks = b""
    for name, value in XattrReader().read_one(source.fd):
        if len(value) <= XATTR_INLINE:
            xattrs.append(Xattr(name, value))
        else:
            block = work.sink.store_copy(memoryview(value), BlockKind.XATTR)
            blocks += block
            xattrs.append(Xattr(name, b"", block))
    mode = stat.S_IMODE(found.st_mode)
    entry = WireEntry(b"", file_type(found.st_mode), mode, found.st_uid, found.st_gid, found.st_mtime_ns, 0, xattrs=tuple(xattrs))
    return entry, blocks


def _capture_device(work: Work, source: OpenSource) -> Captured:
    """A block device: fixed units, zeros left out."""
    reader = FixedReader(work.sink, work.lists, lambda data: work.on_progress(data, 0), work.region_blocks)
    lineage, old = work.lineage, None
    if lineage is not None and lineage.root.device:
        old = Content(1 << 63, Scheme.FIXED, (), lineage.root.device)
    runs = lineage.runs_of(old, BlockKind.DEVICE_MAP) if lineage is not None and old is not None else ()
    content = reader.read(source.fd, [(0, source.size)], runs, device=True)
    device = Content(source.size, Scheme.FIXED, (), content.root)
    return Captured(
        Totals(files=0, directories=0, bytes=source.size), reader.taken, device=device, lists=work.lists.made, rewritten=reader.rewritten
    )
