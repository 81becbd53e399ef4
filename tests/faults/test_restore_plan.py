"""The plan of a restore before it begins: shown, approved or refused; and that nothing at all is written until then."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from recoup.controller.resources import JOB, PVC, RESTORE
from tests.faults.driver import RESTORE_KEY, Controller, backed_up, condition, content_of, incident, killed_at, restore_status, start
from tests.faults.outcome import difference, outcome
from tests.faults.test_restore_flow import assert_only_the_users
from tests.faults.world import World


def asked(plan: str, **more: Any) -> World:
    world = backed_up("data-0")
    incident(world, plan=plan, **more)
    return world


def settled(world: World) -> Controller:
    controller = start(world)
    controller.run(RESTORE_KEY)
    return controller


def edit(world: World, **spec: Any) -> None:
    """Play a user with kubectl patch: the generation rises with the spec."""
    request = world.get(RESTORE, "shop", "incident")
    metadata = request["metadata"] | {"generation": request["metadata"].get("generation", 1) + 1}
    world.kube.put(RESTORE, request | {"metadata": metadata, "spec": request["spec"] | spec})


def digest(world: World) -> str:
    return str(restore_status(world)["plan"]["digest"])


def nothing_was_made(world: World) -> bool:
    return not world.all(JOB) and len(world.all(PVC)) == len(world.disks) == 1


def test_only_a_plan_is_all_there_is() -> None:
    world = asked("Only")
    controller = settled(world)
    status = restore_status(world)
    planned = condition(status, "Planned")
    assert planned["status"] == "True"
    assert planned["message"] == f"1 volume, 3 files and 17 bytes, into new claims; digest {digest(world)}"
    assert (condition(status, "Ready")["reason"], condition(status, "Ready")["status"]) == ("Planned", "True")
    assert (condition(status, "Restored")["reason"], condition(status, "Restored")["status"]) == ("PlanOnly", "False")
    assert status["summary"] == {"source": "before-upgrade", "volumes": "0/1", "progress": "0 %"}
    assert status["completedAt"]
    writes = len(world.kube.writes)
    world.pass_time(hours=2)
    controller.look(RESTORE_KEY)
    assert nothing_was_made(world)
    assert len(world.kube.writes) == writes


def test_it_begins_with_the_digest_of_its_plan_and_with_no_other() -> None:
    world = asked("ApprovalRequired")
    controller = settled(world)
    status = restore_status(world)
    assert (condition(status, "Ready")["reason"], condition(status, "Reconciling")["status"]) == ("ApprovalRequired", "True")
    assert f"setting spec.approve to {digest(world)}" in condition(status, "Ready")["message"]
    assert not [event for (_, kind, _, _), event in world.kube.objects.items() if kind == "Event" and event["type"] == "Warning"]
    assert nothing_was_made(world)

    edit(world, approve="0" * 32)
    controller.run(RESTORE_KEY)
    refused = condition(restore_status(world), "Ready")
    assert refused["reason"] == "ApprovalRefused"
    assert f"spec.approve is {'0' * 32}, which is not the digest of this plan" in refused["message"]
    assert nothing_was_made(world)

    edit(world, approve=digest(world))
    world.pass_time(minutes=5)
    controller.run(RESTORE_KEY)
    assert condition(restore_status(world), "Restored")["status"] == "True"
    assert content_of(world, "data-0-restored") == "content of data-0"
    assert restore_status(world)["duration"] == "0s", "from the approval, not from the request: no time passed in this world since"
    assert_only_the_users(world, 2)


def test_what_began_is_not_stopped_by_another_digest() -> None:
    world = asked("ApprovalRequired")
    settled(world)
    edit(world, approve=digest(world))
    controller = start(world)
    controller.run(RESTORE_KEY, until=lambda: bool(world.all(JOB)))
    edit(world, approve="0" * 32)
    controller.run(RESTORE_KEY)
    assert condition(restore_status(world), "Restored")["status"] == "True"


def test_cancelled_before_it_is_approved() -> None:
    world = asked("ApprovalRequired")
    controller = settled(world)
    edit(world, cancel=True, approve=digest(world))
    controller.run(RESTORE_KEY)
    assert condition(restore_status(world), "Ready")["reason"] == "Cancelled"
    assert restore_status(world)["completedAt"]
    assert nothing_was_made(world)


def test_the_plan_stays_although_newer_recovery_points_come() -> None:
    world = asked("ApprovalRequired", source={"policyRef": {"name": "shop"}})
    controller = settled(world)
    before = restore_status(world)["plan"]
    newer = structs.replace(
        world.points[0], id="newer", session="s2", manifest="newer", taken_at=world.now + timedelta(hours=1), snapshot_uid="2"
    )
    world.points.append(newer)
    world.pass_time(hours=2)
    controller.run(RESTORE_KEY)
    assert restore_status(world)["plan"] == before
    edit(world, approve=digest(world))
    controller.run(RESTORE_KEY)
    assert content_of(world, "data-0-restored") == "content of data-0"


@pytest.mark.parametrize(
    "other", [{"volumes": [{"source": "data-0", "target": {"name": "x"}}]}, {"paths": {"include": ["etc"]}}, {"newer": True}]
)
def test_another_plan_has_another_digest(other: Any) -> None:
    same, different = asked("Only"), asked("Only", **{key: value for key, value in other.items() if key != "newer"})
    if "newer" in other:
        different.points = [structs.replace(point, manifest="another") for point in different.points]
    for world in (same, different):
        world.pass_time(minutes=len(world.points))
        settled(world)
    assert digest(same) != digest(different)
    again = asked("ApprovalRequired")
    again.pass_time(hours=7)
    settled(again)
    assert digest(again) == digest(same), "neither the time nor what follows is part of what is decided on"


def test_the_time_is_that_of_earlier_restores_or_is_not_told() -> None:
    world = asked("Only")
    done = {"location": "frankfurt", "vault": "v", "fingerprint": "f", "namespace": "n", "namespaceUid": "u"}
    stamp = world.stamp()
    written = {"source": "a", "target": "a", "state": "Restored", "bytesWritten": 100 * 2**20, "duration": "10s"}
    status = {"plan": done | {"resolvedAt": stamp, "takenAt": stamp}, "completedAt": stamp, "volumes": [written]}
    spec = {"source": {"snapshotRef": {"name": "x"}}}
    world.kube.put(RESTORE, {"metadata": {"name": "old", "namespace": "blog", "uid": "u1"}, "spec": spec, "status": status})
    world.points = [structs.replace(point, bytes_total=10 * 2**30) for point in world.points]
    settled(world)
    plan = restore_status(world)["plan"]
    assert (plan["eta"], plan["etaBasis"]) == ("17m4s", "10Mi/s a volume, as measured in the last 1 restored from frankfurt")
    assert "about 17m4s" in condition(restore_status(world), "Planned")["message"]

    small = asked("Only")
    status = status | {"volumes": [written | {"bytesWritten": 2**20}]}
    small.kube.put(RESTORE, {"metadata": {"name": "old", "namespace": "blog", "uid": "u1"}, "spec": spec, "status": status})
    settled(small)
    assert "eta" not in restore_status(small)["plan"], "a small restore says nothing of a large one"


def test_stopped_after_any_write_an_approved_restore_ends_the_same() -> None:
    def approved(world: World) -> None:
        settled(world)
        if "approve" not in world.get(RESTORE, "shop", "incident")["spec"]:
            edit(world, approve=digest(world))
        settled(world)

    calm = asked("ApprovalRequired")
    approved(calm)
    write = 0
    while True:
        world = asked("ApprovalRequired")
        stopped = killed_at(world, write, lambda world=world: approved(world))  # type: ignore[misc]
        approved(world)
        assert difference(outcome(world), outcome(calm)) == [], f"stopped before write {write}"
        if not stopped:
            break
        write += 1
    assert write > 6
