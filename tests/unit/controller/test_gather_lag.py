"""Where absence decides: the server is asked before a snapshot is taken, and what a status names is looked for by its name."""

from __future__ import annotations

from typing import cast

import pytest

from recoup.controller.cache import Cache
from recoup.controller.cached_kube import CachedKube
from recoup.controller.catalogues import Catalogues
from recoup.controller.gather import Reader
from recoup.controller.gather_restore import RestoreReconciler
from recoup.controller.gather_snapshot import SnapshotReconciler
from recoup.controller.hooks import HookRunner
from recoup.controller.ledger import FailureLedger
from recoup.controller.resources import JOB, POD, PV, PVC, RESTORE, SNAPSHOT, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT
from recoup.controller.seats import Seats
from tests.faults.driver import (
    AROUND,
    RESTORE_KEY,
    SNAPSHOT_KEY,
    BucketView,
    NoExec,
    backed_up,
    incident,
    restore_status,
    shop,
    snapshot_status,
    start,
)
from tests.faults.lagging_watch import steady_clock
from tests.faults.world import Object, World, work


def reader_that_has_heard_of(world: World, *known: str) -> Reader:
    """Of these kinds everything; every other kind was listed before anything was in it."""
    cache = Cache(movers_namespace=AROUND.movers_namespace, clock=steady_clock())
    for resource in (PVC, PV, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT, JOB, POD):
        for obj in world.kube.list(resource) if resource.kind in known else ():
            cache.put(resource, obj)
        cache.reconcile(resource, None, "-", (), began=-1.0, whole=True)
    kube = CachedKube(world.kube, cache)
    return Reader(kube, AROUND, clock=lambda: 0.0, server=kube.server)


@pytest.mark.parametrize("known", [(), ("VolumeSnapshot",), ("Job", "Pod"), ("VolumeSnapshot", "Job", "Pod")])
def test_no_second_snapshot_is_taken_because_the_first_was_handed_over_unheard_of(known: tuple[str, ...]) -> None:
    world = shop("data-0")
    world.mover = stays
    start(world).run(SNAPSHOT_KEY, until=lambda: bool(world.all(PVC)) and snapshot_status(world).get("run") is not None and _ours(world))
    assert not [cut for cut in world.all(VOLUME_SNAPSHOT) if cut["metadata"]["namespace"] == "shop"], "the workload's pair is away"
    run = world.get(SNAPSHOT, "shop", SNAPSHOT_KEY.name)
    for volume in run["status"]["volumes"]:  # as before the pass that made the mover
        volume.pop("attempts", None)
        volume["state"] = "Capturing"
    reader = reader_that_has_heard_of(world, *known)
    seats = Seats(reader, AROUND.limits, clock=lambda: 0.0, wake=lambda _key: None)
    hooks = HookRunner(reader.kube, NoExec(), identity="test", clock=lambda: 0.0, wake=lambda _key: None)
    reconciler = SnapshotReconciler(reader, cast("Catalogues", BucketView(world)), FailureLedger(), seats, hooks)
    observed = reconciler.observe(run, world.now)
    assert {"VolumeSnapshotContent", "PersistentVolumeClaim"} <= {child["kind"] for child in observed.children}
    made = [action.kind for action in reconciler.plan(observed, world.now).actions if action.namespace == "shop"]
    assert made == []


def stays(world: World, job: Object, pod: Object) -> Object | None:
    return None if "backup" in pod["spec"]["containers"][0]["args"] else work(world, job, pod)


def without_key(world: World, job: Object, pod: Object) -> Object | None:
    return {"exitCode": 40, "message": ""} if "backup" in pod["spec"]["containers"][0]["args"] else work(world, job, pod)


def _ours(world: World) -> bool:
    return any(claim["metadata"]["namespace"] == AROUND.movers_namespace for claim in world.all(PVC))


def test_a_volume_that_is_being_handed_over_is_found_by_the_name_in_the_status() -> None:
    world = backed_up("data-0")
    incident(world)
    start(world).run(RESTORE_KEY, until=lambda: _state(world) == "HandingOver")
    reader = reader_that_has_heard_of(world, "PersistentVolumeClaim")
    for claim in world.all(PVC):
        if claim["metadata"]["namespace"] == AROUND.movers_namespace:
            reader.kube.cache.drop(PVC, claim["metadata"]["uid"], AROUND.movers_namespace, claim["metadata"]["name"])  # type: ignore[attr-defined]
    reconciler = RestoreReconciler(reader, cast("Catalogues", BucketView(world)), FailureLedger())
    observed = reconciler.observe(world.get(RESTORE, "shop", "incident"), world.now)
    assert [child["kind"] for child in observed.children if child["kind"] == "PersistentVolume"] == ["PersistentVolume"]


def _state(world: World) -> str:
    return str((restore_status(world).get("volumes") or [{}])[0].get("state"))


@pytest.mark.parametrize("unheard", ["Pod", "Job"])
def test_a_mover_that_ended_or_must_be_there_is_asked_for(unheard: str) -> None:
    world = shop("data-0")
    world.mover = without_key
    start(world).run(SNAPSHOT_KEY, until=lambda: _ended(world))
    run = world.get(SNAPSHOT, "shop", SNAPSHOT_KEY.name)
    kinds = {"PersistentVolumeClaim", "VolumeSnapshot", "VolumeSnapshotContent", "Job", "Pod"} - {unheard}
    reader = reader_that_has_heard_of(world, *kinds)
    seats = Seats(reader, AROUND.limits, clock=lambda: 0.0, wake=lambda _key: None)
    hooks = HookRunner(reader.kube, NoExec(), identity="test", clock=lambda: 0.0, wake=lambda _key: None)
    reconciler = SnapshotReconciler(reader, cast("Catalogues", BucketView(world)), FailureLedger(), seats, hooks)
    observed = reconciler.observe(run, world.now)
    assert {"Job", "Pod"} <= {child["kind"] for child in observed.children}
    assert reconciler.plan(observed, world.now).status["volumes"][0]["reason"] == "KeyUnavailable"  # type: ignore[index]


def _ended(world: World) -> bool:
    return any((job.get("status") or {}).get("conditions") and "mover" in str(job["metadata"]["labels"]) for job in world.all(JOB))
