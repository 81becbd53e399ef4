"""Retention on the cluster: the newest two stay, a pinned one stays, the others go by a Job, and their objects after them."""

from __future__ import annotations

import pytest

from recoup.controller.resources import POLICY, SNAPSHOT
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import Object, Team, condition_missing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def retention(team: Team) -> Object:
    lines = team.get(POLICY, "policy").get("status", {}).get("retention", [])
    found: Object = lines[0] if lines else {}
    return found


def run(team: Team, name: str) -> None:
    team.snapshot(name)
    team.wait_ready(SNAPSHOT, name)


def gone(team: Team, name: str) -> None:
    wait_until(f"BackupSnapshot {name} is gone", lambda: None if team.find(SNAPSHOT, name) is None else str(retention(team)))


def test_the_rules_let_go_and_a_pin_keeps(product: Product) -> None:
    with product.team("retention") as team:
        team.claim("data")
        team.run("write", "head -c 300000 /dev/urandom > /data/file", data="/data")
        team.policy(retention={"last": 2, "editGrace": "1h"})
        wait_until("the rules count", lambda: condition_missing(team.find(POLICY, "policy"), "RetentionApplied"))
        run(team, "first")
        team.edit(SNAPSHOT, "first", legalHold={"by": "legal", "reason": "case 4711"})
        wait_until("the log has the hold", lambda: None if "pinned" in team.get(SNAPSHOT, "first")["status"] else str(retention(team)))
        assert team.get(SNAPSHOT, "first")["status"]["pinned"]["reason"].startswith("legal hold by legal: case 4711")
        for name in ("second", "third", "fourth"):
            run(team, name)
        gone(team, "second")
        kept = {name: team.get(SNAPSHOT, name)["status"] for name in ("first", "third", "fourth")}
        held = {point["id"] for point in product.place.points(team.name)}
        assert held == {volume["manifest"] for status in kept.values() for volume in status["volumes"]}
        wait_until("the points say what keeps them", lambda: None if _kept_by(team) == ["pin", "last", "last"] else str(_kept_by(team)))
        wait_until("a prune Job has run", lambda: None if "prune" in retention(team) else str(team.get(POLICY, "policy")["status"]))
        assert "reason" not in retention(team)["prune"], retention(team)

        team.edit(POLICY, "policy", retention={"last": 1})
        wait_until(
            "the edit is shown",
            lambda: condition_missing(team.find(POLICY, "policy"), "RetentionApplied", status="False", reason="EditGrace"),
        )
        assert retention(team)["expiring"] == ["third"]
        team.edit(POLICY, "policy", retention={"last": 2})
        wait_until("the edit is undone", lambda: condition_missing(team.find(POLICY, "policy"), "RetentionApplied"))
        assert {point["id"] for point in product.place.points(team.name)} == held


def _kept_by(team: Team) -> list[str]:
    return [(team.get(SNAPSHOT, name)["status"].get("keptBy") or ["-"])[0] for name in ("first", "third", "fourth")]
