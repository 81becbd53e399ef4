"""What a look costs the API server, by phase: the reads follow what the plan of that phase looks at, and nothing more."""

from __future__ import annotations

from recoup.controller.resources import JOB, SNAPSHOT, Key
from tests.faults.driver import SNAPSHOT_KEY, Controller, condition, shop, snapshot_status, start
from tests.faults.world import Object, World, work


def reads_of_a_look(controller: Controller, key: Key) -> int:
    before = controller.world.kube.reads
    controller.look(key)
    return controller.world.kube.reads - before


def never_ends(world: World, job: Object, pod: Object) -> Object | None:
    return None if "backup" in pod["spec"]["containers"][0]["args"] else work(world, job, pod)


def test_while_movers_work_a_look_reads_little_and_not_the_location() -> None:
    world = shop("data-0", "data-1", "data-2")
    world.mover = never_ends
    controller = start(world)
    controller.run(
        SNAPSHOT_KEY,
        until=lambda: all(volume["state"] == "Uploading" for volume in snapshot_status(world).get("volumes") or [{"state": ""}]),
    )
    controller.look(SNAPSHOT_KEY)
    fetched = controller.bucket.reads
    assert len(world.all(JOB)) == 3
    assert reads_of_a_look(controller, SNAPSHOT_KEY) <= 4, "the object, its Jobs, their Pods, its location"
    assert controller.bucket.reads == fetched


def test_the_catalogue_is_not_read_again_and_again_before_the_first_mover() -> None:
    world = shop("data-0")
    controller = start(world)
    ages: list[float] = []
    read = controller.bucket.read

    def note(location: Object, vault: str, *, max_age: float = 0.0) -> object:
        ages.append(max_age)
        return read(location, vault, max_age=max_age)

    controller.bucket.read = note  # type: ignore[method-assign,assignment]
    controller.run(SNAPSHOT_KEY)
    assert condition(snapshot_status(world), "Ready")["status"] == "True"
    assert ages[-1] == 0.0, "after a mover ended the log is read to its head"
    assert len([age for age in ages if age == 0.0]) <= 2
    assert all(age > 0 for age in ages[:-2])


def test_runs_that_are_over_share_one_look_at_what_is_left() -> None:
    world = shop("data-0")
    start(world).run(SNAPSHOT_KEY)
    over = world.kube.get(SNAPSHOT, "shop", SNAPSHOT_KEY.name)
    for number in range(50):
        metadata = {"name": f"old-{number}", "namespace": "shop", "uid": f"uid-old-{number}"}
        world.kube.put(SNAPSHOT, {"metadata": metadata, "spec": over["spec"], "status": over["status"]})
    world.pass_time(hours=1)
    controller = start(world)
    reads = sum(reads_of_a_look(controller, Key("BackupSnapshot", "shop", f"old-{number}")) for number in range(50))
    assert reads <= 50 + 5, "the object itself each time, the lists of children once"
