"""The policy planner as a table, and as a world in which time passes, controllers die and two of them act at once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoup.api.backuppolicy import Schedule
from recoup.plan.actions import Create, Plan
from recoup.plan.observed import ApiFailure
from recoup.plan.policy import plan_policy
from recoup.plan.policy_observed import PolicyObserved
from recoup.plan.schedule import delay_of, read_schedule, slots_between
from tests.unit.plan.examples import AROUND, CREATED, Object, claim, condition, ended, location, namespace, policy, snapshot, text

HOURLY: Object = {"cron": "0 * * * *"}
SEEN: Object = {"observedGeneration": 1, "conditions": [condition("Ready", "True", "Protected")]}


def at(hour: int, minute: int = 0, second: int = 0, day: int = 1) -> datetime:
    return datetime(2026, 11, day, hour, minute, second, tzinfo=UTC)


def look(subject: Object, now: datetime, **observed: Any) -> Plan:
    defaults: dict[str, Any] = {"namespace": namespace(), "location": location(), "claims": (claim("data-0"),)}
    return plan_policy(PolicyObserved(around=AROUND, policy=subject, **defaults | observed), now)


def created(plan: Plan) -> list[str]:
    return [action.name for action in plan.actions if isinstance(action, Create)]


def status(plan: Plan) -> Object:
    assert plan.status is not None
    return plan.status


def ready(plan: Plan) -> tuple[str, str]:
    found = next(entry for entry in status(plan)["conditions"] if entry["type"] == "Ready")
    return found["status"], found["reason"]


def lines(plan: Plan) -> list[str]:
    return [
        f"{run['slot'][11:16]} {run['result']} {run.get('reason', '')} {run.get('slots', 1)}" for run in status(plan).get("lastRuns", [])
    ]


def test_a_new_policy_waits_for_its_first_slot_and_says_when() -> None:
    plan = look(policy(schedule=HOURLY), at(12, 30))
    assert created(plan) == []
    assert ready(plan) == ("True", "WaitingForFirstRun")
    assert status(plan)["nextRun"] == "2026-11-01T13:00:00Z"
    assert plan.requeue_after == 1800
    assert status(plan)["coverage"] == {"selected": 1, "protected": 0, "failed": 0, "summary": "0/1"}


def test_a_due_slot_is_run_under_its_own_name() -> None:
    plan = look(policy(schedule=HOURLY, status=SEEN | {"nextRun": text(at(13))}), at(13, 0, 2))
    assert created(plan) == ["shop-20261101t130000z"]
    made = plan.actions[0].object  # type: ignore[union-attr]
    assert made["spec"] == {"policyRef": {"name": "shop"}, "trigger": "Schedule", "slot": "2026-11-01T13:00:00Z"}
    assert made["metadata"]["labels"]["recoup.dev/owner-uid"] == "policy-uid"
    assert "ownerReferences" not in made["metadata"]
    assert lines(plan) == ["13:00 Ran  1"]
    assert status(plan)["nextRun"] == "2026-11-01T14:00:00Z"


def test_looking_again_before_the_status_was_written_makes_nothing_new() -> None:
    subject = policy(schedule=HOURLY, status=SEEN | {"nextRun": text(at(13))})
    made = snapshot("shop-20261101t130000z", created=at(13, 0, 2), spec={"trigger": "Schedule", "slot": text(at(13))})
    plan = look(subject, at(13, 0, 9), snapshots=(made,))
    assert created(plan) == []
    assert lines(plan) == ["13:00 Ran  1"]
    assert status(plan)["nextRun"] == "2026-11-01T14:00:00Z"


def test_after_an_absence_only_the_newest_slot_is_run_and_the_others_are_accounted_for() -> None:
    plan = look(policy(schedule=HOURLY, status=SEEN | {"nextRun": text(at(13))}), at(17, 25))
    assert created(plan) == ["shop-20261101t170000z"]
    assert lines(plan) == ["17:00 Ran  1", "16:00 Missed ControllerAway 4"]
    assert status(plan)["lastRuns"][0]["lateBy"] == "25m"


def test_a_slot_past_its_deadline_is_missed_and_says_so() -> None:
    plan = look(policy(schedule=HOURLY | {"startingDeadline": "10m"}, status=SEEN | {"nextRun": text(at(13))}), at(13, 25))
    assert created(plan) == []
    assert lines(plan) == ["13:00 Missed ControllerAway 1"]
    assert ready(plan) == ("False", "SlotMissed")
    assert status(plan)["nextRun"] == "2026-11-01T14:00:00Z"


def test_a_slot_whose_predecessor_still_runs_is_skipped() -> None:
    running = snapshot("shop-20261101t120000z", created=at(12), spec={"trigger": "Schedule", "slot": text(at(12))})
    plan = look(policy(schedule=HOURLY, status=SEEN | {"nextRun": text(at(13))}), at(13), snapshots=(running,))
    assert created(plan) == []
    assert lines(plan) == ["13:00 Skipped PreviousRunActive 1", "12:00 Ran  1"]
    assert "shop-20261101t120000z" in status(plan)["lastRuns"][0]["message"]


OBSTACLES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("LocationNotFound", {}, {"location": None}),
    ("NamespaceNotAllowed", {}, {"location": location(spec={"allowedNamespaces": {"matchLabels": {"zone": "eu"}}})}),
    ("NotAtomic", {}, {"location": location(status={"conditions": [condition("Conformant", "False", "NotAtomic")]})}),
    ("NoVolumesSelected", {"selector": {"matchLabels": {"app": "shop"}}}, {}),
    ("NoVolumesSelected", {"selector": {"exclude": ["data-0"]}}, {}),
]


@pytest.mark.parametrize(("reason", "spec", "observed"), OBSTACLES)
def test_a_due_slot_waits_while_something_is_in_the_way(reason: str, spec: dict[str, Any], observed: dict[str, Any]) -> None:
    subject = policy(schedule=HOURLY, status=SEEN | {"nextRun": text(at(13))}, **spec)
    plan = look(subject, at(13, 5), **observed)
    assert created(plan) == []
    assert ready(plan) == ("False", reason)
    assert lines(plan) == []
    assert status(plan)["nextRun"] == "2026-11-01T13:00:00Z"
    healed = look(policy(schedule=HOURLY, status=status(plan)), at(13, 20))
    assert created(healed) == ["shop-20261101t130000z"]
    later = look(policy(schedule=HOURLY, status=status(plan), **spec), at(15, 1), **observed)
    assert lines(later) == [f"14:00 Skipped {reason} 2"]


def test_a_location_that_is_away_does_not_keep_a_run_from_being_made() -> None:
    away = location(status={"conditions": [condition("Ready", "False", "LocationUnreachable", "no route")]})
    plan = look(policy(schedule=HOURLY, status=SEEN | {"nextRun": text(at(13))}), at(13), location=away)
    assert created(plan) == ["shop-20261101t130000z"]
    assert ready(plan) == ("False", "LocationUnreachable")


def test_a_policy_that_is_not_ready_looks_again_before_its_next_slot() -> None:
    away = location(status={"conditions": [condition("Ready", "False", "LocationUnreachable", "no route")]})
    assert look(policy(schedule=HOURLY), at(12, 30), location=away).requeue_after == 120
    assert look(policy(schedule=HOURLY), at(12, 59), location=away).requeue_after == 60
    assert look(policy(schedule=HOURLY), at(12, 30)).requeue_after == 1800


def test_a_refused_run_stays_due_and_tells_why() -> None:
    refused = {("BackupSnapshot", "shop", "shop-20261101t130000z"): ApiFailure(reason="QuotaExceeded", message="too many", at=at(13))}
    subject = policy(schedule=HOURLY, status=SEEN | {"nextRun": text(at(13))})
    plan = look(subject, at(13, 0, 1), failures=refused)
    assert created(plan) == []
    assert ready(plan) == ("False", "QuotaExceeded")
    assert lines(plan) == []
    assert status(plan)["nextRun"] == text(at(13))
    later = look(policy(schedule=HOURLY, status=status(plan)), at(13, 2), failures=refused)
    assert created(later) == ["shop-20261101t130000z"]
    assert lines(later) == []


def test_a_suspended_policy_runs_nothing_and_tells_afterwards_what_was_skipped() -> None:
    suspended = look(policy(schedule=HOURLY, suspend=True, generation=2, status=SEEN | {"nextRun": text(at(13))}), at(12, 30))
    assert created(suspended) == []
    assert ready(suspended) == ("False", "Suspended")
    assert "nextRun" not in status(suspended)
    assert suspended.requeue_after is None
    resumed = look(policy(schedule=HOURLY, generation=3, status=status(suspended)), at(16, 30))
    assert created(resumed) == []
    assert lines(resumed) == ["16:00 Skipped Suspended 4"]
    assert status(resumed)["nextRun"] == text(at(17))


def test_a_new_schedule_does_not_run_slots_that_nobody_was_promised() -> None:
    before = SEEN | {"nextRun": text(at(2, day=2)), "lastRuns": [{"slot": text(at(2)), "result": "Ran"}]}
    plan = look(policy(schedule=HOURLY, generation=2, status=before), at(16, 30))
    assert created(plan) == []
    assert lines(plan) == ["02:00 Ran  1"]
    assert status(plan)["nextRun"] == text(at(17))


def test_a_schedule_added_later_begins_then() -> None:
    plan = look(policy(schedule=HOURLY, generation=2, status=SEEN), at(16, 30))
    assert created(plan) == []
    assert lines(plan) == []


def test_run_on_create_runs_once() -> None:
    subject = policy(schedule={"cron": "0 2 * * *", "runOnCreate": True})
    plan = look(subject, CREATED + timedelta(seconds=3))
    assert created(plan) == ["shop-20261101t120030z"]
    assert plan.actions[0].object["spec"]["trigger"] == "Creation"  # type: ignore[union-attr]
    again = look(policy(schedule={"cron": "0 2 * * *", "runOnCreate": True}, status=status(plan)), CREATED + timedelta(hours=1))
    assert created(again) == []


def test_a_policy_without_schedule_is_run_by_hand() -> None:
    plan = look(policy(), at(13))
    assert ready(plan) == ("True", "OnDemand")
    assert "nextRun" not in status(plan)
    assert plan.requeue_after is None


def test_an_impossible_schedule_stalls_the_policy() -> None:
    plan = look(policy(schedule={"cron": "0 0 31 2 *"}), at(13))
    assert ready(plan) == ("False", "InvalidSchedule")
    assert any(entry["type"] == "Stalled" and entry["status"] == "True" for entry in status(plan)["conditions"])


def test_a_failed_run_is_the_policys_failure_until_the_next_good_one() -> None:
    subject = policy(schedule=HOURLY, status=SEEN | {"nextRun": text(at(15))})
    volumes = {"data-0": "Stored", "data-1": "Failed"}
    bad = snapshot("shop-1", created=at(13), status=ended(at(13, 1), ready="False", reason="VolumeNotCaptured", volumes=volumes))
    claims = (claim("data-0"), claim("data-1"), claim("data-2"))
    plan = look(subject, at(14), snapshots=(bad,), claims=claims)
    assert ready(plan) == ("False", "VolumeNotCaptured")
    assert status(plan)["coverage"] == {"selected": 3, "protected": 1, "failed": 1, "summary": "1/3"}
    assert "lastSuccess" not in status(plan)
    good = snapshot("shop-2", created=at(14), status=ended(at(14, 1), volumes=dict.fromkeys(("data-0", "data-1", "data-2"), "Stored")))
    plan = look(subject, at(14, 2), snapshots=(good, bad), claims=claims)
    assert ready(plan) == ("True", "Protected")
    assert status(plan)["lastSuccess"] == {"snapshot": "shop-2", "at": text(at(14, 1))}
    assert status(plan)["coverage"]["summary"] == "3/3"


def test_a_cancelled_run_is_no_failure_of_the_policy() -> None:
    cancelled = snapshot("shop-1", created=at(13), spec={"cancel": True}, status=ended(at(13, 1), ready="False", reason="Cancelled"))
    assert ready(look(policy(), at(14), snapshots=(cancelled,))) == ("True", "OnDemand")


def test_the_last_success_outlives_its_object() -> None:
    known = {"lastSuccess": {"snapshot": "shop-2", "at": text(at(11))}}
    assert status(look(policy(status=SEEN | known), at(14)))["lastSuccess"] == known["lastSuccess"]


def test_nothing_is_written_at_rest() -> None:
    subject = policy(schedule=HOURLY)
    first = look(subject, at(12, 30))
    second = look(policy(schedule=HOURLY, status=status(first)), at(12, 45))
    assert second.status == first.status
    assert second.events == ()


def test_a_policy_that_goes_takes_nothing_with_it() -> None:
    subject = policy(schedule=HOURLY)
    subject["metadata"]["deletionTimestamp"] = text(at(13))
    assert look(subject, at(13)) == Plan()


def test_nothing_is_made_in_a_namespace_that_goes() -> None:
    going = namespace()
    going["metadata"]["deletionTimestamp"] = text(at(13))
    assert look(policy(schedule=HOURLY, status=SEEN | {"nextRun": text(at(13))}), at(13), namespace=going) == Plan()
    assert look(policy(schedule=HOURLY, status=SEEN | {"nextRun": text(at(13))}), at(13), namespace=None) == Plan()


class World:
    """One policy and what the API server would hold. Looks may lose their status write, and happen twice."""

    def __init__(self, schedule: Object) -> None:
        self.subject = policy(schedule=schedule)
        self.snapshots: dict[str, Object] = {}

    def look(self, now: datetime, *, crash: bool, twice: bool, takes: timedelta) -> None:
        for name, made in self.snapshots.items():
            begun = datetime.fromisoformat(made["metadata"]["creationTimestamp"])
            if not made["status"] and begun + takes <= now:
                self.snapshots[name] = made | {"status": ended(now)}
        plans = [look(self.subject, now, snapshots=tuple(self.snapshots.values()))]
        if twice:
            plans.append(look(self.subject, now + timedelta(seconds=1), snapshots=tuple(self.snapshots.values())))
        for plan in plans:
            for action in plan.actions:
                assert isinstance(action, Create)
                spec = action.object["spec"]
                self.snapshots.setdefault(action.name, snapshot(action.name, created=now, spec=spec))
            if not crash:
                self.subject["status"] = status(plan)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([{"cron": "*/20 * * * *"}, {"every": "17m"}, {"cron": "15 */2 * * *", "timeZone": "Europe/Berlin", "jitter": "10m"}]),
    st.lists(st.tuples(st.integers(1, 14_400), st.booleans(), st.booleans()), min_size=5, max_size=40),
    st.integers(1, 5_000),
)
def test_every_slot_is_accounted_for_once_whatever_happens(schedule: Object, looks: list[tuple[int, bool, bool]], takes: int) -> None:
    """Looks at random times, some of which die after their writes and some of which happen twice at once."""
    world = World(schedule)
    now = CREATED
    for seconds, crash, twice in [*looks, (1, False, False)]:
        now += timedelta(seconds=seconds)
        world.look(now, crash=crash, twice=twice, takes=timedelta(seconds=takes))
    typed = Schedule(
        cron=schedule.get("cron"), every=schedule.get("every"), time_zone=schedule.get("timeZone", "UTC"), jitter=schedule.get("jitter")
    )
    delay = delay_of(typed, "shop/shop")
    due = set(slots_between(read_schedule(typed), CREATED - delay, now - delay))
    entries = world.subject["status"].get("lastRuns", [])
    assert all(made["spec"]["slot"] for made in world.snapshots.values())
    slots = [made["spec"]["slot"] for made in world.snapshots.values()]
    assert len(slots) == len(set(slots))
    assert {datetime.fromisoformat(slot) for slot in slots} <= due
    ran = {entry["slot"] for entry in entries if entry["result"] == "Ran"}
    assert ran == set(slots)
    assert sum(entry.get("slots", 1) for entry in entries) == len(due)


def keys_jobs(plan: Plan) -> list[Object]:
    return [action.object for action in plan.actions if isinstance(action, Create) and action.kind == "Job"]


def test_the_vaults_keys_are_made_before_the_first_run() -> None:
    subject = policy(schedule={"every": "1h"})
    assert len(keys_jobs(look(subject, CREATED, vault="ab" * 16))) == 1
    assert keys_jobs(look(subject, CREATED, vault="ab" * 16, vault_ready=True)) == []


@pytest.mark.parametrize(
    "observed",
    [
        pytest.param({"location": location(status={})}, id="a home that was not probed"),
        pytest.param({"claims": ()}, id="nothing to protect"),
        pytest.param({"location": location(spec={"allowedNamespaces": {"matchLabels": {"zone": "eu"}}})}, id="not allowed there"),
    ],
)
def test_no_keys_are_made_for_a_policy_that_cannot_run(observed: dict[str, Any]) -> None:
    assert keys_jobs(look(policy(schedule={"every": "1h"}), CREATED, vault="ab" * 16, **observed)) == []


def test_keys_that_cannot_be_made_are_told_before_anything_is_due() -> None:
    subject = policy(schedule={"every": "1h"})
    (job,) = keys_jobs(look(subject, CREATED, vault="ab" * 16))
    job["metadata"] |= {"uid": "keys-job", "creationTimestamp": text(CREATED)}
    job["status"] = {"conditions": [{"type": "Failed", "status": "True", "lastTransitionTime": text(CREATED)}]}
    ended_pod = {"terminated": {"exitCode": 40, "finishedAt": text(CREATED), "message": '{"reason": "WrongKey", "message": "no key fits"}'}}
    labels = {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    pod = {"kind": "Pod", "metadata": {"name": "p", "uid": "p", "labels": labels}, "status": {"containerStatuses": [{"state": ended_pod}]}}
    found = look(subject, CREATED, vault="ab" * 16, keys_jobs=(job, pod))
    assert found.status is not None
    ready = next(item for item in found.status["conditions"] if item["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "WrongKey")
    assert "no key fits" in ready["message"]
