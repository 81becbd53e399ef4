"""What a policy has done for its vault besides backups: copies, verification, drills, retention; and what its status says of them.

Each part says what it wants and judges what became of it; here they are put in order of importance for the upkeep Jobs.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct, structs

from recoup.api.backuplocation import BackupLocation
from recoup.api.backuppolicy import BackupPolicy, BackupPolicyStatus
from recoup.api.backupsnapshot import BackupSnapshot
from recoup.api.objects import decode
from recoup.plan.access import Refusal
from recoup.plan.actions import Action, EventNote
from recoup.plan.checks import Checks, judge_checks, plan_checks
from recoup.plan.forgetting import Asked, VaultHere, ask_retention, judge_retention, needs_points, told_retention
from recoup.plan.policy_observed import PolicyObserved, VaultElsewhere
from recoup.plan.replicas import VaultCopies, judge_replicas
from recoup.plan.replication import Places, replication_tasks
from recoup.plan.upkeep import Task, Upkeep, UpkeepObserved, plan_upkeep
from recoup.plan.vault_keys import KeysStep
from recoup.plan.verification import Vault


class Kept(Struct, frozen=True, kw_only=True):
    """The status with what upkeep has to say, the writes, and when to look again: at a moment, or in seconds."""

    status: BackupPolicyStatus
    actions: tuple[Action, ...] = ()
    events: tuple[EventNote, ...] = ()
    changes_at: datetime | None = None
    again: float | None = None


def wants_catalogues(observed: PolicyObserved) -> bool:
    """Whether this look needs the vault's recovery points at the policy's locations; `observed` is complete but for them."""
    if not observed.vault_ready:
        return False
    spec = observed.policy["spec"]
    return len(observed.locations) > 1 or "verification" in spec or needs_points(observed.policy, observed.snapshots)


def keep_vault(
    policy: BackupPolicy,
    location: BackupLocation | None,
    observed: PolicyObserved,
    snapshots: tuple[BackupSnapshot, ...],
    keys: KeysStep | None,
    status: BackupPolicyStatus,
    now: datetime,
) -> Kept:
    """The next step of the policy's upkeep. `status`: with what runs have to say."""
    places = _places(policy, observed)
    checks = _check(policy, location, observed, places, now)
    retention = _ask_retention(policy, observed, places, snapshots, keys, now)
    upkeep = _keep_up(policy, observed, _Wanted(places, checks, retention), now)
    elsewhere = [_keep_elsewhere(policy, observed, each, now) for each in observed.elsewhere]
    copies = [VaultCopies(places, upkeep.states), *(VaultCopies(each.places, each.upkeep.states) for each in elsewhere)]
    standing = judge_replicas(policy, status.conditions, copies, snapshots, now)
    status = structs.replace(status, conditions=standing.conditions, copies=standing.copies, replication=standing.replication)
    checked = judge_checks(policy, status, checks, upkeep.states, observed.restores, now)
    lines = told_retention(retention, upkeep.states)
    conditions = judge_retention(policy, checked.status.conditions, retention, lines, upkeep.states, now)
    return Kept(
        status=structs.replace(checked.status, conditions=conditions, retention=lines),
        actions=(*upkeep.actions, *(action for each in elsewhere for action in each.upkeep.actions)),
        events=tuple(checked.events),
        changes_at=min((at for at in (checked.changes_at, retention.next_at) if at is not None), default=None),
        again=min((again for again in (upkeep.again, *(each.upkeep.again for each in elsewhere)) if again is not None), default=None),
    )


def _check(policy: BackupPolicy, location: BackupLocation | None, observed: PolicyObserved, places: Places, now: datetime) -> Checks:
    vault = None
    if location is not None and observed.vault is not None and observed.vault_ready:
        vault = Vault(
            id=observed.vault, namespace=policy.metadata.namespace or "", around=observed.around, keys=location.spec.encryption.keys
        )
    return plan_checks(policy, places.locations, observed.catalogues, vault, observed.restores, observed.storage_classes, now)


def locations_of(observed: PolicyObserved) -> dict[str, BackupLocation]:
    """The policy's locations that exist, by name."""
    return {name: decode(BackupLocation, found) for name, found in observed.locations.items()}


def _places(policy: BackupPolicy, observed: PolicyObserved, elsewhere: VaultElsewhere | None = None) -> Places:
    """The vault that runs go to now, or another one of the policy, at all of the policy's locations, its home first."""
    namespace = (observed.namespace or {})["metadata"]
    names = [item.name for item in policy.spec.locations]
    home = elsewhere.home if elsewhere else observed.location["metadata"]["name"] if observed.location else names[0]
    return Places(
        names=(home, *(name for name in names if name != home)),
        vault=elsewhere.vault if elsewhere else observed.vault or "",
        namespace=namespace["name"],
        namespace_labels=namespace.get("labels") or {},
        locations=locations_of(observed),
        catalogues=elsewhere.catalogues if elsewhere else observed.catalogues,
        failures=elsewhere.catalogue_failures if elsewhere else observed.catalogue_failures,
    )


class _Elsewhere(Struct, frozen=True):
    """Another vault of the policy, and what is done for it."""

    places: Places
    upkeep: Upkeep


def _keep_elsewhere(policy: BackupPolicy, observed: PolicyObserved, vault: VaultElsewhere, now: datetime) -> _Elsewhere:
    places = _places(policy, observed, vault)
    return _Elsewhere(places, _run_tasks(policy, observed, places, replication_tasks(places, observed.around), now))


def _ask_retention(
    policy: BackupPolicy,
    observed: PolicyObserved,
    places: Places,
    snapshots: tuple[BackupSnapshot, ...],
    keys: KeysStep | None,
    now: datetime,
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
            location=location,
            catalogue=observed.catalogues.get(name),
            failure=observed.catalogue_failures.get(name),
        )
        for name, location in places.locations.items()
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
    return _run_tasks(policy, observed, places, wanted, now)


def _run_tasks(policy: BackupPolicy, observed: PolicyObserved, places: Places, wanted: Sequence[Task], now: datetime) -> Upkeep:
    around = UpkeepObserved(
        vault=places.vault,
        policy=policy.metadata.uid,
        locations=tuple(places.locations.values()),
        things=observed.upkeep_jobs,
        progress=observed.progress,
        warnings=observed.warnings,
        failures=observed.failures,
    )
    return plan_upkeep(wanted, around, now)
