"""The home is cut off from the controller while a mover behind the cut commits there; the policy goes on elsewhere, and comes back.

The cut: the controller's credentials for the home stop working, and the movers', which are others, do not. What is shown, in this order:
past the stated time runs go to a second vault (A); the mover behind the cut commits at the first one meanwhile (B); after the cut all is
at both locations (C); every recovery point of both vaults restores from either (D); retention counts them as one policy's (E); the
policy is back home (F).
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from recoup.controller.resources import POLICY, RESTORE, SECRET, SNAPSHOT
from tests.cluster.s3.buckets import create_bucket
from tests.cluster.s3.servers import minio
from tests.e2e.cluster.locations import SYSTEM, Place
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import Team, condition_missing

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(1200)]

KEEP = {"last": 4, "editGrace": "1h"}
SUMS = "cd {0} && find . -type f | sort | xargs sha256sum"
SLOW = "128Ki"
"""Bytes a second: the mover works for longer than the controller holds on to credentials that it has read."""


def hide(product: Product, place: Place, secret_key: str) -> None:
    """Give the controller these credentials for the location."""
    product.kube.patch(SECRET, SYSTEM, f"s3-{place.name}", {"stringData": {"secretAccessKey": secret_key}})


def status(team: Team, name: str) -> dict[str, Any]:
    found: dict[str, Any] = team.get(SNAPSHOT, name).get("status") or {}
    return found


def uploads(team: Team, name: str) -> bool:
    return any(volume["state"] == "Uploading" for volume in status(team, name).get("volumes", ()))


def is_home(team: Team, name: str) -> str | None:
    seen = (team.get(POLICY, "policy").get("status") or {}).get("home")
    return None if seen == name else f"home is {seen}: {team.condition(POLICY, 'policy', 'AtHome')}"


def let_go(team: Team, places: tuple[Place, Place], names: list[str]) -> None:
    """Four are kept of all that both vaults have: with each new one at home the oldest goes, wherever it was stored."""
    team.kubectl("label", "persistentvolumeclaim", "data", "part=data")  # what was restored has the labels of before, and is left out
    team.edit(POLICY, "policy", selector={"matchLabels": {"part": "data"}})
    kept = names
    for number in (1, 2, 3):
        made = f"last-{number}"
        team.snapshot(made)
        team.wait_ready(SNAPSHOT, made)
        kept = [*kept[1:], made]
        for place in places:
            held = f"E: {place.name} holds {', '.join(kept)} and no other"
            wait_until(held, lambda place=place, kept=kept: same(kept, stored_at(place, places, team)), 420)  # type: ignore[misc]
    wait_until("the objects went as well", lambda: same(kept, [item["metadata"]["name"] for item in team.kube.list(SNAPSHOT, team.name)]))


def stored_at(place: Place, homes: tuple[Place, Place], team: Team) -> list[str]:
    """Of both vaults of the team, each of which opens with the key of its home."""
    found: list[str] = []
    for home in homes:
        there: Any = Place(place.kube, place.name, place.bucket, place.prefix, home.key, home.recovery)
        found += [point["snapshot"] for vault in home.vaults(team.name) for point in there.points_of(vault, place.bucket.server)]
    return found


def same(wanted: list[str], found: list[str]) -> str | None:
    return None if sorted(wanted) == sorted(found) else str(sorted(found))


def test_the_policy_goes_on_elsewhere_while_a_mover_behind_the_cut_commits_and_comes_back(product: Product) -> None:
    with ExitStack() as stack:
        near = stack.enter_context(minio(network=True))
        team = stack.enter_context(product.team("home-away"))
        home = stack.enter_context(product.make_place("cut-home", bucket=create_bucket(near, "home")))
        other = stack.enter_context(product.make_place("stand-in", region="test-2"))
        team.claim("data")
        sums = {"first": team.run("write", "echo first > /data/file; " + SUMS.format("/data"), data="/data")}
        home.wait_ready()
        other.wait_ready()
        team.policy(locations=[{"name": home.name}, {"name": other.name}], failover={"after": "1m"}, retention=KEEP)
        team.snapshot("first")
        team.wait_ready(SNAPSHOT, "first")

        home.edit(limits={"uploadBandwidth": SLOW})
        sums["behind"] = team.run("more", "head -c 14M /dev/urandom > /data/noise; " + SUMS.format("/data"), data="/data")
        team.snapshot("behind")
        wait_until("a mover is at work", lambda: None if uploads(team, "behind") else str(status(team, "behind")))
        hide(product, home, "not-the-right-one")
        wait_until("A: runs go elsewhere", lambda: is_home(team, other.name), 420)
        told = team.wait_reason(POLICY, "policy", "HomeAway", "AtHome")
        assert home.name in told["message"]
        assert other.name in told["message"]
        assert {point["snapshot"] for point in home.points(team.name)} == {"first", "behind"}, "B: it committed behind the cut"
        assert "completedAt" not in status(team, "behind"), "nobody here can know it yet"
        sums["during"] = team.run("change", "echo during > /data/file; " + SUMS.format("/data"), data="/data")
        team.snapshot("during")
        during = team.wait_ready(SNAPSHOT, "during")["status"]
        assert during["location"] == other.name
        assert during["vault"] != status(team, "first")["vault"], "A"

        hide(product, home, near.credentials.secret_key)
        wait_until("F: runs go home", lambda: is_home(team, home.name), 420)
        assert team.wait_ready(SNAPSHOT, "behind")["status"]["location"] == home.name, "B: and counts as any other"
        home.edit(limits={"uploadBandwidth": None})
        team.snapshot("after")
        after = team.wait_ready(SNAPSHOT, "after")["status"]
        assert (after["location"], after["vault"]) == (home.name, status(team, "first")["vault"]), "F"
        sums["after"] = sums["during"]
        for name in sums:
            wait_until(f"C: {name} is everywhere", lambda name=name: condition_missing(team.find(SNAPSHOT, name), "Replicated"))  # type: ignore[misc]
        wait_until("the policy says so", lambda: condition_missing(team.find(POLICY, "policy"), "Replicated"))
        assert team.condition(POLICY, "policy", "AtHome")["status"] == "True"

        for number, (name, wanted) in enumerate(sums.items()):
            manifest = team.volume(name, "data")["manifest"]
            for place in (home, other):
                made = f"{name}-from-{place.name}"
                team.restore(
                    made, {"location": place.name, "namespace": {"name": team.name}, "id": manifest}, data=f"copy-{number}-{place.name}"
                )
                assert team.wait_ready(RESTORE, made)["status"]["plan"]["readFrom"] == place.name
                target = {f"copy-{number}-{place.name}": "/copy"}
                assert team.run(f"compare-{made}", SUMS.format("/copy"), **target) == wanted, f"D: {name} from {place.name}"
        let_go(team, (home, other), list(sums))
        assert status(team, "last-3")["location"] == home.name, "F"
        team.restore("newest", {"policyRef": {"name": "policy"}}, data="newest")
        assert team.wait_ready(RESTORE, "newest")["status"]["plan"]["snapshot"] == "last-3"
        team.wait_clean()
