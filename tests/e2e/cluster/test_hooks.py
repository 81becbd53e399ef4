"""Hooks in a real pod: what the pre hook wrote is in the backup, the post hook runs always, also when the controller dies in between."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from recoup.controller.failures import Gone
from recoup.controller.resources import LEASE, POD, RESTORE, SNAPSHOT
from tests.cluster import places, programs
from tests.e2e.cluster.killing import kill, process_in
from tests.e2e.cluster.product import SYSTEM, Product
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import Team, condition_missing
from tests.integration.cluster import conftest as manifests

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
Object = dict[str, Any]


def allow_hooks(product: Product, namespace: str) -> None:
    """What the chart makes of hooks.namespaces, for one namespace more."""
    command = [str(programs.program("helm")), "template", "recoup", str(places.CHECKOUT / "charts" / "recoup"), "--namespace", SYSTEM]
    command += ["--set", f"hooks.namespaces={{{namespace}}}", "--show-only", "templates/rbac-hooks.yaml", "--kube-version", "1.34"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    product.kubectl("apply", "-f", "-", text=done.stdout)


def start_database(team: Team, *claims: str) -> None:
    """A pod that has the claims at /<name> and waits; returns when it runs."""
    spec = manifests.pod_spec("sleep 3600 & wait", volumes={f"/{claim}": claim for claim in claims})
    team.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "db-0", "labels": {"app": "db"}}, "spec": spec})

    def missing() -> str | None:
        phase = team.get(POD, "db-0").get("status", {}).get("phase")
        return None if phase == "Running" else str(phase)

    wait_until("the pod runs", missing)


def hook(name: str, script: str, **more: Any) -> Object:
    return {"name": name, "podSelector": {"matchLabels": {"app": "db"}}, "command": ["sh", "-c", script], **more}


def in_pod(team: Team, script: str) -> str:
    return team.kubectl("exec", "db-0", "--", "sh", "-c", script)


def test_the_backup_holds_what_the_pre_hook_wrote_and_the_post_hook_runs_always(product: Product) -> None:
    with product.team("hooked") as team:
        for name in ("data", "more"):
            team.claim(name)
        start_database(team, "data", "more")
        quiet = "echo quiet > /data/state; echo quiet > /more/state; sync"
        moving = "echo moving > /data/state; echo moving > /more/state; echo thawed >> /data/log"
        team.policy(hooks={"pre": [hook("flush", quiet)], "post": [hook("resume", moving)]})

        team.snapshot("too-early")
        team.wait_over(SNAPSHOT, "too-early")
        refused = team.condition(SNAPSHOT, "too-early", "HooksSucceeded")
        assert (refused["status"], refused["reason"]) == ("False", "HookNotAllowed")
        assert f"no right to run commands in pods of {team.name}; add it to the chart value hooks.namespaces" in refused["message"]
        assert "quiet" not in in_pod(team, "cat /data/state 2>/dev/null; true"), "nothing was frozen"

        allow_hooks(product, team.name)
        team.snapshot("now")
        done = team.wait_ready(SNAPSHOT, "now")["status"]
        assert condition_missing(team.get(SNAPSHOT, "now"), "HooksSucceeded") is None
        assert {volume["guarantee"] for volume in done["volumes"]} == {"ApplicationConsistent"}
        assert done["skew"].endswith("s")
        assert in_pod(team, "cat /data/state /more/state /data/log").split() == ["moving", "moving", "thawed"]
        team.restore("back", {"snapshotRef": {"name": "now"}}, data="data-copy", more="more-copy")
        team.wait_ready(RESTORE, "back")
        read = {"data-copy": "/data", "more-copy": "/more"}
        assert team.run("read", "cat /data/state /more/state; ls /data/log || true", **read).split()[:2] == ["quiet", "quiet"]

        team.policy("failing", hooks={"pre": [hook("flush", "echo no room >&2; exit 7")], "post": [hook("resume", moving)]})
        team.snapshot("fails", policy="failing")
        team.wait_over(SNAPSHOT, "fails")
        failed = team.condition(SNAPSHOT, "fails", "HooksSucceeded")
        assert failed["reason"] == "HookFailed"
        assert "pre hook flush in pod db-0 failed, exit code 7: no room" in failed["message"]
        assert in_pod(team, "cat /data/log").split() == ["thawed", "thawed"]
        assert {volume["state"] for volume in team.get(SNAPSHOT, "fails")["status"]["volumes"]} == {"Failed"}


def test_a_controller_that_is_killed_between_the_hooks_leaves_nothing_frozen(product: Product) -> None:
    """Killed while the pre hook runs: the guard in the pod thaws at the freeze limit, the next leader too, and then all is done anew."""
    with product.team("hooks-killed") as team:
        team.claim("data")
        start_database(team, "data")
        allow_hooks(product, team.name)
        lock = hook("lock", "echo lock >> /data/log; until [ -e /data/go ]; do sleep 0.2; done", timeout="20s")
        team.policy(hooks={"pre": [lock], "post": [hook("unlock", "echo unlock >> /data/log")], "freezeLimit": "20s"})
        team.snapshot("now")
        wait_until("the pre hook runs", lambda: None if "lock" in in_pod(team, "cat /data/log 2>/dev/null; true") else "not yet")
        kill_leader(product)
        in_pod(team, "touch /data/go")
        done = team.wait_ready(SNAPSHOT, "now")["status"]
        assert done["hooks"]["attempt"] == 2
        assert done["volumes"][0]["guarantee"] == "ApplicationConsistent"
        assert in_pod(team, "cat /data/log").split() == ["lock", "unlock", "unlock", "lock", "unlock"]


def kill_leader(product: Product) -> None:
    """The process, not the pod: nothing is closed in an orderly way."""
    holder = product.kube.get(LEASE, SYSTEM, "recoup-controller")["spec"]["holderIdentity"]
    try:
        uid = str(product.kube.get(POD, SYSTEM, holder)["metadata"]["uid"])
    except Gone as error:
        raise AssertionError(f"the leader {holder} has no pod") from error
    pid = process_in(product.node.cluster, uid, "controller")
    assert pid is not None, json.dumps(holder)
    assert kill(pid)
