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
from recoup.plan.forgetting import Asked, Suspicion, VaultHere, ask_retention, judge_retention, needs_points, told_retention
from recoup.plan.observed import Surroundings
from recoup.plan.policy_observed import PolicyObserved, VaultElsewhere
from recoup.plan.replicas import VaultCopies, judge_replicas
from recoup.plan.replication import NOTHING_THERE, Places, replication_tasks
from recoup.plan.suspicion import find_suspects, judge_suspects, list_suspects
from recoup.plan.upkeep import Task, Upkeep, UpkeepObserved, plan_upkeep, worst_of
from recoup.plan.vault_keys import KeysStep
from recoup.plan.verification import Place, Vault, places_of


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
    home, *others = places = [_places(policy, observed), *(_places(policy, observed, each) for each in observed.elsewhere)]
    checks = _check(policy, location, observed, home, others, now)
    logs = [catalogue for vault in places for catalogue in vault.catalogues.values()]
    suspicion = Suspicion(find_suspects(policy, snapshots, logs, observed.accepted), observed.accepted)
    retention = _ask_retention(policy, observed, places, snapshots, keys, suspicion, now)
    upkeeps = [_keep_up(policy, observed, vault, _Wanted(checks, retention), now) for vault in places]
    states = worst_of(upkeep.states for upkeep in upkeeps)
    copies = [VaultCopies(vault, upkeep.states) for vault, upkeep in zip(places, upkeeps, strict=True)]
    standing = judge_replicas(policy, status.conditions, copies, snapshots, now)
    status = structs.replace(status, conditions=standing.conditions, copies=standing.copies, replication=standing.replication)
    checked = judge_checks(policy, status, checks, states, observed.restores, now)
    lines = told_retention(retention, states)
    conditions = judge_retention(policy, checked.status.conditions, retention, lines, states, now)
    conditions = judge_suspects(conditions, suspicion.suspects, now=now, generation=policy.metadata.generation)
    suspicious = list_suspects(suspicion.suspects)
    return Kept(
        status=structs.replace(checked.status, conditions=conditions, retention=lines, suspicious=suspicious),
        actions=tuple(action for upkeep in upkeeps for action in upkeep.actions),
        events=tuple(checked.events),
        changes_at=min((at for at in (checked.changes_at, retention.next_at) if at is not None), default=None),
        again=min((upkeep.again for upkeep in upkeeps if upkeep.again is not None), default=None),
    )


def _check(
    policy: BackupPolicy, location: BackupLocation | None, observed: PolicyObserved, home: Places, others: Sequence[Places], now: datetime
) -> Checks:
    vault = _vault(home, location, observed.around) if location is not None and observed.vault_ready else None
    beside = [place for each in others for place in _checked_there(policy, each, observed.around)]
    return plan_checks(policy, home.locations, home.catalogues, vault, observed.restores, observed.storage_classes, now, beside)


def _vault(places: Places, home: BackupLocation, around: Surroundings) -> Vault | None:
    """As verifications and drills take it; None if there is none yet."""
    if not places.vault:
        return None
    keys = home.spec.encryption.keys
    return Vault(id=places.vault, namespace=places.namespace, around=around, keys=keys, home=home.metadata.name)


def _checked_there(policy: BackupPolicy, places: Places, around: Surroundings) -> list[Place]:
    """Where another vault of the policy has recovery points of it, or may have: its log can't be read just now."""
    vault = _vault(places, places.locations[places.names[0]], around)
    unread = {name for name, failure in places.failures.items() if failure.reason != NOTHING_THERE}
    found = places_of(policy, places.locations, places.catalogues, vault)
    return [place for place in found if place.points or place.name in unread]


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


def _ask_retention(
    policy: BackupPolicy,
    observed: PolicyObserved,
    places: Sequence[Places],
    snapshots: tuple[BackupSnapshot, ...],
    keys: KeysStep | None,
    suspicion: Suspicion,
    now: datetime,
) -> Asked:
    """What retention wants of the vaults at each location: nothing while the keys of the one that runs go to are not there, which is told.

    Another vault whose keys are not there does not count meanwhile: that lets go of less.
    """
    if observed.vault is None or not observed.vault_ready:
        return Asked(lines=policy.status.retention)
    if not observed.maintenance_ready:
        told = Refusal(keys.reason, keys.message) if keys else Refusal("MakingKeys", "the keys that retention needs are not handed out yet")
        return Asked(lines=policy.status.retention, waits={policy.spec.home: told})
    ready = {each.vault for each in observed.elsewhere if each.maintenance_ready} | {observed.vault}
    vaults = [
        VaultHere(
            id=vault.vault,
            namespace=vault.namespace,
            around=observed.around,
            location=location,
            catalogue=vault.catalogues.get(name),
            failure=vault.failures.get(name),
        )
        for vault in places
        if vault.vault in ready
        for name, location in vault.locations.items()
    ]
    return ask_retention(policy, snapshots, vaults, now, suspicion=suspicion)


class _Wanted(Struct, frozen=True):
    """What the parts of a policy want done of its vaults."""

    checks: Checks
    retention: Asked


def _keep_up(policy: BackupPolicy, observed: PolicyObserved, places: Places, asked: _Wanted, now: datetime) -> Upkeep:
    """What one vault needs besides backups, in order of importance."""
    if not places.vault or (places.vault == observed.vault and not observed.vault_ready):
        return Upkeep()
    checks, retention = asked.checks, asked.retention
    copies = replication_tasks(places, observed.around)
    wanted = [*checks.heals, *retention.pins, *copies, *retention.forgets, *checks.looks, *retention.prunes, *checks.drills]
    return _run_tasks(policy, observed, places, [task for task in wanted if task.vault == places.vault], now)


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
