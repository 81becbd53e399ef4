"""The entrance of a replication: from two locations to a copy that can be restored from by itself (docs/format.md section 6).

Read-only at the source, create-only at the target, without any key. Each entry of the home's log that matters elsewhere is appended to the
target's own log as a MIRROR, a recovery point's after every object of its set was put or read back there. All that the next run needs
stands in the two logs.
"""

from __future__ import annotations

from msgspec import field

from recoup.engine.format.names import object_name
from recoup.engine.log.bodies import Commit, Descriptor, Heal, Init, KeyGen, Mirror, Pin, Replace, Unpin
from recoup.engine.log.bodies import ObjectRef as LoggedObject
from recoup.engine.log.follow import Log, LogRejected, SweptMeanwhile
from recoup.engine.places import here
from recoup.engine.records.objectset import MAX_SET_BYTES
from recoup.engine.replicate.copier import Copied, Copier
from recoup.engine.replicate.home import Offered, SourceState, TargetState
from recoup.engine.replicate.points import PointCopier
from recoup.engine.replicate.same import check_source
from recoup.engine.replicate.small import copy_descriptor, copy_keyrings
from recoup.engine.stores.base import Store
from recoup.engine.vault import ensure_location
from recoup.errors import Integrity, Invalid, NotFound
from recoup.report import Progress
from recoup.typeinfo import build_type_info
from recoup.value import Record

PER_MIRROR = 200
"""Incarnations that a MIRROR names itself: with a home entry of 56 KiB it stays below 64 KiB."""
PER_HEAL = 500
SWEPT_TRIES = 3


class Lost(Record):
    """A recovery point that could not be copied. The next run tries again."""

    point: str
    reason: str
    message: str
    objects: int
    """How many of its objects cannot be had."""


class Replicated(Record):
    """What one run did for one vault. Bytes are stored bytes."""

    vault: str
    fingerprint: str = ""
    first: bool = False
    """Whether the target held nothing of this vault before."""
    points: list[str] = field(default_factory=list)
    """Recovery points that were copied."""
    entries: int = 0
    """Entries appended to the target's log."""
    forgotten: int = 0
    """Points that the home forgot before they were copied: passed over."""
    lost: list[Lost] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    copied: Copied = field(default_factory=Copied)
    points_here: int = 0
    """Live recovery points at the target now."""


def replicate(
    source: Store,
    target: Store,
    vault_id: bytes,
    progress: Progress,
    *,
    pinned_root: bytes | None = None,
    threads: int | None = None,
    done: Replicated | None = None,
    add_only: bool = False,
) -> Replicated:
    """Bring the vault's copy at `target` up to date with `source`, its home or another copy. `done` is filled in as it goes.

    `add_only` is for a source that is not to be trusted: what was copied once stays as it is, whatever is repacked or unpinned there.
    Raises Integrity if the two do not belong together, Retryable or Denied if one cannot be reached; running again goes on. Points that
    cannot be copied are in `lost`, and the others are copied.
    """
    result = done if done is not None else Replicated(vault_id.hex())
    build_type_info()
    progress.start("reading logs")
    try:
        mine = TargetState(vault_id, pinned_root)
        target_log = Log(target, vault_id, root_public=pinned_root, state=mine)
        _follow_target(target_log)
        root = pinned_root or (mine.identity.root_public if mine.identity is not None else None)
        theirs = SourceState(vault_id, root, mine.copied)
        source_log = Log(source, vault_id, root_public=root, state=theirs)
        source_log.follow()
        result.fingerprint = check_source(theirs, mine, source.url, target.url).fingerprint
        result.first = not mine.initialised
        _Run(source_log, target_log, theirs, mine, progress, result, threads, add_only=add_only).copy()
    finally:
        result.points_here = len(target_log.state.commits)
        progress.end()
    return result


def _follow_target(log: Log) -> None:
    """A directory that the first object will make is an empty location."""
    try:
        log.follow()
    except Invalid as error:
        if error.reason != "LocationNotFound":
            raise


class _Run:
    def __init__(
        self,
        source_log: Log,
        target_log: Log,
        theirs: SourceState,
        mine: TargetState,
        progress: Progress,
        result: Replicated,
        threads: int | None,
        *,
        add_only: bool,
    ) -> None:
        self._source, self._target = source_log.store, target_log.store
        self._add_only = add_only
        self._theirs, self._mine, self._log, self._result, self._progress = theirs, mine, target_log, result, progress
        self._location = mine.location_id or ensure_location(self._target)
        self._offered = {one.at: one for one in theirs.offered}
        objects = here(source_log, check=True)
        self._copier = Copier(objects, self._target, theirs.vault_id, progress, threads=threads)
        self._copies = here(target_log, check=True)
        self._points = PointCopier(objects, self._copies, theirs, mine, self._copier, progress)
        result.copied = self._copier.copied

    def copy(self) -> None:
        """Everything that is offered, in the home's order."""
        if self._theirs.offered:
            self._progress.start("copying", bytes_total=0, files_total=0)
        with self._copier:
            for offered in sorted(self._theirs.offered, key=lambda one: one.home_seq):
                if not offered.point:
                    self._vault(offered)
                elif offered.point in self._theirs.commits:
                    self._point(offered)
                elif offered.is_commit:
                    self._result.forgotten += 1

    def _vault(self, offered: Offered) -> None:
        """What is about the whole vault: keys, rules, owners."""
        data, entry = self._theirs.fetch(self._source, offered)
        match entry.body:
            case Init():
                copy_keyrings(self._source, self._target, self._theirs, (entry.body.keyring,))
                copy_descriptor(self._source, self._target, self._theirs, entry.body.descriptor)
            case KeyGen():
                copy_keyrings(self._source, self._target, self._theirs, entry.body.keyrings)
            case Descriptor():
                copy_descriptor(self._source, self._target, self._theirs, entry.body.descriptor)
        self._append(data)

    def _point(self, offered: Offered) -> None:
        commit = self._theirs.commits[offered.point]
        if self._add_only and offered.at == commit.replaced and self._stands(offered.point):
            return  # it names other objects for the point: those that were copied are not to be given up for them
        data, entry = self._theirs.fetch(self._source, offered)
        match entry.body:
            case Commit():
                # After a REPLACE the COMMIT's own set may be swept at the home: the two are copied as one.
                replaced = None if commit.replaced is None else self._offered.get(commit.replaced)
                more = () if replaced is None else (self._theirs.fetch(self._source, replaced)[0],)
                self._copy_point(offered, data, *more)
            case Replace():
                if offered.at == commit.replaced and offered.home_seq not in self._mine.copied:
                    self._copy_point(offered, data)
            case Unpin() if self._add_only:
                pass
            case Pin() | Unpin():
                if offered.point in self._mine.commits:
                    self._append(data)

    def _stands(self, point: bytes) -> bool:
        """The point is here with a set of its own; without one, a run was killed between its COMMIT and the REPLACE that it needs."""
        known = self._mine.commits.get(point)
        if known is None:
            return False
        root = known.here(known.body.object_set)
        try:
            self._copies.get(object_name(self._mine.vault_id, "x", root.digest, root.incarnation), MAX_SET_BYTES)
        except (NotFound, Integrity):
            return False
        return True

    def _copy_point(self, offered: Offered, *entries: bytes) -> None:
        """Copy the objects, append the entries. What a sweeper took meanwhile gets another incarnation."""
        for attempt in range(SWEPT_TRIES):
            try:
                self._try_point(offered, entries)
            except SweptMeanwhile:
                if attempt == SWEPT_TRIES - 1:
                    raise
            else:
                return

    def _try_point(self, offered: Offered, entries: tuple[bytes, ...]) -> None:
        raised, lost = self._points.copy(offered.point)
        if lost:
            first = lost[0]
            self._result.lost.append(Lost(offered.point.hex(), first.reason, str(first), len(lost)))
            return
        incarnations = self._heal_some(raised)
        if all(self._append(entry, incarnations) for entry in entries):
            self._points.note(offered.point)
            self._result.points.append(offered.point.hex())

    def _heal_some(self, raised: list[LoggedObject]) -> tuple[LoggedObject, ...]:
        """The incarnations that the MIRROR names itself; what is too much for one entry goes into HEALs before it."""
        rest = [ref for ref in raised[PER_MIRROR:] if ref.incarnation not in self._mine.healed.get(ref.digest, ())]
        for start in range(0, len(rest), PER_HEAL):
            self._log.append(Heal(tuple(rest[start : start + PER_HEAL])), None)
        return tuple(raised[:PER_MIRROR])

    def _append(self, data: bytes, incarnations: tuple[LoggedObject, ...] = ()) -> bool:
        identity = self._theirs.require_identity()
        try:
            self._log.append(Mirror(data, incarnations), None, init_ids=(identity.repo_id, self._location))
        except LogRejected as error:
            # Another replicator was first, or the target's own log forgot the point meanwhile.
            self._result.notes.append(str(error))
            return False
        self._result.entries += 1
        return True
