"""BackupPolicy: what is protected, when, and where to; the application team's. Mirrors crds/backuppolicies.yaml."""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct, field, structs

from recoup.api.conditions import Condition
from recoup.api.hooks import Hooks
from recoup.api.labels import Requirement
from recoup.api.objects import ObjectMeta, Spec, Status, cut

KIND = "BackupPolicy"
PLURAL = "backuppolicies"

MAX_RUNS = 50
"""Bound of status.lastRuns, newest first."""

MAX_VOLUMES = 1000
"""Bound of status.volumes, the worst protected first."""

REPLICATED = "Replicated"
COPIES_MET = "CopiesMet"
RPO_MET = "RPOMet"
RPO_AT_RISK = "RPOAtRisk"
VERIFIED = "Verified"
DRILLED = "Drilled"
RTO_MET = "RTOMet"
AT_HOME = "AtHome"

MAX_DAMAGED = 50
"""Bound of status.damaged."""

RETENTION_APPLIED = "RetentionApplied"
SUSPICIOUS = "Suspicious"

MAX_SUSPICIOUS = 50
"""Bound of status.suspicious, the newest first."""

MAX_EXPIRING = 50
"""Bound of status.retention[].expiring, the newest first."""

RUN_MESSAGE_LIMIT = 1024


class Schedule(Spec, frozen=True):
    """Exactly one of cron, every."""

    cron: str | None = None
    every: str | None = None
    time_zone: str = "UTC"
    jitter: str | None = None
    starting_deadline: str | None = None
    run_on_create: bool = False


class VolumeSelector(Spec, frozen=True):
    """PersistentVolumeClaims by name or by label; empty for all of the namespace; `exclude` always wins."""

    persistent_volume_claims: tuple[str, ...] = ()
    match_labels: dict[str, str] = field(default_factory=dict)
    match_expressions: tuple[Requirement, ...] = ()
    exclude: tuple[str, ...] = ()


class CaptureMethod(StrEnum):
    SNAPSHOT = "Snapshot"
    LIVE = "Live"


class Capture(Spec, frozen=True):
    """run_as_user: with Live only, and volume_snapshot_class_name with Snapshot."""

    method: CaptureMethod = CaptureMethod.SNAPSHOT
    volume_snapshot_class_name: str | None = None
    run_as_user: int | None = None


class Files(Spec, frozen=True):
    exclude: tuple[str, ...] = ()


class Resources(Spec, frozen=True):
    """Quantities as Kubernetes takes them."""

    requests: dict[str, str | int] = field(default_factory=dict)
    limits: dict[str, str | int] = field(default_factory=dict)


class TolerationOperator(StrEnum):
    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Spec, frozen=True):
    key: str | None = None
    operator: TolerationOperator = TolerationOperator.EQUAL
    value: str | None = None
    effect: TaintEffect | None = None
    toleration_seconds: int | None = None


class Mover(Spec, frozen=True):
    resources: Resources = Resources()
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    priority_class_name: str | None = None


class Objectives(Spec, frozen=True):
    """What the protection is measured by.

    rpo: how old the newest restorable point of each volume may become. rto: how long a restore may take. min_*: of its copies.
    """

    rpo: str | None = None
    rto: str | None = None
    min_copies: int | None = None
    min_regions: int | None = None
    min_providers: int | None = None


class VerificationSchedule(Spec, frozen=True):
    """Exactly one of cron, every."""

    cron: str | None = None
    every: str | None = None
    time_zone: str = "UTC"
    jitter: str | None = None


class DrillSpec(Spec, frozen=True):
    """How often a recovery point is restored to a scratch volume. storage_class_name: of that volume; None for the recorded one."""

    schedule: VerificationSchedule
    storage_class_name: str | None = None


class Verification(Spec, frozen=True):
    """How often recovery points are read back, and how deep (1-4)."""

    schedule: VerificationSchedule
    level: int = 2
    drill: DrillSpec | None = None


class RetentionRules(Spec, frozen=True):
    """Which recovery points stay: those that any rule keeps. within: a duration, counted back from the newest point."""

    last: int | None = None
    hourly: int | None = None
    daily: int | None = None
    weekly: int | None = None
    monthly: int | None = None
    yearly: int | None = None
    within: str | None = None
    min_verified: int = 1


class Retention(RetentionRules, frozen=True):
    """edit_grace: how long an edit that lets go of recovery points is shown before it counts."""

    edit_grace: str = "24h"


class SuspiciousAction(StrEnum):
    HOLD_RETENTION = "HoldRetention"
    IGNORE = "Ignore"


class SuspiciousChange(Spec, frozen=True):
    """When a recovery point looks as if its source was emptied, lost or encrypted; percentages (recoup/suspicion.py)."""

    action: SuspiciousAction = SuspiciousAction.HOLD_RETENTION
    lost_bytes: int = 50
    lost_files: int = 50
    rewritten: int = 25
    stored_share: int = 95


class PolicyLocation(Spec, frozen=True):
    """A BackupLocation that holds the policy's recovery points; `retention` is instead of the policy's."""

    name: str
    retention: RetentionRules | None = None


class FailoverMode(StrEnum):
    NEW_VAULT = "NewVault"
    NEVER = "Never"


class Failover(Spec, frozen=True):
    """What happens when the home is away. after: how long it is waited for."""

    mode: FailoverMode = FailoverMode.NEW_VAULT
    after: str = "1h"


class BackupPolicySpec(Spec, frozen=True):
    selector: VolumeSelector
    locations: tuple[PolicyLocation, ...]
    suspend: bool = False
    schedule: Schedule | None = None
    capture: Capture = Capture()
    files: Files = Files()
    mover: Mover = Mover()
    objectives: Objectives = Objectives()
    verification: Verification | None = None
    retention: Retention | None = None
    hooks: Hooks = Hooks()
    failover: Failover = Failover()
    suspicious_change: SuspiciousChange = SuspiciousChange()

    @property
    def home(self) -> str:
        """Name of the location that is home as long as it can be (plan/homes.py)."""
        return self.locations[0].name


class RunResult(StrEnum):
    RAN = "Ran"
    SKIPPED = "Skipped"
    MISSED = "Missed"


class Run(Status, frozen=True):
    """One slot of the recent past, or `slots` of them. reason, message: why it was skipped or missed; late_by: how late it started."""

    slot: datetime
    result: RunResult
    snapshot: str | None = None
    late_by: str | None = None
    reason: str | None = None
    message: str | None = None
    slots: int | None = None

    def __post_init__(self) -> None:
        if self.message is not None:
            structs.force_setattr(self, "message", cut(self.message, RUN_MESSAGE_LIMIT))


class LastSuccess(Status, frozen=True):
    """The newest recovery point with every volume that was selected."""

    snapshot: str
    at: datetime


class Coverage(Status, frozen=True):
    selected: int
    protected: int
    failed: int
    summary: str


class RpoState(StrEnum):
    """The objective in one word, as the column shows it."""

    MET = "Met"
    AT_RISK = "AtRisk"
    BROKEN = "Broken"


class VolumeProtection(Status, frozen=True):
    """The newest recovery point of one volume that is selected now; without one, nothing protects it yet."""

    persistent_volume_claim: str
    uid: str
    newest_point: datetime | None = None
    snapshot: str | None = None


class VerificationResult(Status, frozen=True):
    """The newest verification of the vault at one location. points: the policy's there; damaged: those that are not whole."""

    location: str
    at: datetime
    level: int
    points: int
    damaged: int
    healed: int | None = None


class DrillResult(StrEnum):
    PASSED = "Passed"
    FAILED = "Failed"


class LastDrill(Status, frozen=True):
    """The newest drill of one of the policy's recovery points."""

    location: str
    manifest: str
    persistent_volume_claim: str
    result: DrillResult
    at: datetime
    duration: str
    snapshot: str | None = None
    reason: str | None = None


class DamagedVolume(Status, frozen=True):
    """One volume of a recovery point that cannot be restored whole from one location."""

    location: str
    manifest: str
    persistent_volume_claim: str
    since: datetime
    snapshot: str | None = None
    whole: bool | None = None
    paths: int | None = None
    first_paths: tuple[str, ...] = ()


class ReplicaState(StrEnum):
    """How the copies at one location stand. Waiting: for its Job. Blocked: none can be started. Unknown: not all logs were read yet."""

    UP_TO_DATE = "UpToDate"
    COPYING = "Copying"
    WAITING = "Waiting"
    FAILED = "Failed"
    BLOCKED = "Blocked"
    UNKNOWN = "Unknown"


class Replica(Status, frozen=True):
    """One location but the home. lacking: recovery points, one a volume; behind_since: the time that the oldest of them stands for."""

    location: str
    state: ReplicaState
    lacking: int | None = None
    behind_since: datetime | None = None
    reason: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        if self.message is not None:
            structs.force_setattr(self, "message", cut(self.message, RUN_MESSAGE_LIMIT))


class ZonedRules(RetentionRules, frozen=True):
    """Rules with the time zone in which their days begin: what two edits are compared by."""

    time_zone: str = "UTC"


class LastPrune(Status, frozen=True):
    """The last prune Job that ended; reason and message, if it could not do all."""

    at: datetime
    reason: str | None = None
    message: str | None = None


class LocationRetention(Status, frozen=True):
    """Retention at one location.

    rules, in_force: those that count, for people and for programs. keeps: recovery points of volumes that they keep.
    edited: rules that would let go of more; expiring, expiring_total: what goes by them from effective_at on; since: when that was seen.
    """

    location: str
    rules: str | None = None
    in_force: ZonedRules | None = None
    keeps: int | None = None
    edited: ZonedRules | None = None
    expiring: tuple[str, ...] = ()
    expiring_total: int | None = None
    since: datetime | None = None
    effective_at: datetime | None = None
    prune: LastPrune | None = None


class SuspiciousVolume(Status, frozen=True):
    """One volume of a recovery point that nobody accepted yet; message: the figures before and after."""

    persistent_volume_claim: str
    uid: str
    manifest: str
    at: datetime
    reason: str
    message: str
    snapshot: str | None = None


class BackupPolicyStatus(Status, frozen=True):
    """home: name of the location that runs write to now."""

    observed_generation: int | None = None
    conditions: tuple[Condition, ...] = ()
    home: str | None = None
    schedule: str | None = None
    last_success: LastSuccess | None = None
    next_run: datetime | None = None
    last_runs: tuple[Run, ...] = ()
    coverage: Coverage | None = None
    copies: str | None = None
    replication: tuple[Replica, ...] = ()
    rpo: RpoState | None = None
    volumes: tuple[VolumeProtection, ...] = ()
    verifications: tuple[VerificationResult, ...] = ()
    damaged: tuple[DamagedVolume, ...] = ()
    last_drill: LastDrill | None = None
    retention: tuple[LocationRetention, ...] = ()
    suspicious: tuple[SuspiciousVolume, ...] = ()


class BackupPolicy(Struct, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: BackupPolicySpec
    status: BackupPolicyStatus = BackupPolicyStatus()
