"""The settled plan of a restore as something that people decide on: its digest, how long it may take, and whether it may begin.

What is approved is exactly what is done: the digest covers all that was settled (point, copy, volumes, targets, the part that is restored),
and a plan never changes. The time is measured in earlier restores from the same location, or not given.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from recoup.api.durations import parse_duration, to_duration
from recoup.api.objects import encode
from recoup.api.quantities import to_quantity
from recoup.api.restorerequest import PlanMode, RestorePaths, RestorePlan, RestoreRequest, RestoreRequestStatus
from recoup.plan.access import Refusal
from recoup.plan.actions import Object

_JUDGED = 20
"""Volumes whose restores are looked at, the latest ones."""
_ENOUGH = 64 * 2**20
"""Bytes below which a measured speed says more about starting a mover than about reading."""


class Pace(Struct, frozen=True):
    """How fast earlier restores were: bytes a second of one mover, over so many volumes."""

    rate: float
    volumes: int


def seal_plan(plan: RestorePlan, paths: RestorePaths, pace: Pace | None) -> RestorePlan:
    """The plan with its digest, and with its time if there is anything to judge it by. Volumes are restored side by side."""
    sealed = msgspec.structs.replace(plan, digest=_digest(plan, paths))
    if pace is None:
        return sealed
    longest = max((volume.bytes for volume in plan.volumes), default=0)
    basis = f"{to_quantity(pace.rate)}/s a volume, as measured in the last {pace.volumes} restored from {plan.read_from or plan.location}"
    return msgspec.structs.replace(sealed, eta=to_duration(timedelta(seconds=longest / pace.rate)), eta_basis=basis)


def measure_pace(requests: Iterable[Object], location: str) -> Pace | None:
    """The speed of the latest restores from this location; None if too little was restored to tell."""
    ended: list[tuple[datetime, int, float]] = []
    for status in (msgspec.convert(each.get("status") or {}, RestoreRequestStatus) for each in requests):
        if status.plan is None or (status.plan.read_from or status.plan.location) != location or status.completed_at is None:
            continue
        for volume in status.volumes:
            seconds = parse_duration(volume.duration).total_seconds() if volume.duration and volume.duration != "0s" else 0.0
            if volume.bytes_written and seconds:
                ended.append((status.completed_at, volume.bytes_written, seconds))
    latest = sorted(ended, reverse=True)[:_JUDGED]
    written = sum(size for _, size, _ in latest)
    return Pace(written / sum(seconds for _, _, seconds in latest), len(latest)) if written >= _ENOUGH else None


def why_not_begun(request: RestoreRequest, plan: RestorePlan) -> Refusal | None:
    """What a settled plan waits for before anything is written; None if it may begin."""
    mode, approve = request.spec.plan, request.spec.approve
    if mode is PlanMode.AUTO or (mode is PlanMode.APPROVAL_REQUIRED and approve == plan.digest):
        return None
    if mode is PlanMode.ONLY:
        return Refusal("PlanOnly", "spec.plan is Only: nothing is restored; create another RestoreRequest to do it")
    how = f"approve it by setting spec.approve to {plan.digest} (`kubectl recoup restore --approve {request.metadata.name}`)"
    if approve is None:
        return Refusal("ApprovalRequired", f"the plan is made and waits for approval: {how}")
    return Refusal("ApprovalRefused", f"spec.approve is {approve}, which is not the digest of this plan; look at status.plan, then {how}")


def awaits_approval(request: RestoreRequest) -> bool:
    """Its plan is settled, and a person is to allow it."""
    status = request.status
    return status.plan is not None and status.started_at is None and status.completed_at is None


def describe_plan(plan: RestorePlan, paths: RestorePaths) -> str:
    """The plan in a line, for the condition."""
    files = sum(volume.files or 0 for volume in plan.volumes)
    most = "at most " if paths.is_selection else ""
    volumes = f"{len(plan.volumes)} volumes" if len(plan.volumes) != 1 else "1 volume"
    time = f", about {plan.eta}" if plan.eta else ""
    return f"{volumes}, {most}{files} files and {to_quantity(plan.bytes or 0)} bytes, into new claims{time}; digest {plan.digest}"


def _digest(plan: RestorePlan, paths: RestorePaths) -> str:
    settled = msgspec.structs.replace(plan, resolved_at=plan.taken_at, digest=None, eta=None, eta_basis=None)
    text = msgspec.json.encode([encode(settled), msgspec.to_builtins(paths)], order="sorted")
    return hashlib.sha256(text).hexdigest()[:32]
