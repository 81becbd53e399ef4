"""How much each recovery point takes, alone and together with others: from object sets alone, which need no key.

An object is unique to a point if no other live point needs it: what forgetting that point alone would free. Sets are read once each,
shards that points share once for all; their members go through an external sort, so that memory grows with shards, not with objects.
"""

from __future__ import annotations

import itertools
import struct

from msgspec import field

from recoup.engine.browse.spool import Spool
from recoup.engine.format.names import object_name
from recoup.engine.log.facts import Committed
from recoup.engine.log.sets import StoredSets
from recoup.engine.points import with_incarnation
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.objectset import decode_leaf, decode_root
from recoup.engine.stores.base import Store
from recoup.report import Progress
from recoup.value import Record

_ROW = struct.Struct(">32sIQI")


class Usage(Record):
    """What one recovery point needs at a location. Bytes are stored bytes."""

    id: str
    objects: int = 0
    bytes: int = 0
    unique_objects: int = 0
    unique_bytes: int = 0

    @property
    def shared_bytes(self) -> int:
        return self.bytes - self.unique_bytes


class VaultUsage(Record):
    """All live recovery points together; every object counts once."""

    points: list[Usage] = field(default_factory=list)
    objects: int = 0
    bytes: int = 0


class _Holders:
    """Lists of points that hold the same things, numbered."""

    def __init__(self) -> None:
        self.points: list[list[int]] = []

    def new(self, point: int) -> int:
        self.points.append([point])
        return len(self.points) - 1


def usage(store: Store, vault_id: bytes, commits: list[Committed], progress: Progress) -> VaultUsage:
    """Add up the sets of all live points. Raises Integrity if one cannot be read, and what the store raises."""
    progress.start("reading sets", files_total=len(commits))
    sets, holders, total = StoredSets(store, vault_id), _Holders(), VaultUsage()
    shards: dict[ObjectRef, int] = {}
    bounds: dict[ObjectRef, tuple[int, int]] = {}
    with Spool() as spool:
        for number, commit in enumerate(commits):
            total.points.append(Usage(commit.body.manifest.hex()))
            own = holders.new(number)
            for ref, size in _own_objects(store, vault_id, commit):
                spool.add(_ROW.pack(ref.digest, ref.incarnation, size, own))
            root = with_incarnation(commit.body, commit.body.object_set)
            data = sets.node(root)
            spool.add(_ROW.pack(root.digest, root.incarnation, len(data), own))
            for shard in decode_root(data, "an object set's root"):
                if shard.object in shards:
                    holders.points[shards[shard.object]].append(number)
                else:
                    shards[shard.object] = holders.new(number)
                    bounds[shard.object] = (shard.low, shard.high)
            progress.advance(files=1)
        progress.start("reading shards", files_total=len(shards))
        for ref, holder in shards.items():
            data = sets.node(ref)
            spool.add(_ROW.pack(ref.digest, ref.incarnation, len(data), holder))
            for member in decode_leaf(data, *bounds[ref], "an object set's shard"):
                spool.add(_ROW.pack(member.digest, member.incarnation, member.size, holder))
            progress.advance(files=1)
        _add_up(spool, holders, total)
    return total


def _own_objects(store: Store, vault_id: bytes, commit: Committed) -> list[tuple[ObjectRef, int]]:
    """What the COMMIT names itself, with sizes asked of the store; what is missing there takes nothing."""
    body = commit.body
    named = [("m", body.manifest)]
    if commit.home_seq is None:  # a replica has neither index segments nor the root of the cache
        named += [("x", digest) for digest in (*body.index_segments, body.cache) if digest]
    found = []
    for area, digest in named:
        ref = with_incarnation(body, digest)
        size = store.size(object_name(vault_id, "m" if area == "m" else "x", ref.digest, ref.incarnation))
        found.append((ref, size or 0))
    return found


def _add_up(spool: Spool, holders: _Holders, total: VaultUsage) -> None:
    rows = map(_ROW.unpack, spool.merged())
    for _, group in itertools.groupby(rows, lambda row: row[:2]):
        size, points = 0, []
        for _, _, size_here, holder in group:
            size = max(size, size_here)
            points += holders.points[holder]
        total.objects += 1
        total.bytes += size
        for number in set(points):
            total.points[number].objects += 1
            total.points[number].bytes += size
        if len(set(points)) == 1:
            total.points[points[0]].unique_objects += 1
            total.points[points[0]].unique_bytes += size
