"""What must be at a location: every object that a live recovery point needs, once, however many points need it.

Read from object sets, which need no key, and from the COMMITs themselves. A set that cannot be read makes its points damaged as a whole.
"""

from __future__ import annotations

from msgspec import field

from recoup.engine.format.kinds import Area
from recoup.engine.format.names import digest_of, object_name
from recoup.engine.log.facts import Committed
from recoup.engine.log.follow import Log
from recoup.engine.places import here, standing
from recoup.engine.points import with_incarnation
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.objectset import MAX_SET_BYTES, iterate_set, set_nodes
from recoup.engine.stores.base import Store
from recoup.engine.verify.findings import Affected, Damage, Findings
from recoup.errors import Integrity, NotFound
from recoup.value import Record, Value


class Live(Value, frozen=True):
    """One object. `size` is None where nothing but its digest is known beforehand."""

    ref: ObjectRef
    """As sets and refs name it; where it stands here may be another incarnation."""
    area: Area
    size: int | None
    sealed: bool
    needed: bool
    """Whether a restore needs it; caches and index segments only save time."""


class LiveSet(Record):
    """All objects of some recovery points."""

    objects: dict[ObjectRef, Live] = field(default_factory=dict)
    points: list[Committed] = field(default_factory=list)
    """Those whose sets could be read."""

    @property
    def bytes(self) -> int:
        return sum(live.size or 0 for live in self.objects.values())

    def add(self, live: Live) -> None:
        known = self.objects.get(live.ref)
        if known is None or (known.size is None and live.size is not None):
            self.objects[live.ref] = live


class LiveReader:
    """Reads the sets of recovery points."""

    def __init__(self, log: Log, findings: Findings) -> None:
        self._state, self._vault, self._findings = log.state, log.state.vault_id, findings
        self.store: Store = here(log)
        """The objects of this location, wherever they stand in it."""
        self._nodes: dict[ObjectRef, bytes] = {}

    def name(self, live: Live) -> str:
        ref = standing(self._state, live.ref)
        return object_name(self._vault, live.area, ref.digest, ref.incarnation)

    def read(self, commits: list[Committed]) -> LiveSet:
        found = LiveSet()
        for segment in self._state.merged_segments:
            found.add(Live(ObjectRef(segment, 0), "x", None, sealed=True, needed=False))
        for commit in commits:
            try:
                self._read_one(commit, found)
            except Integrity as error:
                self._findings.affected.append(Affected(commit.body.manifest.hex(), str(error)))
            else:
                found.points.append(commit)
            self._nodes.clear()
        return found

    def _read_one(self, commit: Committed, found: LiveSet) -> None:
        body = commit.body
        found.add(Live(with_incarnation(body, body.manifest), "m", None, sealed=True, needed=True))
        if commit.home_seq is None:  # index segments and the cache's root serve writers, who work at the home only
            for segment in self._state.segments_of(body):
                found.add(Live(with_incarnation(body, segment), "x", None, sealed=True, needed=False))
            if body.cache:
                found.add(Live(with_incarnation(body, body.cache), "x", None, sealed=True, needed=False))
        root = with_incarnation(body, body.object_set)
        for node in set_nodes(self._fetch, root):
            found.add(Live(node, "x", None, sealed=False, needed=True))
        for member in iterate_set(self._fetch, root):
            found.add(Live(member.object, member.area, member.size, sealed=True, needed=True))

    def _fetch(self, ref: ObjectRef) -> bytes:
        data = self._nodes.get(ref)
        if data is None:
            name = object_name(self._vault, "x", ref.digest, ref.incarnation)
            data = self._nodes[ref] = self._get(name, ref)
        return data

    def _get(self, name: str, ref: ObjectRef) -> bytes:
        try:
            data = self.store.get(name, MAX_SET_BYTES)
        except NotFound as error:
            self._findings.damage(Damage(name, "ObjectMissing", "it is missing", ref))
            raise Integrity(f"object {name} of its object set is missing", reason="ObjectMissing") from error
        if digest_of(data) != ref.digest:
            self._findings.damage(Damage(name, "DigestMismatch", "its bytes are not those that its name says", ref))
            raise Integrity(f"object {name} of its object set is damaged", reason="DigestMismatch")
        return data
