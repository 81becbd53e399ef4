"""Recovery points of another cluster as BackupSnapshots here: made, brought back, removed, and no right by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from recoup.controller.catalogues import Catalogues
from recoup.controller.gather import Reader
from recoup.controller.gather_location import LocationReconciler
from recoup.controller.gather_restore import RestoreReconciler
from recoup.controller.gather_snapshot import SnapshotReconciler
from recoup.controller.gather_views import RunsAndViews, Views
from recoup.controller.ledger import FailureLedger
from recoup.controller.resources import LOCATION, NAMESPACE, RESTORE, SECRET, SNAPSHOT, Key
from recoup.controller.worker import Reconciler
from recoup.errors import Retryable
from recoup.plan.observed import Catalogue, ClaimRecord, Point
from recoup.plan.views import is_foreign
from tests.faults.driver import (
    BucketView,
    Controller,
    a_location,
    backed_up,
    condition,
    content_of,
    incident,
    killed_at,
    restore_status,
)
from tests.faults.world import Object, World

LOCATION_KEY = Key("BackupLocation", "", "frankfurt")
VAULT, REPOSITORY = "ab" * 16, "cd" * 16
OLD = "uid-of-the-old-shop"
ADOPT = [{"from": {"namespace": "shop"}, "to": {"namespace": "shop"}}]


@dataclass
class Place(BucketView):
    """A location whose one vault another cluster made."""

    def look(self, location: Object, *, max_age: float = 0.0) -> str | None:  # noqa: ARG002  # always fresh
        return REPOSITORY

    def list_vaults(self, location: Object, *, max_age: float) -> tuple[str, ...]:  # noqa: ARG002  # always fresh
        return tuple(sorted({VAULT} | {item["metadata"]["labels"]["recoup.dev/vault"] for item in self.world.all(SECRET)}))

    def known(self, location: Object, vault: str) -> Catalogue | None:  # noqa: ARG002  # one bucket
        return None


@dataclass
class Own(BucketView):
    """A location of this cluster, whose catalogue was read a moment ago."""

    def look(self, location: Object, *, max_age: float = 0.0) -> str | None:  # noqa: ARG002  # always fresh
        return "repo-1"

    def known(self, location: Object, vault: str) -> Catalogue | None:
        return self.read(location, vault)


class Whole(Controller):
    """Locations, snapshots and restores."""

    def _reconcilers(self, reader: Reader, ledger: FailureLedger) -> Mapping[str, Reconciler]:
        catalogues = cast("Catalogues", self.bucket)
        views = Views(catalogues)
        return {
            "BackupSnapshot": RunsAndViews(reader, SnapshotReconciler(reader, catalogues, ledger, self.seats, self.hooks), views),
            "RestoreRequest": RestoreReconciler(reader, catalogues, ledger),
            "BackupLocation": LocationReconciler(reader, catalogues, ledger, views),
        }

    def settle(self, looks: int = 40) -> None:
        """Look at everything until nobody writes any more."""
        for _ in range(looks):
            written = len(self.world.kube.writes)
            keys = [LOCATION_KEY]
            keys += [Key("BackupSnapshot", item["metadata"]["namespace"], item["metadata"]["name"]) for item in self.world.all(SNAPSHOT)]
            keys += [Key("RestoreRequest", item["metadata"]["namespace"], item["metadata"]["name"]) for item in self.world.all(RESTORE)]
            for key in keys:
                self.look(key)
            if not self.world.step() and len(self.world.kube.writes) == written:
                return
            self.world.pass_time(seconds=10)
        raise AssertionError(f"no rest: {self.errors[-3:]}")


def start(world: World) -> Whole:
    return Whole(world, Place(world))


def second(adopt: list[Object] | None = None, **spec: Any) -> World:
    """A cluster with a namespace shop that never had anything, and a location that another cluster wrote and this one may read."""
    world = World()
    world.add_namespace("shop", "uid-of-the-new-shop")
    for name in ("recoup-system", "recoup-movers", "thief"):
        world.add_namespace(name, f"uid-of-{name}")
    world.add_storage(binding="Immediate", classes=None)
    catalogue = {"adopt": ADOPT if adopt is None else adopt}
    world.kube.put(LOCATION, a_location(world.now, accessMode="ReadOnly", catalogue=catalogue, **spec) | {"status": {}})
    labels = {"app.kubernetes.io/managed-by": "recoup", "recoup.dev/vault": VAULT, "recoup.dev/repository": REPOSITORY}
    notes = {"recoup.dev/vault-namespace": "shop", "recoup.dev/vault-namespace-uid": OLD, "recoup.dev/fingerprint": "f" * 64}
    metadata = {"name": f"adopted-{VAULT}", "namespace": "recoup-system", "labels": labels, "annotations": notes}
    world.kube.put(SECRET, {"metadata": metadata})
    for number, run in enumerate(("monday", "tuesday")):
        for claim in ("data-0", "data-1"):
            world.points.append(point(world, run, claim, number))
    return world


def point(world: World, run: str, claim: str, day: int) -> Point:
    name = f"{run}-{claim}"
    return Point(
        id=f"content of {name}", session=name, manifest=f"manifest-of-{name}", taken_at=world.now - timedelta(days=7 - day),
        policy="shop", policy_uid="p", snapshot=run, snapshot_uid=f"uid-of-{run}", volumes_expected=("uid-data-0", "uid-data-1"),
        source=ClaimRecord(
            namespace="shop", namespace_uid=OLD, persistent_volume_claim=claim, persistent_volume_claim_uid=f"uid-{claim}",
            storage_class_name="fast", access_modes=("ReadWriteOnce",), size="1Gi",
        ),
        files_total=3, bytes_total=1000, bytes_stored=10,
    )  # fmt: skip


def views(world: World, namespace: str = "shop") -> list[Object]:
    return [item for item in world.all(SNAPSHOT) if item["metadata"]["namespace"] == namespace]


def shown(world: World) -> list[tuple[str, str, str, str]]:
    """Of each view: the run there, the columns, and why it is Ready or not."""
    return sorted(
        (item["spec"]["origin"]["run"], item["status"]["summary"]["volumes"], item["status"]["summary"]["size"], reason(item))
        for item in views(world)
    )


def reason(item: Object) -> str:
    return str(condition(item.get("status") or {}, "Ready").get("reason"))


WANTED = [("uid-of-monday", "2/2", "2Ki", "RecoveryPointStored"), ("uid-of-tuesday", "2/2", "2Ki", "RecoveryPointStored")]


def test_what_a_namespace_adopts_is_listed_there_and_nothing_is_written_at_rest() -> None:
    world = second()
    start(world).settle()
    assert shown(world) == WANTED
    assert views(world, "thief") == []
    (view, _) = sorted(views(world), key=lambda item: str(item["spec"]["origin"]["run"]))
    assert (view["spec"]["policyRef"]["name"], view["spec"]["trigger"]) == ("shop", "Catalogue")
    assert view["spec"]["origin"]["namespace"] == {"name": "shop", "uid": OLD}
    assert view["metadata"]["name"].startswith("monday-")
    assert "only to be restored from here" in condition(view["status"], "Ready")["message"]
    written = len(world.kube.writes)
    start(world).settle()
    assert len(world.kube.writes) == written


def test_stopped_after_any_write_the_same_is_listed() -> None:
    write = 0
    while True:
        world = second()
        if not killed_at(world, write, lambda world=world: start(world).settle()):  # type: ignore[misc]
            break
        start(world).settle()
        assert shown(world) == WANTED, f"stopped before write {write}"
        write += 1
    assert write >= 5


def test_a_view_that_is_deleted_comes_back_and_one_whose_point_is_forgotten_goes() -> None:
    world = second()
    start(world).settle()
    world.delete(views(world)[0])
    start(world).settle()
    assert shown(world) == WANTED
    world.points = [point for point in world.points if point.snapshot == "tuesday"]
    start(world).settle()
    assert shown(world) == WANTED[1:]


def test_what_can_not_be_read_just_now_stays_as_it_is() -> None:
    world = second()
    start(world).settle()
    away = start(world)
    away.bucket.outage = Retryable("the location is away")
    away.settle()
    assert shown(world) == WANTED


def test_a_run_that_lacks_a_volume_is_shown_and_is_not_ready() -> None:
    world = second()
    world.points = [each for each in world.points if each.session != "monday-data-1"]
    start(world).settle()
    assert shown(world) == [("uid-of-monday", "1/2", "1Ki", "VolumeNotStored"), WANTED[1]]


def test_the_views_go_with_the_entry_and_with_the_location() -> None:
    world = second()
    start(world).settle()
    location = world.get(LOCATION, None, "frankfurt")
    kept = location["spec"]["catalogue"]
    location["spec"]["catalogue"] = {"adopt": []}
    world.kube.put(LOCATION, location)
    start(world).settle()
    assert views(world) == []
    location = world.get(LOCATION, None, "frankfurt")
    location["spec"]["catalogue"] = kept
    world.kube.put(LOCATION, location)
    start(world).settle()
    assert shown(world) == WANTED
    del world.kube.objects[("recoup.dev/v1alpha1", "BackupLocation", "", "frankfurt")]
    for view in views(world):
        start(world).look(Key("BackupSnapshot", "shop", view["metadata"]["name"]))
    assert views(world) == []


def test_an_object_that_a_tenant_makes_up_shows_nothing_and_restores_nothing() -> None:
    """Shown to fail with origin_vault believing the object, and with restore_source taking its origin for a right."""
    world = second()
    start(world).settle()
    made_up = views(world)[0]["spec"] | {"cancel": False}
    world.kube.put(SNAPSHOT, {"metadata": {"name": "mine", "namespace": "thief", "uid": "uid-of-mine"}, "spec": made_up})
    incident(world, source={"snapshotRef": {"name": "mine"}}, namespace="thief")
    start(world).settle()
    (mine,) = views(world, "thief")
    assert reason(mine) == "NotAdopted"
    assert "volumes" not in mine["status"]
    assert condition(restore_status(world, "thief"), "Ready")["reason"] == "NotGranted"


def test_a_namespace_of_the_same_name_gets_nothing_without_the_platform_teams_word() -> None:
    world = second(adopt=[])
    start(world).settle()
    assert views(world) == []
    incident(world, source={"location": "frankfurt", "namespace": {"name": "shop"}, "policy": "shop"})
    start(world).look(Key("RestoreRequest", "shop", "incident"))
    assert condition(restore_status(world), "Ready")["reason"] == "NotGranted"


def test_the_object_of_a_namespaces_own_point_comes_back_under_its_name_and_counts_for_its_policy() -> None:
    world = backed_up("data-0")
    controller = Whole(world, Own(world))
    world.delete(world.get(SNAPSHOT, "shop", "before-upgrade"))
    controller.settle()
    (back,) = views(world)
    assert (back["metadata"]["name"], reason(back)) == ("before-upgrade", "RecoveryPointStored")
    assert "only to be restored" not in condition(back["status"], "Ready")["message"]
    assert is_foreign(back, world.get(NAMESPACE, None, "shop")) is False
    incident(world, volumes=[{"source": "data-0", "target": {"name": "copy"}}])
    controller.settle(200)
    assert content_of(world, "copy") == "content of data-0"
    reborn = world.get(NAMESPACE, None, "shop")
    reborn["metadata"]["uid"] = "uid-of-a-later-shop"
    world.kube.put(NAMESPACE, reborn)
    world.delete(world.get(SNAPSHOT, "shop", "before-upgrade"))
    controller.settle()
    assert views(world) == [], "a later namespace of the name gets nothing of it"


def test_where_several_namespaces_had_the_name_the_uid_has_to_be_said() -> None:
    world = second()
    second_vault = "ef" * 16
    secret = world.get(SECRET, "recoup-system", f"adopted-{VAULT}")
    metadata = secret["metadata"]
    labels = metadata["labels"] | {"recoup.dev/vault": second_vault}
    notes = metadata["annotations"] | {"recoup.dev/vault-namespace-uid": "uid-of-an-older-shop"}
    other = {"name": f"adopted-{second_vault}", "namespace": "recoup-system", "labels": labels, "annotations": notes}
    world.kube.put(SECRET, {"metadata": other})
    start(world).settle()
    assert views(world) == []
    found = condition(world.get(LOCATION, None, "frankfurt")["status"], "CatalogueRead")
    assert (found["status"], found["reason"]) == ("False", "AmbiguousNamespace")
    location = world.get(LOCATION, None, "frankfurt")
    location["spec"]["catalogue"] = {"adopt": [{"from": {"namespace": "shop", "uid": OLD}, "to": {"namespace": "shop"}}]}
    world.kube.put(LOCATION, location)
    start(world).settle()
    assert shown(world) == WANTED


def test_a_view_and_a_source_by_policy_and_time_are_restored() -> None:
    for source in (
        {"snapshotRef": {"name": ""}},
        {"location": "frankfurt", "namespace": {"name": "shop"}, "policy": "shop"},
        {"location": "frankfurt", "namespace": {"name": "shop", "uid": OLD}, "id": "manifest-of-tuesday-data-0"},
    ):
        world = second()
        start(world).settle()
        asked: Object = dict(source)
        if "snapshotRef" in asked:
            (view,) = [item for item in views(world) if item["spec"]["origin"]["run"] == "uid-of-tuesday"]
            asked = {"snapshotRef": {"name": view["metadata"]["name"]}}
        incident(world, source=asked, volumes=[{"source": "data-0", "target": {"name": "back"}}])
        start(world).settle(200)
        assert condition(restore_status(world), "Ready")["status"] == "True", restore_status(world)
        assert content_of(world, "back") == "content of tuesday-data-0"


def test_a_request_that_is_there_before_the_catalogue_waits_and_then_runs_once() -> None:
    world = second()
    vaults = world.get(SECRET, "recoup-system", f"adopted-{VAULT}")
    del world.kube.objects[("v1", "Secret", "recoup-system", f"adopted-{VAULT}")]
    source = {"location": "frankfurt", "namespace": {"name": "shop"}, "policy": "shop"}
    incident(world, source=source, volumes=[{"source": "data-0", "target": {"name": "back"}}])
    controller = start(world)
    for _ in range(3):
        controller.look(Key("RestoreRequest", "shop", "incident"))
        world.pass_time(hours=3)
    status = restore_status(world)
    assert (condition(status, "Ready")["reason"], "completedAt" in status) == ("VaultNotFound", False)
    world.kube.put(SECRET, vaults)
    controller.settle(200)
    assert content_of(world, "back") == "content of tuesday-data-0"
    assert len([item for item in world.kube.writes if item[1] == "Job" and "incident" in item[2] and item[0] == "create"]) == 1
