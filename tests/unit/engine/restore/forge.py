"""A writer with valid keys that writes whatever tree a test wants: honest ones, and those that no honest writer would make.

It follows docs/format.md and docs/format-data.md by hand instead of calling the backup, so that restore is tested against the format and
not against our own writer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind, Codec, Kind
from recoup.engine.format.names import digest_of, object_name
from recoup.engine.format.sealed import ObjectBuilder
from recoup.engine.keys.kek import SecretKek
from recoup.engine.log.bodies import Commit, Open
from recoup.engine.log.follow import Log
from recoup.engine.log.points import PointRecord, seal_point
from recoup.engine.points import OpenPoint, find_point, open_point
from recoup.engine.records.content import UNIT, Companion, Content, ListLeaf, Run, Scheme, WireContent, WireRun
from recoup.engine.records.manifest import Manifest, Source, SourceKind, Totals, encode_manifest
from recoup.engine.records.manifest import Run as RunOfManifest
from recoup.engine.records.nodes import Locator, encode
from recoup.engine.records.objectset import Member, Shard, encode_leaf, encode_root
from recoup.engine.records.rows import Place, encode_table
from recoup.engine.records.tree import FileType, Listing, TreeLeaf, WireEntry, Xattr
from recoup.engine.stores.base import Store
from recoup.engine.stores.file import FileStore
from recoup.engine.vault import Unlocked, open_vault, provision

NOW = 1_700_000_000_123_456_789
HERE = (os.geteuid(), os.getegid())
PACK = 4 << 20


@dataclass(frozen=True)
class Item:
    """One entry of a forged tree; `pieces` are (offset, bytes) of a regular file."""

    name: bytes
    type: FileType = FileType.REGULAR
    mode: int = 0o644
    size: int | None = None
    pieces: tuple[tuple[int, bytes], ...] = ()
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    group: int = 0
    xattrs: tuple[Xattr, ...] = ()
    owner: tuple[int, int] = HERE
    mtime: int = NOW
    runs: tuple[WireRun, ...] | None = None
    """Taken as they stand instead of runs made from `pieces`; their block index counts in the leaf's table."""
    as_list: bool = False
    scheme: Scheme = Scheme.WHOLE

    @property
    def length(self) -> int:
        return self.size if self.size is not None else max((offset + len(data) for offset, data in self.pieces), default=0)

    def wire(self) -> WireEntry:
        size = self.length if self.type is FileType.REGULAR else 0
        return WireEntry(
            self.name, int(self.type), self.mode, *self.owner, self.mtime, size, self.target, self.device, self.group, self.xattrs
        )


def file(name: bytes, data: bytes = b"", **more: object) -> Item:
    return replace(Item(name, pieces=((0, data),) if data else ()), **more)  # type: ignore[arg-type]


def directory(name: bytes, **more: object) -> Item:
    return replace(Item(name, FileType.DIRECTORY, mode=0o755), **more)  # type: ignore[arg-type]


def symlink(name: bytes, target: bytes, **more: object) -> Item:
    return replace(Item(name, FileType.SYMLINK, mode=0o777, target=target), **more)  # type: ignore[arg-type]


Tree = Sequence[tuple[tuple[bytes, ...], Sequence[Item]]]


@dataclass
class Forger:
    """A vault in a directory, and the keys to write whatever one likes into it."""

    store: Store
    unlocked: Unlocked
    group: int = 3
    """Pieces that share a block."""
    _places: dict[bytes, Place] = field(default_factory=dict)
    _members: list[Member] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    """Values of extended attributes that the next tree stores as blocks; `value_id` is what an Xattr then names."""
    packs: list[str] = field(default_factory=list)
    """Names of the data objects put so far."""

    @classmethod
    def make(cls, folder: Path) -> Forger:
        store = FileStore(str(folder))
        kek, vault = SecretKek.generate(), os.urandom(16)
        provision(store, [kek], [], vault_id=vault, labels={})
        log = Log(store, vault, root_public=None)
        log.follow()
        return cls(store, open_vault(log, [kek], pinned=True))

    def tree(
        self, listings: Tree, *, totals: Totals | None = None, root: WireEntry | None = None, kind: SourceKind = SourceKind.DIRECTORY
    ) -> str:
        """Commit a tree with these listings, as they stand; the id of the point."""
        self._places, self._members = {}, []
        table: list[bytes] = []
        contents: list[WireContent] = []
        pending: list[tuple[Item, list[tuple[int, int, int, int, bytes]]]] = []
        for value in self.values:
            self._put_blocks(Kind.DATA, [(BlockKind.XATTR, value)])
        self._put_pieces([item for _, items in listings for item in items], table, pending)
        for item, runs in pending:
            if item.as_list:
                node = self._put_blocks(Kind.REFS, [(BlockKind.CONTENT, encode(ListLeaf(0, b"".join(table), tuple(runs))))])[0]
                contents.append(WireContent(int(item.scheme), (), node))
            else:
                contents.append(WireContent(int(item.scheme), tuple(runs)))
        companion = b""
        if contents:
            data = encode(Companion(0, b"".join(table), tuple(contents)))
            companion = self._put_blocks(Kind.REFS, [(BlockKind.CONTENT, data)])[0]
        previous: tuple[bytes, ...] = ()
        encoded = []
        for path, items in listings:
            keep = next((at for at, (a, b) in enumerate(zip(previous, path, strict=False)) if a != b), min(len(previous), len(path)))
            encoded.append(Listing(keep, path[keep:], tuple(item.wire() for item in items)))
            previous = path
        leaf = TreeLeaf(0, companion, tuple(encoded))
        tree = self._put_blocks(Kind.TREE, [(BlockKind.TREE, encode(leaf))])[0]
        found = totals or _count(listings)
        whole = root or WireEntry(b"", int(FileType.DIRECTORY), 0o755, *HERE, NOW, 0)
        return self._commit(kind, found, tree=tree, root=whole if kind is SourceKind.DIRECTORY else None)

    def device(self, size: int, pieces: Iterable[tuple[int, bytes]]) -> str:
        """Commit a block device with these 64 KiB-aligned pieces."""
        self._places, self._members = {}, []
        table: list[bytes] = []
        runs: list[WireRun] = []
        for offset, data in pieces:
            block = self._put_blocks(Kind.DATA, [(BlockKind.DATA, data)])[0]
            table.append(block)
            units = b"".join(self._id(BlockKind.DATA, data[at : at + UNIT]) for at in range(0, len(data), UNIT))
            runs.append((offset, len(data), len(table) - 1, 0, units))
        root = self._put_blocks(Kind.REFS, [(BlockKind.DEVICE_MAP, encode(ListLeaf(0, b"".join(table), tuple(runs))))])[0]
        return self._commit(SourceKind.DEVICE, Totals(0, 0, size), device=Content(size, Scheme.FIXED, (), root))

    def value_id(self, value: bytes) -> bytes:
        return self._id(BlockKind.XATTR, value)

    def open(self, point: str) -> OpenPoint:
        self.unlocked.log.follow()
        return open_point(self.unlocked, find_point(self.unlocked, point))

    # -- writing ---------------------------------------------------------------------------------------------------------

    def _put_pieces(self, items: Iterable[Item], table: list[bytes], pending: list[tuple[Item, list[WireRun]]]) -> None:
        """Blocks of up to `group` pieces each, every block an object's; runs into `pending`."""
        waiting: list[tuple[list[WireRun], int, bytes]] = []

        def close() -> None:
            if not waiting:
                return
            plain = b"".join(data for _, _, data in waiting)
            table.append(self._put_blocks(Kind.DATA, [(BlockKind.DATA, plain)])[0])
            at = 0
            for runs, offset, data in waiting:
                runs.append((offset, len(data), len(table) - 1, at, self._id(BlockKind.DATA, data)))
                at += len(data)
            waiting.clear()

        for item in items:
            if item.type is not FileType.REGULAR or not item.length:
                continue
            runs: list[WireRun] = list(item.runs or ())
            pending.append((item, runs))
            for offset, data in item.pieces if item.runs is None else ():
                waiting.append((runs, offset, data))
                if len(waiting) >= self.group:
                    close()
        close()

    def _id(self, kind: BlockKind, data: bytes) -> bytes:
        return block_id(self.unlocked.writer.id_key, kind, data)

    def _put_blocks(self, kind: Kind, blocks: Sequence[tuple[BlockKind, bytes]]) -> list[bytes]:
        builder = ObjectBuilder(self.unlocked.writer.sealing(kind), PACK + sum(len(data) for _, data in blocks))
        ids = [self._id(block, data) for block, data in blocks]
        for block, (block_kind, data) in zip(ids, blocks, strict=True):
            builder.add(block, block_kind, Codec.RAW, len(data), data)
        sealed = builder.close(stored_size=None)
        self.store.create(sealed.name, sealed.data)
        if kind is Kind.DATA:
            self.packs.append(sealed.name)
        self._members.append(Member(sealed.digest, 0, kind.area, len(sealed.data), len(blocks)))
        for number, block in enumerate(ids):
            self._places[block] = Place(sealed.digest, 0, number, 1)
        return ids

    def _commit(
        self,
        kind: SourceKind,
        totals: Totals,
        *,
        tree: bytes = b"",
        root: WireEntry | None = None,
        device: Content | None = None,
        refs: Locator | None = None,
    ) -> str:
        if refs is None:
            rows = encode_table(sorted(self._places.items()))
            self._put_blocks(Kind.REFS, [(BlockKind.REFS, rows)])
            refs = Locator(self._members[-1].digest, 0, 0)
        writer, session = self.unlocked.writer, os.urandom(16)
        manifest = Manifest(
            1,
            "forger",
            kind,
            writer.generation,
            NOW,
            NOW,
            "None",
            Source(),
            RunOfManifest(session),
            totals,
            refs,
            tree,
            root,
            device=device,
        )
        self._put_blocks(Kind.MANIFEST, [(BlockKind.MANIFEST, encode_manifest(manifest))])
        digest = self._members[-1].digest
        log, record = self.unlocked.log, self._record(session, kind, totals)
        opened = log.append(Open(session, b"", PACK), writer.signer)
        log.append(Commit(session, opened.head.seq, b"", digest, self._object_set(), (), b"", record), writer.signer)
        return digest.hex()

    def _object_set(self) -> bytes:
        shard = encode_leaf(sorted(self._members), 0, 255, os.urandom(16))
        root = encode_root([Shard(0, 255, self._plain(shard), 0)], os.urandom(16))
        return self._plain(root)

    def _plain(self, data: bytes) -> bytes:
        digest = digest_of(data)
        self.store.create(object_name(self.unlocked.identity.vault_id, "x", digest), data)
        return digest

    def _record(self, session: bytes, kind: SourceKind, totals: Totals) -> bytes:
        writer, now = self.unlocked.writer, NOW // 10**6
        record = PointRecord(
            session.hex(), "", "", "None", (), '{"path":"/forged"}', str(kind), now, now, totals.files, totals.bytes, 0, 0, 0, "forger"
        )
        return seal_point(writer.meta_key, writer.identity, writer.generation, session, record)


def _count(listings: Tree) -> Totals:
    items = [item for _, listed in listings for item in listed]
    directories = sum(item.type is FileType.DIRECTORY for item in items)
    return Totals(len(items) - directories, directories, sum(item.length for item in items if item.type is FileType.REGULAR))


def snapshot_of(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a directory as a test compares it: type, mode, times, content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        content: object = None
        if stat.S_ISREG(info.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(info.st_mode):
            content = str(path.readlink())
        found[str(path.relative_to(folder))] = (stat.filemode(info.st_mode), info.st_mtime_ns, content)
    return found


__all__ = ["Forger", "Item", "Run", "Tree", "directory", "file", "snapshot_of", "symlink"]
