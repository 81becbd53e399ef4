"""Which recovery points of a policy its rules let go of, and from when on after an edit: the pure part of retention (docs/retention.md).

The forget Job decides for itself, by the same rules (recoup/retention.py) and from the log as it then stands: it has the last word. What is
computed here says whether a Job is worth starting, and shows in time what an edit would take away.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from msgspec import Struct, structs

from recoup.api.backuppolicy import MAX_EXPIRING, BackupPolicy, LocationRetention, ZonedRules
from recoup.api.durations import parse_duration
from recoup.errors import Invalid
from recoup.plan.observed import Catalogue, Point
from recoup.retention import Candidate, Decision, Rules, decide


class Judged(Struct, frozen=True):
    """What rules make of a policy's points: by manifest the reasons of what stays; what goes, newest first in each volume."""

    kept: Mapping[str, tuple[str, ...]]
    gone: tuple[str, ...]


class Weighed(Struct, frozen=True):
    """Retention at one location: its line in the status, and the manifests that are to be forgotten now."""

    line: LocationRetention
    gone: tuple[str, ...] = ()


def asked_rules(policy: BackupPolicy, location: str) -> ZonedRules | None:
    """The rules that the policy's spec gives a location; None where nothing is ever forgotten. Raises Invalid."""
    spec = policy.spec
    own = next((item.retention for item in spec.locations if item.name == location), None)
    given = own or spec.retention
    if given is None:
        return None
    zone = spec.schedule.time_zone if spec.schedule else "UTC"
    asked = ZonedRules(**{name: getattr(given, name) for name in _FIELDS}, time_zone=zone)
    if to_rules(asked).empty:
        raise Invalid("spec.retention has no rule that keeps anything; give last, hourly, daily, weekly, monthly, yearly or within")
    return asked


def to_rules(asked: ZonedRules) -> Rules:
    """As recoup/retention.py takes them. Raises Invalid."""
    counts = {name: getattr(asked, name) or 0 for name in _COUNTS}
    return Rules(**counts, within=parse_duration(asked.within) if asked.within else None, min_verified=asked.min_verified)


def describe_rules(asked: ZonedRules) -> str:
    """As in `daily 7, weekly 4, min-verified 1`."""
    return to_rules(asked).describe()


def judge_points(
    catalogue: Catalogue, policy_uid: str, rules: ZonedRules, beside: Sequence[Catalogue] = (), held: frozenset[str] = frozenset()
) -> Judged:
    """Decide about all points of the policy that live at a location, each volume by itself. Computed once for the same catalogues.

    `beside`: its other vaults there, whose points count as those of one. Without one of them more is kept, and never less.
    `held`: uids of claims of which nothing is forgotten.
    """
    key = (policy_uid, rules, held)
    known: tuple[tuple[Catalogue, ...], Judged] | None = catalogue.memory.get(key)
    if known is None or len(known[0]) != len(beside) or any(one is not other for one, other in zip(known[0], beside, strict=True)):
        known = catalogue.memory[key] = (tuple(beside), _judge_points((catalogue, *beside), policy_uid, rules, held))
    return known[1]


def _judge_points(catalogues: Sequence[Catalogue], policy_uid: str, rules: ZonedRules, held: frozenset[str]) -> Judged:
    points = [point for catalogue in catalogues for point in catalogue.points]
    complete = _complete(points)
    lineages: dict[str, list[Candidate]] = defaultdict(list)
    for point in points:
        if point.owner_uid == policy_uid:
            volume = point.source.persistent_volume_claim_uid
            candidate = Candidate(point.manifest, point.taken_at, point.order, complete[point.manifest], point.verified, bool(point.pinned))
            lineages[volume].append(candidate)
    wanted, zone = to_rules(rules), ZoneInfo(rules.time_zone)
    decisions: list[Decision] = []
    for volume, members in lineages.items():
        judged = decide(members, wanted, zone)
        decisions += [_held(one) for one in judged] if volume in held else judged
    kept = {one.id: one.reasons for one in decisions if one.keep}
    return Judged(kept, tuple(one.id for one in decisions if not one.keep))


def _held(decision: Decision) -> Decision:
    return decision if decision.keep else structs.replace(decision, keep=True, reasons=(SUSPICIOUS_CHANGE,))


def weigh(
    policy: BackupPolicy, location: str, catalogue: Catalogue, names: Mapping[str, str], now: datetime, beside: Sequence[Catalogue] = (),
    *, held: frozenset[str] = frozenset(),
) -> Weighed | None:  # fmt: skip
    """What counts at a location now: the rules asked for, unless they take away what those in force keep and the grace is not over.

    While an edit waits nothing goes at all. `names`: BackupSnapshots by manifest. `beside`: as in judge_points; what goes may be theirs.
    `held`: claims of which nothing goes. None without rules. Raises Invalid.
    """
    asked = asked_rules(policy, location)
    if asked is None:
        return None
    uid = policy.metadata.uid
    before = next((line for line in policy.status.retention if line.location == location), LocationRetention(location=location))
    judged = judge_points(catalogue, uid, asked, beside, held)
    if asked != before.in_force:
        former = set(judge_points(catalogue, uid, before.in_force, beside, held).gone) if before.in_force else set()
        expiring = [manifest for manifest in judged.gone if manifest not in former]
        since = before.since if before.edited == asked and before.since else now.replace(microsecond=0)
        effective = since + parse_duration(policy.spec.retention.edit_grace if policy.spec.retention else DEFAULT_GRACE)
        if expiring and now < effective:
            listed = list(dict.fromkeys(names.get(manifest, manifest[:16]) for manifest in expiring))
            keeps = len(judged.kept) + len(judged.gone)
            line = LocationRetention(
                location=location, rules=before.rules, in_force=before.in_force, keeps=keeps, edited=asked,
                expiring=tuple(listed[:MAX_EXPIRING]), expiring_total=len(expiring), since=since, effective_at=effective,
                prune=before.prune,
            )  # fmt: skip
            return Weighed(line)
    line = LocationRetention(
        location=location, rules=describe_rules(asked), in_force=asked, keeps=len(judged.kept), prune=before.prune
    )  # fmt: skip
    return Weighed(line, judged.gone)


def kept_by(reasons: Sequence[str]) -> tuple[str, ...]:
    """The rules of a decision by their names: `pin`, `daily`.

    Not which one of how many it is: with each new point that would be another one for all the others, and a write for each of them.
    """
    return tuple(dict.fromkeys("pin" if reason == "pinned" else reason.split(" ")[0].rstrip(",") for reason in reasons))


SUSPICIOUS_CHANGE = "suspicious-change"
"""What keeps a point that the rules would let go of, while its volume is held."""

DEFAULT_GRACE = "24h"
"""Of an edit where only a location has rules of its own: the default of spec.retention.editGrace."""

_COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
_FIELDS = (*_COUNTS, "within", "min_verified")


def _complete(points: Sequence[Point]) -> dict[str, bool]:
    """By manifest, whether every volume of its run has its recovery point here."""
    volumes: dict[str, set[str]] = defaultdict(set)
    for point in points:
        volumes[point.snapshot_uid].add(point.source.persistent_volume_claim_uid)
    return {point.manifest: set(point.volumes_expected) <= volumes[point.snapshot_uid] for point in points}
