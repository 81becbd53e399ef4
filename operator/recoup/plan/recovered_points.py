"""From a catalogue to BackupSnapshots that are only views of it: which runs it holds, their objects, their statuses.

For recovery points of another namespace that this one adopts, and for those of this namespace whose object was deleted. What a record says
was written by a mover: names are checked, lists are bounded, and it decides neither whose point it is nor who may read it.
"""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from recoup.api.backuplocation import BackupLocation, Vault
from recoup.api.backupsnapshot import (
    CAPTURED,
    KIND,
    STORED,
    BackupSnapshotStatus,
    Copy,
    CopyState,
    SnapshotSummary,
    SnapshotVolume,
    Trigger,
    VolumeState,
)
from recoup.api.conditions import Conditions, set_condition, set_ready, set_stalled
from recoup.api.durations import to_duration
from recoup.api.labels import ORIGIN_RUN, ORIGIN_VAULT, POLICY
from recoup.api.names import fit_name, label_value, short_hash
from recoup.api.objects import API_VERSION
from recoup.api.quantities import to_quantity
from recoup.plan.actions import Object
from recoup.plan.copies import count_copies
from recoup.plan.objects.identity import Owner
from recoup.plan.observed import Point
from recoup.plan.suspicion import note_before

MAX_VOLUMES = 256
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
UNKNOWN_POLICY = "unknown"
"""Where a recovery point names no policy, as one that the command line made."""


class RecordedRun(Struct, frozen=True, kw_only=True):
    """One recovery point as a catalogue has it: a run with the newest point of each of its volumes. name: of its BackupSnapshot there."""

    id: str
    name: str
    policy: str
    policy_uid: str
    taken_at: datetime
    points: tuple[Point, ...]
    volumes: int
    """How many it was to have."""


def run_of(point: Point) -> str:
    """Identity of the run that the point belongs to, fit for a label."""
    text = point.snapshot_uid or point.session
    return text if _LABEL.fullmatch(text) else short_hash("run", text)


def group_runs(points: Iterable[Point]) -> dict[str, RecordedRun]:
    """The runs by identity, in log order."""
    grouped: dict[str, dict[str, Point]] = {}
    for point in points:
        volumes = grouped.setdefault(run_of(point), {})
        name = _claim(point)
        if name not in volumes or volumes[name].taken_at <= point.taken_at:
            volumes[name] = point
    return {run: _recorded(run, tuple(volumes.values())) for run, volumes in grouped.items()}


def _recorded(run: str, points: tuple[Point, ...]) -> RecordedRun:
    first = points[0]
    return RecordedRun(
        id=run,
        name=first.snapshot if _NAME.fullmatch(first.snapshot) else "",
        policy=first.policy if _NAME.fullmatch(first.policy) else UNKNOWN_POLICY,
        policy_uid=first.policy_uid if _LABEL.fullmatch(first.policy_uid) else "",
        taken_at=min(point.taken_at for point in points),
        points=points[:MAX_VOLUMES],
        volumes=max(len(points), len(set(first.volumes_expected))),
    )


def view_name(vault: Vault, run: RecordedRun) -> str:
    """The name of an adopted recovery point's object: as it was called, and a hash that keeps it apart from this namespace's own."""
    tail = short_hash(vault.id, run.id)
    return f"{fit_name(run.name or run.policy, limit=52)}-{tail}"


def own_name(vault: Vault, run: RecordedRun, taken: frozenset[str]) -> str:
    """The name under which a deleted object comes back: its own, unless another object has it by now."""
    return run.name if run.name and run.name not in taken else view_name(vault, run)


def build_view(owner: Owner, vault: Vault, run: RecordedRun, *, name: str, namespace: str) -> Object:
    """The BackupSnapshot. owner: the BackupLocation that it is read from."""
    origin = {"location": owner.name, "vault": vault.id, "namespace": {"name": vault.namespace, "uid": vault.namespace_uid}, "run": run.id}
    labels = owner.labels() | {ORIGIN_VAULT: vault.id, ORIGIN_RUN: run.id, POLICY: label_value(run.policy)}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "policyRef": {"name": run.policy},
            "trigger": str(Trigger.CATALOGUE),
            "origin": origin | ({"cluster": vault.cluster} if vault.cluster else {}),
        },
    }


def describe_view(
    before: Conditions, location: BackupLocation, vault: Vault, run: RecordedRun, *, foreign: bool, now: datetime, generation: int
) -> BackupSnapshotStatus:
    """The whole status, from the catalogue alone."""
    volumes = tuple(sorted((_volume(point) for point in run.points), key=lambda volume: volume.persistent_volume_claim))
    whole = len(run.points) >= run.volumes
    copies = (
        Copy(
            location=location.metadata.name,
            provider=location.spec.provider,
            region=location.spec.region,
            state=CopyState.COMPLETE if whole else CopyState.INCOMPLETE,
            at=run.taken_at,
        ),
    )
    return BackupSnapshotStatus(
        observed_generation=generation,
        conditions=_conditions(before, location, vault, run, foreign=foreign, whole=whole, now=now, generation=generation),
        policy_uid=run.policy_uid or None,
        location=location.metadata.name,
        vault=vault.id,
        taken_at=run.taken_at,
        completed_at=run.taken_at + timedelta(seconds=max((point.duration for point in run.points), default=0.0)),
        volumes=volumes,
        copies=copies,
        summary=SnapshotSummary(
            volumes=f"{len(volumes)}/{run.volumes}",
            size=to_quantity(sum(point.bytes_total for point in run.points)),
            stored=to_quantity(sum(point.bytes_stored for point in run.points)),
            copies=count_copies(copies),
        ),
    )


def _conditions(
    conditions: Conditions, location: BackupLocation, vault: Vault, run: RecordedRun, *,
    foreign: bool, whole: bool, now: datetime, generation: int,
) -> Conditions:  # fmt: skip
    count = f"{len(run.points)} of {run.volumes} volumes"
    for kind, reason, word in ((CAPTURED, "Captured", "captured"), (STORED, "Committed", "stored")):
        told = reason if whole else "VolumeNotStored"
        conditions = set_condition(conditions, kind, whole, told, f"{count} are {word}", now=now, generation=generation)
    cluster = f" of cluster {vault.cluster}" if vault.cluster else ""
    whose = f"; it is of namespace {vault.namespace} ({vault.namespace_uid}){cluster}, and only to be restored from here" if foreign else ""
    message = f"{count} are stored and committed, as the catalogue of BackupLocation {location.metadata.name} says{whose}"
    if whole:
        return set_ready(conditions, "RecoveryPointStored", message, now=now, generation=generation)
    return set_stalled(conditions, "VolumeNotStored", message, now=now, generation=generation)


def _claim(point: Point) -> str:
    name = point.source.persistent_volume_claim
    return name if _NAME.fullmatch(name) else point.manifest[:16]


def _volume(point: Point) -> SnapshotVolume:
    uid = point.source.persistent_volume_claim_uid
    return SnapshotVolume(
        persistent_volume_claim=_claim(point),
        uid=uid if _LABEL.fullmatch(uid) else "",
        state=VolumeState.STORED,
        guarantee=point.consistency[:32],
        captured_at=point.taken_at,
        manifest=point.manifest,
        files_total=point.files_total,
        bytes_total=point.bytes_total,
        bytes_read=point.bytes_read,
        bytes_stored=point.bytes_stored,
        bytes_new=point.figures.bytes_new if point.figures is not None else None,
        before=note_before(point.figures),
        duration=to_duration(timedelta(seconds=point.duration)),
        warnings=point.errors or None,
    )
