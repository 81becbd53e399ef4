"""Forgetting recovery points: the retention decision applied to a vault's log (docs/retention.md; FORGET in docs/format.md section 6).

Points are judged by lineage: all points of one volume under one policy by their run tickets, points of the command line by where their
data came from. Deletes nothing: that is `recoup prune`.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo

from recoup.engine.catalogue import Point
from recoup.engine.keys.signing import SigningKey
from recoup.engine.log.bodies import Forget
from recoup.engine.log.facts import Facts
from recoup.engine.log.follow import Log
from recoup.engine.maintenance.checkpoints import extend
from recoup.errors import RecoupError
from recoup.retention import Candidate, Decision, Rules, decide
from recoup.suspicion import Finding, Thresholds, find_suspicion
from recoup.value import Value

_log = logging.getLogger(__name__)
PER_ENTRY = 1000
"""Points that one FORGET names: well below the limit of an entry."""


class Lineage(Value, frozen=True):
    """What retention looks at by itself. `source` is for points without a policy."""

    policy_uid: str
    pvc_uid: str
    source: str = ""


class Beside(Value, frozen=True):
    """Another vault at the same location: a policy whose home was away has points in several, which count together."""

    state: Facts
    points: Sequence[Point]


class Hold(Value, frozen=True):
    """Where a volume changed suspiciously nothing of it is let go. accepted: ids of points that somebody has looked at."""

    thresholds: Thresholds
    accepted: frozenset[str] = frozenset()


class Judged(Value, frozen=True):
    """One point and what becomes of it."""

    point: Point
    lineage: Lineage
    at: datetime
    decision: Decision


def judge(
    state: Facts, points: Sequence[Point], rules: Rules, zone: tzinfo, *, policies: Iterable[str] = (), volumes: Iterable[str] = (),
    beside: Sequence[Beside] = (), before: datetime | None = None, hold: Hold | None = None,
) -> list[Judged]:  # fmt: skip
    """Decide about the points of those lineages that the filters let through (all of them without filters), newest first in each.

    `beside`: vaults whose points count, and are not decided about. What is kept with them is kept without them as well. `before` is for
    copies of what somebody else controls: only points that came here before that moment go or count, and no ADOPT of the home joins
    lineages. So nothing that is done there has any effect on what is here already until `before` has passed it.
    """
    held = _suspicious([*points, *(point for other in beside for point in other.points)], hold) if hold is not None else {}
    wanted_policies, wanted_volumes = set(policies), set(volumes)
    if before is not None:
        points = [point for point in points if point.here_at <= before.timestamp() * 1000]
    own = {point.id: point for point in points}
    lineages: dict[Lineage, list[Candidate]] = defaultdict(list)
    for known in (Beside(state, points), *beside):
        complete = _complete(known.points)
        for point in known.points:
            lineage = lineage_of(known.state, point, first=before is not None)
            if wanted_policies and lineage.policy_uid not in wanted_policies:
                continue
            if wanted_volumes and lineage.pvc_uid not in wanted_volumes:
                continue
            lineages[lineage].append(_candidate(known.state, point, complete=complete[point.id]))
    judged: list[Judged] = []
    for lineage, candidates in lineages.items():
        times = {candidate.id: candidate.at for candidate in candidates}
        decisions = [_held(one, held.get(_volume_of(own[one.id]))) for one in decide(candidates, rules, zone) if one.id in own]
        judged += [Judged(own[one.id], lineage, times[one.id], one) for one in decisions]
    return judged


def lineage_of(state: Facts, point: Point, *, first: bool = False) -> Lineage:
    """`first`: that of the policy that made it, whichever adopted it since."""
    if point.policy_uid:
        return Lineage(point.policy_uid if first else state.policy_of(point.policy_uid), point.pvc_uid)
    # A record that cannot be opened says nothing of its source: such a point is alone, and so is the newest of its kind.
    return Lineage("", "", point.record.source if point.record is not None else f"point {point.id}")


def time_of(state: Facts, point: Point) -> datetime:
    """The slot of its ticket, which a mover cannot choose; for a point without one, the time of its entry in the log."""
    try:
        slot = datetime.fromisoformat(point.slot.upper())
        return slot if slot.tzinfo else slot.replace(tzinfo=UTC)
    except ValueError:
        pass  # no ticket, or a run that was not for a slot
    try:
        return datetime.fromtimestamp(state.commits[bytes.fromhex(point.id)].time / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def forget(log: Log, signer: SigningKey, points: Sequence[str], rule: str, *, policy_uid: str = "", policy_generation: int = 0) -> int:
    """Append FORGET for points by id; how many were forgotten. Raises LogRejected if one is not live any more, or pinned."""
    for start in range(0, len(points), PER_ENTRY):
        part = tuple(bytes.fromhex(point) for point in points[start : start + PER_ENTRY])
        log.append(Forget(part, policy_uid, policy_generation, rule[:1024]), signer)
    try:
        extend(log, signer)
    except RecoupError as error:  # it saves readers time: the points are forgotten all the same
        _log.warning("no checkpoint of the log was written: %s", error)
    return len(points)


def _suspicious(points: Sequence[Point], hold: Hold) -> dict[str, tuple[str, Finding]]:
    """By volume, whichever policies its points are of, the newest of them that changed suspiciously and that nobody accepted."""
    found: dict[str, tuple[str, Finding]] = {}
    for point in points:
        if point.record is not None and point.id not in hold.accepted:
            finding = find_suspicion(point.record.figures, hold.thresholds)
            if finding is not None:
                found[_volume_of(point)] = (point.id, finding)
    return found


def _volume_of(point: Point) -> str:
    return point.pvc_uid or (point.record.source if point.record is not None else point.id)


def _held(decision: Decision, finding: tuple[str, Finding] | None) -> Decision:
    if decision.keep or finding is None:
        return decision
    ident, why = finding
    return Decision(decision.id, keep=True, reasons=(f"suspicious change in {ident[:16]}: {why.reason}",))


def _candidate(state: Facts, point: Point, *, complete: bool) -> Candidate:
    pinned = bytes.fromhex(point.id) in state.pinned
    return Candidate(point.id, time_of(state, point), point.seq, complete, (point.verified_level or 0) >= 1, pinned)


def _complete(points: Sequence[Point]) -> dict[str, bool]:
    """Whether every volume of each point's run has its recovery point."""
    volumes: dict[str, set[str]] = defaultdict(set)
    for point in points:
        if point.record is not None:
            volumes[point.record.point].add(point.pvc_uid)
    return {point.id: point.record is None or set(point.record.volumes_expected) <= volumes[point.record.point] for point in points}
