"""The home is cut off past the stated time, while a mover behind the cut still commits there: stopped after any write, it ends the same.

Runs every hour. The cut begins while the second one is at work and lasts four hours. The policy goes on in a vault at the other location
after two; when the cut is over, what was committed behind it counts, both vaults are at both locations, and runs go home again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from recoup.controller.resources import JOB, PVC, RESTORE, SNAPSHOT, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT, Key
from recoup.plan import retention
from tests.faults.driver import condition, killed_at, shop
from tests.faults.test_crash_prefix_policy import POLICY_KEY, WholeController
from tests.faults.two_places import TwoPlaces, TwoPlacesView
from tests.faults.world import Object

LEFTOVERS = (JOB, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT)
BEGIN = datetime.fromisoformat("2026-11-23T12:00:00Z")
PACE = 300.0
"""Seconds that pass when nobody has anything to do, however soon somebody would look again."""
MANY = 3
EVERY = 17
"""One write in so many is a place to stop: each hour repeats them at another point."""


class BothController(WholeController):
    def look_around(self) -> float:
        places = [Key("BackupLocation", "", name) for name in ("frankfurt", "oregon")]
        runs = [Key("BackupSnapshot", "shop", item["metadata"]["name"]) for item in self.world.all(SNAPSHOT)]
        return min(self.look(key) for key in [*places, POLICY_KEY, *runs])


class Story:
    """A world with two locations, and when what happens in it."""

    def __init__(self, *, movers_cut: bool = False, **more: Any) -> None:
        spec = {
            "schedule": {"cron": "0 * * * *", "runOnCreate": True},
            "locations": [{"name": "frankfurt"}, {"name": "oregon"}],
            "failover": {"after": "2h"},
            **more,
        }
        self.world = shop("data-0", policy=spec)
        self.world.delete(self.world.get(SNAPSHOT, "shop", "before-upgrade"))
        self.places = TwoPlaces()
        self.places.arrange(self.world)
        self.movers_cut = movers_cut
        self.homes: list[str] = []
        """What the policy said was home, each time it changed its mind."""
        self.behind = 0
        """COMMITs that frankfurt took while it was cut off."""

    def happen(self) -> None:
        """12:59 a backup takes long; 13:05 the cut; 14:10 the mover behind it commits; 17:05 the cut is over."""
        hours = (self.world.now - BEGIN) / timedelta(hours=1)
        was, self.places.cut = self.places.cut, 13.08 - 12 <= hours < 17.08 - 12
        self.places.movers_cut = self.places.cut and self.movers_cut
        self.places.slow = 12.98 - 12 <= hours < 14.17 - 12
        if was and self.places.cut and self.places.vaults():
            self.behind = len(self.places.logs["frankfurt", self.places.vaults()["frankfurt"]]) - 1

    def controller(self) -> BothController:
        return BothController(self.world, TwoPlacesView(self.world, places=self.places))

    def tell(self, *controllers: BothController, until: Callable[[], bool] | None = None) -> None:
        while self.world.now < BEGIN + timedelta(hours=7.5) and not (until is not None and until()):
            self.happen()
            written = len(self.world.kube.writes)
            for controller in controllers:
                controller.look_around()
            home = self.policy().get("home", "")
            if home and self.homes[-1:] != [home]:
                self.homes.append(home)
            if not self.world.step() and len(self.world.kube.writes) == written:
                self.world.pass_time(seconds=PACE)

    def policy(self) -> Object:
        found: Object = self.world.kube.objects[("recoup.dev/v1alpha1", "BackupPolicy", "shop", "shop")].get("status") or {}
        return found

    def end(self) -> dict[str, Any]:
        """What must not depend on where a controller was stopped."""
        status, vaults = self.policy(), self.places.vaults()
        runs = {item["metadata"]["name"][-7:-3]: item["status"] for item in self.world.all(SNAPSHOT)}
        return {
            "runs": {slot: (run["location"], condition(run, "Ready")["reason"], run["vault"]) for slot, run in runs.items()},
            "copies": {slot: [(copy["location"], copy["state"]) for copy in run["copies"]] for slot, run in runs.items()},
            "logs": {(name, home): self._slots_at(name, vaults[home]) for name in vaults for home in vaults},
            "policy": [(kind, condition(status, kind)["status"]) for kind in ("AtHome", "Ready", "Replicated")],
            "home": status["home"],
            "left": [thing["metadata"]["name"] for kind in LEFTOVERS for thing in self.world.all(kind)],
            "claims": [claim["metadata"]["name"] for claim in self.world.all(PVC)],
            "cuts": dict(self.world.cuts),
        }  # fmt: skip

    def _slots_at(self, name: str, vault: str) -> list[str]:
        return sorted(point.snapshot[-7:-3] for point in self.places.logs.get((name, vault), []))


@pytest.fixture(scope="module")
def calm() -> tuple[Story, dict[str, Any], int]:
    story, writes = Story(), 0

    def note(_verb: str, _kind: str, _name: str) -> None:
        nonlocal writes
        writes += 1

    story.world.kube.before_write = note
    story.tell(story.controller())
    return story, story.end(), writes


def test_the_policy_goes_on_elsewhere_what_is_committed_behind_the_cut_counts_and_it_returns(
    calm: tuple[Story, dict[str, Any], int],
) -> None:
    story, found, _ = calm
    assert story.homes == ["frankfurt", "oregon", "frankfurt"]
    assert story.behind == 1, "a mover committed at frankfurt while nobody could see it"
    first, second = story.places.vaults()["frankfurt"], story.places.vaults()["oregon"]
    assert first != second
    assert found["runs"] == {
        "1200": ("frankfurt", "RecoveryPointStored", first), "1300": ("frankfurt", "RecoveryPointStored", first),
        "1600": ("oregon", "RecoveryPointStored", second), "1700": ("oregon", "RecoveryPointStored", second),
        "1800": ("frankfurt", "RecoveryPointStored", first), "1900": ("frankfurt", "RecoveryPointStored", first),
    }  # fmt: skip
    both = {slot: [(home, "Complete"), (other, "Complete")] for slot, (home, _, _) in found["runs"].items()
            for other in ({"frankfurt", "oregon"} - {home})}  # fmt: skip
    assert found["copies"] == both, "each is first where it was made, and at the other location as well"
    assert found["logs"]["oregon", "frankfurt"] == found["logs"]["frankfurt", "frankfurt"]
    assert found["logs"]["frankfurt", "oregon"] == found["logs"]["oregon", "oregon"]
    assert found["policy"] == [("AtHome", "True"), ("Ready", "True"), ("Replicated", "True")]
    assert (found["left"], found["claims"], found["cuts"]) == ([], ["data-0"], {})


def test_stopped_after_any_write_it_ends_the_same(calm: tuple[Story, dict[str, Any], int]) -> None:
    _, wanted, writes = calm
    for write in range(4, writes, EVERY):
        story = Story()
        assert killed_at(story.world, write, lambda story=story: story.tell(story.controller()))  # type: ignore[misc]
        story.tell(story.controller())
        assert story.end() == wanted, f"stopped before write {write}"


def test_two_controllers_at_once_end_the_same(calm: tuple[Story, dict[str, Any], int]) -> None:
    story = Story()
    story.tell(story.controller(), story.controller())
    assert story.end() == calm[1]


LAST_THREE: dict[str, Any] = {"retention": {"last": 3, "editGrace": "1h"}}


def told_with_rules(stop_before: int | None = None) -> tuple[dict[str, Any], int]:
    """How it ends, and how many writes it took since the start, or since it was stopped."""
    story = Story(**LAST_THREE)
    if stop_before is not None:
        assert killed_at(story.world, stop_before, lambda: story.tell(story.controller()))
    writes = 0

    def note(_verb: str, _kind: str, _name: str) -> None:
        nonlocal writes
        writes += 1

    story.world.kube.before_write = note
    story.tell(story.controller())
    return story.end(), writes


def test_retention_counts_the_points_of_both_vaults_as_one_policys() -> None:
    """The newest three of six, of which two were stored while the home was away: not three of each vault."""
    calm, writes = told_with_rules()
    assert sorted(calm["runs"]) == ["1700", "1800", "1900"], "the objects of what was let go of everywhere are gone"
    assert calm["runs"]["1700"][0] == "oregon"
    assert calm["logs"] == {
        (name, home): kept for name in ("frankfurt", "oregon") for home, kept in (("frankfurt", ["1800", "1900"]), ("oregon", ["1700"]))
    }
    assert (calm["left"], calm["policy"]) == ([], [("AtHome", "True"), ("Ready", "True"), ("Replicated", "True")])
    for write in range(60, writes, 45):
        assert told_with_rules(write)[0] == calm, f"stopped before write {write}"


def test_vaults_that_count_each_for_itself_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule that makes them one, switched off: the decision is made without what is beside."""
    judge = retention._judge_points  # what is switched off
    monkeypatch.setattr(retention, "_judge_points", lambda catalogues, *rest: judge(catalogues[:1], *rest))
    assert sorted(told_with_rules()[0]["runs"]) != ["1700", "1800", "1900"]


def test_while_a_location_is_cut_off_at_most_one_job_fails_there() -> None:
    """The backup that was at work when the cut began; it is tried again when the cut is over, and nothing else is tried before."""
    story = Story(movers_cut=True)
    story.tell(story.controller())
    assert [name.rpartition("-")[0] for name in story.places.failed] == ["shop-20261123t130000z-data-0-1"]
    found = story.end()
    assert found["runs"]["1300"][:2] == ("frankfurt", "RecoveryPointStored")
    assert found["logs"]["frankfurt", "frankfurt"] == found["logs"]["oregon", "frankfurt"]
    assert (found["left"], found["cuts"]) == ([], {})


def test_jobs_for_a_location_that_does_not_answer_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules that make it so, switched off: what was read earlier is gone by, and nobody asks whether a location answers."""
    monkeypatch.setattr("recoup.plan.replication.obstacle", lambda _places, _name: None)
    story = Story(movers_cut=True)
    story.tell(BothController(story.world, TwoPlacesView(story.world, places=story.places, remembers=True)))
    assert len(story.places.failed) > MANY


@pytest.mark.parametrize("cut", [False, True], ids=["both there", "home away"])
@pytest.mark.parametrize(
    ("as_of", "home", "slot"),
    [("14:30", "frankfurt", "1300"), ("16:30", "oregon", "1600"), ("17:59", "oregon", "1700"), ("23:00", "frankfurt", "1900")],
)
def test_a_restore_finds_the_newest_point_in_whichever_vault_it_is(as_of: str, home: str, slot: str, cut: bool) -> None:
    """With `newest_of` taken out, which looks into all vaults, four of the eight fail: those of the vault at oregon."""
    story = Story()
    controller = story.controller()
    story.tell(controller)
    story.places.cut = cut
    target = {"source": "data-0", "target": {"name": "restored"}}
    source = {"policyRef": {"name": "shop"}, "asOf": f"2026-11-23T{as_of}:00Z"}
    spec = {"source": source, "volumes": [target], "cancel": False}
    story.world.kube.put(RESTORE, {"metadata": {"name": "incident", "namespace": "shop", "uid": "uid-of-restore"}, "spec": spec})
    controller.run(Key("RestoreRequest", "shop", "incident"))
    status = story.world.get(RESTORE, "shop", "incident")["status"]
    assert condition(status, "Restored")["status"] == "True", status
    assert (status["plan"]["location"], status["plan"]["snapshot"][-7:-3]) == (home, slot)
    assert status["plan"]["readFrom"] == ("oregon" if cut else home)
