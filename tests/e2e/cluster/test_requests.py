"""What a run asks of the API server, by its audit log: few requests, whatever the machine's load."""

from __future__ import annotations

from collections import Counter

import pytest

from recoup.controller.resources import RESTORE, SNAPSHOT
from tests.cluster.audit import Audit
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.world import Team

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

OURS = ("system:serviceaccount:recoup-system:", "system:serviceaccount:recoup-movers:")
LIMIT = 40
"""Of a backup with keys in place. A little more than what is needed: a conflict costs three, a minute of work two."""
LIMIT_WITH_KEYS = 60
BACKGROUND = ("leases", "")
"""What goes on all the time; the rest of it is watches that begin anew."""


def requests(audit: Audit) -> Counter[tuple[str, str]]:
    mine = (each for each in audit.requests() if each.user.startswith(OURS) and each.resource not in BACKGROUND and each.verb != "watch")
    return Counter((each.verb, each.resource) for each in mine)


def backup(team: Team, name: str) -> None:
    team.snapshot(name)
    team.wait_ready(SNAPSHOT, name)
    team.wait_clean()


def test_few_requests_a_run(product: Product, team: Team) -> None:
    team.claim("data")
    team.policy()
    team.run("write", "echo hello > /data/file", data="/data")
    audit = Audit(product.node)
    backup(team, "first")
    first = requests(audit)
    audit.restart()
    backup(team, "second")
    second = requests(audit)
    audit.restart()
    team.restore("back", {"snapshotRef": {"name": "second"}}, data="copy")
    team.wait_ready(RESTORE, "back")
    team.wait_clean()
    restore = requests(audit)
    print(f"first {sum(first.values())}, second {sum(second.values())}, restore {sum(restore.values())}")
    assert sum(first.values()) <= LIMIT_WITH_KEYS, first
    assert sum(second.values()) <= LIMIT, second
    assert sum(restore.values()) <= LIMIT, restore
    assert second[("list", "jobs")] == second[("list", "pods")] == 0, "known from the watch"
