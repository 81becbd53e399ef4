"""The copies ledger of a BackupSnapshot: where its recovery point is, and the condition Replicated.

What a location holds is read from its own log: a COMMIT at the home, a MIRROR elsewhere, which a replicator appends after it put or read
back every object that the point needs there (docs/replication.md). A location whose log nobody has read says nothing, and its entry stays.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from recoup.api.backuplocation import BackupLocation
from recoup.api.backuppolicy import BackupPolicy
from recoup.api.backupsnapshot import MAX_COPIES, REPLICATED, BackupSnapshotStatus, Copy, CopyState, VolumeState
from recoup.api.conditions import Conditions, drop_condition, set_condition
from recoup.plan.observed import Catalogue
from recoup.plan.verified_copies import note_verified

HELD = frozenset({CopyState.COMPLETE, CopyState.INCOMPLETE})
"""States in which something of the point is there."""

_REASONS = {CopyState.PENDING: "CopyPending", CopyState.INCOMPLETE: "CopyIncomplete"}
_WORDS = {CopyState.PENDING: "has not got it yet", CopyState.INCOMPLETE: "holds only some of its volumes"}
_COURSE = (CopyState.WRITING, CopyState.PENDING, CopyState.INCOMPLETE, CopyState.COMPLETE, CopyState.FORGOTTEN)
"""The way of a copy: what is remembered of a log may be old, so it takes a copy back only by naming what was forgotten."""


def first_copies(policy: BackupPolicy, locations: Mapping[str, BackupLocation], home: str = "") -> tuple[Copy, ...]:
    """The ledger at the beginning of a run: it is written at the home (by default the policy's first), and will be copied to the others."""
    names = _home_first(home, tuple(location.name for location in policy.spec.locations))
    states = [CopyState.WRITING, *(CopyState.PENDING for _ in names[1:])]
    return tuple(_described(Copy(location=name, state=state), locations.get(name)) for name, state in zip(names, states, strict=True))


def settle_copies(status: BackupSnapshotStatus, completed: datetime | None) -> tuple[Copy, ...]:
    """The ledger by the run's own volumes: what the home got. What replicas hold is told by their logs."""
    if completed is None:
        return status.copies
    home = _own_state(status)
    return tuple(
        msgspec.structs.replace(copy, state=home, at=completed) if copy.state is CopyState.WRITING else copy for copy in status.copies
    )


def renew_copies(
    status: BackupSnapshotStatus,
    wanted: tuple[str, ...],
    locations: Mapping[str, BackupLocation],
    catalogues: Mapping[str, Catalogue],
    now: datetime,
) -> tuple[Copy, ...]:
    """The ledger of a run that is over, by the logs that were read. `wanted`: the policy's locations, () if there is no policy any more.

    A location that the policy does not name any more stays as long as it holds something.
    """
    wanted = _home_first(status.location, wanted)
    known = {copy.location: copy for copy in status.copies}
    names = [*wanted, *(copy.location for copy in status.copies if copy.location not in wanted and (not wanted or copy.state in HELD))]
    copies = []
    for name in names[:MAX_COPIES]:
        before = known.get(name) or _described(Copy(location=name, state=CopyState.PENDING), locations.get(name))
        catalogue = catalogues.get(name)
        copies.append(before if catalogue is None else note_verified(_by_log(before, status, catalogue, now), status, catalogue))
    return tuple(copies)


def judge_replicated(conditions: Conditions, status: BackupSnapshotStatus, *, now: datetime, generation: int) -> Conditions:
    """Whether every location has the point that is to have it; said of points with more than one location, once the run is over."""
    copies = status.copies
    if len(copies) < 2 or status.completed_at is None:
        return drop_condition(conditions, REPLICATED)
    if not any(volume.state is VolumeState.STORED for volume in status.volumes):
        message = "no volume is stored, so that there is nothing to copy"
        return set_condition(conditions, REPLICATED, False, "NothingStored", message, now=now, generation=generation)
    complete = [copy for copy in copies if copy.state is CopyState.COMPLETE]
    lacking = [copy for copy in copies if copy.state in _REASONS]
    forgotten = [copy.location for copy in copies if copy.state is CopyState.FORGOTTEN]
    told = f"{len(complete)} of {len(copies)} locations hold it"
    told += f"; {', '.join(forgotten)}: forgotten by retention there" if forgotten else ""
    if not lacking:
        return set_condition(conditions, REPLICATED, True, "Replicated", told, now=now, generation=generation)
    message = "; ".join([told, *(f"{copy.location} {_WORDS[copy.state]}" for copy in lacking)])
    return set_condition(conditions, REPLICATED, False, _REASONS[lacking[0].state], message, now=now, generation=generation)


def count_copies(copies: tuple[Copy, ...]) -> str | None:
    """The column: how many of the copies are complete."""
    return f"{sum(copy.state is CopyState.COMPLETE for copy in copies)}/{len(copies)}" if copies else None


def _home_first(home: str | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """The home of a run need not be the policy's first location (homes.py)."""
    return (home, *(name for name in names if name != home)) if home and home in names else names


def _own_state(status: BackupSnapshotStatus) -> CopyState:
    whole = all(volume.state is VolumeState.STORED for volume in status.volumes)
    return CopyState.COMPLETE if whole and status.volumes else CopyState.INCOMPLETE


def _by_log(before: Copy, status: BackupSnapshotStatus, catalogue: Catalogue, now: datetime) -> Copy:
    stored = [volume.manifest for volume in status.volumes if volume.manifest]
    if not stored:
        return before
    points = [catalogue.live[manifest] for manifest in stored if manifest in catalogue.live]
    forgotten = any(manifest in catalogue.forgotten for manifest in stored)
    if points:
        state = CopyState.COMPLETE if len(points) == len(status.volumes) else CopyState.INCOMPLETE
    else:
        state = CopyState.FORGOTTEN if forgotten else CopyState.PENDING
    if state is before.state or (not forgotten and _COURSE.index(state) < _COURSE.index(before.state)):
        return before
    at = max((point.here_at for point in points if point.here_at), default=now.replace(microsecond=0)) if points else None
    return msgspec.structs.replace(before, state=state, at=min(at, now).replace(microsecond=0) if at else None)


def _described(copy: Copy, location: BackupLocation | None) -> Copy:
    if location is None:
        return copy
    return msgspec.structs.replace(copy, provider=location.spec.provider, region=location.spec.region)
