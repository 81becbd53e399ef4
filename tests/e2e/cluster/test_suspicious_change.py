"""A volume that was emptied, on the cluster: the backup goes well, retention holds what was there before, and a person releases it."""

from __future__ import annotations

import pytest

from recoup.controller.resources import POLICY, SNAPSHOT
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import Team, condition_missing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def run(team: Team, name: str) -> None:
    team.snapshot(name)
    team.wait_ready(SNAPSHOT, name)


def test_what_was_there_before_stays_until_somebody_accepts_the_loss(product: Product) -> None:
    with product.team("suspicion") as team:
        team.claim("data")
        team.run("write", "mkdir /data/app && head -c 300000 /dev/urandom > /data/app/file", data="/data")
        team.policy(retention={"last": 1, "editGrace": "1h"})
        wait_until("the rules count", lambda: condition_missing(team.find(POLICY, "policy"), "RetentionApplied"))
        run(team, "good")
        team.run("wipe", "rm -rf /data/app", data="/data")
        run(team, "wiped")
        assert condition_missing(team.find(SNAPSHOT, "wiped"), "Suspicious", reason="SourceEmpty") is None
        assert "0 files of 0 bytes now" in team.condition(SNAPSHOT, "wiped", "Suspicious")["message"]
        run(team, "later")
        wait_until(
            "the policy says what is held",
            lambda: condition_missing(team.find(POLICY, "policy"), "RetentionApplied", status="False", reason="SuspiciousChange"),
        )
        (line,) = team.get(POLICY, "policy")["status"]["suspicious"]
        assert (line["snapshot"], line["persistentVolumeClaim"], line["reason"]) == ("wiped", "data", "SourceEmpty")
        manifests = {name: team.get(SNAPSHOT, name)["status"]["volumes"][0]["manifest"] for name in ("good", "wiped", "later")}
        assert {point["id"] for point in product.place.points(team.name)} == set(manifests.values())

        team.edit(SNAPSHOT, "wiped", accept={"by": "ann", "reason": "the application is gone"})
        for name in ("good", "wiped"):
            wait_until(f"BackupSnapshot {name} is gone", lambda name=name: None if team.find(SNAPSHOT, name) is None else "still there")  # type: ignore[misc]  # bound now
        assert {point["id"] for point in product.place.points(team.name)} == {manifests["later"]}
        wait_until("the rules count again", lambda: condition_missing(team.find(POLICY, "policy"), "RetentionApplied"))
