"""Copies of other clusters' vaults: a location pulls from those that its spec.pull names (docs/second-cluster.md).

As with a policy's replicas, what is lacking is read from the logs of both sides and nothing is remembered. There is no policy of this
cluster to ask for these copies: the location does, for every vault at the source that another cluster made. Vaults of this cluster are
its policies' own matter. Whoever controls the source can't change what was copied: nothing is taken away from a copy because it went there,
and nothing about a recovery point that is here follows what is done to it there.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from msgspec import Struct, structs

from recoup.api.backuplocation import PULLED, BackupLocation, PullRetentionStatus, PullStatus, Vault
from recoup.api.conditions import Conditions, drop_condition, find_condition, set_condition
from recoup.api.labels import UPKEEP_VAULT
from recoup.plan.access import Refusal
from recoup.plan.actions import Action, Create, Object
from recoup.plan.forgetting import FORGET, PRUNE
from recoup.plan.movers import is_over
from recoup.plan.observed import ApiFailure, Catalogue, FailureKey, Surroundings
from recoup.plan.pull_retention import find_going, retention_tasks, settle, without_key
from recoup.plan.replication import NOTHING_THERE, REPLICATE, Lack, compare, copy_task, out_of_reach, unfit
from recoup.plan.upkeep import Task, TaskKey, TaskPhase, TaskState, UpkeepObserved, is_upkeep, plan_upkeep

AT_ONCE = 4
"""Jobs of one location that copy at the same time: a first pull of many vaults must not take the cluster's room."""
LOOK_EVERY = 60.0
"""Seconds between two looks at the logs: one request for each vault at either side, if nothing is new."""
COPYING_FOR = timedelta(hours=1)
"""How long a recovery point may be on its way before the copy no longer counts as complete: new ones come all the time."""


class PulledVault(Struct, frozen=True, kw_only=True):
    """A vault at the source. offered, held: its catalogue there and here; None, with the failure, if it could not be read."""

    vault: Vault
    offered: Catalogue | None = None
    offered_failure: ApiFailure | None = None
    held: Catalogue | None = None
    held_failure: ApiFailure | None = None


class PullSource(Struct, frozen=True, kw_only=True):
    """One entry of spec.pull. location: None if there is none of that name."""

    name: str
    location: BackupLocation | None = None
    vaults: tuple[PulledVault, ...] = ()


class PullObserved(Struct, frozen=True, kw_only=True):
    """target: the location that pulls. children, warnings, failures: as in LocationObserved."""

    target: BackupLocation
    around: Surroundings
    sources: tuple[PullSource, ...] = ()
    children: tuple[Object, ...] = ()
    warnings: dict[str, str] = {}
    failures: dict[FailureKey, ApiFailure] = {}


class Pulling(Struct, frozen=True, kw_only=True):
    """The next writes, the lines of the status, and when to look again.

    retention: which rules let go of copies here; refused: why they can't. pruned: by vault, when a prune Job of it ended.
    """

    actions: tuple[Action, ...] = ()
    lines: tuple[PullStatus, ...] = ()
    again: float | None = None
    retention: PullRetentionStatus | None = None
    refused: Refusal | None = None
    pruned: dict[str, datetime] = {}


class _Standing(Struct, frozen=True, kw_only=True):
    """How one vault's copy stands. lack: None if it is not known. goes: points that the rules of retention would let go of."""

    vault: Vault
    lack: Lack | None = None
    trouble: Refusal | None = None
    goes: int = 0
    states: Mapping[TaskKey, TaskState] = {}


def foreign_vaults(source: BackupLocation, around: Surroundings) -> tuple[Vault, ...]:
    """The vaults at the source that another cluster made, as far as they have been opened from here."""
    return tuple(vault for vault in source.status.vaults if vault.cluster != around.cluster_uid)


def plan_pulls(observed: PullObserved, now: datetime) -> Pulling:
    """The next step for every vault of every source. A vault that several have comes from the first whose log can be read."""
    actions: list[Action] = []
    lines: list[PullStatus] = []
    waits = [LOOK_EVERY] if observed.sources else []
    running = sum(thing["kind"] == "Job" and is_upkeep(thing) and not is_over(thing) for thing in observed.children)
    taken: set[str] = set()
    everything: list[_Standing] = []
    for source in observed.sources:
        blocked = _obstacle(source, observed.target)
        standings: list[_Standing] = []
        for pulled in source.vaults if blocked is None else ():
            if pulled.vault.id in taken:
                continue
            if pulled.offered is not None:
                taken.add(pulled.vault.id)
            lack = _lack(pulled, source.name)
            step = _advance(pulled, source, lack, observed, now, full=running >= AT_ONCE)
            running += sum(isinstance(action, Create) for action in step.actions)
            actions += step.actions
            waits += [] if step.again is None else [step.again]
            goes = _going(pulled, lack, observed.target, now)
            trouble = _trouble(pulled, step.states.get((REPLICATE, observed.target.metadata.name)))
            standings.append(_Standing(vault=pulled.vault, lack=lack, trouble=trouble, goes=goes, states=step.states))
        lines.append(_line(source, blocked, standings))
        everything += standings
    goes = sum(standing.goes for standing in everything)
    retention = settle(observed.target, goes, now)
    if retention is not None and retention.effective_at is not None:
        waits.append((retention.effective_at - now).total_seconds())
    return Pulling(
        actions=tuple(actions),
        lines=tuple(lines),
        again=min(waits, default=None),
        retention=retention,
        refused=without_key(observed.target, goes) or _unkept(everything, observed.target.metadata.name),
        pruned=_pruned(everything, observed.target.metadata.name),
    )


def judge_pulls(conditions: Conditions, lines: tuple[PullStatus, ...], generation: int, now: datetime) -> Conditions:
    """The condition Pulled: whether all that the sources have is here, but for what is newer than COPYING_FOR. Without sources, none."""
    if not lines:
        return drop_condition(conditions, PULLED)
    troubled = next((line for line in lines if line.reason), None)
    if troubled is not None:
        message = f"from BackupLocation {troubled.source}: {troubled.message}"
        return set_condition(conditions, PULLED, False, troubled.reason or "", message, now=now, generation=generation)
    vaults, complete = sum(line.vaults for line in lines), sum(line.complete for line in lines)
    behind = min((line.behind_since for line in lines if line.behind_since), default=now)
    known = find_condition(conditions, PULLED)
    on_its_way = known is not None and known.reason == "Complete" and now - behind < COPYING_FOR
    if complete < vaults and not on_its_way:
        message = f"{vaults - complete} of {vaults} vaults have recovery points that are not here yet"
        return set_condition(conditions, PULLED, False, "Copying", message, now=now, generation=generation)
    message = f"all recovery points of {vaults} vaults of other clusters are here, but for what is less than an hour old"
    return set_condition(conditions, PULLED, True, "Complete", message, now=now, generation=generation)


class _Step(Struct, frozen=True):
    actions: tuple[Action, ...] = ()
    states: Mapping[TaskKey, TaskState] = {}
    again: float | None = None


def _advance(pulled: PulledVault, source: PullSource, lack: Lack | None, observed: PullObserved, now: datetime, *, full: bool) -> _Step:
    """Make, follow or remove the Jobs of one vault; with as many as may be at once, only those that are there go on."""
    things = tuple(_of_vault(observed.children, pulled.vault.id))
    wanted: list[Task] = []
    if lack is not None and pulled.offered is not None and source.location is not None and (things or not full):
        target, around = observed.target, observed.around
        if lack.round:
            wanted = [copy_task(pulled.offered, pulled.vault.namespace, source.location, target, lack, around, add_only=True)]
        wanted += _retention(pulled, target, around, now)
    asked = UpkeepObserved(
        vault=pulled.vault.id,
        locations=(observed.target,),
        things=things,
        warnings=observed.warnings,
        failures=observed.failures,
    )
    upkeep = plan_upkeep(wanted, asked, now)
    return _Step(upkeep.actions, upkeep.states, upkeep.again)


def _retention(pulled: PulledVault, target: BackupLocation, around: Surroundings, now: datetime) -> tuple[Task, ...]:
    """What the rules that count want done in this vault; nothing while an edit waits, or the location has not noted the vault yet."""
    counts = settle(target, 0, now)
    noted = next((vault for vault in target.status.vaults if vault.id == pulled.vault.id), None)
    if counts is None or counts.effective_at is not None or noted is None or pulled.held is None or without_key(target, 1):
        return ()
    return retention_tasks(target, noted, pulled.held, around, now)


def _going(pulled: PulledVault, lack: Lack | None, target: BackupLocation, now: datetime) -> int:
    """While the source can't be read, or is not what it was, nothing goes: what is here may be all that there is."""
    asked = target.spec.pull_retention
    return len(find_going(pulled.held, asked, now).manifests) if asked and pulled.held is not None and lack is not None else 0


def _unkept(standings: list[_Standing], target: str) -> Refusal | None:
    for standing in standings:
        for kind in (FORGET, PRUNE):
            state = standing.states.get((kind, target))
            if state is not None and state.phase is TaskPhase.FAILED:
                return Refusal(state.reason, f"{kind} of {_of(standing.vault)}: {state.message}")
    return None


def _pruned(standings: list[_Standing], target: str) -> dict[str, datetime]:
    """Failed ones, too: they are told, and tried again a day later."""
    states = {standing.vault.id: standing.states.get((PRUNE, target)) for standing in standings}
    over = (TaskPhase.DONE, TaskPhase.FAILED)
    return {vault: state.since for vault, state in states.items() if state is not None and state.since and state.phase in over}


def _lack(pulled: PulledVault, source: str) -> Lack | None:
    held = pulled.held
    if pulled.held_failure is not None and pulled.held_failure.reason == NOTHING_THERE:
        held = Catalogue(vault=pulled.vault.id)
    if pulled.offered is None or held is None or pulled.offered.fingerprint != pulled.vault.fingerprint:
        return None
    return compare(pulled.offered, held, source, add_only=True)


def _obstacle(source: PullSource, target: BackupLocation) -> Refusal | None:
    if source.location is None:
        return Refusal("LocationNotFound", f"BackupLocation {source.name} does not exist; create it, or take it out of spec.pull")
    if not source.location.spec.lists_vaults:
        message = "it does not list the vaults of other clusters; set accessMode: ReadOnly or catalogue: {} there"
        return Refusal("VaultsNotListed", message)
    return out_of_reach(source.location, None) or out_of_reach(target, None) or unfit(target)


def _trouble(pulled: PulledVault, state: TaskState | None) -> Refusal | None:
    of = _of(pulled.vault)
    for failure in (pulled.offered_failure, pulled.held_failure):
        if failure is not None and failure.reason != NOTHING_THERE:
            return Refusal(failure.reason, f"{of}: {failure.message}")
    if pulled.offered is not None and pulled.offered.fingerprint != pulled.vault.fingerprint:
        return Refusal("VaultChanged", f"{of} has another root key than when it was first seen; nothing of it is copied")
    if state is not None and state.phase is TaskPhase.FAILED:
        return Refusal(state.reason, f"{of}: {state.message}")
    if state is not None and state.phase is TaskPhase.WAITING and state.reason:
        return Refusal(state.reason, f"{of}: {state.message}") if state.reason != "WaitingForUpkeep" else None
    return None


def _of(vault: Vault) -> str:
    return f"vault {vault.id} of namespace {vault.namespace}"


def _line(source: PullSource, blocked: Refusal | None, standings: list[_Standing]) -> PullStatus:
    if blocked is not None:
        return PullStatus(source=source.name, reason=blocked.reason, message=blocked.message)
    troubles = [standing.trouble for standing in standings if standing.trouble is not None]
    line = PullStatus(
        source=source.name,
        vaults=len(standings),
        complete=sum(standing.lack is not None and not standing.lack.round for standing in standings),
        behind_since=min((standing.lack.oldest for standing in standings if standing.lack and standing.lack.oldest), default=None),
    )
    return structs.replace(line, reason=troubles[0].reason, message=troubles[0].message) if troubles else line


def _of_vault(children: tuple[Object, ...], vault: str) -> Iterator[Object]:
    return (child for child in children if child["metadata"]["labels"].get(UPKEEP_VAULT) == vault)
