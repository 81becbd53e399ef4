"""What the planners of BackupSnapshot and RestoreRequest look at: filled by controller/gather_*.py, freshly, at every look.

Kubernetes objects stay plain JSON (each with apiVersion and kind); what is read elsewhere (catalogue, pod logs, Events) comes in small
structs. A gatherer adds nothing of its own and remembers nothing but `failures`. The order of its reads matters in one place: the
catalogue is read after the Jobs and Pods, so that a Job seen as finished has had its COMMIT looked for after its end.
"""

from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from msgspec import Struct

from recoup.api.hooks import HookResult
from recoup.plan.actions import Object
from recoup.suspicion import Figures


class MoverLimits(Struct, frozen=True, kw_only=True):
    """How many backup movers work at once in this cluster (plan/budgets.py); a location's own limit is in its spec."""

    total: int = 64
    per_node: int = 4
    per_namespace: int = 8
    waiting_snapshots: int = 64
    """Volume snapshots of one namespace that may wait for a mover before further runs of it wait with theirs too."""


class Surroundings(Struct, frozen=True, kw_only=True):
    """Where this controller runs and what it starts movers from: its settings, the same for every object."""

    image: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    movers_namespace: str = "recoup-movers"
    system_namespace: str = "recoup-system"
    mover_service_account: str = "recoup-mover"
    """Bound to nothing; movers get no token of it either."""
    keys_service_account: str = "recoup-keys"
    handout_service_account: str = "recoup-handout"
    live_namespaces: frozenset[str] = frozenset()
    """Where movers may run beside the workload, as the chart gave the rights for it."""
    limits: MoverLimits = MoverLimits()
    cluster_uid: str = ""
    """uid of the namespace kube-system: the only identity a cluster has."""


class ApiFailure(Struct, frozen=True, kw_only=True):
    """The last refusal of one object's write, or of one read. `count` refusals in a row, the latest `at`."""

    reason: str
    message: str
    at: datetime
    count: int = 1


FailureKey = tuple[str, str, str]
"""kind, namespace ("" if cluster-scoped), name."""


class Progress(Struct, frozen=True, kw_only=True, rename="camel"):
    """The last progress line of a mover's log (the value of "progress" in it, docs/command-line.md). Rate: bytes a second; eta: seconds.

    told: False if the log could be read and has no such line.
    """

    told: bool = True
    phase: str = ""
    bytes_done: int = 0
    bytes_total: int | None = None
    files_done: int = 0
    files_total: int | None = None
    rate: float = 0.0
    eta: float | None = None


class ClaimRecord(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a recovery point says of the volume it was made of: `source` of the run file, read back from the catalogue."""

    namespace: str = ""
    namespace_uid: str = ""
    persistent_volume_claim: str = ""
    persistent_volume_claim_uid: str = ""
    storage_class_name: str | None = None
    access_modes: tuple[str, ...] = ()
    volume_mode: str = "Filesystem"
    size: str = "0"
    """A quantity: the volume's capacity, not the bytes in it."""
    labels: dict[str, str] = {}
    node_affinity: Object | None = None
    """`spec.nodeAffinity` of the source's PersistentVolume."""


class PointDamage(Struct, frozen=True, kw_only=True):
    """Why a recovery point cannot be restored whole from one location, by the log there.

    since, at: when a verification found it first, and last. paths: files that are lost, if not all (`whole`). cleared_by: the level of a
    verification that may take it back. healing: what became of healing when it was last tried; empty if it was not.
    """

    since: datetime
    at: datetime
    whole: bool = False
    paths: int = 0
    cleared_by: int = 1
    healing: str = ""


class Point(Struct, frozen=True, kw_only=True):
    """One committed recovery point of one volume, as the catalogue of its vault gives it."""

    id: str
    session: str
    manifest: str
    taken_at: datetime
    """The moment the data stands for: the slot of a scheduled run, else the COMMIT's time."""
    policy: str = ""
    policy_uid: str = ""
    snapshot: str = ""
    snapshot_uid: str = ""
    source: ClaimRecord = ClaimRecord()
    volumes_expected: tuple[str, ...] = ()
    """PVC uids of the whole run; the run is complete when each of them has a point with this snapshot_uid."""
    consistency: str = "CrashConsistent"
    files_total: int = 0
    bytes_read: int = 0
    bytes_stored: int = 0
    bytes_total: int = 0
    """Bytes that a restore writes."""
    duration: float = 0.0
    errors: int = 0
    here_at: datetime | None = None
    """When it was committed at this location, or mirrored to it, by the clock of the mover that did."""
    revision: str = ""
    """Stands for what may change about it and has to reach its copies."""
    verified_level: int | None = None
    verified_at: datetime | None = None
    """The newest ATTEST of it at this location."""
    damage: PointDamage | None = None
    drilled_at: datetime | None = None
    """When it last passed a drill at this location."""
    order: int = 0
    """Place in the log: which is newer of two with one time."""
    owner_uid: str = ""
    """The policy that it belongs to now: that of its ticket, or the one that adopted it."""
    verified: bool = False
    """A verification found it good at this location."""
    figures: Figures | None = None
    """What a sudden change of the source is judged by; None if its record cannot be opened."""
    pinned: str | None = None
    """Why it is kept whatever retention says, if it is."""


class VerificationRun(Struct, frozen=True, kw_only=True):
    """One verification of a vault at one location, by the evidence in its log. chosen: only some points were looked at."""

    round: str
    started: datetime
    ended: datetime
    level: int
    chosen: bool = False
    points: int = 0
    objects: int = 0
    healed: int = 0
    log: tuple[str, ...] = ()
    """Reasons of what is wrong with the log itself."""


class DrillRun(Struct, frozen=True, kw_only=True):
    """One restore to a scratch volume that was compared with its recovery point, by the evidence in the log of where it came from."""

    round: str
    point: str
    ended: datetime
    passed: bool
    seconds: float
    reason: str = ""


class Garbage(Struct, frozen=True, kw_only=True):
    """What a prune would find. fresh: points were forgotten, or repacked, since it was last decided what is needed.

    condemned_at: since when the oldest waits to be deleted. unfinished: deletes that were begun.
    """

    fresh: bool = False
    condemned_at: datetime | None = None
    unfinished: bool = False


class Catalogue(Struct, frozen=True, kw_only=True, dict=True):
    """One vault's list of recovery points at one location, read to the head of its log.

    locked: some are of a key generation that is younger than the keys at hand.
    """

    vault: str
    fingerprint: str = ""
    points: tuple[Point, ...] = ()
    verifications: tuple[VerificationRun, ...] = ()
    """The newest, the newest last."""
    drills: tuple[DrillRun, ...] = ()
    locked: bool = False
    forgotten: frozenset[str] = frozenset()
    """Manifests that were here and were forgotten: the location's retention let them go."""
    revision: str = ""
    """Stands for what concerns the vault as a whole and has to reach its copies."""
    garbage: Garbage = Garbage()

    @cached_property
    def memory(self) -> dict[object, Any]:
        """What was computed from these points, which never change: by what it was computed with."""
        return {}

    @cached_property
    def live(self) -> dict[str, Point]:
        """The points by manifest."""
        return {point.manifest: point for point in self.points}


class Ticket(Struct, frozen=True):
    """Identity of one volume's session in one run, and the controller's signature that it was asked for."""

    session: str
    ticket: str


class HookState(StrEnum):
    PREPARING = "Preparing"
    FROZEN = "Frozen"
    """The pre hooks succeeded, and the post hooks wait for their word."""
    ENDED = "Ended"


class HookSession(Struct, frozen=True, kw_only=True):
    """The hooks of one run as this process runs them. refused: the run is to fail. closing: the post hooks are about to run, or run.

    released: the post hooks ran at the planner's word, and not because the freeze limit was reached.
    """

    state: HookState
    results: tuple[HookResult, ...] = ()
    refused: bool = False
    closing: bool = False
    released: bool = False


class Seat(Struct, frozen=True, kw_only=True):
    """Whether a mover may be started now (plan/budgets.py). message: what it waits for; full: hostnames of nodes that take no more."""

    granted: bool
    message: str = ""
    full: tuple[str, ...] = ()


class SnapshotObserved(Struct, frozen=True, kw_only=True):
    """All that decides the next step of one BackupSnapshot.

    snapshot: the BackupSnapshot, fresh.
    namespace: its Namespace, or None if it is gone.
    policy: the BackupPolicy that spec.policyRef names now, or None.
    location: the BackupLocation named by snapshot.location_name(snapshot, policy), or None.
    claims: every PVC of the namespace.
    workload: of a Live run that may start a mover, the pods of the namespace that are not ours.
    volumes: the PersistentVolumes of these claims (by claim.spec.volumeName).
    storage_classes: all. snapshot_classes: all, or None where the snapshot API is not installed.
    children: everything labelled recoup.dev/owner-uid=<uid>, in all namespaces: VolumeSnapshots, VolumeSnapshotContents, PVCs, Jobs,
        Pods; and every VolumeSnapshotContent that one of these VolumeSnapshots names in status.boundVolumeSnapshotContentName (it
        carries our labels only from the second step on).
    keys_jobs: Jobs and Pods labelled recoup.dev/vault=<vault> (label VAULT of objects/jobs.py) in the movers' namespace.
    vault_ready: the Secret catalogue-<vault> exists in the system namespace; the keys Job writes it last.
    tickets: by PVC uid, for every claim in `claims` and every volume in status.volumes; empty until vault_ready.
    catalogue: None if it was not read (needs_catalogue said no, or it could not be read: then `catalogue_failure`).
    locations: by name, the BackupLocations of the policy as far as the ledger has to learn of them.
    catalogues: by location name, of a run that is over: what memory holds of its vault there; without an entry, nothing was read yet.
    beside: the same of the policy's other vaults, if its home was away once.
    progress: by Pod name, for running mover Pods.
    warnings: by uid, the message of the newest Warning Event about a Pod, PVC or VolumeSnapshot among the children.
    failures: the last API error per object of this owner, dropped once the write succeeded.
    seats: by PVC uid, for every mover that snapshot_volume.seats_wanted(observed) names; None while that is being found out.
    hooks: the run's hooks as this process, `holder`, runs them; None if it does not. blocked_by: plan/hooks.py says what it is.
    waiting_snapshots: how many volumes of the namespace's other runs were captured and wait for a mover; 0 if nothing is to be captured.
    """

    snapshot: Object
    around: Surroundings
    namespace: Object | None = None
    policy: Object | None = None
    location: Object | None = None
    claims: tuple[Object, ...] = ()
    workload: tuple[Object, ...] = ()
    volumes: tuple[Object, ...] = ()
    storage_classes: tuple[Object, ...] = ()
    snapshot_classes: tuple[Object, ...] | None = ()
    children: tuple[Object, ...] = ()
    keys_jobs: tuple[Object, ...] = ()
    vault_ready: bool = False
    tickets: dict[str, Ticket] = {}
    catalogue: Catalogue | None = None
    catalogue_failure: ApiFailure | None = None
    locations: dict[str, Object] = {}
    catalogues: dict[str, Catalogue] = {}
    beside: dict[str, tuple[Catalogue, ...]] = {}
    progress: dict[str, Progress] = {}
    warnings: dict[str, str] = {}
    failures: dict[FailureKey, ApiFailure] = {}
    seats: dict[str, Seat] | None = None
    waiting_snapshots: int = 0
    hooks: HookSession | None = None
    holder: str = ""
    blocked_by: str = ""


class RestoreObserved(Struct, frozen=True, kw_only=True):
    """All that decides the next step of one RestoreRequest.

    request: the RestoreRequest, fresh. namespace: its Namespace, or None.
    snapshot: the BackupSnapshot that spec.source.snapshotRef names (same namespace), or None.
    policy: the BackupPolicy that spec.source.policyRef names (same namespace), or None.
    location: the BackupLocation named by restore_source.location_name(request, snapshot, policy), or None.
    catalogue: of the vault named by restore_source.vault_of(…), from location `read_from`; None if it is not known or nowhere read.
    catalogue_failure: why the location that is asked first could not be read.
    places: by name, in reading order, the locations that may hold copies of the vault, the home among them.
    claims: every PVC of the request's namespace.
    children: everything labelled recoup.dev/owner-uid=<uid>: PVCs, PersistentVolumes, Jobs, Pods; and every PersistentVolume that one
        of these PVCs, or a PVC of the namespace labelled recoup.dev/restored-by=<uid>, names in spec.volumeName.
    storage_classes: all. nodes: all (labels, spec.unschedulable and the Ready condition are looked at).
    earlier: all RestoreRequests of the cluster, until the plan is settled: how fast they were.
    progress, warnings, failures: as in SnapshotObserved.
    """

    request: Object
    around: Surroundings
    namespace: Object | None = None
    snapshot: Object | None = None
    policy: Object | None = None
    location: Object | None = None
    catalogue: Catalogue | None = None
    catalogue_failure: ApiFailure | None = None
    read_from: str = ""
    places: dict[str, Object] = {}
    claims: tuple[Object, ...] = ()
    children: tuple[Object, ...] = ()
    storage_classes: tuple[Object, ...] = ()
    nodes: tuple[Object, ...] = ()
    earlier: tuple[Object, ...] = ()
    progress: dict[str, Progress] = {}
    warnings: dict[str, str] = {}
    failures: dict[FailureKey, ApiFailure] = {}


class SweepObserved(Struct, frozen=True, kw_only=True):
    """What the periodic sweep looks at.

    children: everything labelled app.kubernetes.io/managed-by=recoup and recoup.dev/owner-uid, cluster-wide: VolumeSnapshots,
        VolumeSnapshotContents, PVCs, PersistentVolumes, Jobs, Pods. restored: PVCs labelled recoup.dev/restored-by, cluster-wide.
    owners: uids of all BackupLocations, BackupPolicies, BackupSnapshots and RestoreRequests. They must be listed *after* the children,
        or a child of an owner born in between looks orphaned.
    claims: (namespace, name) → uid of every PVC in the cluster that a PersistentVolume among the children names in spec.claimRef.
    namespaces: uid by name of all Namespaces.
    """

    around: Surroundings
    children: tuple[Object, ...] = ()
    restored: tuple[Object, ...] = ()
    owners: frozenset[str] = frozenset()
    claims: dict[tuple[str, str], str] = {}
    namespaces: dict[str, str] = {}
