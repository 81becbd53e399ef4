"""A location that answers the controller and refuses the movers: each run would start its own Jobs in vain, so one probe tells for all.

Runs every hour. From 13:30 to 17:10 what movers do at the home fails; what the controller reads there goes well all the time.
"""

from __future__ import annotations

import pytest

from recoup.controller.resources import LOCATION, SNAPSHOT
from recoup.plan import location as planned
from recoup.plan.movers import MAX_ATTEMPTS
from tests.fakes.memory_kube import Object
from tests.faults.driver import condition
from tests.faults.test_home_away import BEGIN, LEFTOVERS, Story


class Refused(Story):
    """Only movers are cut off. said: what the location said of itself, each time it changed its mind."""

    def __init__(self) -> None:
        super().__init__(failover={"after": "168h"})
        self.said: list[tuple[str, str]] = []

    def happen(self) -> None:
        hours = (self.world.now - BEGIN).total_seconds() / 3600
        self.places.movers_cut = 1.5 <= hours < 5.17
        status = self.world.kube.objects[("recoup.dev/v1alpha1", LOCATION.kind, "", "frankfurt")].get("status") or {}
        if status.get("conditions"):
            reachable = condition(status, "Reachable")
            if self.said[-1:] != [(reachable["status"], reachable["reason"])]:
                self.said.append((reachable["status"], reachable["reason"]))

    def refused(self, what: str) -> list[str]:
        return [name for name in self.places.failed if what in name]


def test_one_run_finds_out_the_others_wait_and_what_was_closed_opens_by_itself() -> None:
    story = Refused()
    story.tell(story.controller())
    backups, probes = story.refused("shop-2026"), story.refused("-probe-")
    assert {name[:20] for name in backups} == {"shop-20261123t140000"}
    assert len(backups) <= MAX_ATTEMPTS
    assert 10 <= len(probes) <= 16, "one in a quarter of an hour"
    assert story.said == [("True", "Answers"), ("False", "LocationUnreachable"), ("True", "Answers")]
    ready = {item["metadata"]["name"][-7:-3]: condition(item["status"], "Ready")["status"] for item in story.world.all(SNAPSHOT)}
    assert sorted(slot for slot, status in ready.items() if status == "True") == ["1200", "1300", "1700", "1800", "1900"]
    assert not any(story.world.all(kind) for kind in LEFTOVERS)


def test_without_the_probe_each_run_would_find_out_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule switched off: nobody tells the location that movers failed."""
    monkeypatch.setattr("recoup.controller.gather_location.find_refusal", lambda _movers, _now: None)
    story = Refused()
    story.tell(story.controller())
    assert len({name[:20] for name in story.refused("shop-2026")}) >= 3


def a_mover(name: str, reason: str, at: str) -> tuple[Object, Object]:
    job = {
        "kind": "Job", "metadata": {"name": name, "labels": {}, "creationTimestamp": at},
        "status": {"conditions": [{"type": "Failed", "status": "True", "lastTransitionTime": at}]},
    }  # fmt: skip
    ended = {"exitCode": 10, "finishedAt": at, "message": f'{{"version": 1, "outcome": "Failed", "reason": "{reason}"}}'}
    labels = {"batch.kubernetes.io/job-name": name}
    return job, {
        "kind": "Pod", "metadata": {"name": name, "labels": labels}, "status": {"containerStatuses": [{"state": {"terminated": ended}}]},
    }  # fmt: skip


def test_only_what_may_be_the_locations_fault_counts() -> None:
    first, again = "2026-11-23T12:10:00Z", "2026-11-23T12:20:00Z"
    assert planned.find_refusal(a_mover("one", "SourceChanged", first), BEGIN) is None
    both = (*a_mover("one", "AccessDenied", first), *a_mover("two", "LocationUnreachable", again))
    found = planned.find_refusal((*both, *a_mover("three", "SourceVanished", again)), BEGIN)
    assert found is not None
    assert f"{found:%H:%M}" == "12:20"
