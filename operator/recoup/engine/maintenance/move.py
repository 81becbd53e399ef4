"""Moving blocks out of packs that are mostly waste, whole and unchanged, and rewriting the refs and object sets that named them.

Puts objects, appends nothing. Everything moved is read back from the store and compared with its id before anybody is told of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from recoup.engine.backup.packs import Ledger, MetaWriter, compress, put_object
from recoup.engine.backup.places import NodeWriter
from recoup.engine.backup.references import NewRefs, ObjectSetWriter, put_refs_root, structure_of
from recoup.engine.blocks import Blocks, Objects, read_checked
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.format.names import digest_of, object_name
from recoup.engine.format.sealed import ObjectBuilder, new_buffer
from recoup.engine.keys.roles import WriterKeys
from recoup.engine.log.sets import StoredSets
from recoup.engine.points import OpenPoint
from recoup.engine.records.index import encode_segment
from recoup.engine.records.nodes import Locator, ObjectRef
from recoup.engine.records.objectset import Member, iterate_set
from recoup.engine.records.rows import Place, encode_table
from recoup.errors import Integrity


class Mover:
    """New packs for blocks that are in use. Holds one pack being read and one being filled."""

    def __init__(self, objects: Objects, keys: WriterKeys, pack_bytes: int) -> None:
        self.ledger = Ledger()
        self._objects, self._keys, self._bytes = objects, keys, pack_bytes
        self._buffer = new_buffer(pack_bytes)
        self._builder: ObjectBuilder | None = None
        self._blocks: list[tuple[bytes, int]] = []

    def move(self, ref: ObjectRef, used: int) -> None:
        """Take over the used blocks of one pack. Raises Integrity if one is not what its id says."""
        reader = self._objects.whole(Kind.DATA, ref)
        if not self._keys.builds_on(reader.header.generation):
            raise Integrity(f"pack {reader.name} is of another generation than the points that name it")
        id_key = self._keys.id_key
        for number, row in enumerate(reader.table):
            if not used >> number & 1 or row.id in self.ledger.places or any(row.id == block for block, _ in self._blocks):
                continue
            plain = read_checked(reader, number, row.id, BlockKind(row.kind), id_key)
            codec, payload = compress(plain, id_key, row.id, BlockKind(row.kind))
            if self._builder is not None and not self._builder.fits(len(payload)):
                self._put(self._bytes)
            if self._builder is None:
                self._builder = ObjectBuilder(self._keys.sealing(Kind.DATA), self._bytes, self._buffer)
            self._blocks.append((row.id, self._builder.add(row.id, row.kind, codec, len(plain), payload)))

    def finish(self) -> None:
        """Put the last pack, then read all of them back."""
        if self._builder is not None:
            self._put(None)
        for digest in self.ledger.digests:
            reader = self._objects.whole(Kind.DATA, ObjectRef(digest))
            for number, row in enumerate(reader.table):
                if row.kind != BlockKind.PADDING:
                    read_checked(reader, number, row.id, BlockKind(row.kind), self._keys.id_key)

    def _put(self, stored_size: int | None) -> None:
        assert self._builder is not None
        number = self.ledger.new_object()
        sealed = self._builder.close(stored_size=stored_size)
        put_object(self._objects.store, sealed.name, sealed.data)
        self.ledger.sealed(number, sealed, self._blocks)
        self._builder, self._blocks = None, []


class Rewriter:
    """New refs and object sets for points whose blocks were moved."""

    def __init__(
        self, refs: MetaWriter, ledger: Ledger, objects: Objects, sets: StoredSets, moved: set[ObjectRef], drain: Callable[[], None]
    ) -> None:
        self._meta, self._ledger, self._objects, self._sets, self._moved, self._drain = refs, ledger, objects, sets, moved, drain
        self._out = NodeWriter(refs, ledger, BlockKind.REFS)
        self._leaves: dict[Locator, Locator] = {}
        """Where a leaf is that was written again, by where it was."""

    def rewrite(self, point: OpenPoint) -> tuple[Locator, bytes] | None:
        """Put new refs and set; (root of the refs, digest of the set), or None if the point names nothing that was moved."""
        old, commit = point.blocks.refs, point.commit
        changes: Counter[ObjectRef] = Counter()
        leaves = []
        for number, (first, leaf) in enumerate(old.leaves):
            rows = dict(old.leaf_rows(number))
            moved = {block: self._place(block, place) for block, place in rows.items() if place.object in self._moved}
            for block, place in moved.items():
                changes[rows[block].object] -= 1
                changes[place.object] += 1
            if moved and leaf not in self._leaves:
                self._leaves[leaf] = self._out.put(encode_table(sorted((rows | moved).items())))
            leaves.append((first, self._leaves.get(leaf, leaf)))
        if not changes:
            return None
        new = NewRefs(leaves, [], Counter())
        root = put_refs_root(new, self._out)
        self._out.finish()
        changes.update(structure_of(self._out.final(place) for place in [*(leaf for _, leaf in new.leaves), *new.inner]))
        changes.subtract(structure_of([*(leaf for _, leaf in old.leaves), *old.inner]))
        writer = ObjectSetWriter(
            lambda ref: self._sets.node(commit.here(ref.digest, ref.incarnation)), self._put_plain, self._ledger, _unknown
        )
        object_set = writer.merge(commit.here(commit.body.object_set), changes)
        self._drain()
        self._check(point, self._out.final(root), object_set)
        return self._out.final(root), object_set.digest

    def _place(self, block: bytes, old: Place) -> Place:
        new = self._ledger.place(block)
        if new is None:
            raise Integrity(f"block {block.hex()} was to be moved and was not")
        return new._replace(uses=old.uses)

    def _put_plain(self, data: bytes) -> ObjectRef:
        digest = digest_of(data)
        put_object(self._objects.store, object_name(self._objects.keys.identity.vault_id, "x", digest), data)
        self._ledger.note(digest, "x", len(data))
        return ObjectRef(digest)

    def _check(self, point: OpenPoint, root: Locator, object_set: ObjectRef) -> None:
        """The new refs, read back, name the same blocks as the old ones, where they are, and the set has every object of them."""
        new = Blocks(self._objects, point.blocks.id_key, root).refs
        named: set[ObjectRef] = {place.object for place in [*(leaf for _, leaf in new.leaves), *new.inner]}
        old_rows, new_rows = iter(point.blocks.refs), iter(new)
        for (block, old), (same, place) in zip(old_rows, new_rows, strict=True):
            expected = self._place(block, old) if old.object in self._moved else old
            if block != same or place != expected:
                raise Integrity(f"the new refs of recovery point {point.id[:16]} do not name what the old ones do")
            named.add(place.object)
        members = {member.object for member in iterate_set(self._sets.node, object_set)}
        if not named <= members or members & self._moved:
            raise Integrity(f"the new object set of recovery point {point.id[:16]} is not that of its refs")


def put_index(meta: MetaWriter, ledger: Ledger) -> bytes:
    """A segment of where the moved blocks are; its digest. To be called while the ledger knows packs alone."""
    rows = sorted((block, place) for block in ledger.places if (place := ledger.place(block)) is not None)
    for table in encode_segment(rows):
        meta.add(BlockKind.INDEX, table)
    return meta.finish()


def _unknown(ref: ObjectRef) -> Member:
    raise Integrity(f"object {ref.digest.hex()} is in no object set of the point that names it")
