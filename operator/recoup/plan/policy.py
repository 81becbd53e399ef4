"""What a BackupPolicy does next: create the BackupSnapshot of the slot that is due, and say truthfully how well it protects.

Runs themselves are plan/snapshot.py's; when slots are, and what became of them, is told by schedule.py and ledger.py. Nothing here
deletes anything: neither a policy that changes nor one that goes takes a recovery point with it.
"""

from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

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
from recoup.plan.conditions import transition_notes
from recoup.plan.homes import Home, choose_home, judge_home
from recoup.plan.ledger import SUSPENDED, Before, Ledger, Obstacles, Timetable, keep_ledger, ran, with_run
from recoup.plan.policy_conditions import Judged, judge_policy
from recoup.plan.policy_observed import PolicyObserved
from recoup.plan.policy_upkeep import keep_vault, locations_of
from recoup.plan.protection import judge_rpo, newest_points, next_point
from recoup.plan.refusals import Admitted, admit
from recoup.plan.schedule import deadline_of, delay_of, describe, read_schedule
from recoup.plan.selection import select_claims
from recoup.plan.vault_keys import KeysStep, drop_finished_keys_jobs, provide_keys

_POLL = 30.0
"""Seconds between looks while a due slot is held up: no event tells a policy that its obstacle is gone."""

_POLL_IDLE = 120.0
"""The same while none is due, so that the conditions are not wrong for long."""


def plan_policy(observed: PolicyObserved, now: datetime) -> Plan:
    """Idempotent: the same look twice gives the same plan, and a plan carried out half gives its rest."""
    policy = decode(BackupPolicy, observed.policy)
    if policy.metadata.deletion_timestamp is not None or not _lives(observed.namespace):
        return Plan()
    assert observed.namespace is not None
    location = None if observed.location is None else decode(BackupLocation, observed.location)
    home = choose_home(policy, locations_of(observed), observed.namespace, now)
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
    here = tuple(snapshot for snapshot in snapshots if not _is_held(snapshot, policy, home))
    active = next((snapshot.metadata.name for snapshot in here if not is_finished(snapshot)), None)
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
    conditions = judge_home(policy, status.conditions, home, now)
    rpo = judge_rpo(policy, conditions, volumes, selected, next_point(policy, here, ledger, now), now)
    status = structs.replace(status, conditions=rpo.conditions, rpo=rpo.state, volumes=volumes, home=home.name)
    kept = keep_vault(policy, location, observed, snapshots, keys, status, now)
    notes = (*transition_notes(policy.status.conditions, kept.status.conditions), *kept.events)
    made = keys.actions if keys is not None else drop_finished_keys_jobs(observed)
    changes_at = min((at for at in (rpo.changes_at, kept.changes_at, home.changes_at) if at is not None), default=None)
    waits = (admitted.again or _again(ledger, kept.status, changes_at, now), keys.again if keys else None, kept.again)
    return Plan(
        actions=(*admitted.actions, *admit(made, observed.failures, now).actions, *kept.actions),
        status=encode(kept.status),
        events=notes,
        requeue_after=min((wait for wait in waits if wait is not None), default=None),
    )


def is_finished(snapshot: BackupSnapshot) -> bool:
    """The run has ended, well or not. One that is being deleted counts: nothing more will come of it; and so does what came back."""
    over = snapshot.status.completed_at is not None or snapshot.spec.origin is not None
    return over or snapshot.metadata.deletion_timestamp is not None


def _is_held(snapshot: BackupSnapshot, policy: BackupPolicy, home: Home) -> bool:
    """The run is held up at a home that is away, while others go on elsewhere. It ends when that home is back."""
    return not is_finished(snapshot) and home.name != policy.spec.home and snapshot.status.location == policy.spec.home


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
    if location is None:
        missing = policy.spec.home
        return Refusal("LocationNotFound", f"BackupLocation {missing} does not exist; create it, or name another in spec.locations")
    name = location.metadata.name
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
