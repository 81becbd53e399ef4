"""A restore whose home is away reads a copy, judged by the rights of the home; crash prefixes end the same.

With the loop of `_read_somewhere` cut after its first location, eight of the twelve fail: no test that needs the copy comes to rest.
"""

from __future__ import annotations

import pytest

from recoup.controller.resources import JOB, LOCATION, POLICY
from recoup.errors import Integrity, RecoupError, Retryable
from tests.faults.driver import (
    SNAPSHOT_KEY,
    Controller,
    a_location,
    backed_up,
    condition,
    content_of,
    incident,
    killed_at,
    restore_status,
    snapshot_status,
    start,
)
from tests.faults.outcome import difference, outcome
from tests.faults.world import Object, World, work

AWAY = Retryable("no answer", reason="LocationUnreachable")


def two_places(*, copied: bool = True, **replica: object) -> World:
    """A run that is over, and a second location of the policy that holds a copy of it, or nothing."""
    world = backed_up("data-0")
    place = a_location(world.now, **replica)
    place["metadata"] = {"name": "oregon", "uid": "uid-of-oregon"}
    place["spec"]["s3"] = place["spec"]["s3"] | {"bucket": "copies", "credentialsSecretRef": {"name": "oregon-s3"}}
    world.kube.put(LOCATION, place)
    policy = world.get(POLICY, "shop", "shop")
    policy["spec"]["locations"].append({"name": "oregon"})
    world.kube.put(POLICY, policy)
    world.copies["oregon"] = list(world.points) if copied else []
    return world


def without(controller: Controller, name: str, error: RecoupError = AWAY) -> Controller:
    controller.bucket.outage, controller.bucket.away = error, name
    return controller


def read_by(world: World) -> list[list[str]]:
    """The arguments of every restore mover, as it ran."""
    seen: list[list[str]] = []

    def mover(world: World, job: Object, pod: Object) -> Object | None:
        arguments = pod["spec"]["containers"][0]["args"]
        if arguments not in seen:
            seen.append(arguments)
        return work(world, job, pod)

    world.mover = mover
    return seen


SOURCES: list[Object] = [
    {"snapshotRef": {"name": "before-upgrade"}},
    {"policyRef": {"name": "shop"}},
    {"location": "frankfurt", "namespace": {"name": "shop"}, "policy": "shop"},
]


@pytest.mark.parametrize("source", SOURCES, ids=["snapshot", "policy", "location"])
@pytest.mark.parametrize("error", [AWAY, Integrity("it is empty", reason="NoVault")], ids=["away", "lost"])
def test_with_the_home_away_the_copy_is_read_and_the_home_is_asked_again_by_the_mover(source: Object, error: RecoupError) -> None:
    world = two_places()
    seen = read_by(world)
    without(start(world), "frankfurt", error).run(incident(world, source=source))
    status = restore_status(world)
    assert condition(status, "Restored")["status"] == "True", status
    assert (status["plan"]["location"], status["plan"]["readFrom"]) == ("frankfurt", "oregon")
    assert content_of(world, "data-0-restored") == "content of data-0"
    [arguments] = seen
    assert arguments[arguments.index("--location") + 1] == "s3://copies"
    assert [arguments[at + 1].partition("?")[0] for at, flag in enumerate(arguments) if flag == "--also"] == ["s3://backups"]


def test_with_both_there_the_home_is_read_and_the_copy_stands_by() -> None:
    world = two_places()
    seen = read_by(world)
    start(world).run(incident(world))
    assert restore_status(world)["plan"]["readFrom"] == "frankfurt"
    [arguments] = seen
    assert arguments[arguments.index("--location") + 1] == "s3://backups"
    assert arguments[arguments.index("--also") + 1].startswith("s3://copies?")


def test_a_location_that_is_named_is_the_one_that_is_read() -> None:
    world = two_places()
    start(world).run(incident(world, source={"location": "oregon", "namespace": {"name": "shop"}, "policy": "shop"}))
    status = restore_status(world)
    assert (status["plan"]["location"], status["plan"]["readFrom"]) == ("frankfurt", "oregon")
    assert content_of(world, "data-0-restored") == "content of data-0"


def test_a_copy_that_has_not_got_the_point_is_no_answer_and_the_home_is_waited_for() -> None:
    world = two_places(copied=False)
    controller = without(start(world), "frankfurt")
    key = incident(world)
    for _ in range(3):
        controller.look(key)
    told = condition(restore_status(world), "Ready")
    assert told["reason"] == "LocationUnreachable"
    assert "looked in the copy at oregon instead" in told["message"]
    controller.bucket.outage = None
    controller.run(key)
    assert restore_status(world)["plan"]["readFrom"] == "frankfurt"


def test_a_location_that_is_not_for_the_namespace_is_not_read() -> None:
    world = two_places(allowedNamespaces={"matchLabels": {"zone": "us"}})
    controller = without(start(world), "frankfurt")
    key = incident(world)
    for _ in range(3):
        controller.look(key)
    assert condition(restore_status(world), "Ready")["reason"] == "LocationUnreachable"
    assert "plan" not in restore_status(world)
    assert world.all(JOB) == []


def test_a_restore_from_a_copy_ends_the_same_after_every_crash() -> None:
    calm = two_places()
    without(start(calm), "frankfurt").run(incident(calm))
    for write in range(60):
        world = two_places()
        key = incident(world)
        if not killed_at(world, write, lambda world=world, key=key: without(start(world), "frankfurt").run(key)):  # type: ignore[misc]  # of this turn
            return
        without(start(world), "frankfurt").run(key)
        assert not difference(outcome(world), outcome(calm)), f"ended after write {write}"
    raise AssertionError("more writes than expected")


def test_the_ledger_of_a_run_follows_the_copies() -> None:
    """What a look at the copy brought is told by the next look at the snapshot, in one write; then there is nothing to write."""
    world = two_places()
    controller = start(world)
    controller.look(SNAPSHOT_KEY)
    assert [(copy["location"], copy["state"]) for copy in snapshot_status(world)["copies"]] == [
        ("frankfurt", "Complete"), ("oregon", "Pending"),
    ]  # fmt: skip
    controller.bucket.read(world.get(LOCATION, None, "oregon"), snapshot_status(world)["vault"])
    controller.look(SNAPSHOT_KEY)
    status = snapshot_status(world)
    assert [copy["state"] for copy in status["copies"]] == ["Complete", "Complete"]
    assert condition(status, "Replicated")["status"] == "True"
    assert status["summary"]["copies"] == "2/2"
    written = len(world.kube.writes)
    controller.look(SNAPSHOT_KEY)
    start(world).look(SNAPSHOT_KEY)
    assert len(world.kube.writes) == written
