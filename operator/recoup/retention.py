"""Which recovery points of one lineage are kept, and by which rule each: the decision behind `recoup forget`, and nobody else's.

Pure: no clock, no I/O; what is newest decides, not what time it is, so that a lineage without new points loses none. The words of the
rules are in docs/retention.md. Who applies the decision to a log is engine/forget.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

from recoup.value import Value


class Rules(Value, frozen=True):
    """What to keep. Counts are periods that have a point; `within` reaches back from the newest complete point."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: timedelta | None = None
    min_verified: int = 1
    """So many of the newest verified complete points stay, whatever the other rules say."""

    @property
    def empty(self) -> bool:
        """Whether no rule keeps anything by itself; then nothing may be dropped."""
        return not (self.last or self.hourly or self.daily or self.weekly or self.monthly or self.yearly or self.within)

    def describe(self) -> str:
        """As in `daily 7, weekly 4, min-verified 1`."""
        counts = [f"{name} {getattr(self, name)}" for name in ("last", *_PERIODS) if getattr(self, name)]
        within = [f"within {self.within}"] if self.within else []
        return ", ".join([*counts, *within, f"min-verified {self.min_verified}"])


class Candidate(Value, frozen=True):
    """One recovery point of the lineage."""

    id: str
    at: datetime
    """Aware: its slot; for a point without a policy its time in the log."""
    order: int
    """Place in the log: which is newer of two with one time."""
    complete: bool = True
    """All volumes of the point are there. An incomplete one pushes no other out and is no verified one."""
    verified: bool = False
    pinned: bool = False


class Decision(Value, frozen=True):
    """What becomes of one point. `reasons`: the rules that keep it; or, of a dropped one, what each rule has instead."""

    id: str
    keep: bool
    reasons: tuple[str, ...]


def decide(points: Iterable[Candidate], rules: Rules, zone: tzinfo = UTC) -> list[Decision]:
    """Judge all points of one lineage, newest first. Periods begin by the calendar of `zone`. Raises ValueError for empty rules.

    Deciding again about what was kept keeps all of it.
    """
    if rules.empty:
        raise ValueError("rules that keep nothing decide nothing")
    # The id last: points of two vaults may share place and time, and whoever decides has to come to the same end.
    ordered = sorted(points, key=lambda point: (point.at, point.order, point.id), reverse=True)
    doubled = _doubled(ordered)
    judges = [_Judge(name, getattr(rules, name), key) for name, key in _KEYS.items() if getattr(rules, name)]
    newest = next((point.at for point in ordered if point.complete), ordered[0].at if ordered else None)
    decisions: list[Decision] = []
    for point in ordered:
        if point.id in doubled:
            decisions.append(
                Decision(point.id, keep=point.pinned, reasons=("pinned",) if point.pinned else ("another point has its slot",))
            )
            continue
        kept: list[str] = ["pinned"] if point.pinned else []
        dropped: list[str] = []
        if rules.within is not None and newest is not None:
            inside = newest - point.at <= rules.within
            (kept if inside else dropped).append(f"within {rules.within}" if inside else f"within {rules.within}: it is older")
        for judge in judges:
            reason = judge.keeps(point, zone)
            (kept if reason else dropped).append(reason or judge.refusal)
        decisions.append(Decision(point.id, bool(kept), tuple(kept or dropped)))
    return _with_floor(decisions, {point.id: point for point in ordered}, doubled, rules.min_verified)


def _doubled(newest_first: Sequence[Candidate]) -> set[str]:
    """Of several points with one time (two attempts at one slot), all but the best: complete before incomplete, verified, newest."""
    best: dict[datetime, Candidate] = {}
    for point in newest_first:
        known = best.get(point.at)
        if known is None or _rank(point) > _rank(known):
            best[point.at] = point
    return {point.id for point in newest_first} - {point.id for point in best.values()}


def _rank(point: Candidate) -> tuple[bool, bool, int]:
    return point.complete, point.verified, point.order


def _with_floor(decisions: list[Decision], points: dict[str, Candidate], doubled: set[str], floor: int) -> list[Decision]:
    """Take back the drop of whatever is verified in the newest `floor` slots that have a verified point."""
    good = [one for one in decisions if points[one.id].verified and points[one.id].complete]
    newest = list(dict.fromkeys(points[one.id].at for one in good))[:floor]
    missing = set(newest) - {points[one.id].at for one in good if one.keep}
    rescued = {one.id for one in good if points[one.id].at in missing and one.id not in doubled}
    return [Decision(one.id, keep=True, reasons=(f"min-verified {floor}",)) if one.id in rescued else one for one in decisions]


@dataclass
class _Judge:
    """One counting rule, fed points newest first."""

    name: str
    limit: int
    key: Callable[[Candidate, datetime], object]
    used: int = 0
    last: object = None
    refusal: str = field(default="", init=False)

    def keeps(self, point: Candidate, zone: tzinfo) -> str:
        """Why the rule keeps the point, or nothing; `refusal` then says why not."""
        key = self.key(point, point.at.astimezone(zone))
        if self.used and key == self.last:
            self.refusal = f"{self.name}: a newer point stands for the same {_PERIODS.get(self.name, 'time')}"
            return ""
        if self.used >= self.limit:
            self.refusal = f"{self.name}: {self.limit} newer ones are kept"
            return ""
        if not point.complete:
            return f"{self.name}, incomplete and not counted"
        self.used, self.last = self.used + 1, key
        return f"{self.name} {self.used} of {self.limit}"


_PERIODS = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month", "yearly": "year"}
_KEYS: dict[str, Callable[[Candidate, datetime], object]] = {
    "last": lambda point, _local: point.id,
    "hourly": lambda _point, local: (local.date(), local.hour, local.utcoffset()),  # the hour that comes twice in autumn is two hours
    "daily": lambda _point, local: local.date(),
    "weekly": lambda _point, local: local.isocalendar()[:2],
    "monthly": lambda _point, local: (local.year, local.month),
    "yearly": lambda _point, local: local.year,
}
