"""Coverage: for every PersistentVolumeClaim of the cluster, whether it is protected, stale, unprotected or excluded, and by whom.

One judgement for the metrics of the controller and for `kubectl recoup coverage`, from policies and claims alone. Pure.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from recoup.api.backuppolicy import BackupPolicy
from recoup.api.durations import parse_duration
from recoup.api.objects import decode
from recoup.errors import Invalid
from recoup.plan.actions import Object
from recoup.plan.selection import select_claims


class CoverageState(StrEnum):
    PROTECTED = "Protected"
    """A policy selects it, and its newest recovery point is within that policy's objectives.rpo, if it has one."""
    STALE = "Stale"
    """There is a recovery point, but older than the objective of every policy that selects it."""
    UNPROTECTED = "Unprotected"
    """No policy selects it, or none has made a recovery point of it yet."""
    EXCLUDED = "Excluded"
    """No policy selects it, and one names it in spec.selector.exclude."""


class Covered(Struct, frozen=True, kw_only=True):
    """One claim. policies: those that select it, or that exclude it. newest: what its newest recovery point holds the state of."""

    namespace: str
    claim: str
    state: CoverageState
    policies: tuple[str, ...] = ()
    newest: datetime | None = None
    why: str = ""


def judge_coverage(claims: Iterable[Object], policies: Iterable[Object], now: datetime, *, movers_namespace: str) -> tuple[Covered, ...]:
    """Every claim but our own in the movers' namespace and those that are being deleted; the worst first, then by name."""
    by_namespace: dict[str, list[BackupPolicy]] = {}
    for thing in policies:
        if not thing["metadata"].get("deletionTimestamp"):
            by_namespace.setdefault(thing["metadata"]["namespace"], []).append(decode(BackupPolicy, thing))
    alive = (claim for claim in claims if not claim["metadata"].get("deletionTimestamp"))
    theirs = (claim for claim in alive if claim["metadata"]["namespace"] != movers_namespace)
    found = [_judge(claim, by_namespace.get(claim["metadata"]["namespace"], []), now) for claim in theirs]
    return tuple(sorted(found, key=lambda one: (_ORDER.index(one.state), one.namespace, one.claim)))


_ORDER = (CoverageState.UNPROTECTED, CoverageState.STALE, CoverageState.EXCLUDED, CoverageState.PROTECTED)


def _judge(claim: Object, policies: list[BackupPolicy], now: datetime) -> Covered:
    namespace, name = claim["metadata"]["namespace"], claim["metadata"]["name"]
    selecting = [policy for policy in policies if select_claims(policy.spec.selector, (claim,))]
    if not selecting:
        excluding = tuple(policy.metadata.name for policy in policies if name in policy.spec.selector.exclude)
        state = CoverageState.EXCLUDED if excluding else CoverageState.UNPROTECTED
        why = "spec.selector.exclude names it" if excluding else "no BackupPolicy of its namespace selects it"
        return Covered(namespace=namespace, claim=name, state=state, policies=excluding, why=why)
    names = tuple(policy.metadata.name for policy in selecting)
    points = [(policy, point) for policy in selecting if (point := _newest(policy, claim["metadata"]["uid"])) is not None]
    if not points:
        why = "there is no recovery point of it yet"
        return Covered(namespace=namespace, claim=name, state=CoverageState.UNPROTECTED, policies=names, why=why)
    newest = max(point for _, point in points)
    if any(_is_fresh(policy, newest, now) for policy, _ in points):
        return Covered(namespace=namespace, claim=name, state=CoverageState.PROTECTED, policies=names, newest=newest)
    why = f"its newest recovery point is of {newest:%Y-%m-%dT%H:%M:%SZ}, older than objectives.rpo"
    return Covered(namespace=namespace, claim=name, state=CoverageState.STALE, policies=names, newest=newest, why=why)


def _newest(policy: BackupPolicy, uid: str) -> datetime | None:
    return next((volume.newest_point for volume in policy.status.volumes if volume.uid == uid), None)


def _is_fresh(policy: BackupPolicy, newest: datetime, now: datetime) -> bool:
    """Without a (readable) objective there is nothing for a recovery point to be too old for."""
    if policy.spec.objectives.rpo is None:
        return True
    try:
        return now <= newest + parse_duration(policy.spec.objectives.rpo)
    except Invalid:
        return True
