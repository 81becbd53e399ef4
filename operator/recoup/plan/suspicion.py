"""A source that changed suspiciously: the recovery point says so, and nothing of that volume is forgotten until a person accepts it.

The decision about one point is recoup/suspicion.py's, by the figures in its record. A volume is held for every policy that protects it,
by what any location's log and any BackupSnapshot of the policy tells; the forget Job looks once more for itself.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from recoup.api.backuppolicy import MAX_SUSPICIOUS, SUSPICIOUS, BackupPolicy, SuspiciousAction, SuspiciousChange, SuspiciousVolume
from recoup.api.backupsnapshot import Accepted, BackupSnapshot, SnapshotVolume, VolumeBefore
from recoup.api.conditions import Conditions, drop_condition, set_condition
from recoup.plan.actions import Object
from recoup.plan.observed import Catalogue, Point
from recoup.suspicion import Earlier, Figures, Finding, Thresholds, find_suspicion

_SHOWN = 4


class Suspect(Struct, frozen=True, kw_only=True):
    """One volume of a recovery point that changed suspiciously."""

    manifest: str
    uid: str
    claim: str
    snapshot: str | None
    at: datetime
    finding: Finding


def thresholds_of(asked: SuspiciousChange) -> Thresholds | None:
    """None where such changes are to be ignored."""
    if asked.action is SuspiciousAction.IGNORE:
        return None
    return Thresholds(
        lost_bytes=asked.lost_bytes, lost_files=asked.lost_files, rewritten=asked.rewritten, stored_share=asked.stored_share
    )  # fmt: skip


def figures_of(volume: SnapshotVolume) -> Figures | None:
    """What a BackupSnapshot says of one volume; None before it is stored."""
    if volume.manifest is None:
        return None
    last = volume.before
    before = Earlier(last.files_total, last.bytes_total, last.bytes_new, last.bytes_stored) if last is not None else None
    return Figures(volume.files_total or 0, volume.bytes_total or 0, volume.bytes_stored or 0, volume.bytes_new, before)


def note_before(figures: Figures | None) -> VolumeBefore | None:
    """The figures of the point before, as the status has them."""
    last = figures.before if figures is not None else None
    if last is None:
        return None
    return VolumeBefore(
        files_total=last.files, bytes_total=last.bytes_total, bytes_new=last.bytes_new, bytes_stored=last.bytes_stored
    )  # fmt: skip


def accepted_manifests(snapshots: Iterable[Object]) -> frozenset[str]:
    """Volumes of the recovery points that somebody looked at and found to be as they should; `snapshots` of the namespace's own."""
    found: set[str] = set()
    for snapshot in snapshots:
        if snapshot["spec"].get("accept"):
            volumes = (snapshot.get("status") or {}).get("volumes") or ()
            found |= {volume["manifest"] for volume in volumes if volume.get("manifest")}
    return frozenset(found)


def judge_snapshot(
    conditions: Conditions, volumes: Sequence[SnapshotVolume], asked: SuspiciousChange, accept: Accepted | None, *,
    now: datetime, generation: int,
) -> Conditions:  # fmt: skip
    """The condition Suspicious of one recovery point: absent if nothing is odd, False once it was accepted."""
    thresholds = thresholds_of(asked)
    found = [(volume.persistent_volume_claim, finding) for volume, finding in _findings(volumes, thresholds)]
    if not found:
        return drop_condition(conditions, SUSPICIOUS)
    told = "; ".join(f"PVC {claim}: {finding.message}" for claim, finding in found[:_SHOWN])
    if accept is not None:
        message = f"accepted by {accept.by}: {accept.reason}; {told}"
        return set_condition(conditions, SUSPICIOUS, False, "Accepted", message, now=now, generation=generation)
    message = f"{told}; nothing of these volumes is forgotten until spec.accept {{by, reason}} of this BackupSnapshot is set"
    return set_condition(conditions, SUSPICIOUS, True, found[0][1].reason, message, now=now, generation=generation)


def find_suspects(
    policy: BackupPolicy, snapshots: Sequence[BackupSnapshot], catalogues: Sequence[Catalogue], accepted: frozenset[str]
) -> tuple[Suspect, ...]:
    """What nobody accepted yet of the policy's volumes, newest first, as far as logs were read and objects exist."""
    thresholds = thresholds_of(policy.spec.suspicious_change)
    if thresholds is None:
        return ()
    names = {volume.manifest: snapshot.metadata.name for snapshot in snapshots for volume in snapshot.status.volumes if volume.manifest}
    found: dict[str, Suspect] = {}
    for snapshot in snapshots:
        for volume, finding in _findings(snapshot.status.volumes, thresholds):
            assert volume.manifest is not None
            at = snapshot.status.taken_at or snapshot.metadata.creation_timestamp
            assert at is not None
            found[volume.manifest] = Suspect(
                manifest=volume.manifest, uid=volume.uid, claim=volume.persistent_volume_claim, snapshot=snapshot.metadata.name,
                at=at, finding=finding,
            )  # fmt: skip
    gone: set[str] = set()
    for catalogue in catalogues:
        gone |= catalogue.forgotten - catalogue.live.keys()
        mine = {point.source.persistent_volume_claim_uid for point in catalogue.points if point.owner_uid == policy.metadata.uid}
        for point, finding in _suspicious_points(catalogue, thresholds):
            if point.source.persistent_volume_claim_uid in mine and point.manifest not in found:
                found[point.manifest] = _of_point(point, finding, names.get(point.manifest))
    live = {manifest for catalogue in catalogues for manifest in catalogue.live}
    left = [one for manifest, one in found.items() if manifest not in accepted and (manifest in live or manifest not in gone)]
    return tuple(sorted(left, key=lambda one: (one.at, one.manifest), reverse=True))


def accepted_here(catalogue: Catalogue, thresholds: Thresholds, accepted: frozenset[str]) -> tuple[str, ...]:
    """What a forget Job at this location has to be told of acceptances."""
    return tuple(sorted(point.manifest for point, _ in _suspicious_points(catalogue, thresholds) if point.manifest in accepted))


def judge_suspects(conditions: Conditions, suspects: Sequence[Suspect], *, now: datetime, generation: int) -> Conditions:
    """The condition Suspicious of a policy: True while anything waits for a person, else absent."""
    if not suspects:
        return drop_condition(conditions, SUSPICIOUS)
    more = f"; and {len(suspects) - _SHOWN} more" if len(suspects) > _SHOWN else ""
    told = "; ".join(f"{_where(one)}: {one.finding.message}" for one in suspects[:_SHOWN])
    message = f"{told}{more}; nothing of these volumes is forgotten until spec.accept {{by, reason}} of each such BackupSnapshot is set"
    return set_condition(conditions, SUSPICIOUS, True, suspects[0].finding.reason, message, now=now, generation=generation)


def list_suspects(suspects: Sequence[Suspect]) -> tuple[SuspiciousVolume, ...]:
    """As status.suspicious has them."""
    return tuple(
        SuspiciousVolume(
            persistent_volume_claim=one.claim, uid=one.uid, manifest=one.manifest, snapshot=one.snapshot, at=one.at,
            reason=one.finding.reason, message=one.finding.message,
        )
        for one in suspects[:MAX_SUSPICIOUS]
    )  # fmt: skip


def _findings(volumes: Sequence[SnapshotVolume], thresholds: Thresholds | None) -> list[tuple[SnapshotVolume, Finding]]:
    if thresholds is None:
        return []
    judged = [(volume, find_suspicion(figures, thresholds)) for volume in volumes if (figures := figures_of(volume)) is not None]
    return [(volume, finding) for volume, finding in judged if finding is not None]


def _suspicious_points(catalogue: Catalogue, thresholds: Thresholds) -> list[tuple[Point, Finding]]:
    """Computed once for one catalogue."""
    key = ("suspicion", thresholds)
    if key not in catalogue.memory:
        judged = [(point, find_suspicion(point.figures, thresholds)) for point in catalogue.points if point.figures is not None]
        catalogue.memory[key] = [(point, finding) for point, finding in judged if finding is not None]
    found: list[tuple[Point, Finding]] = catalogue.memory[key]
    return found


def _of_point(point: Point, finding: Finding, name: str | None) -> Suspect:
    source = point.source
    return Suspect(
        manifest=point.manifest, uid=source.persistent_volume_claim_uid, snapshot=name, at=point.taken_at, finding=finding,
        claim=source.persistent_volume_claim or source.persistent_volume_claim_uid,
    )  # fmt: skip


def _where(one: Suspect) -> str:
    return f"BackupSnapshot {one.snapshot}, PVC {one.claim}" if one.snapshot else f"recovery point {one.manifest[:16]}, PVC {one.claim}"
