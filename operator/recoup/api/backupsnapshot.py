"""BackupSnapshot: one recovery point, all volumes of one run of one policy. Mirrors crds/backupsnapshots.yaml.

Its truth is the COMMIT of each volume in the vault's log; this object says what is known of it. Deleting it deletes no data.
"""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct, structs

from recoup.api.backuppolicy import CaptureMethod, Mover, SuspiciousChange
from recoup.api.conditions import Condition
from recoup.api.hooks import Hooks, HooksStatus
from recoup.api.objects import VOLUME_MESSAGE_LIMIT, ObjectMeta, Reference, Spec, Status, cut

KIND = "BackupSnapshot"
PLURAL = "backupsnapshots"

CAPTURED = "Captured"
STORED = "Stored"
VERIFIED = "Verified"
REPLICATED = "Replicated"

MAX_COPIES = 16
"""Bound of status.copies: those of the policy's locations, and those that locations of earlier hold."""


class Trigger(StrEnum):
    MANUAL = "Manual"
    SCHEDULE = "Schedule"
    CREATION = "Creation"
    CATALOGUE = "Catalogue"
    """No run: the object shows what the catalogue of a location has."""


class OriginNamespace(Spec, frozen=True):
    name: str
    uid: str


class Origin(Spec, frozen=True):
    """Which recovery point is shown. Nobody's right to see it rests on this: plan/views.py."""

    location: str
    vault: str
    namespace: OriginNamespace
    run: str
    cluster: str | None = None


class LegalHold(Spec, frozen=True):
    """Who wants the recovery point kept, and why; both stand in the vault's log."""

    by: str
    reason: str


class Accepted(Spec, frozen=True):
    """Who has looked at a suspicious recovery point, and why it is as it should be."""

    by: str
    reason: str


class BackupSnapshotSpec(Spec, frozen=True):
    """`cancel`, `pin`, `legal_hold` and `accept` may change; everything else is fixed at creation."""

    policy_ref: Reference
    trigger: Trigger = Trigger.MANUAL
    slot: datetime | None = None
    origin: Origin | None = None
    cancel: bool = False
    pin: bool = False
    legal_hold: LegalHold | None = None
    accept: Accepted | None = None


class VolumeState(StrEnum):
    """Where one volume of a run is. Waiting, Capturing and Uploading go on by themselves; the others are final."""

    WAITING = "Waiting"
    CAPTURING = "Capturing"
    UPLOADING = "Uploading"
    STORED = "Stored"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class Progress(Status, frozen=True):
    """Work of a mover as it last reported it. Rate in bytes per second; eta as a duration."""

    bytes_done: int
    at: datetime
    bytes_total: int | None = None
    files_done: int | None = None
    files_total: int | None = None
    rate: int | None = None
    eta: str | None = None


class VolumeBefore(Status, frozen=True):
    """Figures of the recovery point before; bytes_new, bytes_stored: sums over it and all before it."""

    files_total: int
    bytes_total: int
    bytes_new: int
    bytes_stored: int


class SnapshotVolume(Status, frozen=True):
    """One volume of the run. Sizes in bytes; `manifest` is there once the volume is Stored, and not before."""

    persistent_volume_claim: str
    uid: str
    state: VolumeState
    reason: str | None = None
    message: str | None = None
    method: str | None = None
    guarantee: str | None = None
    captured_at: datetime | None = None
    attempts: int | None = None
    progress: Progress | None = None
    manifest: str | None = None
    files_total: int | None = None
    bytes_total: int | None = None
    bytes_read: int | None = None
    bytes_stored: int | None = None
    bytes_new: int | None = None
    before: VolumeBefore | None = None
    duration: str | None = None
    warnings: int | None = None
    first_paths: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.message is not None:
            structs.force_setattr(self, "message", cut(self.message, VOLUME_MESSAGE_LIMIT))


class CopyState(StrEnum):
    """Writing: the run is under way. Pending: nothing of it is there yet. Complete: every volume of the run is committed there.

    Incomplete: some are not. Forgotten: it was there, and the location's retention let it go.
    """

    WRITING = "Writing"
    PENDING = "Pending"
    COMPLETE = "Complete"
    INCOMPLETE = "Incomplete"
    FORGOTTEN = "Forgotten"


class Copy(Status, frozen=True):
    """The recovery point at one location; `at`: when its last volume was committed or copied there.

    verified_at: when the last of its volumes was found good there. damaged: PVCs that cannot be restored whole from there.
    """

    location: str
    state: CopyState
    provider: str | None = None
    region: str | None = None
    at: datetime | None = None
    verified_at: datetime | None = None
    verified_level: int | None = None
    drilled_at: datetime | None = None
    damaged: tuple[str, ...] = ()


class ResolvedRun(Status, frozen=True):
    """What the policy said when the run began; later edits change nothing of a run."""

    method: CaptureMethod = CaptureMethod.SNAPSHOT
    run_as_user: int | None = None
    volume_snapshot_class_name: str | None = None
    exclude: tuple[str, ...] = ()
    mover: Mover = Mover()
    hooks: Hooks = Hooks()
    suspicious_change: SuspiciousChange = SuspiciousChange()


class Pinned(Status, frozen=True):
    """That the log keeps every volume of the point because this object asked for it; the reason as it stands there."""

    reason: str


class SnapshotSummary(Status, frozen=True):
    """The columns, for people."""

    volumes: str
    size: str | None = None
    stored: str | None = None
    copies: str | None = None
    verified_at: datetime | None = None


class BackupSnapshotStatus(Status, frozen=True):
    observed_generation: int | None = None
    conditions: tuple[Condition, ...] = ()
    policy_uid: str | None = None
    location: str | None = None
    vault: str | None = None
    run: ResolvedRun | None = None
    started_at: datetime | None = None
    taken_at: datetime | None = None
    completed_at: datetime | None = None
    duration: str | None = None
    hooks: HooksStatus | None = None
    skew: str | None = None
    volumes: tuple[SnapshotVolume, ...] = ()
    copies: tuple[Copy, ...] = ()
    summary: SnapshotSummary | None = None
    pinned: Pinned | None = None
    kept_by: tuple[str, ...] = ()
    expires_at: datetime | None = None


class BackupSnapshot(Struct, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: BackupSnapshotSpec
    status: BackupSnapshotStatus = BackupSnapshotStatus()
