"""A standby: volumes that are kept at the newest recovery point, round by round, until they are promoted.

A round is one recovery point of all volumes, settled in status.plan as any restore's. The next begins only when every volume holds the one
before completely and its movers' Jobs are gone, so that no two movers ever write to one volume; or when this one can't be had. Promotion
waits for the end of a round that is under way: what is handed over is one whole recovery point, never a mixture.
"""

from datetime import datetime

import msgspec
from msgspec import Struct

from recoup.api.restorerequest import RestoredVolume, RestoreMode, RestorePlan, RestoreRequest, RestoreState, RestoreVolume, Standby
from recoup.plan.access import Refusal
from recoup.plan.handback import RestoreView
from recoup.plan.movers import MAX_ATTEMPTS, MoverState, judge_mover, pod_of
from recoup.plan.observed import ApiFailure, Catalogue, RestoreObserved
from recoup.plan.restore_plan import seal_plan
from recoup.plan.restore_source import SourceVault, choose_points

STANDBY_OPTIONS = ("--existing", "mirror")
"""Of the mover: what differs is written in place, what the recovery point does not have is deleted."""

_KEPT = {RestoreState.WAITING, RestoreState.RESTORING, RestoreState.STANDBY}


class Ahead(Struct, frozen=True):
    """What there is beyond the present round: the next one, or why that can't be told. Neither: nothing newer, or not the time to look."""

    plan: RestorePlan | None = None
    trouble: Refusal | None = None
    looked: bool = False


def is_standby(request: RestoreRequest) -> bool:
    return request.spec.mode is RestoreMode.STANDBY


def wants_newer(request: RestoreRequest) -> bool:
    """It is kept fresh, so newer recovery points are looked for. A promotion waits for no location that does not answer."""
    status, spec = request.status, request.spec
    if not is_standby(request) or status.plan is None or spec.cancel:
        return False
    states = {volume.state for volume in status.volumes}
    return states <= _KEPT and not (spec.promote and states == {RestoreState.STANDBY})


def holds(known: RestoredVolume, manifest: str) -> bool:
    """The volume is complete at this recovery point, and nothing writes to it."""
    return known.state is RestoreState.STANDBY and known.holds == manifest


def may_be_handed_over(request: RestoreRequest, views: list[RestoreView]) -> bool:
    """It is promoted, and every volume holds the same run, completely; or the hand-over has begun."""
    handed = (RestoreState.HANDING_OVER, RestoreState.RESTORED)
    complete = [view.known.state in handed or (holds(view.known, view.planned.manifest) and not view.movers) for view in views]
    return is_standby(request) and request.spec.promote and all(complete)


def in_the_way(request: RestoreRequest, views: list[RestoreView]) -> Refusal | None:
    """What keeps a promoted standby from being handed over: targets that exist. All volumes change hands, or none."""
    taken = [view.planned.target for view in views if view.target is not None and view.known.state is RestoreState.STANDBY]
    if not taken or not request.spec.promote:
        return None
    names = ", ".join(f"{request.metadata.namespace}/{name}" for name in taken)
    message = f"it is promoted, but {'these claims exist' if len(taken) > 1 else 'this claim exists'} already: {names}"
    return Refusal("TargetExists", f"{message}; delete what is in the way, and the hand-over goes on by itself")


def look_ahead(
    request: RestoreRequest, plan: RestorePlan, views: list[RestoreView], observed: RestoreObserved, denied: Refusal | None, now: datetime
) -> Ahead:
    """Whether a newer round may begin now, and which."""
    if not wants_newer(request) or not (_round_is_over(views) or _round_is_stuck(views, observed, now)):
        return Ahead()
    if denied is not None:
        return Ahead(trouble=denied)
    if observed.location is None:
        return Ahead(trouble=Refusal("LocationDeleted", f"BackupLocation {plan.location} does not exist any more"))
    if observed.catalogue is None:
        return Ahead(trouble=_unreadable(plan, observed.catalogue_failure))
    return _newer(request, plan, observed.catalogue)


def begin_round(known: RestoredVolume) -> RestoredVolume:
    """The line of a volume that is to be brought to another recovery point: it holds none until that is complete."""
    volume = known.persistent_volume
    return RestoredVolume(source=known.source, target=known.target, state=RestoreState.WAITING, persistent_volume=volume)


def note_standby(request: RestoreRequest, plan: RestorePlan, volumes: tuple[RestoredVolume, ...], now: datetime) -> Standby:
    """What the standby holds, once every volume holds the round; and since when it is to be handed over."""
    before = request.status.standby or Standby()
    wanted = {planned.source: planned.manifest for planned in plan.volumes}
    if all(holds(volume, wanted[volume.source]) for volume in volumes):
        before = msgspec.structs.replace(before, holds=plan.taken_at, snapshot=plan.snapshot)
    promoted = before.promoted_at or (now.replace(microsecond=0) if request.spec.promote else None)
    return msgspec.structs.replace(before, promoted_at=promoted)


def _round_is_over(views: list[RestoreView]) -> bool:
    return all(holds(view.known, view.planned.manifest) and not view.movers for view in views)


def _round_is_stuck(views: list[RestoreView], observed: RestoreObserved, now: datetime) -> bool:
    """A volume could not be brought to the round's recovery point, which may be gone, and no mover works."""
    tried = any((view.known.attempts or 0) >= MAX_ATTEMPTS and view.known.reason for view in views)
    states = {judge_mover(job, pod_of(job, view.pods), now=now, warnings=observed.warnings).state for view in views for job in view.movers}
    return tried and not states - {MoverState.FAILED, MoverState.SUCCEEDED}


def _unreadable(plan: RestorePlan, failure: ApiFailure | None) -> Refusal:
    if failure is None:
        return Refusal("ReadingLocation", f"BackupLocation {plan.location} has not been read yet")
    return Refusal(failure.reason, f"BackupLocation {plan.location} can't be read: {failure.message}")


def _newer(request: RestoreRequest, plan: RestorePlan, catalogue: Catalogue) -> Ahead:
    if catalogue.fingerprint != plan.fingerprint:
        message = f"vault {plan.vault} at BackupLocation {plan.location} has another root key than the one that was settled"
        return Ahead(trouble=Refusal("FingerprintMismatch", f"{message}; have the platform team look at the bucket"))
    asked = msgspec.structs.replace(request.spec, volumes=tuple(RestoreVolume(source=volume.source) for volume in plan.volumes))
    vault = SourceVault(plan.vault, plan.namespace, plan.namespace_uid, plan.fingerprint)
    chosen = choose_points(msgspec.structs.replace(request, spec=asked), None, catalogue, vault)
    if isinstance(chosen, Refusal):
        return Ahead(trouble=chosen)
    if chosen.taken_at <= plan.taken_at:
        return Ahead(looked=True)
    points = {point.source.persistent_volume_claim: point for point in chosen.points}
    volumes = tuple(
        msgspec.structs.replace(volume, manifest=point.manifest, bytes=point.bytes_total, files=point.files_total)
        for volume in plan.volumes
        for point in (points[volume.source],)
    )
    newer = msgspec.structs.replace(
        plan, volumes=volumes, taken_at=chosen.taken_at, snapshot=chosen.snapshot or None, bytes=sum(volume.bytes for volume in volumes)
    )
    return Ahead(plan=newer, looked=True)


def settle_round(request: RestoreRequest, ahead: RestorePlan, now: datetime) -> RestorePlan:
    """The plan of the next round, as it goes into the status."""
    return seal_plan(
        msgspec.structs.replace(ahead, resolved_at=now.replace(microsecond=0), eta=None, eta_basis=None), request.spec.paths, None
    )
