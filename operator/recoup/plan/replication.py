"""Which copies a policy's vault still needs, and the upkeep tasks that make them (docs/replication.md).

A task is for what a location lacks, which is read from the logs: the points that another location has and it never had, and what changed
about points and vault since they were copied. So nothing is remembered, a copy that is complete asks for nothing, and a location that
was away is caught up with when it is back. One that can't be reached gets no Job: its condition says so, and the home goes on without it.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from recoup.api.backuplocation import CONFORMANT, REACHABLE, BackupLocation
from recoup.api.conditions import ConditionStatus, find_condition
from recoup.plan.access import Refusal, check_namespace
from recoup.plan.actions import Object
from recoup.plan.objects.replicate_job import build_replicate_job
from recoup.plan.observed import ApiFailure, Catalogue, Point, Surroundings
from recoup.plan.upkeep import Task

REPLICATE = "replicate"
NOTHING_THERE = "NoVault"
"""The reason with which a location answers that holds nothing of a vault yet."""


class Places(Struct, frozen=True, kw_only=True):
    """The locations of a policy as they were found. names: as the policy lists them, the home first.

    failures: why a location's log could not be read.
    """

    names: tuple[str, ...]
    vault: str
    namespace: str
    namespace_labels: dict[str, str]
    locations: Mapping[str, BackupLocation]
    catalogues: Mapping[str, Catalogue]
    failures: Mapping[str, ApiFailure]


class Lack(Struct, frozen=True, kw_only=True):
    """What one replica lacks of what the others have. oldest: the time of its oldest point that is not there."""

    manifests: frozenset[str] = frozenset()
    oldest: datetime | None = None
    round: str = ""
    source: str | None = None


def obstacle(places: Places, name: str) -> Refusal | None:
    """Why nothing can be copied to this location now, or read from it; None if nothing is known to be in the way."""
    location = places.locations.get(name)
    if location is None:
        return Refusal("LocationNotFound", f"BackupLocation {name} does not exist; create it, or take it out of spec.locations")
    refused = check_namespace(location, places.namespace, places.namespace_labels)
    return refused or out_of_reach(location, places.failures.get(name))


def out_of_reach(location: BackupLocation, failure: ApiFailure | None) -> Refusal | None:
    """Why the location does not answer, or a log there can't be read; one that holds nothing of the vault yet is no reason."""
    name = location.metadata.name
    reachable = find_condition(location.status.conditions, REACHABLE)
    if reachable is not None and reachable.status is ConditionStatus.FALSE:
        since = f"{reachable.last_transition_time:%Y-%m-%dT%H:%M:%SZ}"
        return Refusal(reachable.reason, f"BackupLocation {name} can't be reached since {since}: {reachable.message}")
    if failure is not None and failure.reason != NOTHING_THERE:
        return Refusal(failure.reason, f"BackupLocation {name} can't be read: {failure.message}")
    return None


def unfit(location: BackupLocation) -> Refusal | None:
    """Why a location can't hold copies. One without atomic creates can: it has one replicator at a time."""
    name = location.metadata.name
    conformant = find_condition(location.status.conditions, CONFORMANT)
    if conformant is None or conformant.status is ConditionStatus.UNKNOWN:
        reason, message = (conformant.reason, conformant.message) if conformant else ("LocationNotProbed", "it has not been probed yet")
        return Refusal(reason, f"BackupLocation {name} can't take copies yet: {message}")
    if conformant.status is ConditionStatus.FALSE and conformant.reason != "NotAtomic":
        return Refusal(conformant.reason, f"BackupLocation {name} can't take copies: {conformant.message}")
    return None


def find_lack(places: Places, name: str) -> Lack | None:
    """What the location lacks, and the best source for it: the home while it answers. None if nothing can be said."""
    target = _held(places, name)
    if target is None:
        return None
    for source in (other for other in places.names if other != name):
        offered = places.catalogues.get(source)
        if offered is None or obstacle(places, source) is not None:
            continue
        lack = compare(offered, target, source)
        if lack.round or source == places.names[0]:
            return lack
    return None


def replication_tasks(places: Places, around: Surroundings) -> list[Task]:
    """The copying that is due and can be done now."""
    tasks = []
    for name in places.names[1:]:
        location = places.locations.get(name)
        if location is None or obstacle(places, name) is not None or unfit(location) is not None:
            continue
        lack = find_lack(places, name)
        if lack is not None and lack.source is not None and lack.round:
            tasks.append(_task(places, location, lack, lack.source, around))
    return tasks


def _held(places: Places, name: str) -> Catalogue | None:
    failure = places.failures.get(name)
    if failure is not None and failure.reason == NOTHING_THERE:
        return Catalogue(vault=places.vault)
    return places.catalogues.get(name)


def compare(offered: Catalogue, target: Catalogue, source: str, *, add_only: bool = False) -> Lack:
    """What the target lacks of what the location `source` offers; an empty round if there is nothing to copy.

    `add_only`: of the points that it has, it takes nothing but a pin that they did not have.
    """
    missing = [point for point in offered.points if point.manifest not in target.live and point.manifest not in target.forgotten]
    changed = [
        f"{point.manifest} {point.revision}"
        for point in offered.points
        if point.manifest in target.live and _is_news(point, target.live[point.manifest], add_only=add_only)
    ]
    vault = [offered.revision] if offered.revision != target.revision else []
    facts = [*sorted(point.manifest for point in missing), *sorted(changed), *vault]
    return Lack(
        manifests=frozenset(point.manifest for point in missing),
        oldest=min((point.taken_at for point in missing), default=None),
        round=hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16] if facts else "",
        source=source,
    )


def _is_news(offered: Point, held: Point, *, add_only: bool) -> bool:
    return offered.pinned is not None and held.pinned is None if add_only else offered.revision != held.revision


def _task(places: Places, target: BackupLocation, lack: Lack, source: str, around: Surroundings) -> Task:
    return copy_task(places.catalogues[source], places.namespace, places.locations[source], target, lack, around)


def copy_task(
    offered: Catalogue, namespace: str, source: BackupLocation, target: BackupLocation, lack: Lack, around: Surroundings, *,
    add_only: bool = False,
) -> Task:  # fmt: skip
    """The Job that copies what is lacking of a vault, which is that of `namespace`."""

    def build(name: str, labels: dict[str, str]) -> Object:
        return build_replicate_job(
            around, source.spec, target.spec, name=name, labels=labels, vault=offered.vault, fingerprint=offered.fingerprint,
            add_only=add_only,
        )  # fmt: skip

    turn = f"{source.metadata.name} {lack.round}"
    return Task(kind=REPLICATE, location=target, vault=offered.vault, namespace=namespace, round=turn, build=build)
