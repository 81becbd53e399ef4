"""A policy with objectives.rpo on the cluster: broken by the passing of time alone, kept again by a recovery point, at risk before."""

from __future__ import annotations

import pytest

from recoup.controller.resources import POLICY, SNAPSHOT
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import Team, condition_missing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def wait_for(team: Team, kind: str, status: str, reason: str) -> str:
    """Wait for the policy's condition; returns its message."""
    what = f"{kind}={status} {reason}"
    wait_until(what, lambda: condition_missing(team.find(POLICY, "policy"), kind, status=status, reason=reason))
    return str(team.condition(POLICY, "policy", kind)["message"])


def columns(team: Team) -> str:
    return team.kubectl("get", "backuppolicy", "policy", "--no-headers")


def test_the_recovery_point_objective_is_told_as_it_is(product: Product) -> None:
    with product.team("objectives") as team:
        team.claim("data")
        team.run("write", "echo kept > /data/file", data="/data")
        team.policy(objectives={"rpo": "10s"})
        message = wait_for(team, "RPOMet", "False", "NoRecoveryPoint")
        assert f"PVC {team.name}/data has no recovery point yet, objective 10s; broken since" in message
        assert "Broken" in columns(team)

        team.edit(POLICY, "policy", objectives={"rpo": "1h"})
        team.snapshot("now")
        team.wait_ready(SNAPSHOT, "now")
        assert "kept until" in wait_for(team, "RPOMet", "True", "WithinObjective")
        assert "but the next run is expected to end" in wait_for(team, "RPOAtRisk", "True", "NextPointTooLate")
        assert "AtRisk" in columns(team)

        team.edit(POLICY, "policy", schedule={"cron": None, "every": "10m"})
        wait_for(team, "RPOAtRisk", "False", "NextPointInTime")
        assert "Met" in columns(team)
        [volume] = team.get(POLICY, "policy")["status"]["volumes"]
        assert (volume["persistentVolumeClaim"], volume["snapshot"]) == ("data", "now")
        assert volume["newestPoint"] == team.volume("now", "data")["capturedAt"]

        team.delete(SNAPSHOT, "now")  # the object, and no data
        wait_until("the object is gone", lambda: None if team.find(SNAPSHOT, "now") is None else "still there")
        team.edit(POLICY, "policy", suspend=True)
        assert "spec.suspend" in wait_for(team, "RPOAtRisk", "True", "NoRunPlanned")
        assert wait_for(team, "RPOMet", "True", "WithinObjective")
