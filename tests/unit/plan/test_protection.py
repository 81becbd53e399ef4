"""Objectives as a table: what is known of each volume, and what RPOMet and RPOAtRisk make of it as time passes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup.plan.actions import Plan
from recoup.plan.policy import plan_policy
from recoup.plan.policy_observed import PolicyObserved
from tests.unit.plan.examples import AROUND, CREATED, Object, claim, ended, location, namespace, policy, snapshot, text

RPO: Object = {"rpo": "4h"}
HOURLY: Object = {"every": "1h"}


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=hour, minutes=minute)


def look(subject: Object, now: datetime, *points: Object, claims: tuple[Object, ...] = (claim("data-0"),)) -> Plan:
    observed = PolicyObserved(around=AROUND, policy=subject, namespace=namespace(), location=location(), claims=claims, snapshots=points)
    return plan_policy(observed, now)


def say(plan: Plan, kind: str) -> tuple[str, str, str]:
    assert plan.status is not None
    found = next(entry for entry in plan.status["conditions"] if entry["type"] == kind)
    return found["status"], found["reason"], found["message"]


def word(plan: Plan) -> str:
    assert plan.status is not None
    return str(plan.status["rpo"])


def point(hour: int, minute: int = 0, *, took: int = 10, **states: str) -> Object:
    """A run that began at that time and ended `took` minutes later."""
    began = at(hour, minute)
    status = ended(began, volumes={name.replace("_", "-"): state for name, state in (states or {"data_0": "Stored"}).items()})
    times = {"startedAt": text(began), "completedAt": text(began + timedelta(minutes=took))}
    name = f"shop-{began:%Y%m%dt%H%M%Sz}"
    return snapshot(name, created=began, spec={"trigger": "Schedule", "slot": text(began)}, status=status | times)


def after(subject: Object, plan: Plan) -> Object:
    assert plan.status is not None
    return subject | {"status": plan.status}


def test_without_an_objective_nothing_is_said_but_what_there_is() -> None:
    plan = look(policy(schedule=HOURLY), at(13, 30), point(13))
    assert plan.status is not None
    assert "rpo" not in plan.status
    assert not {"RPOMet", "RPOAtRisk"} & {entry["type"] for entry in plan.status["conditions"]}
    assert plan.status["volumes"] == [
        {"persistentVolumeClaim": "data-0", "uid": "data-0-uid", "newestPoint": text(at(13)), "snapshot": "shop-20261101t130000z"}
    ]


def test_a_volume_without_a_point_has_the_objective_from_its_creation() -> None:
    subject = policy(schedule=HOURLY, objectives=RPO)
    plan = look(subject, at(12, 30))
    assert word(plan) == "Met"
    assert say(plan, "RPOMet")[:2] == ("True", "WithinObjective")
    late = look(subject, CREATED + timedelta(hours=4))
    assert word(late) == "Broken"
    assert say(late, "RPOMet")[:2] == ("False", "NoRecoveryPoint")
    assert "PVC shop/data-0 has no recovery point yet, objective 4h; broken since 2026-11-01T16:00:30Z" in say(late, "RPOMet")[2]


def test_a_claim_that_is_younger_than_the_policy_counts_from_its_own_creation() -> None:
    young = claim("young")
    young["metadata"]["creationTimestamp"] = text(at(20))
    subject = policy(schedule=HOURLY, objectives=RPO)
    assert word(look(subject, at(23), point(22), claims=(claim("data-0"), young))) == "Met"
    assert word(look(subject, at(24, 1), point(23), claims=(claim("data-0"), young))) == "Broken"


def test_the_objective_ends_with_the_age_of_the_newest_point_to_the_second() -> None:
    subject = policy(schedule=HOURLY, objectives=RPO)
    just = look(subject, at(17) - timedelta(seconds=1), point(13))
    assert say(just, "RPOMet")[0] == "True"
    broken = look(subject, at(17), point(13))
    assert say(broken, "RPOMet")[:2] == ("False", "NewestPointTooOld")
    assert "holds its state of 2026-11-01T13:00:00Z, objective 4h; broken since 2026-11-01T17:00:00Z" in say(broken, "RPOMet")[2]
    assert say(broken, "RPOAtRisk")[0] == "True"


def test_the_worst_volume_is_named_and_a_failed_one_keeps_its_older_point() -> None:
    claims = (claim("data-0"), claim("data-1"))
    runs = (point(13, data_0="Stored", data_1="Stored"), point(16, data_0="Stored", data_1="Failed"))
    plan = look(policy(schedule=HOURLY, objectives=RPO), at(17, 5), *runs, claims=claims)
    assert word(plan) == "Broken"
    assert "PVC shop/data-1" in say(plan, "RPOMet")[2]
    assert plan.status is not None
    assert [(line["persistentVolumeClaim"], line["newestPoint"]) for line in plan.status["volumes"]] == [
        ("data-1", text(at(13))),
        ("data-0", text(at(16))),
    ]


@pytest.mark.parametrize(
    ("schedule", "took", "expected"),
    [
        ({"every": "1h"}, 10, ("False", "NextPointInTime")),
        ({"every": "4h"}, 0, ("False", "NextPointInTime")),  # the next point comes at the very end
        ({"every": "4h"}, 10, ("True", "NextPointTooLate")),  # a run takes ten minutes: too late by that
        ({"every": "6h"}, 0, ("True", "NextPointTooLate")),
        (None, 0, ("True", "NoRunPlanned")),
    ],
)
def test_the_risk_is_told_before_the_objective_is_broken(schedule: Object | None, took: int, expected: tuple[str, str]) -> None:
    plan = look(policy(schedule=schedule, objectives=RPO), at(12, 59), point(12, took=took))
    assert say(plan, "RPOAtRisk")[:2] == expected
    assert say(plan, "RPOMet")[0] == "True"
    assert word(plan) == ("AtRisk" if expected[0] == "True" else "Met")


def test_a_suspended_policy_is_at_risk_at_once() -> None:
    plan = look(policy(schedule=HOURLY, objectives=RPO, suspend=True), at(13, 30), point(13))
    assert say(plan, "RPOAtRisk")[:2] == ("True", "NoRunPlanned")
    assert "spec.suspend" in say(plan, "RPOAtRisk")[2]


def test_a_run_under_way_counts_by_how_long_the_last_one_took() -> None:
    running = snapshot("shop-20261101t150000z", created=at(15), spec={"trigger": "Schedule", "slot": text(at(15))})
    running["status"] = {"startedAt": text(at(15))}
    subject = policy(schedule=HOURLY, objectives={"rpo": "3h"})
    assert say(look(subject, at(15, 30), point(13, took=20), running), "RPOAtRisk")[:2] == ("False", "NextPointInTime")
    assert say(look(subject, at(15, 30), point(13, took=70), running), "RPOAtRisk")[:2] == ("True", "NextPointTooLate")


def test_deleting_a_snapshot_object_deletes_no_data_and_breaks_no_objective() -> None:
    subject = policy(schedule=HOURLY, objectives=RPO)
    first = look(subject, at(13, 30), point(13))
    assert word(look(after(subject, first), at(13, 40))) == "Met"


def test_a_claim_made_anew_under_its_name_has_no_point() -> None:
    subject = policy(schedule=HOURLY, objectives=RPO)
    seen = after(subject, look(subject, at(17), point(17)))
    anew = claim("data-0")
    anew["metadata"]["uid"] = "another"
    plan = look(seen, at(17, 30), point(17), claims=(anew,))
    assert say(plan, "RPOMet")[:2] == ("False", "NoRecoveryPoint")


def test_it_looks_again_when_the_verdict_changes_by_itself() -> None:
    plan = look(policy(objectives=RPO), at(16, 59), point(13))
    assert plan.requeue_after == 60


def test_time_that_passes_writes_nothing() -> None:
    subject = policy(objectives=RPO)
    first = look(subject, at(14), point(13))
    assert look(after(subject, first), at(16), point(13)).status == first.status


def test_only_changes_for_the_worse_or_back_make_events() -> None:
    subject = policy(objectives=RPO, schedule=HOURLY)
    first = look(subject, at(13, 30), point(13))
    assert not [note for note in first.events if note.reason in ("WithinObjective", "NextPointInTime")]
    broken = look(after(subject, first), at(17), point(13))
    assert [(str(note.type), note.reason) for note in broken.events if note.reason.startswith("N")] == [
        ("Warning", "NextPointTooLate"),
        ("Warning", "NewestPointTooOld"),
    ]


@given(st.lists(st.tuples(st.integers(0, 600), st.booleans()), max_size=6), st.integers(1, 900), st.integers(1, 12))
def test_met_means_that_every_volume_has_a_point_young_enough(runs: list[tuple[int, bool]], minutes: int, hours: int) -> None:
    now = CREATED + timedelta(minutes=minutes)
    claims = (claim("data-0"), claim("data-1"))
    points: list[Object] = []
    newest: dict[str, Any] = {"data-0": CREATED, "data-1": CREATED}
    for number, (minute, whole) in enumerate(runs):
        held = (CREATED + timedelta(minutes=minute)).replace(second=0)
        status = ended(held, volumes={"data-0": "Stored", "data-1": "Stored" if whole else "Failed"})
        points.append(snapshot(f"run-{number}", created=held, status=status))
        for name in ("data-0", "data-1") if whole else ("data-0",):
            newest[name] = max(newest[name], held) if newest[name] is not CREATED else held
    plan = look(policy(objectives={"rpo": f"{hours}h"}), now, *points, claims=claims)
    kept = all(now < held + timedelta(hours=hours) for held in newest.values())
    assert say(plan, "RPOMet")[0] == str(kept)
