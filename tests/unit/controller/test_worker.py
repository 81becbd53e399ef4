from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from recoup.controller import failures
from recoup.controller.ledger import FailureLedger
from recoup.controller.metrics import Metrics
from recoup.controller.queue import DelayingQueue
from recoup.controller.resources import EVENT, JOB, RESTORE, SWEEP, Key
from recoup.controller.worker import LONGEST_LOOK, Worker
from recoup.errors import Invalid, Retryable
from recoup.plan.actions import Create, EventNote, EventType, Plan
from recoup.plan.observed import ApiFailure, FailureKey
from tests.fakes.memory_kube import MemoryKube
from tests.unit.controller.clock import Clock

KEY = Key("RestoreRequest", "shop", "r")
CHILD = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "j", "namespace": "movers", "labels": {"recoup.dev/owner-uid": "u"}},
    "spec": {},
}


class Script:
    """A reconciler that does what the test says, and remembers what it was shown."""

    def __init__(self, plan: Callable[[dict[FailureKey, ApiFailure]], Plan], ledger: FailureLedger) -> None:
        self._plan, self._ledger = plan, ledger
        self.shown: list[dict[FailureKey, ApiFailure]] = []
        self.sure: list[bool] = []

    def observe(self, obj: dict[str, Any], _now: datetime, *, sure: bool = False) -> dict[FailureKey, ApiFailure]:
        self.sure.append(sure)
        return self._ledger.of(obj["metadata"]["uid"])

    def plan(self, observed: dict[FailureKey, ApiFailure], _now: datetime) -> Plan:
        self.shown.append(observed)
        return self._plan(observed)

    def with_failures(self, _observed: Any, obj: dict[str, Any]) -> dict[FailureKey, ApiFailure]:
        return self._ledger.of(obj["metadata"]["uid"])


class Bench:
    def __init__(self, plan: Callable[[dict[FailureKey, ApiFailure]], Plan], *, seen: MemoryKube | None = None) -> None:
        """`seen`: what a cache would answer, where it is not what the server has."""
        self.clock, self.kube, self.metrics, ledger = Clock(), MemoryKube(), Metrics(), FailureLedger()
        self.queue: DelayingQueue[Key] = DelayingQueue(clock=self.clock, jitter=lambda: 1.0)
        self.script = Script(plan, ledger)
        self.leads = True
        self.worker = Worker(
            kube=seen or self.kube, server=self.kube,
            queue=self.queue, reconcilers={"RestoreRequest": self.script}, sweep=lambda _now: 60.0, ledger=ledger,
            metrics=self.metrics, clock=self.clock, now=self.clock.now, jitter=lambda: 0.5, may_work=lambda: self.leads, resync=600,
            instance="test",
        )  # fmt: skip
        self.kube.put(RESTORE, {"metadata": {"name": "r", "namespace": "shop", "uid": "u"}, "spec": {}})

    def look(self) -> None:
        """One key through the loop, exactly as a thread does it."""
        key = self.queue.take()
        assert key is not None
        self.worker._work(key)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.kube.get(RESTORE, "shop", "r").get("status") or {}
        return found

    def result(self, name: str) -> float:
        return self.metrics.registry.get_sample_value("recoup_reconciles_total", {"kind": "RestoreRequest", "result": name}) or 0.0


def test_a_plan_is_carried_out_and_the_next_look_is_when_it_says() -> None:
    bench = Bench(lambda _: Plan(actions=(Create(CHILD),), status={"a": 1}, requeue_after=5.0))
    bench.queue.add(KEY)
    bench.look()
    assert bench.status() == {"a": 1}
    assert bench.kube.get(JOB, "movers", "j")
    bench.clock.advance(4.9)
    assert bench.queue.take() is None
    bench.clock.advance(0.2)
    assert bench.queue.take() == KEY


@pytest.mark.parametrize(("wanted", "after"), [(None, 600.0), (10_000.0, 600.0), (0.0, 0.0)])
def test_every_object_is_looked_at_again_within_the_resync_period(wanted: float | None, after: float) -> None:
    bench = Bench(lambda _: Plan(requeue_after=wanted))
    assert bench.worker.reconcile(KEY) == pytest.approx(after)


def test_what_is_seen_of_an_object_that_is_gone_makes_a_sweep_and_no_other_look() -> None:
    """A mover that outlives its BackupSnapshot is let finish; what it leaves must not lie until the next periodic sweep."""
    bench = Bench(lambda _: Plan())
    bench.kube.delete(RESTORE, "shop", "r", uid="u")
    bench.queue.add(KEY)
    bench.look()
    bench.clock.advance(10_000)
    assert (bench.queue.take(), bench.queue.take()) == (SWEEP, None)


def test_a_refused_write_is_told_in_the_status_of_the_same_look_and_retried_later() -> None:
    def plan(known: dict[FailureKey, ApiFailure]) -> Plan:
        said = {failure.reason: failure.count for failure in known.values()}
        return Plan(actions=(Create(CHILD),), status={"refused": said})

    bench = Bench(plan)

    def refuse(verb: str, kind: str, _name: str) -> None:
        if (verb, kind) == ("create", "Job"):
            raise failures.QuotaExceeded("exceeded quota: pods")

    bench.kube.before_write = refuse
    bench.queue.add(KEY)
    bench.look()
    assert bench.status() == {"refused": {"QuotaExceeded": 1}}
    assert bench.queue.take() is None
    bench.clock.advance(2)
    bench.look()
    assert bench.status() == {"refused": {"QuotaExceeded": 2}}
    bench.kube.before_write = lambda _verb, _kind, _name: None
    bench.clock.advance(4)
    bench.look()  # it works now; the plan was made before that, so the status follows with the next look
    bench.queue.add(KEY)
    bench.look()
    assert bench.status() == {"refused": {}}
    assert bench.result("error") == 2


def test_a_conflict_is_no_refusal_it_means_look_again() -> None:
    bench = Bench(lambda _: Plan(actions=(Create(CHILD),), status={"a": 1}))

    def conflict(verb: str, kind: str, _name: str) -> None:
        raise failures.Conflict(f"{verb} {kind}")

    bench.kube.before_write = conflict
    bench.queue.add(KEY)
    bench.look()
    assert bench.status() == {}
    assert (bench.result("retry"), bench.script.shown) == (1, [{}])
    bench.clock.advance(2)
    assert bench.queue.take() == KEY


def test_a_server_that_asks_for_time_gets_it() -> None:
    bench = Bench(lambda _: Plan(status={"a": 1}))

    def busy(_verb: str, _kind: str, _name: str) -> None:
        raise failures.Unavailable("too many requests", retry_after=77)

    bench.kube.before_write = busy
    bench.queue.add(KEY)
    bench.look()
    bench.clock.advance(76)
    assert bench.queue.take() is None
    bench.clock.advance(1)
    assert bench.queue.take() == KEY


def raise_invalid(_: object) -> Plan:
    raise Invalid("$.spec.typo: unknown field")


def raise_bug(_: object) -> Plan:
    raise ZeroDivisionError


def raise_away(_: object) -> Plan:
    raise Retryable("away")


def test_an_object_that_can_not_be_understood_gets_an_event_and_harms_no_other() -> None:
    bench = Bench(raise_invalid)
    for _ in range(2):
        bench.queue.add(KEY)
        bench.look()
        bench.clock.advance(1000)
    (event,) = bench.kube.list(EVENT, "shop")
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "InvalidConfiguration", "$.spec.typo: unknown field")


@pytest.mark.parametrize(("plan", "result"), [(raise_bug, "error"), (raise_away, "retry"), (raise_invalid, "error")])
def test_whatever_goes_wrong_is_counted_and_tried_again(plan: Callable[[object], Plan], result: str) -> None:
    bench = Bench(plan)
    bench.queue.add(KEY)
    bench.look()
    assert bench.result(result) == 1
    bench.clock.advance(2)
    assert bench.queue.take() == KEY


def test_a_worker_without_the_lease_touches_nothing() -> None:
    bench = Bench(lambda _: Plan(status={"a": 1}, events=(EventNote(EventType.NORMAL, "R", "m"),)))
    bench.leads = False
    bench.queue.add(KEY)
    bench.worker.run()
    assert bench.kube.writes == []
    assert bench.script.shown == []


def test_a_look_that_hangs_is_named() -> None:
    bench = Bench(lambda _: Plan())
    bench.worker._busy[1] = (KEY, bench.clock())
    bench.clock.advance(LONGEST_LOOK)
    assert bench.worker.hung() is None
    bench.clock.advance(1)
    assert "RestoreRequest shop/r" in (bench.worker.hung() or "")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, 90),
        ({"startedAt": "%s"}, 90),
        ({"startedAt": "%s", "conditions": [{"type": "Planned", "status": "True"}]}, 60),
        ({"standby": {"promotedAt": "%s"}}, 60),
    ],
    ids=["plain", "begun later", "approved", "promoted"],
)
def test_the_time_of_a_restore_is_measured_once_when_it_is_seen_to_end(more: dict[str, Any], expected: int) -> None:
    state = {"status": "False"}
    bench = Bench(lambda _: Plan(status=told | {"conditions": [*told.get("conditions", ()), {"type": "Restored", **state}]}))
    asked = (bench.clock.now() + timedelta(seconds=30)).isoformat()
    told: dict[str, Any] = json.loads(json.dumps(more).replace("%s", asked))
    bench.worker.reconcile(KEY)
    state["status"] = "True"
    bench.clock.advance(90)
    bench.worker.reconcile(KEY)
    bench.worker.reconcile(KEY)
    count = bench.metrics.registry.get_sample_value("recoup_restore_seconds_count")
    seconds = bench.metrics.registry.get_sample_value("recoup_restore_seconds_sum")
    assert (count, seconds) == (1, expected)


def behind() -> MemoryKube:
    """A view in which the request is an earlier version of itself."""
    seen = MemoryKube()
    seen.put(RESTORE, {"metadata": {"name": "r", "namespace": "shop", "uid": "u"}, "spec": {}})
    return seen


def test_nothing_is_created_for_an_owner_that_changed_since_it_was_seen() -> None:
    bench = Bench(lambda _: Plan(actions=(Create(CHILD),), status={"a": 1}), seen=(seen := behind()))
    bench.kube.put(RESTORE, {"metadata": {"name": "r", "namespace": "shop", "uid": "u"}, "spec": {"cancel": True}})
    bench.queue.add(KEY)
    bench.look()
    assert bench.result("retry") == 1
    assert seen.writes == bench.kube.writes == []


def test_nothing_is_created_for_an_owner_that_is_gone() -> None:
    bench = Bench(lambda _: Plan(actions=(Create(CHILD),)), seen=(seen := behind()))
    bench.kube.objects.clear()
    bench.queue.add(KEY)
    bench.look()
    assert bench.result("retry") == 1
    assert seen.writes == []


def test_what_can_not_be_taken_back_is_decided_by_what_the_server_says() -> None:
    bench = Bench(lambda _: Plan(status={"completedAt": "t", "volumes": [{"source": "a", "state": "Failed"}]}), seen=behind())
    bench.queue.add(KEY)
    bench.look()
    assert bench.script.sure == [False, True]


def test_what_comes_again_is_decided_by_what_is_known() -> None:
    bench = Bench(lambda _: Plan(status={"volumes": [{"source": "a", "state": "Restoring"}]}), seen=behind())
    reads = bench.kube.reads
    bench.queue.add(KEY)
    bench.look()
    assert bench.script.sure == [False]
    assert bench.kube.reads == reads
