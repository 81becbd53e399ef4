"""What a policy's retention asks of a vault: pins first, then what the rules let go of, then, once a day, what nothing needs any more.

A suspended policy asks for nothing, and one without rules forgets nothing. A Job is asked for only where the log, as last read, has
something to do for it. Which points go: retention.py; how Jobs are run: upkeep.py.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct, structs

from recoup.api.backuplocation import BackupLocation
from recoup.api.backuppolicy import RETENTION_APPLIED, BackupPolicy, LastPrune, LocationRetention
from recoup.api.backupsnapshot import BackupSnapshot
from recoup.api.conditions import Conditions, drop_condition, set_condition
from recoup.api.names import short_hash
from recoup.errors import Invalid
from recoup.plan.access import Refusal
from recoup.plan.actions import Object
from recoup.plan.objects.retention_jobs import (
    Guard,
    build_retention_job,
    forget_arguments,
    pin_arguments,
    prune_arguments,
    unpin_arguments,
)
from recoup.plan.observed import ApiFailure, Catalogue, Surroundings
from recoup.plan.replication import NOTHING_THERE
from recoup.plan.retention import Weighed, asked_rules, weigh
from recoup.plan.suspicion import Suspect, accepted_here, thresholds_of
from recoup.plan.upkeep import Task, TaskKey, TaskPhase, TaskState

FORGET, PIN, PRUNE = "forget", "pin", "prune"

PRUNE_EVERY = timedelta(days=1)
PRUNE_GRACE = timedelta(days=7)
"""As `recoup prune` has it: from being condemned to being deleted."""


class Asked(Struct, frozen=True, kw_only=True):
    """What retention wants done, its lines in the status, why something waits by location, and when to look again.

    held: whose volumes are not touched, because their sources changed suspiciously.
    """

    pins: tuple[Task, ...] = ()
    forgets: tuple[Task, ...] = ()
    prunes: tuple[Task, ...] = ()
    lines: tuple[LocationRetention, ...] = ()
    waits: dict[str, Refusal] = {}
    held: tuple[Suspect, ...] = ()
    next_at: datetime | None = None


class Suspicion(Struct, frozen=True):
    """What retention keeps its hands off, and the manifests of points that somebody has accepted."""

    suspects: tuple[Suspect, ...] = ()
    accepted: frozenset[str] = frozenset()

    @property
    def volumes(self) -> frozenset[str]:
        """Uids of the claims concerned."""
        return frozenset(one.uid for one in self.suspects)


class VaultHere(Struct, frozen=True, kw_only=True):
    """One vault of the policy at one location, and what its Jobs are built from. failure: why its points are not known."""

    id: str
    namespace: str
    around: Surroundings
    location: BackupLocation
    catalogue: Catalogue | None = None
    failure: ApiFailure | None = None

    def task(
        self, kind: str, turn: str, arguments: list[str], *, asked_by: str, deletes: bool = False, beside: tuple[str, ...] = ()
    ) -> Task:
        def build(name: str, labels: dict[str, str]) -> Object:
            make = partial(build_retention_job, self.around, self.location.spec, self.id, arguments, deletes=deletes, beside=beside)
            return make(name=name, labels=labels)

        return Task(
            kind=kind, location=self.location, vault=self.id, namespace=self.namespace, round=turn, build=build, asked_by=asked_by
        )  # fmt: skip


def needs_points(policy: Object, snapshots: Iterable[Object]) -> bool:
    """Whether retention has to know the vault's recovery points at all, and the Jobs' keys have to be there."""
    spec = policy["spec"]
    if spec.get("suspend"):
        return False
    ruled = spec.get("retention") is not None or any(location.get("retention") for location in spec["locations"])
    return ruled or any(
        item["spec"].get("pin") or item["spec"].get("legalHold") or (item.get("status") or {}).get("pinned") for item in snapshots
    )


def ask_retention(
    policy: BackupPolicy, snapshots: Sequence[BackupSnapshot], vaults: Sequence[VaultHere], now: datetime, *, suspicion: Suspicion
) -> Asked:
    """What is to be done at each location now: one decision for all of the policy's vaults there, and a Job for each where points go."""
    if policy.spec.suspend:
        return Asked(lines=policy.status.retention)
    asked = Asked(held=suspicion.suspects)
    for name in dict.fromkeys(vault.location.metadata.name for vault in vaults):
        here = [vault for vault in vaults if vault.location.metadata.name == name]
        asked = _at_location(asked, policy, snapshots, here, suspicion, now)
    return asked


def told_retention(asked: Asked, states: dict[TaskKey, TaskState]) -> tuple[LocationRetention, ...]:
    """The lines of the status, with what prune Jobs have said at their end."""
    return tuple(_with_prune(line, states.get((PRUNE, line.location))) for line in asked.lines)


def judge_retention(
    policy: BackupPolicy, conditions: Conditions, asked: Asked, lines: Sequence[LocationRetention], states: dict[TaskKey, TaskState],
    now: datetime,
) -> Conditions:  # fmt: skip
    """The condition RetentionApplied: the first location where it does not hold says why. Without rules there is none."""
    generation = policy.metadata.generation
    if not lines and not asked.waits:
        return drop_condition(conditions, RETENTION_APPLIED)
    if policy.spec.suspend:
        message = "spec.suspend is true: nothing is forgotten and nothing is pruned"
        return set_condition(conditions, RETENTION_APPLIED, False, "Suspended", message, now=now, generation=generation)
    if asked.held and lines:
        claims = ", ".join(sorted({one.claim for one in asked.held}))
        message = f"nothing of PVC {claims} is forgotten, because of a suspicious change: see the condition Suspicious"
        return set_condition(conditions, RETENTION_APPLIED, False, "SuspiciousChange", message, now=now, generation=generation)
    for name in [location.name for location in policy.spec.locations]:
        trouble = _trouble(name, asked, next((line for line in lines if line.location == name), None), states)
        if trouble is not None:
            return set_condition(
                conditions, RETENTION_APPLIED, False, trouble.reason, trouble.message, now=now, generation=generation
            )  # fmt: skip
    rules = "; ".join(f"{line.location}: {line.rules}" for line in lines)
    return set_condition(conditions, RETENTION_APPLIED, True, "Applied", rules, now=now, generation=generation)


def _at_location(
    asked: Asked,
    policy: BackupPolicy,
    snapshots: Sequence[BackupSnapshot],
    vaults: Sequence[VaultHere],
    suspicion: Suspicion,
    now: datetime,
) -> Asked:
    name = vaults[0].location.metadata.name
    before = tuple(line for line in policy.status.retention if line.location == name)
    known = [vault for vault in vaults if vault.catalogue is not None]
    asked = structs.replace(asked, waits=asked.waits | _unread(policy, name, vaults, known))
    if not known:
        return structs.replace(asked, lines=(*asked.lines, *before))
    asked = structs.replace(asked, pins=(*asked.pins, *(task for vault in known for task in _pins(policy, snapshots, vault))))
    first, *beside = [vault.catalogue for vault in known if vault.catalogue is not None]
    try:
        weighed = weigh(policy, name, first, _names(snapshots), now, beside, held=suspicion.volumes)
    except Invalid as error:
        waits = asked.waits | {name: Refusal(error.reason, str(error))}
        return structs.replace(asked, lines=(*asked.lines, *before), waits=waits)
    if weighed is None:
        return asked
    dues = {vault.id: _prune_at(weighed.line, vault.catalogue) for vault in known if vault.catalogue is not None}
    return structs.replace(
        asked,
        forgets=(*asked.forgets, *_forget(policy, snapshots, known, weighed, suspicion)),
        prunes=(*asked.prunes, *(_prune(policy, vault, due) for vault in known if (due := dues[vault.id]) is not None and due <= now)),
        lines=(*asked.lines, weighed.line),
        next_at=min((at for at in (asked.next_at, weighed.line.effective_at, *dues.values()) if at), default=None),
    )


def _unread(policy: BackupPolicy, name: str, vaults: Sequence[VaultHere], known: Sequence[VaultHere]) -> dict[str, Refusal]:
    """Why a log there can't be read. Where another vault of the policy is, one that was not copied there yet is no trouble."""
    failures = [vault.failure for vault in vaults if vault.failure is not None and not (known and vault.failure.reason == NOTHING_THERE)]
    return {name: Refusal(failures[0].reason, failures[0].message)} if failures and _has_rules(policy, name) else {}


def _forget(
    policy: BackupPolicy, snapshots: Sequence[BackupSnapshot], vaults: Sequence[VaultHere], weighed: Weighed, suspicion: Suspicion
) -> tuple[Task, ...]:
    """One Job for all that goes from a vault; none while something of it is asked to be pinned and the log does not say so yet."""
    held = {volume.manifest for snapshot in snapshots if is_held(snapshot) for volume in snapshot.status.volumes}
    rules = weighed.line.in_force
    if not weighed.gone or held & set(weighed.gone) or rules is None:
        return ()
    uid, generation = policy.metadata.uid, policy.metadata.generation
    tasks: list[Task] = []
    for vault in vaults:
        gone = sorted(manifest for manifest in weighed.gone if vault.catalogue is not None and manifest in vault.catalogue.live)
        if gone:
            beside = tuple(other.id for other in vaults if other.id != vault.id)
            turn = short_hash(uid, str(generation), *gone)
            arguments = forget_arguments(uid, generation, rules, _guard(policy, vaults, vault, gone, suspicion))
            tasks.append(vault.task(FORGET, turn, arguments, asked_by=uid, beside=beside))
    return tuple(tasks)


def _guard(policy: BackupPolicy, vaults: Sequence[VaultHere], vault: VaultHere, gone: Sequence[str], suspicion: Suspicion) -> Guard | None:
    """A log that does not have the suspicious point yet would let its volume go: then the Job is told which volumes it is about."""
    thresholds = thresholds_of(policy.spec.suspicious_change)
    if thresholds is None:
        return None
    catalogues = [known.catalogue for known in vaults if known.catalogue is not None]
    accepted = {manifest for catalogue in catalogues for manifest in accepted_here(catalogue, thresholds, suspicion.accepted)}
    live = vault.catalogue.live if vault.catalogue is not None else {}
    volumes = {live[manifest].source.persistent_volume_claim_uid for manifest in gone} if suspicion.volumes else set()
    return Guard(thresholds, tuple(sorted(accepted)), tuple(sorted(volumes)))


def _pins(policy: BackupPolicy, snapshots: Sequence[BackupSnapshot], vault: VaultHere) -> tuple[Task, ...]:
    """PIN what a BackupSnapshot asks for and is not pinned so here; UNPIN what one had pinned and asks for no longer."""
    assert vault.catalogue is not None
    live = {point.manifest: point for point in vault.catalogue.points}
    tasks: list[Task] = []
    for snapshot in snapshots:
        reason = pin_reason(snapshot)
        mine = [live[volume.manifest] for volume in snapshot.status.volumes if volume.manifest in live]
        if is_held(snapshot):
            missing = [point.manifest for point in mine if point.pinned is None or _outdated(point.pinned, snapshot, reason)]
            arguments = pin_arguments(missing, reason)
        elif snapshot.status.pinned is not None:
            missing = [point.manifest for point in mine if point.pinned is not None]
            arguments = unpin_arguments(
                missing, f"BackupSnapshot {snapshot.metadata.namespace}/{snapshot.metadata.name} asks for it no longer"
            )
        else:
            continue
        if missing:
            tasks.append(vault.task(PIN, short_hash(*arguments), arguments, asked_by=policy.metadata.uid))
    return tuple(tasks)


def pin_reason(snapshot: BackupSnapshot) -> str:
    """What the log will say of who pinned it, and why."""
    name = f"BackupSnapshot {snapshot.metadata.namespace}/{snapshot.metadata.name}"
    hold = snapshot.spec.legal_hold
    return f"legal hold by {hold.by}: {hold.reason} ({name})" if hold is not None else f"spec.pin of {name}"


def _outdated(known: str, snapshot: BackupSnapshot, reason: str) -> bool:
    """A legal hold is recorded with who and why, also over a pin of another reason; an ordinary pin leaves any other one as it is."""
    return snapshot.spec.legal_hold is not None and known != reason


def is_held(snapshot: BackupSnapshot) -> bool:
    """Somebody asks for it to be kept."""
    return snapshot.spec.pin or snapshot.spec.legal_hold is not None


def _prune(policy: BackupPolicy, vault: VaultHere, due: datetime) -> Task:
    return vault.task(PRUNE, f"{due:%Y%m%dT%H%M%S}", prune_arguments(), asked_by=policy.metadata.uid, deletes=True)


def _prune_at(line: LocationRetention, catalogue: Catalogue) -> datetime | None:
    """When a prune is due by what the log says; at most once in PRUNE_EVERY."""
    garbage = catalogue.garbage
    earliest = line.prune.at + PRUNE_EVERY if line.prune else _LONG_AGO
    if garbage.fresh or garbage.unfinished:
        return earliest
    return max(earliest, garbage.condemned_at + PRUNE_GRACE) if garbage.condemned_at else None


def _with_prune(line: LocationRetention, state: TaskState | None) -> LocationRetention:
    if state is None or state.since is None or state.phase not in (TaskPhase.DONE, TaskPhase.FAILED):
        return line
    failed = state.phase is TaskPhase.FAILED
    ended = LastPrune(at=state.since, reason=state.reason if failed else None, message=state.message if failed else None)
    return structs.replace(line, prune=ended)


def _trouble(name: str, asked: Asked, line: LocationRetention | None, states: dict[TaskKey, TaskState]) -> Refusal | None:
    if (wait := asked.waits.get(name)) is not None:
        return Refusal(wait.reason, f"{name}: {wait.message}")
    for kind in (PIN, FORGET):
        state = states.get((kind, name))
        if state is not None and state.phase is TaskPhase.FAILED:
            return Refusal(state.reason, f"{kind} at BackupLocation {name}: {state.message}")
    if line is None:
        return None
    if line.effective_at is not None:
        count, when = line.expiring_total, f"{line.effective_at:%Y-%m-%dT%H:%M:%SZ}"
        message = (
            f"{name}: by the rules as edited {count} recovery points of volumes go, from {when} on; change them back before to keep them"
        )
        return Refusal("EditGrace", message)
    if line.prune is not None and line.prune.reason is not None:
        return Refusal(line.prune.reason, f"prune at BackupLocation {name}: {line.prune.message}")
    return None


def _names(snapshots: Sequence[BackupSnapshot]) -> dict[str, str]:
    return {volume.manifest: snapshot.metadata.name for snapshot in snapshots for volume in snapshot.status.volumes if volume.manifest}


def _has_rules(policy: BackupPolicy, name: str) -> bool:
    try:
        return asked_rules(policy, name) is not None
    except Invalid:
        return True


_LONG_AGO = datetime.fromisoformat("1970-01-01T00:00:00Z")
