"""What verifications and drills say of one BackupSnapshot's copies: fields of its ledger, and its condition Verified.

By the logs of the locations, as the rest of the ledger (copies.py). A point counts as verified at a location when every volume of it was.
"""

from datetime import datetime

import msgspec

from recoup.api.backupsnapshot import VERIFIED, BackupSnapshotStatus, Copy, CopyState
from recoup.api.conditions import Conditions, drop_condition, set_condition
from recoup.plan.observed import Catalogue

_SHOWN = 8


def note_verified(copy: Copy, status: BackupSnapshotStatus, catalogue: Catalogue) -> Copy:
    """The entry with what the log there says of the point now."""
    names = {volume.manifest: volume.persistent_volume_claim for volume in status.volumes if volume.manifest}
    points = [catalogue.live[manifest] for manifest in names if manifest in catalogue.live]
    if not points:
        return msgspec.structs.replace(copy, damaged=())
    verified = [point.verified_at for point in points if point.verified_at is not None]
    levels = [point.verified_level for point in points if point.verified_level is not None]
    complete = len(verified) == len(points) and copy.state is CopyState.COMPLETE
    return msgspec.structs.replace(
        copy,
        verified_at=min(verified) if complete else copy.verified_at,
        verified_level=min(levels) if complete and levels else copy.verified_level,
        drilled_at=max((point.drilled_at for point in points if point.drilled_at), default=copy.drilled_at),
        damaged=tuple(sorted(names[point.manifest] for point in points if point.damage)),
    )


def judge_verified_copies(conditions: Conditions, status: BackupSnapshotStatus, *, now: datetime, generation: int) -> Conditions:
    """Verified: False while a copy is damaged; True once one was read back good; absent before anybody looked."""
    damaged = [copy for copy in status.copies if copy.damaged]
    if damaged:
        fine = [copy.location for copy in status.copies if copy.state is CopyState.COMPLETE and not copy.damaged]
        advice = f"restore from {', '.join(fine)}" if fine else "restore these volumes from another recovery point"
        message = f"{'; '.join(_damage(copy) for copy in damaged)}; {advice}; status.damaged of the BackupPolicy names the paths"
        return set_condition(conditions, VERIFIED, False, "Damaged", message, now=now, generation=generation)
    seen = [copy for copy in status.copies if copy.verified_at is not None]
    if not seen:
        return drop_condition(conditions, VERIFIED)
    message = "; ".join(f"{copy.location} at level {copy.verified_level}, {copy.verified_at:%Y-%m-%dT%H:%M:%SZ}" for copy in seen)
    return set_condition(conditions, VERIFIED, True, "Verified", message, now=now, generation=generation)


def last_verified(copies: tuple[Copy, ...]) -> datetime | None:
    """The column: when the point was last found good anywhere."""
    return max((copy.verified_at for copy in copies if copy.verified_at is not None), default=None)


def _damage(copy: Copy) -> str:
    more = f" and {len(copy.damaged) - _SHOWN} more" if len(copy.damaged) > _SHOWN else ""
    return f"BackupLocation {copy.location}: PVC {', '.join(copy.damaged[:_SHOWN])}{more} cannot be restored whole from there"
