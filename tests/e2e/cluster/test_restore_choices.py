"""What a RestoreRequest lets choose, on the cluster: a part of a volume, a plan that waits for approval, a standby that is promoted."""

from __future__ import annotations

from typing import Any

import pytest

from recoup.controller.resources import PVC, RESTORE, SNAPSHOT
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import GROUP, Team, condition_missing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

WRITE = """
mkdir -p /data/etc/ssl /data/logs
head -c 24M /dev/urandom > /data/big
echo a > /data/etc/app.conf; echo b > /data/etc/ssl/key; echo c > /data/logs/today.log; echo d > /data/going
sync
"""
CHANGE = """
head -c 1M /dev/urandom | dd of=/data/big bs=1M seek=9 conv=notrunc status=none
echo changed > /data/etc/app.conf; rm /data/going; echo new > /data/logs/more.log
sync
"""
COMPARE = "rsync -naAXHc --delete --itemize-changes --exclude /lost+found /a/ /b/ && find /b -type f | wc -l"
LIST = "cd /copy && find . -mindepth 1 ! -name lost+found | LC_ALL=C sort | tr '\\n' ' '"


def ask(team: Team, name: str, target: str, **spec: Any) -> None:
    body = {"source": {"policyRef": {"name": "policy"}}, "volumes": [{"source": "data", "target": {"name": target}}]} | spec
    team.create({"apiVersion": GROUP, "kind": "RestoreRequest", "metadata": {"name": name}, "spec": body})


def holding(team: Team, snapshot: str) -> str | None:
    """Why the standby does not hold this recovery point, or None."""
    found = team.find(RESTORE, "standby")
    held = ((found or {}).get("status", {}).get("standby") or {}).get("snapshot")
    return condition_missing(found, "Fresh") if held == snapshot else f"it holds {held}"


def test_parts_plans_and_a_standby(product: Product) -> None:
    with product.team("choices") as team:
        team.claim("data")
        team.policy()
        team.run("write", WRITE, data="/data")
        team.snapshot("one")
        team.wait_ready(SNAPSHOT, "one")

        ask(team, "standby", "promoted", mode="Standby")
        ask(team, "part", "part", source={"snapshotRef": {"name": "one"}}, paths={"include": ["etc"], "exclude": ["ssl"], "into": "found"})
        ask(team, "mistyped", "none", paths={"include": ["etc", "ect/app.conf"]})
        ask(team, "approved", "approved", source={"snapshotRef": {"name": "one"}}, plan="ApprovalRequired")

        waiting = team.wait_reason(RESTORE, "approved", "ApprovalRequired")
        digest = team.get(RESTORE, "approved")["status"]["plan"]["digest"]
        assert digest in waiting["message"]
        team.edit(RESTORE, "approved", approve="0" * 32)
        team.wait_reason(RESTORE, "approved", "ApprovalRefused")
        assert team.find(PVC, "approved") is None
        team.edit(RESTORE, "approved", approve=digest)

        part = team.wait_ready(RESTORE, "part")
        assert (
            "a selection, not the whole volumes: only etc, without ssl, into found"
            in team.condition(RESTORE, "part", "Restored")["message"]
        )
        assert part["status"]["volumes"][0]["bytesWritten"] == 2
        assert team.run("list", LIST, part="/copy").split() == ["./found", "./found/etc", "./found/etc/app.conf"]
        assert "'ect/app.conf'" in team.wait_reason(RESTORE, "mistyped", "PatternMatchesNothing")["message"]
        assert team.find(PVC, "none") is None
        team.wait_ready(RESTORE, "approved")
        wait_until("the standby is filled", lambda: holding(team, "one"))
        assert team.find(PVC, "promoted") is None

        assert int(team.run("compare", COMPARE, data="/a", approved="/b")) == 5
        team.run("change", CHANGE, data="/data")
        team.snapshot("two")
        wait_until("the standby is refreshed", lambda: holding(team, "two"))
        [volume] = team.get(RESTORE, "standby")["status"]["volumes"]
        assert 2**20 <= volume["bytesWritten"] < 8 * 2**20, "of 24 MiB, what differs"
        team.edit(RESTORE, "standby", promote=True)
        wait_until("it is handed over", lambda: condition_missing(team.find(RESTORE, "standby"), "Restored"))
        done = team.get(RESTORE, "standby")
        assert done["status"]["duration"]
        assert int(team.run("compare-promoted", COMPARE, data="/a", promoted="/b")) == 5, "and rsync had nothing to say"
        team.wait_clean()
