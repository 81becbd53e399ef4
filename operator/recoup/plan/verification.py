"""Which verifications of a policy are due: what its schedule asks for, and looks at points that are damaged or in doubt.

A slot is done when the log of the location has evidence of it, whoever made it. What was found damaged is looked at again, and healed
from other locations that hold it, after pauses that grow with the age of the damage. What verifications found is told in verified.py.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from recoup.api.backuplocation import BackupLocation, EncryptionKey
from recoup.api.backuppolicy import BackupPolicy, Schedule, VerificationSchedule
from recoup.api.names import slot_text
from recoup.api.objects import decode
from recoup.api.restorerequest import RestoreRequest, RestoreState
from recoup.errors import Invalid
from recoup.plan.access import Refusal
from recoup.plan.actions import Object
from recoup.plan.objects.verify_job import build_verify_job
from recoup.plan.observed import Catalogue, Point, Surroundings, VerificationRun
from recoup.plan.schedule import delay_of, latest_slot, read_schedule
from recoup.plan.upkeep import Task

HEAL, VERIFY = "heal", "verify"

FIRST_PAUSE = timedelta(minutes=10)
LONGEST_PAUSE = timedelta(days=1)
POINTS_AT_ONCE = 50
"""Points that one healing names; the rest comes with the next one."""
DOUBT_LASTS = timedelta(days=1)
"""A restore or drill that met damage is a reason to look for so long."""
DOUBT_LEVEL = 4

DAMAGE = frozenset({"DigestMismatch", "IntegrityError", "ObjectDamaged", "ObjectMissing", "ObjectTruncated"})
"""Reasons by which a restore or a drill says that the location does not hold what it should."""


class Vault(Struct, frozen=True, kw_only=True):
    """What the Jobs need. keys: of its home, which is the location `home`; some of them may lie in Secrets."""

    id: str
    namespace: str
    around: Surroundings
    keys: tuple[EncryptionKey, ...]
    home: str = ""

    @property
    def obstacle(self) -> str:
        """Why no Job can open it; empty if one can."""
        return "" if any(key.secret for key in self.keys) else f"BackupLocation {self.home} has no key in a Secret"


class Place(Struct, frozen=True):
    """A vault of the policy at one of its locations. catalogue: None if its log could not be read. points: the policy's there."""

    location: BackupLocation
    catalogue: Catalogue | None
    points: tuple[Point, ...]
    vault: Vault | None = None

    @property
    def name(self) -> str:
        return self.location.metadata.name

    @property
    def damaged(self) -> tuple[Point, ...]:
        """What cannot be restored whole from here, the longest known first."""
        return tuple(sorted((point for point in self.points if point.damage), key=_since))


class Due(Struct, frozen=True):
    """slot: the newest one that has begun. before: the one before it. next: when the next one begins. None where there is none."""

    slot: datetime | None = None
    before: datetime | None = None
    next: datetime | None = None


class Checking(Struct, frozen=True, kw_only=True):
    """The verification of one policy at one look. due: or why nothing can be verified."""

    places: tuple[Place, ...] = ()
    due: Due | Refusal = Due()
    tasks: tuple[Task, ...] = ()


def plan_verification(
    policy: BackupPolicy, locations: Mapping[str, BackupLocation], catalogues: Mapping[str, Catalogue], vault: Vault | None,
    restores: Sequence[Object], now: datetime, beside: Sequence[Place] = (),
) -> Checking:  # fmt: skip
    """What is to be verified now. `vault`: None until it has keys. `restores`: the RestoreRequests of the namespace.

    `beside`: where the policy's other vaults are, if its home was away once.
    """
    asked = policy.spec.verification
    if asked is None:
        return Checking()
    places = (*places_of(policy, locations, catalogues, vault), *beside)
    try:
        due = due_slots(asked.schedule, policy, now)
    except Invalid as error:
        return Checking(places=places, due=Refusal(error.reason, f"spec.verification: {error}"))
    if vault is None:
        return Checking(places=places, due=due)
    closed = next((each.obstacle for each in (vault, *(place.vault for place in beside)) if each and each.obstacle), "")
    if closed:
        message = f"{closed} (spec.encryption.keys[].secret): run recoup verify where a key is, or add one"
        return Checking(places=places, due=Refusal("KeyUnavailable", message))
    return Checking(places=places, due=due, tasks=verification_tasks(policy, places, due, restores, now))


def places_of(
    policy: BackupPolicy, locations: Mapping[str, BackupLocation], catalogues: Mapping[str, Catalogue], vault: Vault | None
) -> tuple[Place, ...]:
    """One vault at the policy's locations that exist, the home first."""
    found = []
    for named in policy.spec.locations:
        location, catalogue = locations.get(named.name), catalogues.get(named.name)
        if location is not None:
            points = catalogue.points if catalogue else ()
            found.append(Place(location, catalogue, tuple(point for point in points if point.policy_uid == policy.metadata.uid), vault))
    return tuple(found)


def due_slots(schedule: VerificationSchedule, policy: BackupPolicy, now: datetime) -> Due:
    """Raises Invalid if the schedule is none. Slots before the policy existed are nobody's."""
    read = Schedule(cron=schedule.cron, every=schedule.every, time_zone=schedule.time_zone, jitter=schedule.jitter)
    slots, delay = read_schedule(read), delay_of(read, policy.metadata.namespace or "")
    created = policy.metadata.creation_timestamp
    assert created is not None
    slot = latest_slot(slots, created, now - delay)
    before = latest_slot(slots, created, slot - timedelta(seconds=1)) if slot else None
    upcoming = slots.next_after(now - delay)
    return Due(slot, before, upcoming + delay if upcoming else None)


def is_done(place: Place, slot: datetime, level: int) -> bool:
    """The log there has evidence of a verification of everything, deep enough, made for this slot or since."""
    return any(not run.chosen and run.level >= level and (run.round == slot_text(slot) or run.started >= slot) for run in runs_at(place))


def runs_at(place: Place) -> tuple[VerificationRun, ...]:
    """The verifications at a location, the newest last."""
    return place.catalogue.verifications if place.catalogue is not None else ()


def verification_tasks(
    policy: BackupPolicy, places: Sequence[Place], due: Due, restores: Sequence[Object], now: datetime
) -> tuple[Task, ...]:
    """What is to be looked at now, healing first."""
    asked = policy.spec.verification
    if asked is None:
        return ()
    heals, looks = [], []
    for place in places:
        doubtful = _doubts(place, restores, now)
        if _is_to_heal(place, places, now):
            some = place.damaged[:POINTS_AT_ONCE]
            level = max(point.damage.cleared_by for point in some if point.damage)
            heals.append(_task(HEAL, place, places, f"heal-{_last(place):%Y%m%dt%H%M%Sz}", level, tuple(point.id for point in some)))
        elif doubtful:
            purpose, points = doubtful[0]
            heals.append(_task(HEAL, place, places, purpose, DOUBT_LEVEL, points))
        if due.slot is not None and place.points and not is_done(place, due.slot, asked.level):
            looks.append(_task(VERIFY, place, places, slot_text(due.slot), asked.level, ()))
    return (*heals, *looks)


def heal_at(place: Place, places: Sequence[Place]) -> datetime | None:
    """When the damage at a location is to be healed next; None if there is none, or nobody else holds what is damaged."""
    if not place.damaged or not holders(place, places):
        return None
    last = _last(place)
    tried = any(point.damage.healing for point in place.damaged if point.damage)
    if not tried:
        return last
    return last + min(max(last - _since(place.damaged[0]), FIRST_PAUSE), LONGEST_PAUSE)


def holders(place: Place, places: Sequence[Place]) -> tuple[str, ...]:
    """Other locations whose log says that they hold something of what is damaged here, and hold it good."""
    bad = {point.id for point in place.damaged}
    others = (other for other in places if other.name != place.name)
    return tuple(other.name for other in others if any(point.id in bad and point.damage is None for point in other.points))


def _is_to_heal(place: Place, places: Sequence[Place], now: datetime) -> bool:
    at = heal_at(place, places)
    return at is not None and at <= now


def _doubts(place: Place, restores: Sequence[Object], now: datetime) -> list[tuple[str, tuple[str, ...]]]:
    """Rounds and points: what drills and restores from here found damaged, and nobody has looked at since."""
    known = {point.id for point in place.points}
    seen = {run.round for run in runs_at(place)}
    drills = place.catalogue.drills if place.catalogue is not None else ()
    found: list[tuple[str, tuple[str, ...]]] = []
    for drill in drills:
        purpose = f"drill-{drill.round or drill.point[:16]}"
        if not drill.passed and drill.point in known and purpose not in seen and now - drill.ended <= DOUBT_LASTS:
            found.append((purpose, (drill.point,)))
    for thing in restores:
        request = decode(RestoreRequest, thing)
        plan, ended = request.status.plan, request.status.completed_at
        purpose = f"restore-{request.metadata.uid}"
        if plan is None or ended is None or plan.location != place.name or purpose in seen or now - ended > DOUBT_LASTS:
            continue
        failed = {volume.target for volume in request.status.volumes if volume.state is RestoreState.FAILED and volume.reason in DAMAGE}
        points = tuple(volume.manifest for volume in plan.volumes if volume.target in failed and volume.manifest in known)
        if points:
            found.append((purpose, points))
    return found


def _task(kind: str, place: Place, places: Sequence[Place], purpose: str, level: int, points: tuple[str, ...]) -> Task:
    vault = place.vault
    assert vault is not None
    others = [other.location.spec for other in places if other.name != place.name and other.points and other.vault == vault]
    fingerprint = place.catalogue.fingerprint if place.catalogue else ""

    def build(name: str, labels: dict[str, str]) -> Object:
        return build_verify_job(
            vault.around, place.location.spec, others, vault.keys,
            name=name, labels=labels, vault=vault.id, fingerprint=fingerprint, level=level, purpose=purpose, points=points,
        )  # fmt: skip

    # Two policies may ask for one slot at different levels: those are two Jobs.
    turn = f"{purpose}/{level}"
    return Task(kind=kind, location=place.location, vault=vault.id, namespace=vault.namespace, round=turn, build=build)


def _since(point: Point) -> datetime:
    assert point.damage is not None
    return point.damage.since


def _last(place: Place) -> datetime:
    return max(point.damage.at for point in place.damaged if point.damage)
