"""A standby in memory: filled, refreshed in place from each newer recovery point, promoted; never a volume that is half of two points."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from recoup.controller.resources import JOB, LOCATION, PV, PVC, RESTORE
from recoup.errors import Retryable
from tests.faults.driver import RESTORE_KEY, Controller, backed_up, condition, content_of, incident, killed_at, restore_status, start
from tests.faults.outcome import difference, outcome
from tests.faults.test_restore_flow import assert_only_the_users
from tests.faults.world import Object, World, _disk_of, work

BOTH = [{"source": name, "target": {"name": f"{name}-restored"}} for name in ("data-0", "data-1")]


def asked(volumes: list[Object] | None = None, **more: Any) -> World:
    world = backed_up("data-0", "data-1")
    incident(world, source={"policyRef": {"name": "shop"}}, volumes=BOTH if volumes is None else volumes, mode="Standby", **more)
    return world


def newer(world: World, hours: int = 1, *, only: str = "") -> None:
    """One more run is stored; `only`: of it, just this volume so far."""
    base = [point for point in world.points if point.id.startswith("content")]
    for point in base:
        if only in ("", point.source.persistent_volume_claim):
            tag, taken = f"{hours}h later", point.taken_at + timedelta(hours=hours)
            name = f"{tag}: {point.source.persistent_volume_claim}"
            world.points.append(
                structs.replace(point, id=name, session=name, manifest=name, taken_at=taken, snapshot=tag, snapshot_uid=tag)
            )


def edit(world: World, **spec: Any) -> None:
    request = world.get(RESTORE, "shop", "incident")
    metadata = request["metadata"] | {"generation": request["metadata"].get("generation", 1) + 1}
    world.kube.put(RESTORE, request | {"metadata": metadata, "spec": request["spec"] | spec})


def ready(world: World) -> str:
    return str(condition(restore_status(world), "Ready").get("reason"))


def kept(world: World) -> list[str]:
    """What is on the disks of the movers' claims."""
    claims = [claim for claim in world.all(PVC) if claim["metadata"]["namespace"] == "recoup-movers"]
    volumes = [world.get(PV, None, claim["spec"]["volumeName"]) for claim in claims if claim["spec"].get("volumeName")]
    return sorted(world.disks[volume["spec"]["csi"]["volumeHandle"]] for volume in volumes)


def until(controller: Controller, reason: str) -> None:
    controller.run(RESTORE_KEY, until=lambda: ready(controller.world) == reason and not controller.world.all(JOB))


def rest(controller: Controller, minutes: int = 5) -> None:
    """Look as often as asked for, for a while."""
    end = controller.world.now + timedelta(minutes=minutes)
    while controller.world.now < end:
        again = controller.look(RESTORE_KEY)
        if not controller.world.step():
            controller.world.pass_time(seconds=max(again, 1.0))


def standing(**more: Any) -> tuple[World, Controller]:
    world = asked(**more)
    controller = start(world)
    until(controller, "Standby")
    return world, controller


def promoted(controller: Controller) -> None:
    edit(controller.world, promote=True)
    controller.run(RESTORE_KEY)


def slow(world: World, job: Object, pod: Object) -> Object | None:
    """A restore mover that is seen at work: one step leaves half of it, the next one the whole."""
    arguments = pod["spec"]["containers"][0]["args"]
    if arguments[0] != "restore":
        return work(world, job, pod)
    disk, manifest = _disk_of(world, pod), arguments[arguments.index("--snapshot") + 1]
    if world.disks[disk] == f"half of {manifest}":
        return work(world, job, pod)
    world.disks[disk] = f"half of {manifest}"
    return None


def broken(*names: str) -> Any:
    """Restore movers end in integrity errors for recovery points whose manifest begins so."""

    def mover(world: World, job: Object, pod: Object) -> Object | None:
        arguments = pod["spec"]["containers"][0]["args"]
        if arguments[0] == "restore" and arguments[arguments.index("--snapshot") + 1].startswith(names):
            world.disks[_disk_of(world, pod)] = "half of it"
            return {"exitCode": 30, "message": json.dumps({"reason": "IntegrityError", "message": "object 1f is damaged"})}
        return work(world, job, pod)

    return mover


def test_it_is_filled_and_kept_where_nobody_can_mount_it() -> None:
    world, controller = standing()
    status = restore_status(world)
    assert kept(world) == ["content of data-0", "content of data-1"]
    assert [claim["metadata"]["name"] for claim in world.all(PVC) if claim["metadata"]["namespace"] == "shop"] == ["data-0", "data-1"]
    assert (condition(status, "Ready")["status"], condition(status, "Restored")["status"]) == ("True", "False")
    assert status["standby"] == {"holds": "2026-11-23T12:00:00Z", "snapshot": "before-upgrade"}
    assert status["summary"]["volumes"] == "2/2"
    rest(controller, minutes=3)
    assert condition(restore_status(world), "Fresh")["status"] == "True"
    writes, reads = len(world.kube.writes), controller.bucket.reads
    rest(controller, minutes=60)
    assert len(world.kube.writes) == writes, "at rest it writes nothing"
    assert controller.bucket.reads - reads <= 70


def test_a_newer_recovery_point_is_written_over_the_old_one_in_place() -> None:
    world, controller = standing()
    disks = [volume["persistentVolume"] for volume in restore_status(world)["volumes"]]
    newer(world)
    controller.run(RESTORE_KEY, until=lambda: bool(world.all(JOB)))
    assert condition(restore_status(world), "Fresh")["reason"] == "Refreshing"
    assert ready(world) == "Refreshing"
    assert restore_status(world)["standby"]["snapshot"] == "before-upgrade", "what it held whole the last time"
    arguments = world.all(JOB)[0]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[arguments.index("--existing") + 1] == "mirror"
    until(controller, "Standby")
    assert kept(world) == ["1h later: data-0", "1h later: data-1"]
    status = restore_status(world)
    assert status["standby"] == {"holds": "2026-11-23T13:00:00Z", "snapshot": "1h later"}
    assert [volume["persistentVolume"] for volume in status["volumes"]] == disks
    assert status["plan"]["snapshot"] == "1h later"


def test_a_run_that_lacks_a_volume_is_waited_for() -> None:
    world, controller = standing()
    newer(world, only="data-0")
    rest(controller)
    assert kept(world) == ["content of data-0", "content of data-1"]
    assert ready(world) == "Standby"


def test_promoted_it_is_handed_over_and_its_time_is_that_from_the_promotion() -> None:
    world, controller = standing()
    world.pass_time(hours=3)
    promoted(controller)
    status = restore_status(world)
    assert condition(status, "Restored")["status"] == "True"
    assert condition(status, "Fresh") == {}
    assert status["duration"] == "0s", "from the promotion: no time passed in this world since"
    assert [content_of(world, f"data-{number}-restored") for number in (0, 1)] == ["content of data-0", "content of data-1"]
    assert_only_the_users(world, 4)
    newer(world)
    rest(controller, minutes=30)
    assert content_of(world, "data-0-restored") == "content of data-0", "it is the user's now"


def test_promotion_waits_for_the_end_of_a_refresh() -> None:
    world, controller = standing()
    newer(world)
    world.mover = slow
    controller.run(RESTORE_KEY, until=lambda: any("half" in content for content in kept(world)))
    edit(world, promote=True)
    controller.look(RESTORE_KEY)
    assert ready(world) == "FinishingRefresh"
    controller.run(RESTORE_KEY)
    assert [content_of(world, f"data-{number}-restored") for number in (0, 1)] == ["1h later: data-0", "1h later: data-1"]


@pytest.mark.parametrize("rule", ["on", "off"])
def test_volumes_of_two_runs_are_not_handed_over_together(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the rule off (promotion asks only the volume itself) one volume would be the user's while the other one is of no use."""
    if rule == "off":
        monkeypatch.setattr("recoup.plan.restore.may_be_handed_over", lambda request, _views: request.spec.promote)
    world, controller = standing()
    newer(world)
    world.mover = broken("1h later: data-1")
    controller.run(RESTORE_KEY, until=lambda: condition(restore_status(world), "Ready")["reason"] == "IntegrityError")
    edit(world, promote=True)
    rest(controller)
    targets = [claim["metadata"]["name"] for claim in world.all(PVC) if claim["metadata"]["name"].endswith("-restored")]
    assert targets == ([] if rule == "on" else ["data-0-restored"])
    assert "half of it" in kept(world)


def test_a_point_that_is_damaged_is_passed_over_when_a_newer_one_is_there() -> None:
    world, controller = standing()
    newer(world)
    world.mover = broken("1h later: data-1")
    rest(controller, minutes=40)
    assert ready(world) == "IntegrityError"
    assert "object 1f is damaged" in condition(restore_status(world), "Ready")["message"]
    assert restore_status(world)["volumes"][1]["attempts"] > 3, "it goes on trying"
    assert len(world.all(JOB)) <= 2, "and does not pile up what failed"
    newer(world, hours=2)
    until(controller, "Standby")
    assert kept(world) == ["2h later: data-0", "2h later: data-1"]


def test_a_target_that_exists_is_waited_for_and_costs_nothing() -> None:
    world, controller = standing(volumes=[{"source": "data-0"}])
    edit(world, promote=True)
    rest(controller)
    assert ready(world) == "TargetExists"
    assert "this claim exists already: shop/data-0; delete what is in the way" in condition(restore_status(world), "Ready")["message"]
    assert kept(world) == ["content of data-0"]
    world.delete(world.get(PVC, "shop", "data-0"))
    world.settle()
    controller.run(RESTORE_KEY)
    assert content_of(world, "data-0") == "content of data-0"
    assert condition(restore_status(world), "Restored")["status"] == "True"


def test_it_is_promoted_though_its_location_is_gone() -> None:
    world, controller = standing()
    newer(world)
    controller.bucket.outage = Retryable("the bucket does not answer")
    rest(controller)
    fresh = condition(restore_status(world), "Fresh")
    assert (fresh["status"], fresh["reason"]) == ("Unknown", "Unavailable")
    assert ready(world) == "Standby", "what it holds is whole"
    reads = controller.bucket.reads
    promoted(controller)
    assert controller.bucket.reads == reads, "nothing is asked of the location"
    assert content_of(world, "data-1-restored") == "content of data-1"


def test_without_its_right_it_keeps_what_it_has_and_reads_nothing_more() -> None:
    world, controller = standing()
    newer(world)
    location = world.get(LOCATION, None, "frankfurt")
    location["status"]["vaults"] = [vault | {"id": "0" * 32} for vault in location["status"]["vaults"]]
    world.kube.put(LOCATION, location)
    rest(controller)
    assert kept(world) == ["content of data-0", "content of data-1"]
    assert ready(world) == "Standby"
    assert condition(restore_status(world), "Fresh")["reason"] == "NotGranted"


def test_a_volume_that_somebody_deleted_is_filled_anew() -> None:
    world, controller = standing()
    claim = next(claim for claim in world.all(PVC) if claim["metadata"]["namespace"] == "recoup-movers")
    world.delete(claim)
    world.settle()
    rest(controller)
    assert kept(world) == ["content of data-0", "content of data-1"]
    assert ready(world) == "Standby"


@pytest.mark.parametrize("how", ["cancelled", "deleted"])
def test_ended_unpromoted_it_leaves_nothing(how: str) -> None:
    world, controller = standing()
    if how == "cancelled":
        edit(world, cancel=True)
        controller.run(RESTORE_KEY)
        assert ready(world) == "Cancelled"
    else:
        from tests.faults.test_crash_prefix_restore import look_for_orphans

        world.delete(world.get(RESTORE, "shop", "incident"))
        look_for_orphans(controller, world)
    assert_only_the_users(world, 2)


def live(world: World, lag: int = 0) -> None:
    """From wherever it stands: filled, refreshed once, promoted, done. What is handed over is looked at after every step."""
    controller = start(world, lag=lag)
    for _ in range(900):
        again = controller.look(RESTORE_KEY)
        changed = world.step()
        holds = (restore_status(world).get("standby") or {}).get("snapshot")
        if holds == "before-upgrade" and len(world.points) == 2:
            newer(world)
        if holds == "1h later" and not world.get(RESTORE, "shop", "incident")["spec"].get("promote"):
            edit(world, promote=True)
        for claim in world.all(PVC):
            if claim["metadata"]["name"].endswith("-restored") and (claim.get("status") or {}).get("phase") == "Bound":
                name = claim["metadata"]["name"]
                assert content_of(world, name) == f"1h later: {name.removesuffix('-restored')}"
        changed = changed or bool(controller.watch.catch_up())
        if restore_status(world).get("completedAt") and not changed and again > 300:
            return
        if not changed:
            world.pass_time(seconds=max(min(again, 60.0), 1.0))
    raise AssertionError(f"it does not come to its end: {restore_status(world)} {controller.errors[-3:]}")


def test_stopped_after_any_write_it_ends_the_same() -> None:
    def begin() -> World:
        world = asked()
        world.mover = slow
        return world

    calm = begin()
    live(calm)
    assert_only_the_users(calm, 4)
    write = 0
    while True:
        world = begin()
        stopped = killed_at(world, write, lambda world=world: live(world))  # type: ignore[misc]
        live(world)
        assert difference(outcome(world), outcome(calm)) == [], f"stopped before write {write}"
        if not stopped:
            break
        write += 1
    assert write > 20


@pytest.mark.parametrize("lag", [1, 2, 4])
def test_a_watch_that_is_behind_changes_nothing(lag: int) -> None:
    calm, world = asked(), asked()
    world.mover = calm.mover = slow
    live(calm)
    live(world, lag)
    assert difference(outcome(world), outcome(calm)) == []


def test_two_controllers_at_once_end_the_same() -> None:
    calm = asked()
    live(calm)
    world = asked()
    other = start(world)
    one = start(world)
    for _ in range(60):
        one.look(RESTORE_KEY)
        other.look(RESTORE_KEY)
        if not world.step():
            world.pass_time(seconds=5)
    live(world)
    assert difference(outcome(world), outcome(calm)) == []
