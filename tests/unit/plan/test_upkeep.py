"""Upkeep Jobs: one at a time for a vault at a location, in order of importance, and no storm of them where they fail."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recoup.api.backuplocation import BackupLocation
from recoup.api.objects import decode
from recoup.plan.actions import Create, Delete
from recoup.plan.observed import ApiFailure
from recoup.plan.upkeep import Task, TaskPhase, Upkeep, UpkeepObserved, plan_upkeep
from tests.unit.plan.examples import Object, location, text

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
VAULT = "ab" * 16


def place(name: str = "frankfurt") -> BackupLocation:
    made = location()
    made["metadata"] |= {"name": name, "uid": f"{name}-uid"}
    return decode(BackupLocation, made)


def task(kind: str, turn: str = "1", where: str = "frankfurt") -> Task:
    return Task(kind=kind, location=place(where), vault=VAULT, namespace="shop", round=turn, build=build)


def build(name: str, labels: dict[str, str]) -> Object:
    metadata = {"name": name, "namespace": "recoup-movers", "labels": labels}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {}}


def job_of(one: Task, *, ended: str | None = None, ago: timedelta = timedelta(0)) -> Object:
    job = build(one.job_name, one.labels)
    job["metadata"] |= {"uid": f"uid-{one.job_name}", "creationTimestamp": text(NOW - timedelta(hours=1))}
    condition = {"type": ended, "status": "True", "reason": "it", "message": "so", "lastTransitionTime": text(NOW - ago)}
    job["status"] = {"conditions": [condition]} if ended else {}
    return job


def pod_of(job: Object, state: Object) -> Object:
    labels = job["metadata"]["labels"] | {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    metadata = {"name": f"{job['metadata']['name']}-x", "uid": "pod-uid", "labels": labels, "creationTimestamp": text(NOW)}
    return {"kind": "Pod", "metadata": metadata, "status": {"containerStatuses": [{"state": state}]}}


def failed_pod(job: Object, code: int, ago: timedelta = timedelta(0)) -> Object:
    return pod_of(job, {"terminated": {"exitCode": code, "finishedAt": text(NOW - ago), "message": ""}})


def plan(*wanted: Task, things: tuple[Object, ...] = (), **more: Any) -> Upkeep:
    return plan_upkeep(wanted, UpkeepObserved(vault=VAULT, locations=(place(), place("oregon")), things=things, **more), NOW)


def names(upkeep: Upkeep) -> list[tuple[str, str]]:
    return [(type(action).__name__, action.name) for action in upkeep.actions]


def test_the_most_important_task_of_each_location_is_started_and_the_others_say_what_they_wait_for() -> None:
    heal, copy, forget = task("heal"), task("replicate", where="oregon"), task("forget")
    found = plan(heal, copy, forget)
    assert names(found) == [("Create", heal.job_name), ("Create", copy.job_name)]
    assert found.states["forget", "frankfurt"].phase is TaskPhase.WAITING
    assert "waits for heal" in found.states["forget", "frankfurt"].message


def test_the_same_thing_is_the_same_job_whoever_asks_and_another_round_is_another() -> None:
    assert task("forget").job_name == task("forget").job_name
    different = [task("forget"), task("forget", "2"), task("prune"), task("forget", where="oregon")]
    assert len({one.job_name for one in different}) == 4


def test_a_running_job_is_left_alone_though_nobody_wants_it_any_more() -> None:
    running = job_of(task("prune"))
    busy = (running, pod_of(running, {"running": {"startedAt": text(NOW - timedelta(minutes=1))}}))
    found = plan(task("heal"), things=busy)
    assert found.actions == ()
    assert found.states["prune", "frankfurt"].phase is TaskPhase.RUNNING
    assert found.again is not None


def test_a_job_that_did_what_was_wanted_is_removed_and_the_next_one_starts_at_once() -> None:
    done = job_of(task("replicate"), ended="Complete")
    found = plan(task("forget"), things=(done,))
    assert names(found) == [("Delete", done["metadata"]["name"]), ("Create", task("forget").job_name)]
    assert found.states["replicate", "frankfurt"].phase is TaskPhase.DONE


@pytest.mark.parametrize(
    ("code", "pause"),
    [pytest.param(10, timedelta(minutes=1), id="retryable"), pytest.param(20, timedelta(minutes=10), id="for a person")],
)
def test_a_failed_job_stays_until_its_pause_is_over_and_is_then_made_anew(code: int, pause: timedelta) -> None:
    one = task("replicate")
    young, old = (job_of(one, ended="Failed", ago=ago) for ago in (timedelta(seconds=1), pause))
    found = plan(one, things=(young, failed_pod(young, code, timedelta(seconds=1))))
    assert found.actions == ()
    assert found.states["replicate", "frankfurt"].phase is TaskPhase.FAILED
    assert found.again == pytest.approx(pause.total_seconds() - 1)
    later = plan(one, things=(old, failed_pod(old, code, pause)))
    assert [type(action) for action in later.actions] == [Delete]
    assert [type(action) for action in plan(one).actions] == [Create]


def test_a_failure_holds_up_nothing_else_of_the_vault_there() -> None:
    bad = job_of(task("heal"), ended="Failed")
    found = plan(task("heal"), task("forget"), things=(bad, failed_pod(bad, 20)))
    assert names(found) == [("Create", task("forget").job_name)]


def test_a_success_that_the_log_does_not_show_is_not_repeated_without_end() -> None:
    one = task("replicate")
    done = job_of(one, ended="Complete", ago=timedelta(minutes=9))
    assert plan(one, things=(done,)).actions == ()
    past = job_of(one, ended="Complete", ago=timedelta(minutes=10))
    assert names(plan(one, things=(past,))) == [("Delete", one.job_name)]


def test_other_vaults_and_other_locations_are_not_touched() -> None:
    other = build("other", task("forget").labels | {"recoup.dev/upkeep-vault": "cd" * 16})
    elsewhere = job_of(task("prune", where="basement"), ended="Complete")
    assert plan(things=(other | {"status": {}}, elsewhere)).actions == ()


def test_what_the_api_server_refuses_is_told_and_tried_again_later() -> None:
    one = task("forget")
    refusal = ApiFailure(reason="Forbidden", message="exceeded quota", at=NOW)
    found = plan(one, failures={("Job", "recoup-movers", one.job_name): refusal})
    assert found.actions == ()
    assert found.states["forget", "frankfurt"].reason == "Forbidden"
    assert found.again is not None
