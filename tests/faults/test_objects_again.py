"""Objects that are deleted, made anew ten times in a minute, or as they were hours ago: no recovery point is lost by it, and none returns.

What is stored is told by the logs alone. Runs every hour, at two locations; retention keeps the newest three where it is asked to.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from recoup.controller.catalogues import Catalogues
from recoup.controller.gather import Reader
from recoup.controller.gather_snapshot import SnapshotReconciler
from recoup.controller.gather_views import RunsAndViews, Views
from recoup.controller.ledger import FailureLedger
from recoup.controller.resources import POLICY, SNAPSHOT
from recoup.controller.worker import Reconciler
from tests.fakes.memory_kube import copied
from tests.faults.driver import condition
from tests.faults.test_home_away import BothController, Story
from tests.faults.two_places import TwoPlacesView

FLAPS = 10
LAST_THREE: dict[str, Any] = {"retention": {"last": 3, "editGrace": "1h"}}


class WithViews(BothController):
    def _reconcilers(self, reader: Reader, ledger: FailureLedger) -> Mapping[str, Reconciler]:
        catalogues = cast("Catalogues", self.bucket)
        runs = SnapshotReconciler(reader, catalogues, ledger, self.seats, self.hooks)
        return {**super()._reconcilers(reader, ledger), "BackupSnapshot": RunsAndViews(reader, runs, Views(catalogues))}


class Calm(Story):
    """Nothing is ever cut off."""

    def happen(self) -> None:
        """Nothing."""

    def controller(self) -> WithViews:
        return WithViews(self.world, TwoPlacesView(self.world, places=self.places))

    def go_on(self, controller: WithViews, hour: float) -> None:
        """Until so many hours past noon."""
        moment = datetime.fromisoformat("2026-11-23T12:00:00Z").timestamp() + hour * 3600
        self.tell(controller, until=lambda: self.world.now.timestamp() >= moment)

    def slots(self, name: str = "frankfurt") -> list[str]:
        """Of every point in the log there."""
        return self._slots_at(name, self.places.vaults()["frankfurt"])

    def shown(self) -> dict[str, str]:
        """Why each BackupSnapshot is Ready, or not."""
        return {
            item["metadata"]["name"]: condition(item.get("status") or {}, "Ready").get("reason", "") for item in self.world.all(SNAPSHOT)
        }

    def lines(self) -> dict[str, tuple[str, str | None]]:
        return {run["slot"][11:16]: (run["result"], run.get("snapshot")) for run in self.policy()["lastRuns"]}


def named(*slots: str) -> dict[str, str]:
    return {f"shop-20261123t{slot}00z": "RecoveryPointStored" for slot in slots}


def test_a_deleted_object_comes_back_under_its_name_and_its_slot_is_not_run_again() -> None:
    story = Calm()
    controller = story.controller()
    story.go_on(controller, 2.5)
    assert story.shown() == named("1200", "1300", "1400")
    before = [(point.manifest, point.snapshot) for point in story.world.points]
    for item in story.world.all(SNAPSHOT):
        story.world.delete(item)
    story.go_on(controller, 2.9)
    assert story.shown() == named("1200", "1300", "1400")
    assert all(item["spec"]["trigger"] == "Catalogue" for item in story.world.all(SNAPSHOT))
    assert [(point.manifest, point.snapshot) for point in story.world.points] == before, "nothing was backed up again for it"
    assert story.lines() == {f"{slot[:2]}:{slot[2:]}": ("Ran", f"shop-20261123t{slot}00z") for slot in ("1200", "1300", "1400")}
    story.go_on(controller, 3.5)
    assert story.shown() == named("1200", "1300", "1400", "1500"), "and the next slot is run"


def test_what_retention_let_go_of_does_not_come_back() -> None:
    story = Calm(**LAST_THREE)
    controller = story.controller()
    story.go_on(controller, 5.5)
    assert story.shown() == named("1500", "1600", "1700")
    for item in story.world.all(SNAPSHOT):
        story.world.delete(item)
    story.go_on(controller, 6.5)
    assert story.shown() == named("1600", "1700", "1800"), "what comes back goes with its recovery point"
    assert story.slots() == story.slots("oregon") == ["1600", "1700", "1800"]


def test_a_restored_etcd_loses_nothing_and_brings_nothing_back() -> None:
    """The objects are as they were three hours before; the logs are not. The newest slot may be run once more, and counts once."""
    story = Calm(**LAST_THREE)
    story.go_on(story.controller(), 2.5)
    earlier = {place: copied(thing) for place, thing in story.world.kube.objects.items()}
    story.go_on(story.controller(), 5.5)
    kept = {point.manifest for point in story.places.logs["frankfurt", story.places.vaults()["frankfurt"]]}
    assert story.slots() == ["1500", "1600", "1700"]
    story.world.kube.objects.clear()
    story.world.kube.objects.update(earlier)
    story.go_on(story.controller(), 5.9)
    logs = [story.places.logs[name, story.places.vaults()["frankfurt"]] for name in ("frankfurt", "oregon")]
    for log in logs:
        assert sorted({point.snapshot[-7:-3] for point in log}) == ["1500", "1600", "1700"], "1200 to 1400 were forgotten and stay so"
        assert {point.manifest for point in log if point.snapshot[-7:-3] != "1700"} <= kept
    assert set(story.shown()) >= set(named("1500", "1600", "1700"))
    assert not set(story.shown()) & set(named("1200", "1300", "1400"))


def test_ten_flaps_in_a_minute_lose_nothing() -> None:
    """The policy goes and comes back by another uid each time, as GitOps may have it, with rules that keep three: its points stay."""
    story = Calm(**LAST_THREE)
    controller = story.controller()
    story.go_on(controller, 5.5)
    before, objects = story.slots(), story.shown()
    for flap in range(FLAPS):
        policy: dict[str, Any] = copied(story.world.get(POLICY, "shop", "shop"))
        story.world.delete(story.world.get(POLICY, "shop", "shop"))
        controller.look_around()
        again = {
            "name": "shop",
            "namespace": "shop",
            "uid": f"uid-of-flap-{flap}",
            "creationTimestamp": story.world.stamp(),
            "generation": 1,
        }
        policy["spec"]["schedule"].pop("runOnCreate", None)
        story.world.kube.put(POLICY, {"metadata": again, "spec": policy["spec"], "status": {}})
        story.world.pass_time(seconds=6)
        controller.look_around()
    assert story.slots() == before
    assert story.shown() == objects
    story.go_on(controller, 7.4)
    assert set(before) <= set(story.slots()), "the points of the policy before are nobody's to forget"
    assert set(story.slots()) == {*before, "1800", "1900"}
