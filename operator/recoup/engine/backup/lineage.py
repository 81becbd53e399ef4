"""The last recovery point of the same volume, as its cache shows it to the writer (docs/format-data.md section 8).

A stream beside the walk: leaves whose digest is unchanged are taken over by their record; for others their rows say which files
are as they were, and where the contents of those and of changed files were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from blake3 import blake3

from recoup.engine.backup.readback import ReadBack
from recoup.engine.backup.units import KeptContent
from recoup.engine.format.kinds import BlockKind
from recoup.engine.records.cache import HASH, REGULAR, LeafRecord, Root, check_record, decode_node, decode_rows
from recoup.engine.records.content import Companion, Content, Run, decode_companion, iterate_runs, open_content
from recoup.engine.records.nodes import Locator, ObjectRef, split_ids
from recoup.engine.records.refs import Refs
from recoup.errors import Integrity
from recoup.value import Record

LOOK_AHEAD: Final = 4
"""Leaves beyond the present one whose rows are searched for a file: more than a moved border can need."""
SETTLING: Final = 2_000_000_000
"""Nanoseconds before the last capture within which a change is not trusted to have been seen."""
_ANY_SIZE: Final = 1 << 63


class OldRow(Record):
    """What the cache says of one path. `kept` is None for all but regular files that were not empty."""

    leaf: int
    signature: bytes
    kept: KeptContent | None

    @property
    def content(self) -> Content | None:
        """The same, for those who look into it. Raises Integrity."""
        if self.kept is None:
            return None
        wire, blocks = self.kept
        return open_content(wire, _ANY_SIZE, blocks)


class Lineage:
    """Reads one lineage cache. Raises Integrity and NotFound where it is damaged or gone: the run goes on without it then."""

    def __init__(self, readback: ReadBack, root: Root, place: Locator) -> None:
        self.root = root
        self.readback = readback
        self.refs = Refs(readback.refs_block, root.refs)
        self.node_places = [node.resolved(place) for node in root.nodes]
        self.records: list[LeafRecord] = []
        self.node_lengths: list[int] = []
        for node in self.node_places:
            records = decode_node(readback.cache_block(node), "a node of a lineage cache").records
            self.node_lengths.append(len(records))
            self.records += [_placed(check_record(record), node) for record in records]
        self._used = bytearray(len(self.records))
        self._cursor = 0
        self._loaded = 0
        self._window: dict[bytes, OldRow] = {}
        self._by_digest: dict[bytes, int] | None = None

    @property
    def cache_objects(self) -> Counter[ObjectRef]:
        """How many blocks of each object the old cache's rows and nodes are."""
        return Counter(place.object for place in [*(record.rows for record in self.records), *self.node_places])

    def fetch(self, block: bytes, kind: BlockKind) -> bytes:
        return self.readback.by_id(self.refs, block, kind)

    def runs_of(self, content: Content, kind: BlockKind = BlockKind.CONTENT) -> Iterable[Run]:
        """The runs of an old content, read back where they are a list."""
        return iterate_runs(self.fetch, content, kind)

    def settled(self, newest: int) -> bool:
        return newest < self.root.reference - SETTLING

    def match(self, digest: bytes) -> int | None:
        """The number of the next old leaf with this digest, if there is one at or after the present place."""
        records, at = self.records, self._cursor
        for number in (at, at + 1):
            if number < len(records) and records[number].digest == digest:
                return number
        if self._by_digest is None:
            self._by_digest = {record.digest: number for number, record in reversed(list(enumerate(records)))}
        number = self._by_digest.get(digest, -1)
        return number if number >= at else None

    def take(self, number: int) -> LeafRecord:
        """Use the old leaf as it is."""
        self._used[number] = 1
        self._move_to(number + 1)
        return self.records[number]

    def find(self, path_hash: bytes) -> OldRow | None:
        """What was known of a path, searched in the old leaves that may hold it."""
        limit = min(len(self.records), self._cursor + 1 + LOOK_AHEAD)
        while (row := self._window.get(path_hash)) is None and self._loaded < limit:
            self._load(self._loaded)
        return row

    def passed(self, leaf: int) -> None:
        """A new leaf took rows up to those of the old leaf with this number."""
        if leaf > self._cursor:
            self._move_to(leaf)

    def unused(self) -> Iterator[LeafRecord]:
        """Old leaves that the new tree does not have."""
        return (record for record, used in zip(self.records, self._used, strict=True) if not used)

    def companion(self, record: LeafRecord) -> Companion | None:
        return decode_companion(self.fetch(record.companion, BlockKind.CONTENT), "a companion leaf") if record.companion else None

    def _move_to(self, number: int) -> None:
        self._cursor = number
        if self._loaded <= number:
            self._window.clear()
            self._loaded = number
        elif self._window:
            self._window = {key: row for key, row in self._window.items() if row.leaf >= number}

    def _load(self, number: int) -> None:
        record = self.records[number]
        rows = decode_rows(self.readback.cache_block(record.rows))
        companion = self.companion(record)
        contents = iter(companion.contents) if companion else iter(())
        blocks = split_ids(companion.blocks, "a companion leaf") if companion else []
        for index, flags in enumerate(rows.flags):
            at = index * HASH
            kept = None
            if flags & REGULAR:
                wire = next(contents, None)
                if wire is None:
                    raise Integrity("the rows of a lineage cache and their companion do not belong together")
                kept = KeptContent(wire, blocks)
            self._window[rows.paths[at : at + HASH]] = OldRow(number, rows.signatures[at : at + HASH], kept)
        self._loaded = number + 1


def _placed(record: LeafRecord, node: Locator) -> LeafRecord:
    """The record with a full place of its rows."""
    if record.rows.digest:
        return record
    rows = record.rows.resolved(node)
    return LeafRecord(
        record.entries, record.digest, record.tree, record.companion, rows, record.newest, record.files, record.directories, record.size
    )


def walker_key(cache_key: bytes, kind: str, rules: Iterable[str]) -> bytes:
    """What decides a walk (WalkRules.tokens): another value makes the cache useless."""
    return blake3(b"\0".join((b"rules 1", kind.encode(), *(e.encode("utf-8", "surrogateescape") for e in rules))), key=cache_key).digest()
