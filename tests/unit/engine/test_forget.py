"""What is judged together when a policy has points in two vaults: both count, and only one vault's are decided about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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
