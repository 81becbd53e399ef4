"""Vaults at a location that were not made from here: having them opened, so that their recovery points can be listed.

The controller sees the vaults by a listing, and knows a vault once the Secret with its catalogue keys is there; for the others a Job is
made that opens them with a key of the location. It reads the location only. What may be read by whom is access.py's and is decided anew
whenever something is read; opening a vault gives nobody in a namespace anything.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from recoup.api.backuplocation import KIND, MAX_VAULTS, BackupLocation, Vault
from recoup.api.names import short_hash
from recoup.plan.actions import Action, Create, Object
from recoup.plan.movers import MoverState, judge_mover, pod_of
from recoup.plan.objects.adopt_job import build_adopt_job
from recoup.plan.objects.identity import ADOPTS, Owner
from recoup.plan.observed import Surroundings
from recoup.plan.volume_view import delete, is_going

ADOPT = "adopt"
_PAUSE = timedelta(minutes=10)
_PAUSE_RETRYABLE = timedelta(minutes=1)
"""From the end of a Job that did not open every vault to the next one."""
_POLL = 5.0
_SHOWN = 3


class Listing(Struct, frozen=True, kw_only=True):
    """What a look for vaults found. reason: empty if it was made. locked: those with recovery points that the keys at hand don't open."""

    reason: str = ""
    message: str = ""
    vaults: tuple[str, ...] = ()
    locked: tuple[str, ...] = ()


class Adoption(Struct, frozen=True, kw_only=True):
    """The next writes, and how far the vaults are known: done, or why not."""

    actions: tuple[Action, ...] = ()
    done: bool = False
    reason: str = "VaultsNotListed"
    message: str = "the vaults at the location have not been listed yet"
    again: float | None = None


class AdoptionObserved(Struct, frozen=True, kw_only=True):
    """vaults: those whose catalogue keys are there. children: of the location, as in LocationObserved."""

    location: BackupLocation
    around: Surroundings
    listing: Listing
    vaults: tuple[Vault, ...]
    children: tuple[Object, ...]
    warnings: dict[str, str]


def is_adopt_job(job: Object) -> bool:
    return job["kind"] == "Job" and ADOPTS in (job["metadata"].get("labels") or {})


def plan_adoption(observed: AdoptionObserved, now: datetime) -> Adoption:
    """The next step towards knowing every vault that was listed."""
    location, listing = observed.location, observed.listing
    jobs = [child for child in observed.children if child["kind"] == "Job" and is_adopt_job(child)]
    if not location.spec.lists_vaults:
        return Adoption(actions=tuple(delete(job) for job in jobs if not is_going(job)))
    if listing.reason:
        return Adoption(reason=listing.reason, message=f"the vaults can't be listed: {listing.message}")
    known = {vault.id for vault in observed.vaults} - set(listing.locked)
    unknown = sorted(set(listing.vaults) - known)
    room = MAX_VAULTS - len({vault.id for vault in observed.vaults} - set(unknown))
    wanted = tuple(unknown[: max(0, room)])
    if jobs:
        return _follow(jobs[0], observed, wanted, now)
    if not unknown:
        return Adoption(done=True, reason="VaultsKnown", message="every vault at the location is known, see status.vaults")
    if not wanted:
        message = f"the location holds more than {MAX_VAULTS} vaults, of which no more can be listed; use several locations"
        return Adoption(reason="TooManyVaults", message=message)
    if not any(key.secret for key in location.spec.encryption.keys):
        message = (
            "no key of the location is a Secret here, so that vaults which were made elsewhere can't be opened; add the one that opens them"
        )
        return Adoption(reason="NoKeyInCluster", message=message)
    return Adoption(actions=(Create(_build(observed, wanted)),), reason="OpeningVaults", message=_opening(wanted), again=_POLL)


def _follow(job: Object, observed: AdoptionObserved, wanted: tuple[str, ...], now: datetime) -> Adoption:
    pods = tuple(child for child in observed.children if child["kind"] == "Pod")
    verdict = judge_mover(job, pod_of(job, pods), now=now, warnings=observed.warnings)
    if verdict.state in (MoverState.RUNNING, MoverState.ENDING):
        return Adoption(reason=verdict.reason or "OpeningVaults", message=verdict.message or _opening(wanted), again=_POLL)
    remove = () if is_going(job) else (delete(job),)
    if not wanted:
        return Adoption(actions=remove, done=True, reason="VaultsKnown", message="every vault at the location is known, see status.vaults")
    outdated = job["metadata"]["name"] != _name(observed, wanted)
    left = (verdict.since or now) + (_PAUSE_RETRYABLE if verdict.retry else _PAUSE) - now
    reason, message = verdict.reason or "VaultNotOpened", verdict.message or "a vault is still unknown after the Job that opened it"
    if outdated or left <= timedelta():
        return Adoption(actions=remove, reason=reason, message=message, again=_POLL)
    return Adoption(reason=reason, message=message, again=left.total_seconds())


def _opening(vaults: tuple[str, ...]) -> str:
    more = f" and {len(vaults) - _SHOWN} more" if len(vaults) > _SHOWN else ""
    return f"vaults that were made elsewhere are being opened: {', '.join(vaults[:_SHOWN])}{more}"


def _build(observed: AdoptionObserved, vaults: tuple[str, ...]) -> Object:
    pinned = tuple(vault.fingerprint for vault in observed.location.status.vaults if vault.id in vaults)
    name = _name(observed, vaults)
    return build_adopt_job(_owner(observed), observed.around, observed.location.spec, name=name, vaults=vaults, fingerprints=pinned)


def _name(observed: AdoptionObserved, vaults: tuple[str, ...]) -> str:
    """For these vaults with these settings: other keys are worth another try at once."""
    spec = observed.location.spec
    return _owner(observed).child_name(ADOPT, short_hash(*vaults), short_hash(str(spec.s3), str(spec.encryption)))


def _owner(observed: AdoptionObserved) -> Owner:
    metadata = observed.location.metadata
    return Owner(kind=KIND, namespace="", name=metadata.name, uid=metadata.uid)
