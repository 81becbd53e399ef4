"""RestoreRequest: one restore, in the namespace it writes to. Mirrors crds/restorerequests.yaml."""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct, field, structs

from recoup.api.conditions import Condition
from recoup.api.objects import VOLUME_MESSAGE_LIMIT, ObjectMeta, Reference, Spec, Status, cut

KIND = "RestoreRequest"
PLURAL = "restorerequests"

RESOLVED = "Resolved"
RESTORED = "Restored"
PLANNED = "Planned"
FRESH = "Fresh"


class SourceNamespace(Spec, frozen=True):
    name: str
    uid: str | None = None


class RestoreSource(Spec, frozen=True):
    """One of: snapshotRef; policyRef with or without asOf; location and namespace with policy (with or without asOf) or id."""

    snapshot_ref: Reference | None = None
    policy_ref: Reference | None = None
    location: str | None = None
    namespace: SourceNamespace | None = None
    policy: str | None = None
    id: str | None = None
    as_of: datetime | None = None


class AccessMode(StrEnum):
    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_ONLY_MANY = "ReadOnlyMany"
    READ_WRITE_MANY = "ReadWriteMany"
    READ_WRITE_ONCE_POD = "ReadWriteOncePod"


class RestoreTarget(Spec, frozen=True):
    """What is left out is as recorded in the recovery point."""

    name: str | None = None
    storage_class_name: str | None = None
    size: str | int | None = None
    access_modes: tuple[AccessMode, ...] = ()
    topology: dict[str, str] | None = None


class RestoreVolume(Spec, frozen=True):
    source: str
    target: RestoreTarget = RestoreTarget()


class RestorePaths(Spec, frozen=True):
    """Globs as the engine takes them; an exclude beats an include. Nothing given is everything, at the root."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    into: str | None = None

    @property
    def is_selection(self) -> bool:
        """Not all of a volume is restored."""
        return bool(self.include or self.exclude)


class PlanMode(StrEnum):
    """What follows when the plan is made: the restore, nothing, or a wait for a person."""

    AUTO = "Auto"
    ONLY = "Only"
    APPROVAL_REQUIRED = "ApprovalRequired"


class RestoreMode(StrEnum):
    """Into new volumes once, or into volumes that are kept fresh until they are promoted."""

    NEW_VOLUME = "NewVolume"
    STANDBY = "Standby"


class RestoreRequestSpec(Spec, frozen=True):
    """Everything but `approve`, `promote` and `cancel` is fixed at creation."""

    source: RestoreSource
    volumes: tuple[RestoreVolume, ...] = ()
    paths: RestorePaths = RestorePaths()
    mode: RestoreMode = RestoreMode.NEW_VOLUME
    promote: bool = False
    plan: PlanMode = PlanMode.AUTO
    approve: str | None = None
    cancel: bool = False


class PlannedVolume(Status, frozen=True):
    """What is going to be written where; pinned when the request was resolved. Sizes in bytes, `size` a quantity."""

    source: str
    target: str
    manifest: str
    bytes: int
    size: str
    files: int | None = None
    storage_class_name: str | None = None
    access_modes: tuple[str, ...] = ()
    volume_mode: str | None = None
    labels: dict[str, str] = field(default_factory=dict)


class RestorePlan(Status, frozen=True):
    """The recovery point and copy that were chosen, once; a later and newer one changes nothing.

    location: the home of the vault, by which the right to read is judged; read_from: the location whose copy is read.
    """

    location: str
    vault: str
    fingerprint: str
    namespace: str
    namespace_uid: str
    resolved_at: datetime
    taken_at: datetime
    read_from: str | None = None
    snapshot: str | None = None
    policy: str | None = None
    bytes: int | None = None
    digest: str | None = None
    eta: str | None = None
    eta_basis: str | None = None
    volumes: tuple[PlannedVolume, ...] = ()


class RestoreState(StrEnum):
    """Where one volume of a restore is. Restored, Failed and Cancelled are final; a standby stays in Standby until it is promoted."""

    WAITING = "Waiting"
    RESTORING = "Restoring"
    STANDBY = "Standby"
    HANDING_OVER = "HandingOver"
    RESTORED = "Restored"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class RestoredVolume(Status, frozen=True):
    """Progress and result of one volume. Sizes in bytes, rate in bytes per second."""

    source: str
    target: str
    state: RestoreState
    reason: str | None = None
    message: str | None = None
    attempts: int | None = None
    bytes_total: int | None = None
    bytes_done: int | None = None
    files_done: int | None = None
    progress_at: datetime | None = None
    rate: int | None = None
    eta: str | None = None
    files_restored: int | None = None
    bytes_written: int | None = None
    duration: str | None = None
    persistent_volume: str | None = None
    holds: str | None = None

    def __post_init__(self) -> None:
        if self.message is not None:
            structs.force_setattr(self, "message", cut(self.message, VOLUME_MESSAGE_LIMIT))


class RestoreSummary(Status, frozen=True):
    """The columns, for people."""

    source: str | None = None
    volumes: str | None = None
    progress: str | None = None
    rate: str | None = None
    eta: str | None = None


class Standby(Status, frozen=True):
    """What a standby held completely the last time it did, and since when it is to be handed over."""

    holds: datetime | None = None
    snapshot: str | None = None
    promoted_at: datetime | None = None


class RestoreRequestStatus(Status, frozen=True):
    observed_generation: int | None = None
    conditions: tuple[Condition, ...] = ()
    plan: RestorePlan | None = None
    volumes: tuple[RestoredVolume, ...] = ()
    standby: Standby | None = None
    summary: RestoreSummary | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration: str | None = None


class RestoreRequest(Struct, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: RestoreRequestSpec
    status: RestoreRequestStatus = RestoreRequestStatus()
