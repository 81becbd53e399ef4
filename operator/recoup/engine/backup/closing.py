"""The end of a run: from blocks and leaves to the COMMIT, in the writer order (docs/format.md section 6).

Everything written here names only what stands already: index segment, refs, object set, manifest, cache.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from recoup import __version__
from recoup.engine.backup.cachefile import cache_objects, put_nodes
from recoup.engine.backup.capture import Captured, Work
from recoup.engine.backup.counting import UseCounts
from recoup.engine.backup.packs import put_object
from recoup.engine.backup.readback import ReadBack
from recoup.engine.backup.references import ObjectSetWriter, merge_refs, put_refs_root, structure_of
from recoup.engine.backup.resume import OpenSession
from recoup.engine.backup.run import manifest_source, record_source
from recoup.engine.backup.source import OpenSource
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.format.names import digest_of, object_name
from recoup.engine.log.bodies import Commit
from recoup.engine.log.points import Before, PointRecord, seal_point
from recoup.engine.records.cache import Root
from recoup.engine.records.index import encode_segment
from recoup.engine.records.manifest import Manifest, Run, encode_manifest
from recoup.engine.records.nodes import Locator, ObjectRef, encode, split_ids
from recoup.engine.records.rows import Place
from recoup.engine.stores.base import Store
from recoup.value import Record

if TYPE_CHECKING:
    from recoup.engine.backup.session import Request

TOOL: Final = f"recoup {__version__}"


class Closing(Record):
    """What the last steps need to know."""

    work: Work
    store: Store
    readback: ReadBack
    request: Request
    source: OpenSource
    walker: bytes
    before: Before | None = None

    @property
    def consistency(self) -> str:
        return self.request.run.consistency if self.request.run is not None else "None"


def close_point(closing: Closing, captured: Captured, opened: OpenSession) -> Commit:
    """Put everything but the log entry, which is returned. On return all objects that it needs are in the store."""
    work, lineage = closing.work, closing.work.lineage
    work.pipeline.drain()
    work.packs.finish()
    work.trees.finish()
    work.contents.finish()
    nodes = [work.cache.final(place) for place in _cache_nodes(work, captured)]
    work.pipeline.drain()
    index = _put_index(work)
    refs, objects = _put_refs(work, captured)
    objects.update(cache_objects(captured.leaves, nodes, work.cache))
    if lineage is not None:
        objects.subtract(lineage.cache_objects)
    writer = ObjectSetWriter(closing.readback.set_node, lambda data: _put_plain(closing, data), work.ledger, work.dedup.member)
    object_set = writer.merge(lineage.root.objects if lineage is not None else None, objects)
    work.pipeline.drain()
    manifest = _put_manifest(closing, captured, refs, opened.session)
    cache = _put_cache_root(closing, captured, manifest, refs, object_set, nodes)
    work.pipeline.drain()
    return _commit(closing, captured, opened, (manifest, object_set.digest, cache), index)


def _cache_nodes(work: Work, captured: Captured) -> list[Locator]:
    nodes = put_nodes(captured.leaves, work.lineage, work.cache)
    work.cache.finish()
    return nodes


def _put_index(work: Work) -> tuple[bytes, ...]:
    """A segment of the blocks that this session stored in packs; none if there are none."""
    rows = work.ledger.data_rows() + work.dedup.resumed_data()
    if not rows:
        return ()
    rows.sort()
    segment = work.meta(Kind.INDEX, max(1 << 20, len(rows) * 64 + (1 << 20)))
    for table in encode_segment(rows):
        segment.add(BlockKind.INDEX, table)
    return (segment.finish(),)


def _put_refs(work: Work, captured: Captured) -> tuple[Locator, Counter[ObjectRef]]:
    """The root of the refs, and by how much each object has more or fewer blocks in use."""
    lineage = work.lineage
    counts = UseCounts(lineage, captured.lists)
    for leaf in captured.leaves:
        if leaf.taken < 0:
            counts.add_leaf(leaf)
    counts.drop_unused_leaves()
    old_nodes = split_ids(lineage.root.inner, "a lineage cache") if lineage is not None else []
    counts.change_nodes(captured.inner + split_ids(captured.root_blocks, "blocks of the root"), old_nodes)
    if not captured.leaves and captured.tree:
        counts.change_nodes([captured.tree], [])  # an empty tree is one leaf that no record stands for
    device = captured.device.root if captured.device is not None else b""
    counts.change_root(device, lineage.root.device if lineage is not None else b"", BlockKind.DEVICE_MAP)
    changes = counts.settle()
    old = lineage.refs if lineage is not None else None
    if old is not None and lineage is not None and not changes:
        return lineage.root.refs, Counter()

    def find(block: bytes) -> Place | None:
        return work.ledger.place(block) or work.dedup.place(block)

    new = merge_refs(old, changes, find, work.refs)
    root = put_refs_root(new, work.refs)
    work.refs.finish()
    objects = new.objects
    objects.update(structure_of(work.refs.final(place) for place in [*(leaf for _, leaf in new.leaves), *new.inner]))
    if old is not None:
        objects.subtract(structure_of([*(leaf for _, leaf in old.leaves), *old.inner]))
    return work.refs.final(root), objects


def _put_plain(closing: Closing, data: bytes) -> ObjectRef:
    """A node of the object set: an object that is not sealed."""
    digest = digest_of(data)
    put_object(closing.store, object_name(closing.work.keys.identity.vault_id, "x", digest), data)
    closing.work.ledger.note(digest, "x", len(data))
    return ObjectRef(digest)


def _put_manifest(closing: Closing, captured: Captured, refs: Locator, session: bytes) -> bytes:
    work, run, source = closing.work, closing.request.run, closing.source
    manifest = Manifest(
        version=1,
        tool=TOOL,
        kind=source.kind,
        id_key_generation=work.keys.generation,
        started=work.started,
        finished=time.time_ns(),
        consistency=closing.consistency,
        source=manifest_source(run, source.path),
        run=Run(session, run.policy_uid, run.policy, run.slot, run.snapshot_uid, run.snapshot) if run is not None else Run(session),
        totals=captured.totals,
        refs=refs,
        tree=captured.tree,
        root=captured.root,
        root_blocks=captured.root_blocks,
        device=captured.device,
        excludes=closing.request.excludes,
        exclude_caches=closing.request.exclude_caches,
        one_file_system=closing.request.one_file_system,
        errors=tuple(captured.errors),
        errors_total=captured.errors_total,
        parent=work.lineage.root.manifest if work.lineage is not None else b"",
    )
    data = encode_manifest(manifest)
    writer = work.meta(Kind.MANIFEST, len(data) + (64 << 10))
    writer.add(BlockKind.MANIFEST, data)
    return writer.finish()


def _put_cache_root(
    closing: Closing, captured: Captured, manifest: bytes, refs: Locator, object_set: ObjectRef, nodes: list[Locator]
) -> bytes:
    work, run = closing.work, closing.request.run
    reference = work.started
    if run is not None:
        # A snapshot is older than the run. Without its time, nothing is sure to be older than the newest thing in it.
        reference = run.captured_at or captured.newest
    root = Root(
        0,
        closing.walker,
        manifest,
        refs,
        object_set,
        captured.tree,
        b"".join([*captured.inner, captured.root_blocks, *([captured.tree] if not captured.leaves else [])]),
        captured.device.root if captured.device is not None else b"",
        tuple(nodes),
        min(reference, work.started),
        captured.totals.files,
        captured.totals.directories,
        captured.totals.bytes,
        work.lineage.root.run + 1 if work.lineage is not None else 0,
    )
    writer = work.meta(Kind.CACHE, 1 << 20)
    writer.add(BlockKind.CACHE, encode(root))
    return writer.finish()


def _commit(
    closing: Closing, captured: Captured, opened: OpenSession, objects: tuple[bytes, bytes, bytes], index: tuple[bytes, ...]
) -> Commit:
    """The entry that makes the point exist."""
    keys, run = closing.work.keys, closing.request.run
    session = opened.session
    record = PointRecord(
        point=(run.snapshot_uid if run is not None else "") or session.hex(),
        snapshot=run.snapshot if run is not None else "",
        policy=run.policy if run is not None else "",
        consistency=closing.consistency,
        volumes_expected=run.volumes_expected if run is not None else (),
        source=record_source(run, closing.source.path),
        kind=closing.source.kind.value,
        started=closing.work.started // 1_000_000,
        finished=time.time_ns() // 1_000_000,
        files=captured.totals.files,
        bytes_total=captured.totals.bytes,
        bytes_read=captured.bytes_read,
        bytes_stored=closing.work.ledger.stored,
        errors=captured.errors_total,
        tool=TOOL,
        bytes_new=closing.work.packs.plain,
        before=closing.before,
    )
    sealed = seal_point(keys.meta_key, keys.identity, keys.generation, session, record)
    manifest, object_set, cache = objects
    return Commit(session, opened.seq, opened.ticket, manifest, object_set, index, cache, sealed)
