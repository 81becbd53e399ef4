"""What a BackupPolicy does next: create the BackupSnapshot of the slot that is due, and say truthfully how well it protects.

Runs themselves are plan/snapshot.py's; when slots are, and what became of them, is told by schedule.py and ledger.py. Nothing here
deletes anything: neither a policy that changes nor one that goes takes a recovery point with it.
"""

from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, structs

from recoup.api.backuplocation import CONFORMANT, REACHABLE, BackupLocation
from recoup.api.backuppolicy import KIND, BackupPolicy, BackupPolicyStatus, Coverage, LastSuccess
from recoup.api.backupsnapshot import KIND as SNAPSHOT_KIND
from recoup.api.backupsnapshot import STORED, BackupSnapshot, Trigger, VolumeState
from recoup.api.conditions import READY, RECONCILING, STALLED, ConditionStatus, find_condition, is_true
from recoup.api.labels import POLICY, owner_labels
from recoup.api.names import label_value, snapshot_name
from recoup.api.objects import API_VERSION, decode, encode
from recoup.errors import Invalid
from recoup.plan.access import Refusal, check_namespace
from recoup.plan.actions import Create, Object, Plan
from recoup.plan.checks import Checks, judge_checks, plan_checks
from recoup.plan.conditions import transition_notes
from recoup.plan.forgetting import Asked, VaultHere, ask_retention, judge_retention, needs_points, told_retention
from recoup.plan.ledger import SUSPENDED, Before, Ledger, Obstacles, Timetable, keep_ledger, ran, with_run
from recoup.plan.observed import ApiFailure, Catalogue, FailureKey, Progress, Surroundings
from recoup.plan.policy_conditions import Judged, judge_policy
from recoup.plan.protection import judge_rpo, newest_points, next_point
from recoup.plan.refusals import Admitted, admit
from recoup.plan.replicas import judge_replicas
from recoup.plan.replication import Places, replication_tasks
from recoup.plan.schedule import deadline_of, delay_of, describe, read_schedule
from recoup.plan.selection import select_claims
from recoup.plan.upkeep import Upkeep, UpkeepObserved, plan_upkeep
from recoup.plan.vault_keys import KeysStep, drop_finished_keys_jobs, provide_keys
from recoup.plan.verification import Vault

_POLL = 30.0
"""Seconds between looks while a due slot is held up: no event tells a policy that its obstacle is gone."""

_POLL_IDLE = 120.0
"""The same while none is due, so that the conditions are not wrong for long."""


class PolicyObserved(Struct, frozen=True, kw_only=True):
    """All that decides the next step of one BackupPolicy.

    policy: the BackupPolicy, fresh. namespace: its Namespace, or None if it is gone.
    location: the BackupLocation that spec.locations[0] names, or None. locations: all that spec.locations names and that exist, by name.
    snapshots: every BackupSnapshot of the namespace whose spec.policyRef names this policy.
    claims: every PVC of the namespace.
    vault: the namespace's vault at its home. vault_ready, keys_jobs: as in SnapshotObserved.
    maintenance_ready: the keys Job handed out what retention works with; looked at where needs_points says so.
    upkeep_jobs: Jobs and Pods of the upkeep of this namespace's vaults, whichever policy asked for them.
    catalogues, catalogue_failures: by location, of `vault`, where wants_catalogues says so.
    progress: by Pod name. warnings: by uid, the newest Warning Event about one of these Pods.
    restores: every RestoreRequest of the namespace: one that met damage has it looked for and healed, one that went well took its time.
    storage_classes: all, where drills are asked for.
    failures: the last API error per object of this owner, dropped once the write succeeded.
    """

    policy: Object
    around: Surroundings
    namespace: Object | None = None
    location: Object | None = None
    locations: dict[str, Object] = {}
    snapshots: tuple[Object, ...] = ()
    claims: tuple[Object, ...] = ()
    vault: str | None = None
    vault_ready: bool = False
    maintenance_ready: bool = True
    keys_jobs: tuple[Object, ...] = ()
    upkeep_jobs: tuple[Object, ...] = ()
    catalogues: dict[str, Catalogue] = {}
    catalogue_failures: dict[str, ApiFailure] = {}
    progress: dict[str, Progress] = {}
    warnings: dict[str, str] = {}
    restores: tuple[Object, ...] = ()
    storage_classes: tuple[Object, ...] = ()
    failures: dict[FailureKey, ApiFailure] = {}


def wants_catalogues(observed: PolicyObserved) -> bool:
    """Whether this look needs the vault's recovery points at the policy's locations; `observed` is complete but for them."""
    if not observed.vault_ready:
        return False
    spec = observed.policy["spec"]
    return len(observed.locations) > 1 or "verification" in spec or needs_points(observed.policy, observed.snapshots)


def plan_policy(observed: PolicyObserved, now: datetime) -> Plan:
    """Idempotent: the same look twice gives the same plan, and a plan carried out half gives its rest."""
    policy = decode(BackupPolicy, observed.policy)
    if policy.metadata.deletion_timestamp is not None or not _lives(observed.namespace):
        return Plan()
    assert observed.namespace is not None
    location = None if observed.location is None else decode(BackupLocation, observed.location)
    snapshots = tuple(decode(BackupSnapshot, snapshot) for snapshot in observed.snapshots)
    selected = select_claims(policy.spec.selector, observed.claims)
    fault: Refusal | None = None
    timetable = Timetable()
    try:
        timetable = _timetable(policy)
    except Invalid as error:
        fault = Refusal(error.reason, str(error))
    hold = fault or _hold(policy, location, observed.namespace, selected)
    keys = _provide_keys(policy, location, observed, now) if hold is None else None
    if keys is not None and keys.failed and not observed.vault_ready:
        hold = Refusal(keys.reason, keys.message)
    active = next((snapshot.metadata.name for snapshot in snapshots if not is_finished(snapshot)), None)
    obstacles = Obstacles(suspended=policy.spec.suspend, hold=hold, active=active)
    ledger = keep_ledger(timetable, _before(policy), snapshots, obstacles, now=now)
    admitted = Admitted(())
    if ledger.run is not None:
        snapshot = _build_snapshot(policy, ledger.run, Trigger.CREATION if ledger.run == timetable.first else Trigger.SCHEDULE)
        admitted = admit((Create(snapshot),), observed.failures, now)
        start = timetable.starts(ledger.run)
        if admitted.refusal is None:
            line = ran(ledger.run, snapshot["metadata"]["name"], now - start)
            ledger = structs.replace(ledger, runs=with_run(ledger.runs, line))
        else:  # the slot stays due until its BackupSnapshot is seen
            ledger = structs.replace(ledger, run=None, waiting=ledger.run, next_start=start)
            hold = Refusal(admitted.refusal.reason, f"the run cannot be started: {admitted.refusal.message}")
    status = _status(policy, location, snapshots, selected, ledger, hold, now)
    volumes = newest_points(policy, selected, snapshots)
    rpo = judge_rpo(policy, status.conditions, volumes, selected, next_point(policy, snapshots, ledger, now), now)
    status = structs.replace(status, conditions=rpo.conditions, rpo=rpo.state, volumes=volumes)
    places = _places(policy, observed)
    checks = _check(policy, location, observed, now)
    retention = _ask_retention(policy, observed, snapshots, keys, now)
    upkeep = _keep_up(policy, observed, _Wanted(places, checks, retention), now)
    standing = judge_replicas(policy, status.conditions, places, upkeep.states, snapshots, now)
    status = structs.replace(status, conditions=standing.conditions, copies=standing.copies, replication=standing.replication)
    checked = judge_checks(policy, status, checks, upkeep.states, observed.restores, now)
    status = checked.status
    lines = told_retention(retention, upkeep.states)
    conditions = judge_retention(policy, status.conditions, retention, lines, upkeep.states, now)
    status = structs.replace(status, conditions=conditions, retention=lines)
    notes = (*transition_notes(policy.status.conditions, status.conditions), *checked.events)
    made = keys.actions if keys is not None else drop_finished_keys_jobs(observed)
    changes_at = min((at for at in (rpo.changes_at, checked.changes_at, retention.next_at) if at is not None), default=None)
    waits = (admitted.again or _again(ledger, status, changes_at, now), keys.again if keys else None, upkeep.again)
    return Plan(
        actions=(*admitted.actions, *admit(made, observed.failures, now).actions, *upkeep.actions),
        status=encode(status),
        events=notes,
        requeue_after=min((wait for wait in waits if wait is not None), default=None),
    )


def is_finished(snapshot: BackupSnapshot) -> bool:
    """The run has ended, well or not. One that is being deleted counts: nothing more will come of it."""
    return snapshot.status.completed_at is not None or snapshot.metadata.deletion_timestamp is not None


def _lives(namespace: Object | None) -> bool:
    return namespace is not None and not namespace["metadata"].get("deletionTimestamp")


def _timetable(policy: BackupPolicy) -> Timetable:
    schedule = policy.spec.schedule
    if schedule is None:
        return Timetable()
    return Timetable(
        slots=read_schedule(schedule),
        delay=delay_of(schedule, f"{policy.metadata.namespace}/{policy.metadata.name}"),
        deadline=deadline_of(schedule),
        first=policy.metadata.creation_timestamp if schedule.run_on_create else None,
    )


def _hold(policy: BackupPolicy, location: BackupLocation | None, namespace: Object, selected: tuple[Object, ...]) -> Refusal | None:
    """Why no run can be made that could end well; each of these takes a person."""
    name = policy.spec.home
    if location is None:
        return Refusal("LocationNotFound", f"BackupLocation {name} does not exist; create it, or name another in spec.locations")
    refused = check_namespace(location, namespace["metadata"]["name"], namespace["metadata"].get("labels") or {})
    if refused is not None:
        return refused
    conformant = find_condition(location.status.conditions, CONFORMANT)
    if conformant is not None and conformant.status is ConditionStatus.FALSE:
        return Refusal(conformant.reason, f"BackupLocation {name} cannot be the home of backups: {conformant.message}")
    if not selected:
        return Refusal("NoVolumesSelected", "spec.selector selects no PersistentVolumeClaim of this namespace; create one, or change it")
    return None


def _provide_keys(policy: BackupPolicy, location: BackupLocation | None, observed: PolicyObserved, now: datetime) -> KeysStep | None:
    """The vault's keys are made as soon as the home can be used, so that the first run finds them; None if they are there, or it can't."""
    ready = observed.vault_ready and observed.maintenance_ready
    if observed.vault is None or ready or policy.spec.suspend or location is None:
        return None
    if not all(is_true(location.status.conditions, kind) for kind in (REACHABLE, CONFORMANT)):
        return None
    assert observed.namespace is not None
    namespace = observed.namespace["metadata"]
    return provide_keys(observed, location, vault=observed.vault, namespace=namespace["name"], namespace_uid=namespace["uid"], now=now)


def _check(policy: BackupPolicy, location: BackupLocation | None, observed: PolicyObserved, now: datetime) -> Checks:
    vault = None
    if location is not None and observed.vault is not None and observed.vault_ready:
        vault = Vault(
            id=observed.vault, namespace=policy.metadata.namespace or "", around=observed.around, keys=location.spec.encryption.keys
        )
    locations = {name: decode(BackupLocation, found) for name, found in observed.locations.items()}
    return plan_checks(policy, locations, observed.catalogues, vault, observed.restores, observed.storage_classes, now)


def _places(policy: BackupPolicy, observed: PolicyObserved) -> Places:
    namespace = (observed.namespace or {})["metadata"]
    return Places(
        names=tuple(item.name for item in policy.spec.locations),
        vault=observed.vault or "",
        namespace=namespace["name"],
        namespace_labels=namespace.get("labels") or {},
        locations={name: decode(BackupLocation, found) for name, found in observed.locations.items()},
        catalogues=observed.catalogues,
        failures=observed.catalogue_failures,
    )


def _ask_retention(
    policy: BackupPolicy, observed: PolicyObserved, snapshots: tuple[BackupSnapshot, ...], keys: KeysStep | None, now: datetime
) -> Asked:
    """What retention wants of the vault at each location: nothing while its keys are not there, which is told."""
    if observed.vault is None or not observed.vault_ready:
        return Asked(lines=policy.status.retention)
    if not observed.maintenance_ready:
        told = Refusal(keys.reason, keys.message) if keys else Refusal("MakingKeys", "the keys that retention needs are not handed out yet")
        return Asked(lines=policy.status.retention, waits={policy.spec.home: told})
    vaults = [
        VaultHere(
            id=observed.vault,
            namespace=policy.metadata.namespace or "",
            around=observed.around,
            location=decode(BackupLocation, location),
            catalogue=observed.catalogues.get(name),
            failure=observed.catalogue_failures.get(name),
        )
        for name, location in observed.locations.items()
    ]
    return ask_retention(policy, snapshots, vaults, now)


class _Wanted(Struct, frozen=True):
    """What the parts of a policy want done of its vault."""

    places: Places
    checks: Checks
    retention: Asked


def _keep_up(policy: BackupPolicy, observed: PolicyObserved, asked: _Wanted, now: datetime) -> Upkeep:
    """What the vault needs besides backups, in order of importance."""
    if observed.vault is None or not observed.vault_ready:
        return Upkeep()
    places, checks, retention = asked.places, asked.checks, asked.retention
    copies = replication_tasks(places, observed.around)
    wanted = [*checks.heals, *retention.pins, *copies, *retention.forgets, *checks.looks, *retention.prunes, *checks.drills]
    around = UpkeepObserved(
        vault=observed.vault,
        policy=policy.metadata.uid,
        locations=tuple(places.locations.values()),
        things=observed.upkeep_jobs,
        progress=observed.progress,
        warnings=observed.warnings,
        failures=observed.failures,
    )
    return plan_upkeep(wanted, around, now)


def _before(policy: BackupPolicy) -> Before:
    status = policy.status
    ready, stalled = find_condition(status.conditions, READY), find_condition(status.conditions, STALLED)
    assert policy.metadata.creation_timestamp is not None
    return Before(
        created=policy.metadata.creation_timestamp,
        status=status,
        changed=status.observed_generation not in (None, policy.metadata.generation),
        suspended=ready is not None and ready.reason == SUSPENDED,
        hold=Refusal(stalled.reason, stalled.message) if stalled else None,
    )


def _build_snapshot(policy: BackupPolicy, slot: datetime, trigger: Trigger) -> dict[str, Any]:
    metadata = policy.metadata
    labels = owner_labels(kind=KIND, namespace=metadata.namespace, name=metadata.name, uid=metadata.uid)
    return {
        "apiVersion": API_VERSION,
        "kind": SNAPSHOT_KIND,
        "metadata": {
            "name": snapshot_name(metadata.name, slot),
            "namespace": metadata.namespace,
            "labels": labels | {POLICY: label_value(metadata.name)},
        },
        "spec": {"policyRef": {"name": metadata.name}, "trigger": str(trigger), "slot": f"{slot:%Y-%m-%dT%H:%M:%SZ}"},
    }


def _status(
    policy: BackupPolicy,
    location: BackupLocation | None,
    snapshots: tuple[BackupSnapshot, ...],
    selected: tuple[Object, ...],
    ledger: Ledger,
    hold: Refusal | None,
    now: datetime,
) -> BackupPolicyStatus:
    ended = [snapshot for snapshot in snapshots if snapshot.status.completed_at is not None and not snapshot.spec.cancel]
    newest = max(ended, key=_ended_at, default=None)
    good = [snapshot for snapshot in ended if is_true(snapshot.status.conditions, STORED) and snapshot.status.taken_at is not None]
    best = max(good, key=_taken_at, default=None)
    running = any(not is_finished(snapshot) for snapshot in snapshots) or ledger.run is not None
    judged = Judged(policy=policy, location=location, newest=newest, running=running, ledger=ledger, hold=hold)
    last_success = policy.status.last_success
    if best is not None and (last_success is None or _taken_at(best) >= last_success.at):
        last_success = LastSuccess(snapshot=best.metadata.name, at=_taken_at(best))
    return BackupPolicyStatus(
        observed_generation=policy.metadata.generation,
        conditions=judge_policy(judged, now),
        schedule=describe(policy.spec.schedule),
        last_success=last_success,
        next_run=ledger.next_start,
        last_runs=ledger.runs,
        coverage=_coverage(selected, newest),
    )


def _coverage(selected: tuple[Object, ...], newest: BackupSnapshot | None) -> Coverage:
    uids = {claim["metadata"]["uid"] for claim in selected}
    volumes = [volume for volume in newest.status.volumes if volume.uid in uids] if newest else []
    protected = sum(volume.state is VolumeState.STORED for volume in volumes)
    failed = sum(volume.state is VolumeState.FAILED for volume in volumes)
    return Coverage(selected=len(uids), protected=protected, failed=failed, summary=f"{protected}/{len(uids)}")


def _ended_at(snapshot: BackupSnapshot) -> datetime:
    assert snapshot.status.completed_at is not None
    return snapshot.status.completed_at


def _taken_at(snapshot: BackupSnapshot) -> datetime:
    assert snapshot.status.taken_at is not None
    return snapshot.status.taken_at


def _again(ledger: Ledger, status: BackupPolicyStatus, changes_at: datetime | None, now: datetime) -> float | None:
    if ledger.waiting is not None:
        return _POLL
    waits = [max(timedelta(), moment - now).total_seconds() for moment in (ledger.next_start, changes_at) if moment is not None]
    if find_condition(status.conditions, STALLED) or find_condition(status.conditions, RECONCILING):
        waits.append(_POLL_IDLE)
    return min(waits, default=None)
