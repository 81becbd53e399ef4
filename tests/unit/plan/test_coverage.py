"""Coverage: what each claim of the cluster is, by the policies of its namespace."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recoup.plan.coverage import CoverageState, judge_coverage
from tests.unit.plan.examples import Object, claim, policy, text

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def a_policy(name: str = "shop", *, point: datetime | None = None, rpo: str | None = None, **selector: Any) -> Object:
    volumes = [{"persistentVolumeClaim": "data-0", "uid": "data-0-uid", **({"newestPoint": text(point)} if point else {})}]
    made = policy(selector=selector, objectives={"rpo": rpo} if rpo else {}, status={"volumes": volumes})
    made["metadata"] |= {"name": name}
    return made


def state_of(*policies: Object, claims: tuple[Object, ...] = (claim("data-0"),)) -> str:
    (found,) = judge_coverage(claims, policies, NOW, movers_namespace="recoup-movers")
    return f"{found.state} {','.join(found.policies)}".strip()


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        pytest.param((), "Unprotected", id="no policy at all"),
        pytest.param((a_policy(matchLabels={"app": "other"}),), "Unprotected", id="a policy that means others"),
        pytest.param((a_policy(),), "Unprotected shop", id="selected, and no point yet"),
        pytest.param((a_policy(point=NOW - 9 * HOUR),), "Protected shop", id="a point, and no objective"),
        pytest.param((a_policy(point=NOW - HOUR, rpo="4h"),), "Protected shop", id="within the objective"),
        pytest.param((a_policy(point=NOW - 5 * HOUR, rpo="4h"),), "Stale shop", id="older than the objective"),
        pytest.param((a_policy(exclude=["data-0"]),), "Excluded shop", id="excluded"),
        pytest.param(
            (a_policy(exclude=["data-0"]), a_policy("all", point=NOW)), "Protected all", id="excluded by one, and selected by another"
        ),
        pytest.param(
            (a_policy(point=NOW - 5 * HOUR, rpo="4h"), a_policy("daily", point=NOW - 5 * HOUR, rpo="24h")),
            "Protected shop,daily",
            id="fresh enough for one of two",
        ),
    ],
)
def test_what_a_claim_is(policies: tuple[Object, ...], expected: str) -> None:
    assert state_of(*policies) == expected


def test_a_policy_of_another_namespace_protects_nothing_here() -> None:
    other = a_policy(point=NOW)
    other["metadata"]["namespace"] = "blog"
    assert state_of(other) == "Unprotected"


def test_our_own_claims_and_those_that_are_going_do_not_count() -> None:
    ours, going = claim("ours"), claim("going")
    ours["metadata"]["namespace"] = "recoup-movers"
    going["metadata"]["deletionTimestamp"] = text(NOW)
    assert judge_coverage((ours, going), (), NOW, movers_namespace="recoup-movers") == ()


def test_a_claim_made_anew_under_an_old_name_has_no_point() -> None:
    again = claim("data-0")
    again["metadata"]["uid"] = "another"
    assert state_of(a_policy(point=NOW), claims=(again,)) == "Unprotected shop"


def test_the_worst_come_first() -> None:
    policies = (a_policy(point=NOW, persistentVolumeClaims=["data-0"], exclude=["left-out"]),)
    found = judge_coverage((claim("data-0"), claim("left-out"), claim("bare")), policies, NOW, movers_namespace="recoup-movers")
    assert [one.state for one in found] == [CoverageState.UNPROTECTED, CoverageState.EXCLUDED, CoverageState.PROTECTED]
