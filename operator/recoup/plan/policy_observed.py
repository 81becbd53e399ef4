"""What the planner of BackupPolicies looks at: filled by controller/gather_policy.py, as observed.py tells of the other kinds."""

from msgspec import Struct

from recoup.plan.actions import Object
from recoup.plan.observed import ApiFailure, Catalogue, FailureKey, Progress, Surroundings


class VaultElsewhere(Struct, frozen=True, kw_only=True):
    """A vault of the policy whose home is another location than the one that runs go to now. The other fields: as in PolicyObserved."""

    home: str
    vault: str
    maintenance_ready: bool = True
    catalogues: dict[str, Catalogue] = {}
    catalogue_failures: dict[str, ApiFailure] = {}


class PolicyObserved(Struct, frozen=True, kw_only=True):
    """All that decides the next step of one BackupPolicy.

    policy: the BackupPolicy, fresh. namespace: its Namespace, or None if it is gone.
    location: the BackupLocation that runs go to now (homes.py), or None. locations: all that spec.locations names and that exist, by name.
    snapshots: every BackupSnapshot of the namespace whose spec.policyRef names this policy.
    accepted: manifests of all BackupSnapshots of the namespace whose suspicious change somebody accepted.
    claims: every PVC of the namespace.
    vault: the namespace's vault at `location`. elsewhere: the policy's other vaults, in the order of their homes.
    vault_ready, keys_jobs: as in SnapshotObserved.
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
    accepted: frozenset[str] = frozenset()
    claims: tuple[Object, ...] = ()
    vault: str | None = None
    vault_ready: bool = False
    maintenance_ready: bool = True
    keys_jobs: tuple[Object, ...] = ()
    upkeep_jobs: tuple[Object, ...] = ()
    catalogues: dict[str, Catalogue] = {}
    catalogue_failures: dict[str, ApiFailure] = {}
    elsewhere: tuple[VaultElsewhere, ...] = ()
    progress: dict[str, Progress] = {}
    warnings: dict[str, str] = {}
    restores: tuple[Object, ...] = ()
    storage_classes: tuple[Object, ...] = ()
    failures: dict[FailureKey, ApiFailure] = {}
