"""How a policy's copies stand: a line for each location in its status, and the conditions Replicated and CopiesMet.

A copy counts for `objectives.min*` when it is complete by the log of its location (copies.py). That is the word of the replicator, which
put or read back every object; whether the bytes are still good is another question, for `recoup verify` (docs/replication.md).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct, structs

from recoup.api.backuppolicy import COPIES_MET, REPLICATED, BackupPolicy, Objectives, Replica, ReplicaState
from recoup.api.backupsnapshot import BackupSnapshot, Copy, CopyState, VolumeState
from recoup.api.conditions import Conditions, drop_condition, set_condition
from recoup.plan.copies import renew_copies
from recoup.plan.replication import REPLICATE, Places, find_lack, obstacle, unfit
from recoup.plan.upkeep import TaskKey, TaskPhase, TaskState

COPYING_FOR = timedelta(hours=1)
"""How long a new recovery point may be on its way: until then the one before it is judged, so that no run makes CopiesMet flap."""

_PHASES = {
    TaskPhase.RUNNING: ReplicaState.COPYING,
    TaskPhase.WAITING: ReplicaState.WAITING,
    TaskPhase.DONE: ReplicaState.WAITING,
    TaskPhase.FAILED: ReplicaState.FAILED,
}

_SEVERITY = (
    ReplicaState.UP_TO_DATE, ReplicaState.COPYING, ReplicaState.WAITING, ReplicaState.UNKNOWN, ReplicaState.FAILED, ReplicaState.BLOCKED,
)  # fmt: skip
"""Which of two vaults at one location its line tells of: the later one here."""


class Standing(Struct, frozen=True, kw_only=True):
    """What the status of a policy says of its copies."""

    conditions: Conditions
    replication: tuple[Replica, ...] = ()
    copies: str | None = None


class VaultCopies(Struct, frozen=True):
    """One vault of the policy at its locations. states: of the vault's upkeep tasks."""

    places: Places
    states: Mapping[TaskKey, TaskState]


def judge_replicas(
    policy: BackupPolicy,
    conditions: Conditions,
    vaults: Sequence[VaultCopies],
    snapshots: tuple[BackupSnapshot, ...],
    now: datetime,
) -> Standing:
    """vaults: the policy's, first the one that runs go to now. snapshots: the policy's."""
    lines = [_replica(each.places, name, each.states.get((REPLICATE, name))) for each in vaults for name in each.places.names[1:]]
    order = [location.name for location in policy.spec.locations]
    replicas = tuple(
        _joined([line for line in lines if line.location == name]) for name in order if name in {line.location for line in lines}
    )
    generation = policy.metadata.generation
    conditions = _replicated(conditions, replicas, now, generation)
    places = vaults[0].places
    newest = _judged_copies([each.places for each in vaults], snapshots, now)
    conditions = _copies_met(policy.spec.objectives, conditions, newest, replicas, places, now, generation)
    count = None
    if newest is not None:
        count = f"{len(_complete(newest[1], places))}/{len(places.names)}"
    return Standing(conditions=conditions, replication=replicas, copies=count)


def _replica(places: Places, name: str, state: TaskState | None) -> Replica:
    lack = find_lack(places, name)
    location = places.locations.get(name)
    blocked = obstacle(places, name) or (unfit(location) if location is not None else None)
    replica = Replica(location=name, state=ReplicaState.UNKNOWN)
    if lack is not None:
        waiting = ReplicaState.WAITING if lack.round else ReplicaState.UP_TO_DATE
        replica = structs.replace(replica, state=waiting, lacking=len(lack.manifests), behind_since=lack.oldest)
    home = obstacle(places, places.names[0])
    if lack is None and blocked is None and home is not None:
        message = f"what it lacks is not known: {home.message}"
        return structs.replace(replica, reason=home.reason, message=message)
    if blocked is not None:
        return structs.replace(replica, state=ReplicaState.BLOCKED, reason=blocked.reason, message=blocked.message)
    if replica.state is not ReplicaState.WAITING or state is None:
        return replica
    told = (state.reason or None, state.message or None) if state.phase is TaskPhase.FAILED else (None, None)
    return structs.replace(replica, state=_PHASES[state.phase], reason=told[0], message=told[1])


def _joined(lines: list[Replica]) -> Replica:
    """One location's line for all vaults of the policy: the worst of them, and what it lacks in all."""
    worst = max(lines, key=lambda line: _SEVERITY.index(line.state))
    known = [line.lacking for line in lines if line.lacking is not None]
    since = min((line.behind_since for line in lines if line.behind_since), default=None)
    return structs.replace(worst, lacking=sum(known) if known else None, behind_since=since)


def _replicated(conditions: Conditions, replicas: tuple[Replica, ...], now: datetime, generation: int) -> Conditions:
    if not replicas:
        return drop_condition(conditions, REPLICATED)
    troubled = [replica for replica in replicas if replica.state in (ReplicaState.FAILED, ReplicaState.BLOCKED)]
    lagging = [replica for replica in replicas if replica.state is not ReplicaState.UP_TO_DATE]
    if troubled:
        message = "; ".join(f"{replica.location}: {replica.message or replica.reason}" for replica in troubled)
        return set_condition(conditions, REPLICATED, False, troubled[0].reason or "Failed", message, now=now, generation=generation)
    if lagging:
        message = "; ".join(f"{replica.location}: {_progress(replica)}" for replica in lagging)
        unknown = all(replica.state is ReplicaState.UNKNOWN for replica in lagging)
        word, reason = (None, "NotRead") if unknown else (False, "Copying")
        return set_condition(conditions, REPLICATED, word, reason, message, now=now, generation=generation)
    message = "every location has all that the home has"
    return set_condition(conditions, REPLICATED, True, "UpToDate", message, now=now, generation=generation)


def _progress(replica: Replica) -> str:
    if replica.state is ReplicaState.UNKNOWN:
        return replica.message or "its log has not been read yet"
    return f"{replica.lacking} recovery points are being copied" if replica.lacking else "what changed at the home is being copied"


def _judged_copies(
    vaults: list[Places], snapshots: tuple[BackupSnapshot, ...], now: datetime
) -> tuple[BackupSnapshot, tuple[Copy, ...]] | None:
    """The newest whole recovery point and its copies; of one that is still on its way, the one before it."""
    good = [snapshot for snapshot in snapshots if _is_whole(snapshot)]
    newest = sorted(good, key=lambda snapshot: snapshot.status.completed_at or now, reverse=True)
    fallback = None
    for snapshot in newest:
        places = next((each for each in vaults if each.vault == snapshot.status.vault), vaults[0])
        copies = renew_copies(snapshot.status, places.names, places.locations, places.catalogues, now)
        ended = snapshot.status.completed_at or now
        if len(_complete(copies, places)) == len(places.names) or now - ended >= COPYING_FOR:
            return snapshot, copies
        fallback = fallback or (snapshot, copies)
    return fallback


def _is_whole(snapshot: BackupSnapshot) -> bool:
    status = snapshot.status
    stored = bool(status.volumes) and all(volume.state is VolumeState.STORED for volume in status.volumes)
    return stored and status.completed_at is not None and snapshot.metadata.deletion_timestamp is None


def _complete(copies: tuple[Copy, ...], places: Places) -> list[Copy]:
    return [copy for copy in copies if copy.state is CopyState.COMPLETE and copy.location in places.names]


def _copies_met(
    objectives: Objectives,
    conditions: Conditions,
    newest: tuple[BackupSnapshot, tuple[Copy, ...]] | None,
    replicas: tuple[Replica, ...],
    places: Places,
    now: datetime,
    generation: int,
) -> Conditions:
    asked = (objectives.min_copies, objectives.min_regions, objectives.min_providers)
    if asked == (None, None, None):
        return drop_condition(conditions, COPIES_MET)
    if newest is None:
        message = "there is no recovery point yet"
        return set_condition(conditions, COPIES_MET, None, "NoRecoveryPoint", message, now=now, generation=generation)
    snapshot, copies = newest
    complete = _complete(copies, places)
    regions = sorted({copy.region for copy in complete if copy.region})
    providers = sorted({copy.provider for copy in complete if copy.provider})
    locations = [copy.location for copy in complete]
    rules = (
        ("TooFewCopies", objectives.min_copies, locations, "copies"),
        ("TooFewRegions", objectives.min_regions, regions, "regions"),
        ("TooFewProviders", objectives.min_providers, providers, "providers"),
    )
    broken = [(reason, f"{_have(have, word)}, objective {least}") for reason, least, have, word in rules if least and len(have) < least]
    if not broken:
        message = f"BackupSnapshot {snapshot.metadata.name} is at {', '.join(locations)}"
        return set_condition(conditions, COPIES_MET, True, "CopiesMet", message, now=now, generation=generation)
    why = [_lacking(copy, replicas) for copy in copies if copy.location in places.names and copy.state is not CopyState.COMPLETE]
    message = "; ".join([f"BackupSnapshot {snapshot.metadata.name} has {', '.join(text for _, text in broken)}", *why])
    return set_condition(conditions, COPIES_MET, False, broken[0][0], message, now=now, generation=generation)


def _have(have: list[str], word: str) -> str:
    return f"{len(have)} {word} ({', '.join(have)})" if have else f"no {word}"


def _lacking(copy: Copy, replicas: tuple[Replica, ...]) -> str:
    replica = next((replica for replica in replicas if replica.location == copy.location), None)
    if replica is not None and replica.message:
        return f"{copy.location} ({copy.state}): {replica.message}"
    return f"{copy.location}: {copy.state}"
