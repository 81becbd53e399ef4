"""Which location is home for a policy's next run: its first one, or, while that is away for too long, the next where backups can be made.

A vault never moves. At another home the policy has another vault (docs/format.md section 1), so nobody has to agree with a mover that may
still reach the first one: what it commits there counts. Nothing is remembered: since when a home is away is told by its condition
Reachable, and which vaults the policy has by the locations' statuses and the logs.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct

from recoup.api.backuplocation import CONFORMANT, REACHABLE, BackupLocation
from recoup.api.backuppolicy import AT_HOME, BackupPolicy, FailoverMode
from recoup.api.conditions import Condition, Conditions, ConditionStatus, drop_condition, find_condition, is_true, set_condition
from recoup.api.durations import parse_duration, to_duration
from recoup.api.objects import decode
from recoup.plan.access import Refusal, check_namespace
from recoup.plan.actions import Object
from recoup.plan.observed import Catalogue
from recoup.plan.snapshot_resolve import home_vault


class Home(Struct, frozen=True, kw_only=True):
    """name: of the location that runs go to now. away: what is the matter with the policy's first one, if anything is.

    changes_at: when another one takes its place. nowhere: why none of them can, although it is time.
    """

    name: str
    away: Condition | None = None
    changes_at: datetime | None = None
    nowhere: tuple[str, ...] = ()


def choose_home(policy: BackupPolicy, locations: Mapping[str, BackupLocation], namespace: Object | None, now: datetime) -> Home:
    """Where a run that begins now is to go. `locations`: those of the policy that exist, by name."""
    first, *others = (item.name for item in policy.spec.locations)
    away = _away(locations.get(first))
    if away is None or not others or namespace is None or policy.spec.failover.mode is FailoverMode.NEVER:
        return Home(name=first, away=away)
    due = away.last_transition_time + parse_duration(policy.spec.failover.after)
    if now < due:
        return Home(name=first, away=away, changes_at=due)
    obstacles: list[str] = []
    for name in others:
        refused = _unfit(locations.get(name), namespace["metadata"])
        if refused is None:
            return Home(name=name, away=away)
        obstacles.append(f"{name}: {refused.message}")
    return Home(name=first, away=away, nowhere=tuple(obstacles))


def choose_home_of(policy: Object, locations: Mapping[str, Object], namespace: Object | None, now: datetime) -> str:
    """The same by name, for the gatherers: they read what is there."""
    known = {name: decode(BackupLocation, location) for name, location in locations.items()}
    return choose_home(decode(BackupPolicy, policy), known, namespace, now).name


def own_vault(location: Object | None, namespace: Object | None) -> str | None:
    """The vault that has its home at this location and is the namespace's, if one was made."""
    if location is None or namespace is None:
        return None
    uid, known = namespace["metadata"]["uid"], decode(BackupLocation, location)
    made = any(vault.namespace_uid == uid and not vault.replica for vault in known.status.vaults)
    return home_vault(known, uid) if made else None


def is_used(vault: str, policy: Object, snapshots: Iterable[Object], catalogues: Iterable[Catalogue]) -> bool:
    """Whether a vault of the namespace has runs or recovery points of this policy, or is only another policy's."""
    if any((snapshot.get("status") or {}).get("vault") == vault for snapshot in snapshots):
        return True
    uid = policy["metadata"]["uid"]
    return any(uid in (point.owner_uid, point.policy_uid) for catalogue in catalogues for point in catalogue.points)


def judge_home(policy: BackupPolicy, conditions: Conditions, home: Home, now: datetime) -> Conditions:
    """The condition AtHome; a policy with one location has none."""
    first, failover, generation = policy.spec.home, policy.spec.failover, policy.metadata.generation
    if len(policy.spec.locations) == 1:
        return drop_condition(conditions, AT_HOME)
    if home.away is None:
        return set_condition(conditions, AT_HOME, True, "AtHome", f"runs go to BackupLocation {first}", now=now, generation=generation)
    since = f"{home.away.last_transition_time:%Y-%m-%dT%H:%M:%SZ}"
    told = f"BackupLocation {first} can't be reached since {since} ({home.away.reason})"
    if home.name != first:
        message = f"{told}: runs go to BackupLocation {home.name}, into a vault of its own, until it answers again"
        return set_condition(conditions, AT_HOME, False, "HomeAway", message, now=now, generation=generation)
    if home.nowhere:
        message = f"{told}, and no other location can take its place: {'; '.join(home.nowhere)}"
        return set_condition(conditions, AT_HOME, True, "NoOtherHome", message, now=now, generation=generation)
    if home.changes_at is None:
        message = f"{told}; runs wait for it (spec.failover.mode: Never)"
    else:
        waits = to_duration(parse_duration(failover.after))
        message = f"{told}; from {home.changes_at:%Y-%m-%dT%H:%M:%SZ} on (spec.failover.after: {waits}) runs go to another location"
    return set_condition(conditions, AT_HOME, True, "HomeUnreachable", message, now=now, generation=generation)


def _away(location: BackupLocation | None) -> Condition | None:
    """Its condition Reachable, where that is False. One that does not exist is nobody's outage: it is not known since when."""
    found = find_condition(location.status.conditions, REACHABLE) if location is not None else None
    return found if found is not None and found.status is ConditionStatus.FALSE else None


def _unfit(location: BackupLocation | None, namespace: Object) -> Refusal | None:
    if location is None:
        return Refusal("LocationNotFound", "it does not exist")
    refused = check_namespace(location, namespace["name"], namespace.get("labels") or {})
    if refused is not None:
        return refused
    for kind in (REACHABLE, CONFORMANT):
        if not is_true(location.status.conditions, kind):
            found = find_condition(location.status.conditions, kind)
            return Refusal(found.reason, found.message) if found else Refusal("LocationNotProbed", "it has not been probed yet")
    return None
