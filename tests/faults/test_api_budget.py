"""What looks and runs cost the API server: most is answered from memory, and what goes to the server is counted here."""

from __future__ import annotations

from collections import Counter

from recoup.controller.resources import JOB, SNAPSHOT, Key
from tests.faults.driver import SNAPSHOT_KEY, Controller, backed_up, condition, incident, shop, snapshot_status, start
from tests.faults.world import Object, World, work


def reads_of_a_look(controller: Controller, key: Key) -> int:
    before = controller.world.kube.reads
    controller.look(key)
    return controller.world.kube.reads - before


def never_ends(world: World, job: Object, pod: Object) -> Object | None:
    return None if "backup" in pod["spec"]["containers"][0]["args"] else work(world, job, pod)


def test_while_movers_work_a_look_reads_nothing_but_progress() -> None:
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
    assert reads_of_a_look(controller, SNAPSHOT_KEY) == 0, "pods' logs are not counted here"
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


def test_a_run_that_is_over_costs_nothing_to_look_at() -> None:
    world = shop("data-0")
    start(world).run(SNAPSHOT_KEY)
    over = world.kube.get(SNAPSHOT, "shop", SNAPSHOT_KEY.name)
    for number in range(50):
        metadata = {"name": f"old-{number}", "namespace": "shop", "uid": f"uid-old-{number}"}
        world.kube.put(SNAPSHOT, {"metadata": metadata, "spec": over["spec"], "status": over["status"]})
    world.pass_time(hours=1)
    controller = start(world)
    reads = sum(reads_of_a_look(controller, Key("BackupSnapshot", "shop", f"old-{number}")) for number in range(50))
    assert reads == 0


def requests_of(controller: Controller, key: Key) -> dict[str, int]:
    """Reads by the controller's looks, and writes by verb, until the run is at rest. The world's own reads are not counted."""
    kube, reads, writes = controller.world.kube, 0, Counter[str]()
    for _ in range(60):
        written = len(kube.writes)
        reads += reads_of_a_look(controller, key)
        writes += Counter(verb for verb, _, _ in kube.writes[written:])
        if not controller.world.step():
            controller.world.pass_time(seconds=5)
    return {"reads": reads} | writes


def test_the_requests_of_a_backup_and_of_a_restore() -> None:
    """Whoever adds one here does so on purpose. On a real cluster: tests/e2e/cluster/test_requests.py."""
    world = backed_up("data-0")
    again = world.get(SNAPSHOT, "shop", SNAPSHOT_KEY.name)
    world.kube.put(SNAPSHOT, {"metadata": {"name": "again", "namespace": "shop"}, "spec": again["spec"]})
    backup = requests_of(start(world), Key("BackupSnapshot", "shop", "again"))
    assert backup.pop("reads") <= 20, "five of them ask for the Secret of the keys, which the real one does once a minute"
    assert backup == {"create": 6, "patch": 1, "delete": 5, "apply_status": 3}, "one of the creates is an Event"
    restore = requests_of(start(world), incident(world))
    assert restore.pop("reads") <= 20
    assert restore == {"create": 4, "patch": 4, "delete": 2, "apply_status": 4}, "one of the creates is an Event"
