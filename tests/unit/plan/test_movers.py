"""How a mover is doing, by its Job and Pod: a table of everything that can be seen of one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup.api.backupsnapshot import Progress as Known
from recoup.plan.movers import MAX_ATTEMPTS, STALL_LIMIT, MoverState, Verdict, is_stalled, judge_mover, note_progress, retry_at
from recoup.plan.observed import Progress

Object = dict[str, Any]

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
EARLIER = "2026-11-23T11:59:00Z"


def job(condition: str = "", *, going: bool = False, created: str = EARLIER) -> Object:
    metadata = {"name": "mover-1", "uid": "uid-job", "creationTimestamp": created} | ({"deletionTimestamp": EARLIER} if going else {})
    conditions = (
        [{"type": condition, "status": "True", "lastTransitionTime": EARLIER, "reason": "BackoffLimitExceeded"}] if condition else []
    )
    return {"metadata": metadata, "status": {"conditions": conditions}}


def pod(state: Object | None = None, *, conditions: list[Object] | None = None) -> Object:
    status: Object = {"phase": "Pending", "conditions": conditions or []}
    if state is not None:
        status["containerStatuses"] = [{"state": state}]
    return {"metadata": {"name": "mover-1-x", "uid": "uid-pod"}, "status": status}


def ended(code: int, message: str = "", reason: str = "Error") -> Object:
    return pod({"terminated": {"exitCode": code, "message": message, "reason": reason, "finishedAt": EARLIER}})


RUNNING = pod({"running": {"startedAt": EARLIER}})
REPORT = json.dumps({"reason": "BucketNotFound", "message": "bucket acme does not exist", "bytesRead": 5})


@pytest.mark.parametrize(
    ("found", "pods", "state", "reason", "retry"),
    [
        pytest.param(job(), RUNNING, "Running", "", False, id="running"),
        pytest.param(job(), None, "Running", "MoverPodNotCreated", False, id="no pod yet"),
        pytest.param(job(going=True), RUNNING, "Ending", "", False, id="being deleted"),
        pytest.param(job("Complete"), ended(0), "Succeeded", "", False, id="complete"),
        pytest.param(job(), ended(0), "Succeeded", "", False, id="ended well, the Job controller is behind"),
        pytest.param(job("Complete"), None, "Succeeded", "", False, id="complete, pod gone"),
        pytest.param(job("Failed"), None, "Failed", "MoverPodLost", True, id="pod lost"),
        pytest.param(job("Failed"), RUNNING, "Failed", "MoverPodLost", True, id="node lost"),
        pytest.param(job("Failed"), ended(1), "Failed", "MoverFailed", True, id="internal"),
        pytest.param(job("Failed"), ended(2), "Failed", "Usage", False, id="usage"),
        pytest.param(job("Failed"), ended(10), "Failed", "Unavailable", True, id="retryable"),
        pytest.param(job("Failed"), ended(20), "Failed", "InvalidConfiguration", False, id="invalid"),
        pytest.param(job("Failed"), ended(20, REPORT), "Failed", "BucketNotFound", False, id="the mover's own reason"),
        pytest.param(job("Failed"), ended(30), "Failed", "IntegrityError", False, id="integrity"),
        pytest.param(job("Failed"), ended(40), "Failed", "KeyUnavailable", False, id="key"),
        pytest.param(job("Failed"), ended(130), "Failed", "Cancelled", True, id="interrupted"),
        pytest.param(job("Failed"), ended(137), "Failed", "MoverKilled", True, id="killed"),
        pytest.param(job("Failed"), ended(137, reason="OOMKilled"), "Failed", "MoverOutOfMemory", True, id="out of memory"),
        pytest.param(job("Failed"), ended(20, "not JSON"), "Failed", "InvalidConfiguration", False, id="a message that is no report"),
        pytest.param(
            job("Failed"), ended(20, json.dumps({"reason": "x" * 999})), "Failed", "InvalidConfiguration", False, id="an absurd reason"
        ),
    ],
)
def test_every_state_of_a_mover(found: Object, pods: Object | None, state: str, reason: str, retry: bool) -> None:
    verdict = judge_mover(found, pods, now=NOW, warnings={})
    assert (verdict.state, verdict.reason, verdict.retry) == (MoverState(state), reason, retry)


@pytest.mark.parametrize(
    ("pods", "reason", "words"),
    [
        (
            pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]),
            "MoverNotScheduled",
            "0/3 nodes are available",
        ),
        (
            pod({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
            "MoverNotStarted",
            "ImagePullBackOff (no such image)",
        ),
        (pod(), "MoverNotStarted", 'secret "recoup-key" not found'),
    ],
)
def test_a_pod_that_does_not_start_says_why_and_is_given_up_in_the_end(pods: Object, reason: str, words: str) -> None:
    warnings = {"uid-pod": 'FailedMount: secret "recoup-key" not found'}
    fresh = judge_mover(job(), pods, now=NOW, warnings=warnings)
    assert (fresh.state, fresh.reason) == (MoverState.RUNNING, reason)
    assert words in fresh.message
    old = judge_mover(job(created="2026-11-23T11:40:00Z"), pods, now=NOW, warnings=warnings)
    assert (old.state, old.reason, old.retry) == (MoverState.FAILED, reason, False)
    assert words in old.message


def test_a_pod_that_is_just_starting_is_no_trouble() -> None:
    fresh = judge_mover(job(created="2026-11-23T11:59:40Z"), pod({"waiting": {"reason": "ContainerCreating"}}), now=NOW, warnings={})
    assert (fresh.state, fresh.reason, fresh.message) == (MoverState.RUNNING, "", "")


def test_attempts_are_three_with_pauses_in_between() -> None:
    failed = Verdict(state=MoverState.FAILED, retry=True, since=NOW)
    assert retry_at(1, failed, NOW) == NOW + timedelta(seconds=15)
    assert retry_at(2, failed, NOW) == NOW + timedelta(seconds=60)
    assert retry_at(MAX_ATTEMPTS, failed, NOW) is None
    assert retry_at(1, Verdict(state=MoverState.FAILED, retry=False, since=NOW), NOW) is None


@pytest.mark.parametrize(
    ("done", "later", "written"),
    [(4, 10, False), (6, 10, True), (4, 61, True), (0, 61, False)],
    ids=["too little", "5 % more", "a minute later", "nothing moved"],
)
def test_progress_is_written_after_five_per_cent_or_a_minute(done: int, later: int, written: bool) -> None:
    before = Known(bytes_done=0, at=NOW, bytes_total=100, files_done=0)
    after = note_progress(before, Progress(bytes_done=done, bytes_total=100), NOW + timedelta(seconds=later))
    assert (after is not before) is written


@given(st.lists(st.tuples(st.integers(1, 120), st.integers(0, 3)), max_size=60))
def test_a_mover_is_stalled_only_after_a_quarter_of_an_hour_without_a_move(steps: list[tuple[int, int]]) -> None:
    """Whatever the pace at which it is looked at, and whatever of it is written down."""
    known: Known | None = None
    now = moved_at = NOW
    done = 0
    for seconds, more in steps:
        now += timedelta(seconds=seconds)
        done += more
        seen = Progress(bytes_done=done, bytes_total=10_000)
        if more:
            moved_at = now
        if is_stalled(NOW, known, seen, now):
            assert now - moved_at >= STALL_LIMIT - timedelta(seconds=61)
        known = note_progress(known, seen, now)


def test_an_unreadable_log_proves_nothing() -> None:
    assert not is_stalled(NOW, None, None, NOW + timedelta(days=1))
    assert is_stalled(NOW, None, Progress(), NOW + STALL_LIMIT)


def test_a_log_without_progress_proves_that_nothing_moved() -> None:
    silent = Progress(told=False)
    assert not is_stalled(NOW, None, silent, NOW + STALL_LIMIT - timedelta(seconds=1))
    assert is_stalled(NOW, None, silent, NOW + STALL_LIMIT)
    known = Known(bytes_done=5, at=NOW + timedelta(minutes=5), files_done=0)
    assert not is_stalled(NOW, known, silent, NOW + STALL_LIMIT), "it moved since"
    assert note_progress(known, silent, NOW + STALL_LIMIT) is known


def test_a_mover_that_moved_while_nobody_looked_is_not_stalled() -> None:
    """The controller was away for an hour; the mover was not."""
    assert not is_stalled(NOW, None, Progress(bytes_done=5), NOW + timedelta(hours=1))
