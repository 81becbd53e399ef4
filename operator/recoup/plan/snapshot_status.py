"""The status of a BackupSnapshot: conditions, copies and columns, from its volumes.

Ready is True when every selected volume is Stored, and never otherwise; a partial run says which volumes are missing and why.
"""

from datetime import datetime

import msgspec

from recoup.api.backupsnapshot import (
    CAPTURED,
    STORED,
    BackupSnapshotStatus,
    SnapshotSummary,
    SnapshotVolume,
    VolumeState,
)
from recoup.api.conditions import (
    RECONCILING,
    Conditions,
    set_condition,
    set_ready,
    set_reconciling,
    set_stalled,
)
from recoup.api.durations import to_duration
from recoup.api.quantities import to_quantity
from recoup.plan.access import Refusal
from recoup.plan.copies import count_copies, judge_replicated, settle_copies
from recoup.plan.hooks import RUNNING_HOOKS, with_hooks
from recoup.plan.outcome import CLEANING_IS_QUIET
from recoup.plan.verified_copies import judge_verified_copies, last_verified

WAITING_FOR_SEAT = "WaitingForMoverSlot"

_FINAL = (VolumeState.STORED, VolumeState.FAILED, VolumeState.CANCELLED)
_BEFORE_CAPTURE = (VolumeState.WAITING, VolumeState.CAPTURING)
ORDINARY = frozenset(
    {
        "Starting",
        "Waiting",
        WAITING_FOR_SEAT,
        RUNNING_HOOKS,
        "Capturing",
        "Uploading",
        "MakingKeys",
        "ReadingLocation",
        "RecoveryPointStored",
        "Cancelling",
    }
)
"""Reasons of Ready that are the ordinary course of a run, and no trouble."""

_SHOWN = 8


def is_over(status: BackupSnapshotStatus) -> bool:
    """Every volume has its outcome, and no hook is owed."""
    owed = status.hooks is not None and status.hooks.ended_at is None
    return status.run is not None and not owed and all(volume.state in _FINAL for volume in status.volumes)


def refused_status(status: BackupSnapshotStatus, refusal: Refusal, *, final: bool, now: datetime, generation: int) -> BackupSnapshotStatus:
    """The run has not begun, and why; `final`: it never will."""
    say = set_stalled if final or refusal.reason in _NEEDS_A_PERSON else set_reconciling
    conditions = say(status.conditions, refusal.reason, refusal.message, now=now, generation=generation)
    ended = now.replace(microsecond=0) if final else None
    return msgspec.structs.replace(status, conditions=conditions, observed_generation=generation, completed_at=status.completed_at or ended)


_NEEDS_A_PERSON = frozenset({"PolicyNotFound", "LocationNotFound", "NamespaceNotAllowed", "KeyUnavailable", "NotAtomic"})


def describe_run(status: BackupSnapshotStatus, *, namespace: str, now: datetime, generation: int, cleaning: bool) -> BackupSnapshotStatus:
    """Conditions and columns for the volumes as they stand. `cleaning`: some of our objects still exist."""
    over = is_over(status)
    taken = min((volume.captured_at for volume in status.volumes if volume.captured_at), default=None)
    completed = status.completed_at or (now.replace(microsecond=0) if over else None)
    status = msgspec.structs.replace(status, completed_at=completed, copies=settle_copies(status, completed))
    conditions = _conditions(status, namespace=namespace, now=now, generation=generation)
    conditions = with_hooks(conditions, status.hooks, now=now, generation=generation)
    if over and cleaning and completed is not None and now - completed >= CLEANING_IS_QUIET:
        message = "the run is over, and its volume snapshots, volumes and Jobs are being removed"
        conditions = set_condition(conditions, RECONCILING, True, "CleaningUp", message, now=now, generation=generation)
    conditions = judge_replicated(conditions, status, now=now, generation=generation)
    conditions = judge_verified_copies(conditions, status, now=now, generation=generation)
    return msgspec.structs.replace(
        status,
        observed_generation=generation,
        conditions=conditions,
        taken_at=taken,
        duration=to_duration(completed - status.started_at) if completed and status.started_at else None,
        summary=_summary(status),
    )


def _conditions(status: BackupSnapshotStatus, *, namespace: str, now: datetime, generation: int) -> Conditions:
    volumes, conditions = status.volumes, status.conditions
    if not volumes:
        message = "the policy's selector matches no PersistentVolumeClaim of the namespace; correct spec.selector, or label the claims"
        for kind in (CAPTURED, STORED):
            conditions = set_condition(conditions, kind, False, "NoVolumesSelected", message, now=now, generation=generation)
        return set_stalled(conditions, "NoVolumesSelected", message, now=now, generation=generation)
    stored = [volume for volume in volumes if volume.state is VolumeState.STORED]
    captured = [volume for volume in volumes if volume.captured_at or volume.state is VolumeState.STORED]
    for kind, count, word in ((CAPTURED, len(captured), "captured"), (STORED, len(stored), "stored")):
        done = count == len(volumes)
        reason = ("Captured" if kind == CAPTURED else "Committed") if done else _reason(volumes)
        message = f"{count} of {len(volumes)} volumes are {word}"
        conditions = set_condition(conditions, kind, done, reason, message, now=now, generation=generation)
    if len(stored) == len(volumes):
        return set_ready(conditions, "RecoveryPointStored", _stored_message(stored), now=now, generation=generation)
    say = set_stalled if all(volume.state in _FINAL for volume in volumes) else set_reconciling
    return say(conditions, _reason(volumes), _message(volumes, namespace), now=now, generation=generation)


def _reason(volumes: tuple[SnapshotVolume, ...]) -> str:
    """One word for the run: what failed if it is over, else what is in the way, else what is going on."""
    if all(volume.state in _FINAL for volume in volumes):
        failed = [volume for volume in volumes if volume.state is not VolumeState.STORED]
        if any(volume.state is VolumeState.CANCELLED for volume in failed):
            return "Cancelled"
        return "VolumeNotCaptured" if any(volume.captured_at is None for volume in failed) else "VolumeNotStored"
    troubled = [volume.reason for volume in volumes if volume.state not in _FINAL and volume.reason and volume.reason not in ORDINARY]
    if troubled:
        return troubled[0]
    for reason in (RUNNING_HOOKS, WAITING_FOR_SEAT):
        if any(volume.reason == reason for volume in volumes):
            return reason
    return "Capturing" if any(volume.state in _BEFORE_CAPTURE for volume in volumes) else "Uploading"


def _message(volumes: tuple[SnapshotVolume, ...], namespace: str) -> str:
    stored = sum(volume.state is VolumeState.STORED for volume in volumes)
    lines = [
        f"PVC {namespace}/{volume.persistent_volume_claim}: {_without_place(volume, namespace)}"
        for volume in volumes
        if volume.message and volume.state is not VolumeState.STORED
    ]
    more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return "; ".join([f"{stored} of {len(volumes)} volumes are stored", *lines[:_SHOWN]]) + more


def _without_place(volume: SnapshotVolume, namespace: str) -> str:
    return (volume.message or "").removeprefix(f"PVC {namespace}/{volume.persistent_volume_claim}").removeprefix(":").strip()


def _stored_message(stored: list[SnapshotVolume]) -> str:
    unread = sum(volume.warnings or 0 for volume in stored)
    message = f"{len(stored)} of {len(stored)} volumes are stored and committed"
    return f"{message}; {unread} paths could not be read, see status.volumes" if unread else message


def _summary(status: BackupSnapshotStatus) -> SnapshotSummary:
    volumes = status.volumes
    stored = [volume for volume in volumes if volume.state is VolumeState.STORED]
    return SnapshotSummary(
        volumes=f"{len(stored)}/{len(volumes)}",
        size=to_quantity(sum(volume.bytes_total or 0 for volume in stored)) if stored else None,
        stored=to_quantity(sum(volume.bytes_stored or 0 for volume in stored)) if stored else None,
        copies=count_copies(status.copies),
        verified_at=last_verified(status.copies),
    )
