"""One BackupSnapshot: what was observed and the time in, the next writes and the whole status out.

Settle the run (snapshot_resolve.py), take each volume one step on (snapshot_volume.py), say how it stands (snapshot_status.py). Running it
twice, on two replicas, or again after a stop behind any write ends in the same objects and the same status: tests/faults proves it for
every prefix.
"""

from datetime import datetime

import msgspec

from recoup.api.backuplocation import BackupLocation
from recoup.api.backuppolicy import BackupPolicy
from recoup.api.backupsnapshot import KIND, BackupSnapshot, BackupSnapshotStatus, ResolvedRun
from recoup.api.objects import API_VERSION, decode, encode
from recoup.plan.access import Refusal
from recoup.plan.actions import Action, Delete, Object, Plan
from recoup.plan.budgets import Request
from recoup.plan.capture import Terms, release
from recoup.plan.copies import renew_copies
from recoup.plan.hooks import HOOKS_POLL, Around, Order, Window, open_window
from recoup.plan.keeping import is_forgotten, renew_keeping
from recoup.plan.live import is_live
from recoup.plan.objects.identity import Owner
from recoup.plan.observed import SnapshotObserved
from recoup.plan.outcome import is_passing, note_outcome
from recoup.plan.refusals import admit
from recoup.plan.snapshot_resolve import home_vault, location_name, resolve_run, vault_of
from recoup.plan.snapshot_status import ORDINARY, describe_run, is_over, refused_status
from recoup.plan.snapshot_volume import FINAL, Run, needs_catalogue, seats_wanted, step_volume
from recoup.plan.suspicion import judge_snapshot
from recoup.plan.vault_keys import drop_finished_keys_jobs
from recoup.plan.volume_view import VolumeView, measure_skew, view_volume

__all__ = ["hooks_ordered", "is_at_rest", "location_name", "movers_wanted", "plan_snapshot", "vault_of", "wants_catalogue"]


def is_at_rest(snapshot: Object) -> bool:
    """The run is over as far as its status tells: only its children still need a look, and nothing else has to be read."""
    status = decode(BackupSnapshot, snapshot).status
    return status.completed_at is not None


def wants_catalogue(observed: SnapshotObserved, now: datetime) -> bool:
    """Whether this look needs the vault's catalogue; `observed` is complete but for that."""
    snapshot = decode(BackupSnapshot, observed.snapshot)
    return snapshot.status.run is not None and any(needs_catalogue(view, observed, now) for view in _views(observed, snapshot))


def movers_wanted(observed: SnapshotObserved, now: datetime) -> tuple[Request, ...]:
    """The movers that this look would start if each had a seat; `observed` is complete but for the seats."""
    snapshot = decode(BackupSnapshot, observed.snapshot)
    if snapshot.status.run is None or snapshot.metadata.deletion_timestamp is not None:
        return ()
    views = _views(observed, snapshot)
    run = msgspec.structs.replace(_run(observed, snapshot, now), window=_window(observed, snapshot, views, now))
    return seats_wanted(views, observed, run)


def hooks_ordered(observed: SnapshotObserved, now: datetime) -> Order | None:
    """What controller/hooks.py is to do before this look goes on; `observed` is complete but for seats, and has the session as it is."""
    snapshot = decode(BackupSnapshot, observed.snapshot)
    if snapshot.status.run is None or snapshot.metadata.deletion_timestamp is not None:
        return None
    return _window(observed, snapshot, _views(observed, snapshot), now).order


def _window(observed: SnapshotObserved, snapshot: BackupSnapshot, views: list[VolumeView], now: datetime) -> Window:
    status = snapshot.status
    assert status.run is not None
    around = Around(
        begun=bool(observed.children),
        settled=all(view.is_cut() or view.known.state in FINAL for view in views),
        holds=snapshot.spec.cancel or _is_held(observed) or all(view.known.state in FINAL for view in views),
        blocked=observed.blocked_by,
        me=observed.holder,
        now=now,
    )
    return open_window(status.hooks, status.run.hooks, observed.hooks, around)


def _is_held(observed: SnapshotObserved) -> bool:
    """It is not to be captured yet, because too much of the namespace waits for movers."""
    return not observed.children and observed.waiting_snapshots >= observed.around.limits.waiting_snapshots


def plan_snapshot(observed: SnapshotObserved, now: datetime) -> Plan:
    """The next step of the run."""
    snapshot = decode(BackupSnapshot, observed.snapshot)
    if snapshot.metadata.deletion_timestamp is not None:
        return Plan(actions=tuple(action for view in _views(observed, snapshot) for action in release(view)), requeue_after=2.0)
    if snapshot.status.run is None:
        return _plan_beginning(observed, snapshot, now)
    return _plan_run(observed, snapshot, now)


def _plan_beginning(observed: SnapshotObserved, snapshot: BackupSnapshot, now: datetime) -> Plan:
    before, generation = snapshot.status, snapshot.metadata.generation
    if before.completed_at is not None:
        return Plan()
    resolution = resolve_run(observed, now)
    admitted = admit(resolution.actions, observed.failures, now)
    if resolution.refusal is not None:
        told = Refusal(admitted.refusal.reason, admitted.refusal.message) if admitted.refusal else resolution.refusal
        status = refused_status(before, told, final=resolution.final, now=now, generation=generation)
    else:
        assert resolution.status is not None
        settled = msgspec.structs.replace(resolution.status, conditions=before.conditions)
        status = _described(observed, snapshot, settled, now, cleaning=False)
    return Plan(
        actions=admitted.actions,
        status=encode(status),
        events=note_outcome(before.conditions, status.conditions, ordinary=ORDINARY),
        requeue_after=None if is_over(status) else admitted.again or resolution.again,
    )


def _plan_run(observed: SnapshotObserved, snapshot: BackupSnapshot, now: datetime) -> Plan:
    before = snapshot.status
    if before.completed_at is not None and not observed.children and is_forgotten(before, observed.catalogues):
        metadata = snapshot.metadata
        return Plan(actions=(Delete(API_VERSION, KIND, metadata.namespace, metadata.name, metadata.uid),))
    views = _views(observed, snapshot)
    window = _window(observed, snapshot, views, now)
    run = msgspec.structs.replace(_run(observed, snapshot, now), window=window)
    steps = [step_volume(view, observed, run) for view in views]
    volumes = tuple(step.known for step in steps)
    settled = msgspec.structs.replace(before, volumes=volumes, hooks=window.status, skew=before.skew or measure_skew(views))
    cleaning = any(view.children() for view in views)
    status = _described(observed, snapshot, settled, now, cleaning=cleaning)
    actions: list[Action] = [*drop_finished_keys_jobs(observed), *(action for step in steps for action in step.actions)]
    again = [step.again for step in steps if step.again is not None]
    hooks_moved = before.hooks != window.status
    if window.status is not None and window.status.ended_at is None:
        again.append(0.0 if hooks_moved else HOOKS_POLL)  # they begin when this is written
    return Plan(
        actions=tuple(actions),
        status=None if not hooks_moved and is_passing(before, status, acting=bool(actions)) else encode(status),
        events=note_outcome(before.conditions, status.conditions, ordinary=ORDINARY),
        requeue_after=min(again, default=None),
    )


def _described(
    observed: SnapshotObserved, snapshot: BackupSnapshot, status: BackupSnapshotStatus, now: datetime, *, cleaning: bool
) -> BackupSnapshotStatus:
    namespace, generation = snapshot.metadata.namespace or "", snapshot.metadata.generation
    if status.completed_at is not None:
        status = _renewed(observed, snapshot, status, now)
    status = describe_run(status, namespace=namespace, now=now, generation=generation, cleaning=cleaning)
    asked = _own_policy(observed, status)
    terms = asked.spec.suspicious_change if asked else (status.run or ResolvedRun()).suspicious_change
    conditions = judge_snapshot(status.conditions, status.volumes, terms, snapshot.spec.accept, now=now, generation=generation)
    return msgspec.structs.replace(status, conditions=conditions)


def _own_policy(observed: SnapshotObserved, status: BackupSnapshotStatus) -> BackupPolicy | None:
    """The policy as it is now; None if it was not read, is gone, or another one has its name."""
    policy = decode(BackupPolicy, observed.policy) if observed.policy is not None else None
    return policy if policy and policy.metadata.uid == status.policy_uid else None


def _renewed(observed: SnapshotObserved, snapshot: BackupSnapshot, status: BackupSnapshotStatus, now: datetime) -> BackupSnapshotStatus:
    """What the logs say of a recovery point after its run: the part of the status that still changes."""
    own = _own_policy(observed, status)
    wanted = tuple(item.name for item in own.spec.locations) if own else ()
    locations = {name: decode(BackupLocation, location) for name, location in observed.locations.items()}
    status = msgspec.structs.replace(status, copies=renew_copies(status, wanted, locations, observed.catalogues, now))
    return renew_keeping(snapshot, status, own, observed.catalogues, observed.beside)


def _owner(snapshot: BackupSnapshot) -> Owner:
    metadata = snapshot.metadata
    return Owner(kind=KIND, namespace=metadata.namespace or "", name=metadata.name, uid=metadata.uid)


def _views(observed: SnapshotObserved, snapshot: BackupSnapshot) -> list[VolumeView]:
    owner, tickets = _owner(snapshot), observed.tickets
    live = is_live(snapshot.status)
    return [
        view_volume(observed, owner, volume, tickets[volume.uid].session if volume.uid in tickets else None, live=live)
        for volume in snapshot.status.volumes
    ]


def _run(observed: SnapshotObserved, snapshot: BackupSnapshot, now: datetime) -> Run:
    status = snapshot.status
    assert status.run is not None
    assert status.vault is not None
    namespace = (observed.namespace or {"metadata": {}})["metadata"]
    terms = Terms(
        owner=_owner(snapshot),
        namespace_uid=namespace.get("uid", ""),
        namespace_ending=observed.namespace is None or bool(namespace.get("deletionTimestamp")),
        snapshot_class=status.run.volume_snapshot_class_name,
        now=now,
    )
    location = decode(BackupLocation, observed.location) if observed.location else None
    foreign = location is not None and "uid" in namespace and home_vault(location, namespace["uid"]) != status.vault
    return Run(
        terms=terms,
        resolved=status.run,
        vault=status.vault,
        foreign_vault=foreign,
        location=location.spec if location else None,
        place=status.location or "",
        started_at=status.started_at or now,
        cancel=snapshot.spec.cancel,
        captures=bool(observed.children),
        expected=tuple(volume.uid for volume in status.volumes if volume.uid),
    )
