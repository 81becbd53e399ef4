"""The beginning of a run: which policy, which home, which vault, which volumes. Settled once and written into the status.

From then on the run goes by its status, whatever becomes of the policy. Before that nothing is written, so a run that can't begin leaves
nothing behind. The functions without an `observed` are for the gatherer, which has to know what to read.
"""

from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from recoup.api.backuplocation import CONFORMANT, REACHABLE, BackupLocation
from recoup.api.backuppolicy import BackupPolicy
from recoup.api.backupsnapshot import BackupSnapshot, BackupSnapshotStatus, ResolvedRun, SnapshotVolume, VolumeState
from recoup.api.conditions import find_condition, is_true
from recoup.api.names import vault_id
from recoup.api.objects import decode
from recoup.plan.access import Refusal, check_namespace
from recoup.plan.actions import Action, Object
from recoup.plan.copies import first_copies
from recoup.plan.observed import SnapshotObserved
from recoup.plan.selection import missing_claims, select_claims
from recoup.plan.vault_keys import provide_keys

START_LIMIT = timedelta(hours=1)
"""How long a run waits for a location or for keys before it is given up; the schedule brings the next one."""

_POLL = 30.0


class Resolution(Struct, frozen=True):
    """Either `status`, the settled beginning, or why not: a reason, whether it is final, writes to make, and when to look again."""

    status: BackupSnapshotStatus | None = None
    refusal: Refusal | None = None
    final: bool = False
    actions: tuple[Action, ...] = ()
    again: float | None = _POLL


def location_name(snapshot: Object, policy: Object | None) -> str | None:
    """The home location: as settled, else the policy's first; while that is away, another one may be (homes.py)."""
    settled: str | None = (snapshot.get("status") or {}).get("location")
    if settled:
        return settled
    return decode(BackupPolicy, policy).spec.home if policy is not None else None


def vault_of(snapshot: Object, namespace: Object | None, location: Object | None) -> str | None:
    """The vault of the run: as settled, else the namespace's one at the location."""
    settled: str | None = (snapshot.get("status") or {}).get("vault")
    if settled or namespace is None or location is None:
        return settled
    return home_vault(decode(BackupLocation, location), namespace["metadata"]["uid"])


def home_vault(location: BackupLocation, namespace_uid: str) -> str:
    """The vault of a namespace at its home: the one that the location knows, else a new one, by the location's own identity."""
    derived = vault_id(location.metadata.uid, namespace_uid)  # not by the repository's id: the first keys Job makes that while it runs
    known = [vault.id for vault in location.status.vaults if vault.namespace_uid == namespace_uid and not vault.replica]
    return derived if derived in known or not known else known[0]


def resolve_run(observed: SnapshotObserved, now: datetime) -> Resolution:
    """Settle the run, or say what is in its way."""
    snapshot = decode(BackupSnapshot, observed.snapshot)
    name, namespace = snapshot.spec.policy_ref.name, snapshot.metadata.namespace or ""
    if snapshot.spec.cancel:
        return Resolution(refusal=Refusal("Cancelled", "spec.cancel was set before the run began"), final=True, again=None)
    if observed.namespace is None or observed.namespace["metadata"].get("deletionTimestamp"):
        return Resolution(refusal=Refusal("NamespaceTerminating", f"namespace {namespace} is being deleted"), final=True, again=None)
    if observed.policy is None:
        message = f"BackupPolicy {namespace}/{name} does not exist; create it, or delete this BackupSnapshot"
        return _wait(snapshot, Refusal("PolicyNotFound", message), now)
    policy = decode(BackupPolicy, observed.policy)
    location = _usable_location(observed, policy, namespace)
    if isinstance(location, Refusal):
        return _wait(snapshot, location, now)
    vault = home_vault(location, observed.namespace["metadata"]["uid"])
    if not observed.vault_ready:
        uid = observed.namespace["metadata"]["uid"]
        keys = provide_keys(observed, location, vault=vault, namespace=namespace, namespace_uid=uid, now=now)
        waiting = _wait(snapshot, Refusal(keys.reason, keys.message), now)
        return waiting if waiting.final else msgspec.structs.replace(waiting, actions=keys.actions, again=keys.again)
    return Resolution(status=_settle(observed, policy, location, vault, now), again=0.0)


def _usable_location(observed: SnapshotObserved, policy: BackupPolicy, namespace: str) -> BackupLocation | Refusal:
    home = policy.spec.home
    if observed.location is None:
        return Refusal(
            "LocationNotFound", f"BackupLocation {home} does not exist; correct spec.locations of BackupPolicy {policy.metadata.name}"
        )
    assert observed.namespace is not None
    location = decode(BackupLocation, observed.location)
    home = location.metadata.name
    refusal = check_namespace(location, namespace, observed.namespace["metadata"].get("labels") or {})
    if refusal is not None:
        return refusal
    for kind in (REACHABLE, CONFORMANT):
        if not is_true(location.status.conditions, kind):
            condition = find_condition(location.status.conditions, kind)
            reason = condition.reason if condition else "LocationNotProbed"
            message = condition.message if condition else "it has not been probed yet"
            return Refusal(reason, f"BackupLocation {home} can't be used: {message}")
    return location


def _wait(snapshot: BackupSnapshot, refusal: Refusal, now: datetime) -> Resolution:
    created = snapshot.metadata.creation_timestamp or now
    if now - created < START_LIMIT:
        return Resolution(refusal=refusal)
    message = f"{refusal.message} (the run was given up after one hour; create another BackupSnapshot, or wait for the schedule)"
    return Resolution(refusal=Refusal(refusal.reason, message), final=True, again=None)


def _settle(observed: SnapshotObserved, policy: BackupPolicy, location: BackupLocation, vault: str, now: datetime) -> BackupSnapshotStatus:
    selected = [
        SnapshotVolume(persistent_volume_claim=claim["metadata"]["name"], uid=claim["metadata"]["uid"], state=VolumeState.CAPTURING)
        for claim in select_claims(policy.spec.selector, observed.claims)
    ]
    absent = [
        SnapshotVolume(
            persistent_volume_claim=name,
            uid="",
            state=VolumeState.FAILED,
            reason="VolumeClaimNotFound",
            message=f"spec.selector of the policy names PVC {name}, which does not exist",
        )
        for name in missing_claims(policy.spec.selector, observed.claims)
    ]
    locations = {name: decode(BackupLocation, found) for name, found in observed.locations.items()}
    return BackupSnapshotStatus(
        copies=first_copies(policy, {location.metadata.name: location} | locations, location.metadata.name) if selected or absent else (),
        policy_uid=policy.metadata.uid,
        location=location.metadata.name,
        vault=vault,
        run=ResolvedRun(
            method=policy.spec.capture.method,
            run_as_user=policy.spec.capture.run_as_user,
            volume_snapshot_class_name=policy.spec.capture.volume_snapshot_class_name,
            exclude=policy.spec.files.exclude,
            mover=policy.spec.mover,
            hooks=policy.spec.hooks,
            suspicious_change=policy.spec.suspicious_change,
        ),
        started_at=now.replace(microsecond=0),
        volumes=tuple(sorted([*selected, *absent], key=lambda volume: volume.persistent_volume_claim)),
    )
