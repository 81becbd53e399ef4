from __future__ import annotations

import threading
from typing import Any

import pytest

from recoup.controller import failures
from recoup.controller.lease import Lease, LeaseTiming
from recoup.controller.resources import LEASE
from tests.fakes.memory_kube import MemoryKube
from tests.unit.controller.clock import Clock

TIMING = LeaseTiming(duration=20, renew_within=12, every=4)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kube() -> MemoryKube:
    return MemoryKube()


def replica(kube: MemoryKube, clock: Clock, name: str) -> Lease:
    return Lease(kube, namespace="recoup-system", name="recoup-controller", identity=name, clock=clock, now=clock.now, timing=TIMING)


def spec(kube: MemoryKube) -> dict[str, Any]:
    found: dict[str, Any] = kube.get(LEASE, "recoup-system", "recoup-controller")["spec"]
    return found


def test_the_first_takes_it_and_the_second_stands_by(kube: MemoryKube, clock: Clock) -> None:
    one, two = replica(kube, clock, "one"), replica(kube, clock, "two")
    assert one.step()
    assert not two.step()
    assert spec(kube)["holderIdentity"] == "one"


def test_it_is_kept_by_renewing(kube: MemoryKube, clock: Clock) -> None:
    one, two = replica(kube, clock, "one"), replica(kube, clock, "two")
    one.step()
    for _ in range(20):
        clock.advance(4)
        assert one.step()
        assert not two.step()
    assert spec(kube)["leaseTransitions"] == 0


def test_a_dead_holder_is_replaced_after_the_duration_as_the_other_saw_it(kube: MemoryKube, clock: Clock) -> None:
    one, two = replica(kube, clock, "one"), replica(kube, clock, "two")
    one.step()
    clock.advance(1000)  # whatever the record's own time says: two has not watched it yet
    assert not two.step()
    clock.advance(19)
    assert not two.step()
    clock.advance(1)
    assert two.step()
    assert spec(kube) == spec(kube) | {"holderIdentity": "two", "leaseTransitions": 1}


def test_the_holder_stops_before_another_may_start(kube: MemoryKube, clock: Clock) -> None:
    one = replica(kube, clock, "one")
    one.step()

    def away(_verb: str, _kind: str, _name: str) -> None:
        raise failures.Unavailable("away")

    kube.before_write = away
    clock.advance(11)
    assert one.step()
    clock.advance(1)
    assert not one.step()
    assert not one.held
    assert TIMING.renew_within < TIMING.duration


def test_a_slow_answer_does_not_stretch_the_time(kube: MemoryKube, clock: Clock) -> None:
    one = replica(kube, clock, "one")
    kube.before_write = lambda _verb, _kind, _name: clock.advance(11)
    one.step()
    assert one.held
    clock.advance(1)
    assert not one.held


def test_two_that_race_for_a_dead_holders_lease(kube: MemoryKube, clock: Clock) -> None:
    dead, one, two = (replica(kube, clock, name) for name in ("dead", "one", "two"))
    dead.step()
    one.step()
    two.step()
    clock.advance(20)
    raced = False

    def race(verb: str, _kind: str, _name: str) -> None:
        nonlocal raced
        if verb == "patch" and not raced:
            raced = True
            assert two.step()  # between one's read and one's write

    kube.before_write = race
    assert not one.step()
    assert two.held
    assert spec(kube)["holderIdentity"] == "two"


def test_a_clean_stop_hands_over_at_once(kube: MemoryKube, clock: Clock) -> None:
    one, two = replica(kube, clock, "one"), replica(kube, clock, "two")
    one.step()
    one.release()
    assert not one.held
    assert two.step()


def test_a_standby_releases_nothing(kube: MemoryKube, clock: Clock) -> None:
    one, two = replica(kube, clock, "one"), replica(kube, clock, "two")
    one.step()
    two.step()
    two.release()
    assert spec(kube)["holderIdentity"] == "one"


def test_run_says_when_it_leads_and_when_no_longer(kube: MemoryKube, clock: Clock) -> None:
    happened: list[str] = []
    one = replica(kube, clock, "one")
    stop = threading.Event()

    def take_away() -> None:
        happened.append("acquired")
        lease = kube.get(LEASE, "recoup-system", "recoup-controller")
        lease["spec"]["holderIdentity"] = "other"
        kube.put(LEASE, lease)

    stop.wait = lambda timeout=None: stop.is_set()  # type: ignore[method-assign]  # noqa: ARG005  # no real waiting here
    one.run(stop=stop, on_acquired=take_away, on_lost=lambda: happened.append("lost"))
    assert happened == ["acquired", "lost"]
