"""What is judged together when a policy has points in two vaults: both count, and only one vault's are decided about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from recoup.engine.catalogue import Point
from recoup.engine.forget import Beside, judge
from recoup.engine.log.facts import Facts
from recoup.retention import Rules

BEGIN = datetime(2026, 11, 23, tzinfo=UTC)


def point(hour: int, *, policy: str = "shop", volume: str = "data-0") -> Point:
    at = BEGIN + timedelta(hours=hour)
    return Point(
        id=f"{hour:064x}",
        session="s",
        seq=hour,
        generation=1,
        policy_uid=policy,
        slot=f"{at:%Y-%m-%dT%H:%M:%SZ}",
        pvc_uid=volume,
        record=None,
    )


def vault(number: int) -> Facts:
    return Facts(vault_id=bytes([number]) * 16, pinned_root=None)


def gone(own: list[Point], other: list[Point], *, facts: Facts | None = None) -> list[int]:
    beside = [Beside(facts or vault(2), other)]
    judged = judge(vault(1), own, Rules(last=3, min_verified=0), UTC, policies=("shop",), beside=beside)
    assert {one.point.id for one in judged} <= {one.id for one in own}, "nothing is said of the other vault's"
    return [int(one.point.id, 16) for one in judged if not one.decision.keep]


def test_newer_points_of_the_other_vault_take_the_place_of_older_ones_here() -> None:
    here, there = [point(hour) for hour in (1, 2, 5)], [point(hour) for hour in (3, 4)]
    assert gone(here, there) == [2, 1]
    assert gone(here, []) == []
    assert gone(there, here) == []


def test_other_policies_and_volumes_there_do_not_count() -> None:
    here = [point(hour) for hour in (1, 2, 5)]
    assert gone(here, [point(hour, policy="another") for hour in (3, 4)]) == []
    assert gone(here, [point(hour, volume="data-1") for hour in (3, 4)]) == []


def test_points_that_were_adopted_there_count_as_the_policys() -> None:
    facts = vault(2)
    facts.adopted["before"] = "shop"
    assert gone([point(hour) for hour in (1, 2, 5)], [point(hour, policy="before") for hour in (3, 4)], facts=facts) == [2, 1]


def copied(hour: int, *, came: int, policy: str = "shop") -> Point:
    """A point of that hour's slot that came to the copy at another hour."""
    return structs.replace(point(hour, policy=policy), id=f"{came * 1000 + hour:064x}", here_at=int(at(came).timestamp() * 1000))


def at(hour: int) -> datetime:
    return BEGIN + timedelta(hours=hour)


RULES = Rules(last=2, daily=2, min_verified=1)


@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 99)), min_size=1, max_size=12, unique=True),
    st.lists(st.tuples(st.integers(0, 500), st.integers(100, 140)), max_size=12, unique=True),
    st.integers(100, 139),
)
def test_whatever_comes_from_hour_100_on_nothing_goes_by_it_for_as_long_as_the_guard(
    old: list[tuple[int, int]], planted: list[tuple[int, int]], now: int
) -> None:
    """Whoever has the first cluster chooses slots at will, and gives all policies to one (ADOPT). The guard is 40 hours.

    Without it the planted ones count at once: the test below.
    """
    here, more = [copied(hour, came=came) for hour, came in old], [copied(hour, came=came) for hour, came in planted]
    facts = vault(1)
    facts.adopted["another"] = "shop"

    def told(points: list[Point]) -> dict[str, bool]:
        return {one.point.id: one.decision.keep for one in judge(facts, points, RULES, UTC, before=at(now - 40))}

    assert told([*here, *more]) == told(here)


def test_without_a_guard_what_is_planted_pushes_out_what_is_there() -> None:
    here, planted = [copied(1, came=1), copied(2, came=2)], [copied(400, came=100), copied(401, came=100)]
    without = {one.point.id for one in judge(vault(1), [*here, *planted], RULES, UTC) if not one.decision.keep}
    assert {one.id for one in here} & without
    assert not [one for one in judge(vault(1), [*here, *planted], RULES, UTC, before=at(60)) if not one.decision.keep]


def test_policies_that_were_joined_there_stay_two_here() -> None:
    facts = vault(1)
    facts.adopted["another"] = "shop"
    both = [copied(1, came=1, policy="another"), *(copied(hour, came=hour) for hour in (2, 3))]
    assert [one.point.id for one in judge(facts, both, Rules(last=2), UTC) if not one.decision.keep] == [both[0].id]
    assert all(one.decision.keep for one in judge(facts, both, Rules(last=2), UTC, before=at(9)))
