"""Which drill of a policy is due, and of what: volume and location take turns, and so do the recovery points.

The pair of volume and place (a vault at a location) whose last drill is the longest ago comes next; which of its points is chosen follows
from the slot. A slot is done when the log of some location has evidence of it. What drills say is told in drilled.py.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct

from recoup.api.backuppolicy import BackupPolicy
from recoup.api.names import short_hash, slot_text, spread
from recoup.errors import Invalid
from recoup.plan.access import Refusal
from recoup.plan.actions import Object
from recoup.plan.objects.drill_job import build_drill_job
from recoup.plan.observed import DrillRun, Point
from recoup.plan.upkeep import Task
from recoup.plan.verification import Due, Place, Vault, due_slots

DRILL = "drill"
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class Drills(Struct, frozen=True, kw_only=True):
    """due: or why no drill can be made. place: where the one that is wanted now is from."""

    due: Due | Refusal = Due()
    task: Task | None = None


def plan_drills(policy: BackupPolicy, places: Sequence[Place], vault: Vault | None, classes: Sequence[Object], now: datetime) -> Drills:
    """What is to be drilled now. `classes`: all StorageClasses. `vault`: None until it has keys."""
    asked = policy.spec.verification.drill if policy.spec.verification else None
    if asked is None:
        return Drills()
    try:
        due = due_slots(asked.schedule, policy, now)
    except Invalid as error:
        return Drills(due=Refusal(error.reason, f"spec.verification.drill: {error}"))
    if vault is None or due.slot is None:
        return Drills(due=due)
    closed = next((each.obstacle for each in (vault, *(place.vault for place in places)) if each and each.obstacle), "")
    if closed:
        return Drills(due=Refusal("KeyUnavailable", f"{closed}: run recoup drill where one is"))
    purpose = f"{slot_text(due.slot)}-{short_hash(policy.metadata.uid)}"
    if any(drill.round == purpose for place in places for drill in drills_at(place)):
        return Drills(due=due)
    chosen = choose(places, purpose)
    if chosen is None:
        return Drills(due=due)
    place, point = chosen
    scratch = _scratch(point, asked.storage_class_name)
    refusal = _refuse(scratch.get("storageClassName"), classes)
    if refusal is not None:
        return Drills(due=refusal)
    return Drills(due=due, task=_task(place, point, purpose, scratch))


def drills_at(place: Place) -> tuple[DrillRun, ...]:
    """The drills of a location, the newest last."""
    return place.catalogue.drills if place.catalogue is not None else ()


def choose(places: Sequence[Place], purpose: str) -> tuple[Place, Point] | None:
    """The recovery point and where it is restored from. What is known to be damaged is not tried: it is known to fail."""
    pairs: dict[tuple[int, str], list[Point]] = {}
    for number, place in enumerate(places):
        for point in place.points:
            if point.damage is None:
                pairs.setdefault((number, point.source.persistent_volume_claim_uid), []).append(point)
    if not pairs:
        return None
    last = {pair: _last(places[pair[0]], pair[1]) for pair in pairs}
    pair = min(pairs, key=lambda one: (last[one], one))
    points = sorted(pairs[pair], key=lambda point: (point.taken_at, point.id))
    return places[pair[0]], points[spread(purpose, len(points))]


def _last(place: Place, claim_uid: str) -> datetime:
    ids = {point.id for point in place.points if point.source.persistent_volume_claim_uid == claim_uid}
    return max((drill.ended for drill in drills_at(place) if drill.point in ids), default=_NEVER)


def _scratch(point: Point, storage_class: str | None) -> Object:
    source = point.source
    spec: Object = {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": source.volume_mode,
        "resources": {"requests": {"storage": source.size}},
    }
    chosen = storage_class or source.storage_class_name
    return spec | {"storageClassName": chosen} if chosen else spec


def _refuse(name: str | None, classes: Sequence[Object]) -> Refusal | None:
    """A scratch volume that outlives its claim would leave readable data about."""
    if name is None:
        return None
    found = next((each for each in classes if each["metadata"]["name"] == name), None)
    if found is None:
        message = f"StorageClass {name} does not exist here; set spec.verification.drill.storageClassName"
        return Refusal("StorageClassNotFound", message)
    if found.get("reclaimPolicy", "Delete") != "Delete":
        message = f"StorageClass {name} keeps volumes whose claims are deleted; name one with reclaimPolicy Delete in"
        return Refusal("ScratchWouldStay", f"{message} spec.verification.drill.storageClassName")
    return None


def _task(place: Place, point: Point, purpose: str, scratch: Object) -> Task:
    vault = place.vault
    assert vault is not None
    fingerprint = place.catalogue.fingerprint if place.catalogue else ""

    def build(name: str, labels: dict[str, str]) -> Object:
        return build_drill_job(
            vault.around, place.location.spec, vault.keys,
            name=name, labels=labels, vault=vault.id, fingerprint=fingerprint, manifest=point.id, purpose=purpose, scratch=scratch,
        )  # fmt: skip

    return Task(kind=DRILL, location=place.location, vault=vault.id, namespace=vault.namespace, round=purpose, build=build)
