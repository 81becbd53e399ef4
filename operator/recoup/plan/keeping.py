"""What a recovery point says of its own retention: what keeps it, whether the log has its pin, when an edit lets go of it, and its end.

All of it is read from the logs of the locations, and from what the policy says of the rules in force there (plan/retention.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import structs

from recoup.api.backuppolicy import BackupPolicy, LocationRetention, ZonedRules
from recoup.api.backupsnapshot import BackupSnapshot, BackupSnapshotStatus, Pinned
from recoup.plan.forgetting import is_held
from recoup.plan.observed import Catalogue, Point
from recoup.plan.retention import Judged, judge_points, kept_by

IN_GRACE = "edit grace"
"""What keeps a point while the grace of the first rules is not over. Where there are no rules nothing is said, and nothing written."""


Beside = Mapping[str, Sequence[Catalogue]]


def renew_keeping(
    snapshot: BackupSnapshot, status: BackupSnapshotStatus, policy: BackupPolicy | None, catalogues: Mapping[str, Catalogue],
    beside: Beside | None = None,
) -> BackupSnapshotStatus:  # fmt: skip
    """The status of a run that is over, by the logs as last read; where none was read, as it was. `policy`: None if it is another one's.

    `beside`: by location, the policy's other vaults there, whose points count as those of one.
    """
    manifests = {volume.manifest for volume in status.volumes if volume.manifest}
    told = {name: catalogue for name, catalogue in catalogues.items() if _knows(catalogue, manifests)}
    held = {name: [one for one in map(catalogue.live.get, manifests) if one] for name, catalogue in told.items()}
    if not held:
        return status
    reasons: set[str] = set()
    ends: list[datetime] = []
    for name, points in held.items():
        line = next((line for line in policy.status.retention if line.location == name), None) if policy else None
        vaults = (catalogues[name], *(beside or {}).get(name, ()))
        reasons |= {reason for point in points for reason in _reasons(point, vaults, policy, line)}
        if line and line.effective_at and points and _expires(points, vaults, policy, line):
            ends.append(line.effective_at)
    points = [point for known in held.values() for point in known]
    return structs.replace(
        status, kept_by=tuple(sorted(reasons, key=_order)), pinned=_pinned(snapshot, points), expires_at=min(ends, default=None)
    )  # fmt: skip


def is_forgotten(status: BackupSnapshotStatus, catalogues: Mapping[str, Catalogue]) -> bool:
    """Whether the log of every location that had the point says that all its volumes were forgotten; each log must have been read."""
    manifests = {volume.manifest for volume in status.volumes if volume.manifest}
    seen = [catalogues.get(copy.location) for copy in status.copies]
    known = [catalogue for catalogue in seen if catalogue is not None]
    if not manifests or len(known) < len(seen):
        return False
    if any(manifest in catalogue.live for catalogue in known for manifest in manifests):
        return False
    return all(any(manifest in catalogue.forgotten for catalogue in known) for manifest in manifests)


def _knows(catalogue: Catalogue, manifests: set[str]) -> bool:
    """The log was read when the point was there, or later; what was read before says nothing of it."""
    return any(manifest in catalogue.live or manifest in catalogue.forgotten for manifest in manifests)


def _reasons(point: Point, vaults: Sequence[Catalogue], policy: BackupPolicy | None, line: LocationRetention | None) -> tuple[str, ...]:
    pin = ("pin",) if point.pinned is not None else ()
    if policy is None or line is None:
        return pin
    if line.in_force is None:
        return (*pin, IN_GRACE)
    return kept_by(_judge(vaults, policy, line.in_force).kept.get(point.manifest, ()))


def _judge(vaults: Sequence[Catalogue], policy: BackupPolicy, rules: ZonedRules) -> Judged:
    own, *others = vaults
    return judge_points(own, policy.metadata.uid, rules, others, frozenset(volume.uid for volume in policy.status.suspicious))


def _expires(points: list[Point], vaults: Sequence[Catalogue], policy: BackupPolicy | None, line: LocationRetention) -> bool:
    if policy is None or line.edited is None:
        return False
    gone = set(_judge(vaults, policy, line.edited).gone)
    return any(point.manifest in gone for point in points)


def _pinned(snapshot: BackupSnapshot, points: list[Point]) -> Pinned | None:
    """As asked for and in every log that holds the point; what was so stays said until every log has let go of the pin again."""
    pins = [point.pinned for point in points if point.pinned is not None]
    if is_held(snapshot):
        return Pinned(reason=pins[0]) if pins and len(pins) == len(points) else snapshot.status.pinned
    return snapshot.status.pinned if pins else None


def _order(reason: str) -> tuple[int, str]:
    return (_ORDER.index(reason) if reason in _ORDER else len(_ORDER), reason)


_ORDER = ("pin", "last", "hourly", "daily", "weekly", "monthly", "yearly", "within", "min-verified")
