"""Which pulled recovery points a location lets go of: spec.pullRetention, for vaults of other clusters (docs/second-cluster.md).

Whoever controls the other cluster chooses what comes, and the times that stand on it. So a point that came here less than `guard` ago
neither goes nor counts: whatever is done there, nothing that is here already goes by it for so long. The Job decides for itself, by the
same rules (engine/forget.py); what is computed here says whether one is worth starting.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from msgspec import Struct

from recoup.api.backuplocation import RETENTION_APPLIED, BackupLocation, PullRetention, PullRetentionStatus, Vault
from recoup.api.conditions import Conditions, drop_condition, set_condition
from recoup.api.durations import parse_duration
from recoup.api.names import short_hash
from recoup.plan.access import Refusal
from recoup.plan.actions import Object
from recoup.plan.forgetting import FORGET, PRUNE, PRUNE_EVERY, PRUNE_GRACE
from recoup.plan.objects.retention_jobs import build_pulled_job, prune_arguments, pulled_forget_arguments
from recoup.plan.observed import Catalogue, Point, Surroundings
from recoup.plan.upkeep import Task
from recoup.retention import Candidate, Rules, decide

_COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


class Going(Struct, frozen=True):
    """What the rules let go of in one vault: manifests, and the policies of the other cluster that made them."""

    manifests: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()


def describe(asked: PullRetention) -> str:
    """As in `daily 30, monthly 24, guard 14d`. Rules are the same if their words are."""
    counts = [f"{name} {number}" for name in _COUNTS if (number := getattr(asked, name))]
    within = [f"within {asked.within}"] if asked.within else []
    return ", ".join([*counts, *within, f"guard {asked.guard}"])


def find_going(catalogue: Catalogue, asked: PullRetention, now: datetime) -> Going:
    """Decide about what has been here for long enough. Computed once for the same log and as many points."""
    guard = parse_duration(asked.guard)
    settled = [point for point in catalogue.points if point.here_at is not None and now - point.here_at >= guard]
    key = ("pulled", describe(asked), len(settled))  # who has been here for long enough stays so: the number says which they are
    known: Going | None = catalogue.memory.get(key)
    if known is None:
        known = catalogue.memory[key] = _decide(settled, asked)
    return known


def settle(location: BackupLocation, goes: int, now: datetime) -> PullRetentionStatus | None:
    """Which rules count now. Rules that were not there before wait for editGrace, and meanwhile nothing goes. None without rules."""
    asked, before = location.spec.pull_retention, location.status.pull_retention or PullRetentionStatus()
    if asked is None:
        return None
    words = describe(asked)
    if words == before.rules:
        return PullRetentionStatus(rules=words)
    grace = parse_duration(asked.edit_grace)
    since = before.effective_at if before.edited == words and before.effective_at else now.replace(microsecond=0) + grace
    if now < since:
        return PullRetentionStatus(rules=before.rules, edited=words, effective_at=since, goes=goes)
    return PullRetentionStatus(rules=words)


def retention_tasks(
    location: BackupLocation, vault: Vault, catalogue: Catalogue, around: Surroundings, now: datetime
) -> tuple[Task, ...]:  # fmt: skip
    """At most once a day: the Job that forgets, and after it the one that prunes. `vault`: as the location's status has it."""
    asked = location.spec.pull_retention
    if asked is None or (vault.pruned_at is not None and now < vault.pruned_at + PRUNE_EVERY):
        return ()
    going = find_going(catalogue, asked, now)
    if going.manifests:
        arguments = pulled_forget_arguments(going.policies, asked)
        return (_task(location, vault, around, FORGET, short_hash(*going.manifests), arguments),)
    garbage = catalogue.garbage
    due = garbage.fresh or garbage.unfinished or (garbage.condemned_at is not None and garbage.condemned_at + PRUNE_GRACE <= now)
    return (_task(location, vault, around, PRUNE, f"{vault.pruned_at or ''}", prune_arguments(), deletes=True),) if due else ()


def without_key(location: BackupLocation, goes: int) -> Refusal | None:
    """Why no Job can open the vaults although something is to go."""
    if not goes or any(key.secret for key in location.spec.encryption.keys):
        return None
    message = "the location has no key in a Secret (spec.encryption.keys[].secret), so nothing can be forgotten: add one"
    return Refusal("NoKeyInCluster", message)


def judge_pull_retention(
    conditions: Conditions, status: PullRetentionStatus | None, trouble: Refusal | None, generation: int, now: datetime
) -> Conditions:  # fmt: skip
    """The condition RetentionApplied of a location; without rules there is none."""
    if status is None:
        return drop_condition(conditions, RETENTION_APPLIED)
    if trouble is not None:
        return set_condition(conditions, RETENTION_APPLIED, False, trouble.reason, trouble.message, now=now, generation=generation)
    if status.effective_at is not None:
        message = (
            f"by the rules as edited {status.goes or 0} recovery points of volumes go, from {status.effective_at:%Y-%m-%dT%H:%M:%SZ} on"
        )
        message = f"{message}; nothing goes before; change them back to keep what is here"
        return set_condition(conditions, RETENTION_APPLIED, False, "EditGrace", message, now=now, generation=generation)
    return set_condition(conditions, RETENTION_APPLIED, True, "Applied", status.rules or "", now=now, generation=generation)


def _decide(settled: Sequence[Point], asked: PullRetention) -> Going:
    counts = {name: getattr(asked, name) or 0 for name in _COUNTS}
    rules = Rules(**counts, within=parse_duration(asked.within) if asked.within else None)
    volumes: dict[str, set[str]] = defaultdict(set)
    for point in settled:
        volumes[point.snapshot_uid].add(point.source.persistent_volume_claim_uid)
    lineages: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for point in settled:
        if point.policy_uid:  # what the command line stored there stays
            complete = set(point.volumes_expected) <= volumes[point.snapshot_uid]
            candidate = Candidate(point.manifest, point.taken_at, point.order, complete, point.verified, bool(point.pinned))
            lineages[point.policy_uid, point.source.persistent_volume_claim_uid].append(candidate)
    gone = {owner: [one.id for one in decide(members, rules) if not one.keep] for owner, members in lineages.items()}
    manifests = sorted(manifest for members in gone.values() for manifest in members)
    return Going(tuple(manifests), tuple(sorted({policy for (policy, _), members in gone.items() if members})))


def _task(
    location: BackupLocation, vault: Vault, around: Surroundings, kind: str, turn: str, arguments: list[str], *, deletes: bool = False
) -> Task:  # fmt: skip
    def build(name: str, labels: dict[str, str]) -> Object:
        make = partial(build_pulled_job, around, location.spec, vault.id, vault.fingerprint, arguments, deletes=deletes)
        return make(name=name, labels=labels)

    return Task(kind=kind, location=location, vault=vault.id, namespace=vault.namespace, round=turn, build=build)
