"""Seats of backup movers: limits, fairness between namespaces, nodes, and what those that wait are told."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup.plan.budgets import Mover, Request, count_waiting, movers_of, needs_nodes, no_seat_left, share_seats
from recoup.plan.observed import MoverLimits

Object = dict[str, Any]
START = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
LIMITS = MoverLimits(total=6, per_node=2, per_namespace=3)


def request(name: str, namespace: str = "shop", *, minute: int = 0, location: str = "frankfurt", limit: int = 4, zone: str = "") -> Request:
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}]}}
    return Request(
        job=name, run_uid=f"uid-of-{namespace}-{minute}", volume_uid=name, namespace=namespace, run=f"run-{minute}",
        since=START + timedelta(minutes=minute), location=location, limit=limit, node_affinity=affinity if zone else None,
    )  # fmt: skip


def mover(name: str, namespace: str = "shop", *, location: str = "frankfurt", node: str | None = "n1") -> Mover:
    return Mover(job=name, namespace=namespace, run="earlier", location=location, node=node)


def node(name: str, zone: str = "a", *, ready: bool = True) -> Object:
    labels = {"kubernetes.io/hostname": f"host-{name}", "zone": zone}
    status = {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
    return {"metadata": {"name": name, "labels": labels}, "spec": {}, "status": status}


def granted(seats: dict[str, Any]) -> set[str]:
    return {job for job, seat in seats.items() if seat.granted}


def test_each_limit_holds_and_is_named_with_those_who_work() -> None:
    many = [request(f"j{number}", limit=2) for number in range(5)]
    seats = share_seats(many, [], (), LIMITS)
    assert granted(seats) == {"j0", "j1"}
    said = seats["j4"].message
    assert said == "waits for one of all 2 movers of BackupLocation frankfurt (its spec.limits.concurrentMovers); at work for shop/run-0"
    seats = share_seats([request(f"j{number}") for number in range(5)], [], (), LIMITS)
    assert granted(seats) == {"j0", "j1", "j2"}
    assert "all 3 movers of namespace shop (chart value movers.limits.perNamespace)" in seats["j4"].message


def test_all_seats_of_the_cluster() -> None:
    movers = [mover(f"m{number}", f"team-{number}") for number in range(6)]
    assert share_seats([request("late")], movers, (), LIMITS) == {}
    assert no_seat_left(movers, LIMITS).message == (
        "waits for one of all 6 movers of the cluster (chart value movers.limits.total); "
        "at work for team-0/earlier, team-1/earlier, team-2/earlier and 3 more"
    )


def test_a_namespace_with_many_runs_does_not_starve_another() -> None:
    """200 due runs, all older than those of the others: each of the others still gets its seat in the first round."""
    crowd = [request(f"crowd-{number}", "crowd", limit=100) for number in range(200)]
    others = [request(f"other-{number}", f"team-{number}", minute=5, limit=100) for number in range(3)]
    seats = share_seats([*crowd, *others], [], (), LIMITS)
    assert granted(seats) == {"crowd-0", "crowd-1", "crowd-10", "other-0", "other-1", "other-2"}


def test_the_run_that_began_first_is_served_first() -> None:
    seats = share_seats([request("late", minute=9, limit=1), request("early", minute=1, limit=1)], [], (), LIMITS)
    assert granted(seats) == {"early"}


def test_who_waits_for_a_location_holds_up_nobody_behind_it() -> None:
    movers = [mover("m", location="slow")]
    seats = share_seats([request("first", location="slow", limit=1), request("second", minute=1)], movers, (), LIMITS)
    assert granted(seats) == {"second"}
    assert "BackupLocation slow" in seats["first"].message


def test_a_full_node_is_avoided_or_waited_for() -> None:
    nodes = (node("n1"), node("n2"), node("n3", "b"))
    movers = [mover("m1", "x"), mover("m2", "y")]
    seats = share_seats([request("anywhere"), request("pinned", "team", zone="b")], movers, nodes, LIMITS)
    assert granted(seats) == {"anywhere", "pinned"}
    assert seats["anywhere"].full == ("host-n1",)
    assert seats["pinned"].full == ()
    seats = share_seats([request("pinned", zone="a")], movers, (nodes[0], nodes[2]), LIMITS)
    assert not seats["pinned"].granted
    assert "all 2 movers of node n1 (chart value movers.limits.perNode); at work for x/earlier, y/earlier" in seats["pinned"].message


def test_a_mover_that_was_not_placed_counts_wherever_it_may_go() -> None:
    """Two on their way to one of two nodes with two places each: the third could be the third on one of them."""
    nodes = (node("n1"), node("n2"))
    coming = [mover("m1", "x", node=None), mover("m2", "y", node=None)]
    assert granted(share_seats([request("third")], coming, nodes, LIMITS)) == set()
    placed = [mover("m1", "x", node="n1"), mover("m2", "y", node="n2")]
    assert granted(share_seats([request("a"), request("b")], placed, nodes, LIMITS)) == {"a"}, "one at a time"


def test_a_volume_that_fits_no_node_is_left_to_the_scheduler_to_explain() -> None:
    seats = share_seats([request("lost", zone="gone")], [mover("m1"), mover("m2")], (node("n1"),), LIMITS)
    assert granted(seats) == {"lost"}


def test_a_node_that_takes_no_pods_is_no_place_to_go() -> None:
    nodes = (node("n1"), node("n2", ready=False))
    seats = share_seats([request("one")], [mover("m1", "x"), mover("m2", "y")], nodes, LIMITS)
    assert granted(seats) == set()


@pytest.mark.parametrize(
    ("movers", "waiting", "needed"),
    [([], 2, False), ([], 3, True), ([mover("m1"), mover("m2")], 1, True), ([mover("m1"), mover("m2", node="n2")], 1, False)],
)
def test_nodes_are_asked_for_only_when_one_might_get_full(movers: list[Mover], waiting: int, needed: bool) -> None:
    assert needs_nodes(movers, waiting, LIMITS) is needed


def job(name: str, *, ended: str = "", **labels: str) -> Object:
    known = {"recoup.dev/owner-namespace": "shop", "recoup.dev/owner-name": "run", "recoup.dev/location": "frankfurt"}
    known |= {"recoup.dev/owner-uid": "run-uid", "recoup.dev/volume": name}
    status = {"conditions": [{"type": ended, "status": "True"}]} if ended else {}
    template = {"spec": {"nodeSelector": {"disk": "fast"}}}
    return {"metadata": {"name": name, "labels": known | labels}, "spec": {"template": template}, "status": status}


def pod(of: str, phase: str, node_name: str = "n1") -> Object:
    labels = job(of)["metadata"]["labels"] | {"batch.kubernetes.io/job-name": of}
    return {"metadata": {"name": f"{of}-pod", "labels": labels}, "spec": {"nodeName": node_name}, "status": {"phase": phase}}


def test_who_counts_as_at_work() -> None:
    jobs = [job("new"), job("running"), job("complete", ended="Complete"), job("failed", ended="Failed"), job("about to be told")]
    pods = [pod("running", "Running"), pod("complete", "Succeeded"), pod("about to be told", "Succeeded"), pod("job deleted", "Running")]
    found = {one.job: one.node for one in movers_of(jobs, pods)}
    assert found == {"new": None, "running": "n1", "job deleted": "n1"}
    assert movers_of([job("new")], [])[0].node_selector == {"disk": "fast"}


def test_captured_volumes_without_a_mover_are_counted() -> None:
    snapshots = [job("a"), job("b"), job("b"), job("c", **{"recoup.dev/owner-uid": "mine"})]
    assert count_waiting(snapshots, [job("a", ended="Failed")], but="mine") == 1


@given(
    asked=st.lists(
        st.builds(
            request,
            st.uuids().map(str),
            st.sampled_from(["a", "b", "c"]),
            minute=st.integers(0, 3),
            location=st.sampled_from(["x", "y"]),
            limit=st.just(3),
            zone=st.sampled_from(["", "a", "b"]),
        ),
        max_size=20,
    ),
    working=st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["x", "y"]), st.sampled_from(["n1", "n2", None])), max_size=3),
)
def test_no_limit_is_ever_exceeded_and_no_seat_left_empty(asked: list[Request], working: list[tuple[str, str, str | None]]) -> None:
    movers = [mover(f"m{number}", namespace, location=location, node=place) for number, (namespace, location, place) in enumerate(working)]
    nodes = (node("n1"), node("n2", "b"), node("n3", "b"))
    seats = share_seats(asked, movers, nodes, LIMITS)
    started = [one for one in asked if one.job in granted(seats)]
    everyone = [*movers, *(one.mover() for one in started)]
    assert len(everyone) <= LIMITS.total
    for counted, limit in ((Counter(one.namespace for one in everyone), 3), (Counter(one.location for one in everyone), 3)):
        assert all(count <= limit for count in counted.values())
    again = share_seats([one for one in asked if one not in started], everyone, nodes, LIMITS)
    assert granted(again) == set(), "what could have been granted was"
    told = {one.job for one in asked} - seats.keys()
    assert not told or len(everyone) == LIMITS.total, "nobody is left without an answer unless all seats are taken"
