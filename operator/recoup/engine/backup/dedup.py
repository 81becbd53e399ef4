"""Which blocks need not be stored: those of this session, of the lineage, and of other live points through their index segments.

What may be referred to (docs/format.md section 4): an object in the set of a live COMMIT of this log that is not known to be
damaged, or one of this session that is still there (resume.py). A segment that cannot be read is passed over: it costs space, never data.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

from recoup.engine.backup.lineage import Lineage
from recoup.engine.backup.readback import ReadBack
from recoup.engine.backup.resume import Earlier
from recoup.engine.format.kinds import Area, BlockKind
from recoup.engine.log.bodies import Commit
from recoup.engine.log.bodies import ObjectRef as LogObject
from recoup.engine.records.nodes import ObjectRef, object_kind
from recoup.engine.records.objectset import Member, Shard, decode_leaf, decode_root
from recoup.engine.records.rows import Place, Table
from recoup.errors import Integrity, KeyUnavailable, NotFound

MAX_INDEX_BYTES: Final = 64 << 20
"""Of all tables held in memory; the newest points come first."""

MAX_SEGMENTS: Final = 64
"""Segments that are read at most, each by one request; a quarter of it where a lineage finds nearly everything already."""

ASKED_POINTS: Final = 32
"""Points, the newest, in whose object sets an object is looked for that a merged segment named."""

MAX_SET_NODES: Final = 128
"""Nodes of object sets that are read for that at most."""

_log = logging.getLogger(__name__)


class Index(NamedTuple):
    """What INDEX entries say."""

    merged: tuple[bytes, ...] = ()
    """Segments that they brought, and that are in force."""
    replaced: frozenset[bytes] | set[bytes] = frozenset()
    """Segments that points name and that are in force no longer."""


NO_INDEX: Final = Index()


class Sets:
    """Members of the object sets of live points, shard by shard."""

    def __init__(self, readback: ReadBack) -> None:
        self._readback = readback
        self.read = 0
        """Nodes that were fetched."""
        self._roots: dict[bytes, list[Shard]] = {}
        self._shards: dict[ObjectRef, dict[ObjectRef, Member]] = {}

    def member(self, root: bytes, ref: ObjectRef) -> Member | None:
        """The object's entry in the set with this root. Raises Integrity, NotFound."""
        if root not in self._roots:
            self.read += 1
            self._roots[root] = decode_root(self._readback.set_node(ObjectRef(root)), "an object set's root")
        shard = next(s for s in self._roots[root] if s.low <= ref.digest[0] <= s.high)
        members = self._shards.get(shard.object)
        if members is None:
            self.read += 1
            data = self._readback.set_node(shard.object)
            members = {m.object: m for m in decode_leaf(data, shard.low, shard.high, "an object set's shard")}
            self._shards[shard.object] = members
        return members.get(ref)


class Dedup:
    """`knows` is asked for every new block by the main thread."""

    def __init__(
        self,
        readback: ReadBack,
        lineage: Lineage | None,
        live: Sequence[Commit],
        damaged: set[LogObject],
        earlier: Earlier | None = None,
        index: Index = NO_INDEX,
    ) -> None:
        self.new: set[bytes] = set()
        self._readback = readback
        self._lineage = lineage
        self._live = live
        self._earlier = earlier
        self._damaged = {ObjectRef(ref.digest, ref.incarnation) for ref in damaged}
        self._sets = Sets(readback)
        self._index = index
        self._tables: list[tuple[Sequence[Commit], Table]] | None = None
        self._dead: set[ObjectRef] = set()
        self._members: dict[ObjectRef, Member] = {}
        self._hits: dict[bytes, Place] = {}

    def knows(self, block: bytes) -> bool:
        """Whether the block is somewhere that this point may refer to."""
        if block in self.new or block in self._hits:
            return True
        if self._lineage is not None and self._lineage.refs.find(block) is not None:
            return True
        place = self._sent(block, "d") or self._search(block)
        if place is None:
            return False
        self._hits[block] = place
        return True

    def was_sent(self, block: bytes, kind: BlockKind) -> bool:
        """Whether an earlier attempt of this session stored a block of metadata."""
        if block in self._hits:
            return True
        place = self._sent(block, object_kind(kind).area)
        if place is not None:
            self._hits[block] = place
        return place is not None

    def _sent(self, block: bytes, area: Area) -> Place | None:
        return self._earlier.find(block, area) if self._earlier is not None else None

    def place(self, block: bytes) -> Place | None:
        """Where a block is that the index knew."""
        return self._hits.get(block)

    def resumed_data(self) -> list[tuple[bytes, Place]]:
        """The blocks of packs that an earlier attempt stored and this one uses."""
        if self._earlier is None:
            return []
        packs = {ref for ref, member in self._earlier.members.items() if member.area == "d"}
        return [(block, place) for block, place in self._hits.items() if place.object in packs]

    def member(self, ref: ObjectRef) -> Member:
        """The entry, with no blocks in use, of an object that the index led to."""
        found = self._earlier.members.get(ref) if self._earlier is not None else None
        return found or self._members[ref]._replace(blocks=0)

    def _search(self, block: bytes) -> Place | None:
        if self._tables is None:
            self._tables = self._load()
        for commits, table in self._tables:
            place = table.find(block)
            if place is not None and place.object not in self._damaged and self._referable(commits, place.object):
                return place
        return None

    def _referable(self, commits: Sequence[Commit], ref: ObjectRef) -> bool:
        """Whether the object is in the set of one of these points."""
        if ref in self._members or ref in self._dead:
            return ref in self._members
        for commit in commits:
            if len(commits) > 1 and self._sets.read >= MAX_SET_NODES:
                break
            try:
                member = self._sets.member(commit.object_set, ref)
            except (Integrity, NotFound) as error:
                _log.warning("an object set cannot be read: %s", error)
                continue
            if member is not None:
                self._members[ref] = member
                return True
        if len(commits) > 1:
            self._dead.add(ref)
        return False

    def _load(self) -> list[tuple[Sequence[Commit], Table]]:
        tables: list[tuple[Sequence[Commit], Table]] = []
        size = 0
        newest = self._live[: -ASKED_POINTS - 1 : -1]
        wanted: dict[bytes, list[Commit]] = {segment: list(newest) for segment in self._index.merged}
        for commit in reversed(self._live):
            for segment in commit.index_segments:
                if segment not in self._index.replaced:
                    wanted.setdefault(segment, []).append(commit)
        for segment, commits in islice(wanted.items(), MAX_SEGMENTS if self._lineage is None else MAX_SEGMENTS // 4):
            if size > MAX_INDEX_BYTES:
                break
            try:
                found = self._readback.segment(segment)
            except (Integrity, NotFound, KeyUnavailable) as error:
                _log.warning("an index segment cannot be read, its blocks may be stored again: %s", error)
                continue
            tables += [(commits, table) for table in found]
            size += sum(table.size for table in found)
        return tables
