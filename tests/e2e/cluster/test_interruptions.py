"""Runs that are disturbed while they work: what they were made from changes or goes, their movers die, the controllers die.

In each the run ends as it would have, or says why not; no recovery point is lost, doubled or falsely claimed, and nothing is left.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack

import pytest

from recoup.controller.resources import NAMESPACE, POD, POLICY, PVC, RESTORE, SECRET, SNAPSHOT, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT
from tests.cluster import processes
from tests.cluster.processes import Process
from tests.e2e.cluster.locations import MOVERS, SYSTEM, Place
from tests.e2e.cluster.product import Product, await_controller, install
from tests.e2e.cluster.together import Scenario, Together, assert_honest, name_of, slow_place
from tests.e2e.cluster.waiting import PATIENCE, wait_until
from tests.e2e.cluster.world import Object, Team

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def protected(team: Team, place: Place, *, name: str = "data") -> None:
    team.claim(name)
    if team.find(POLICY, "policy") is None:
        team.policy(location=place.name)
    team.run(f"write-{name}", f"echo kept > /{name}/file; head -c 5M /dev/urandom > /{name}/noise", **{name: f"/{name}"})


def restores(team: Team, name: str, **targets: str) -> None:
    """The recovery point `name` comes back as what was written."""
    team.restore(name, {"snapshotRef": {"name": name}}, **targets)
    team.wait_ready(RESTORE, name)
    for target in targets.values():
        assert team.run(f"read-{target}", f"cat /{target}/file", **{target: f"/{target}"}) == "kept\n"


def working(team: Team) -> Object:
    """Wait until a mover of this namespace runs; returns its pod."""
    seen: list[Object] = []  # of one look: a pod of the run before may just be going

    def missing() -> str | None:
        seen[:] = _running(team)
        return None if seen else "none"

    wait_until(f"a mover of {team.name} runs", missing)
    return seen[0]


def _running(team: Team) -> list[Object]:
    pods = team.children(POD)
    return [pod for pod in pods if pod.get("status", {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")]


def what_it_was_made_from_changes_or_goes(product: Product) -> None:
    """Policy edited, suspended, deleted and made anew, and the claim deleted, while the mover uploads: the run goes by what it settled."""
    with slow_place(product, "changing") as (place, gate), product.team("changing") as team:
        protected(team, place)
        team.snapshot("now")
        working(team)
        team.edit(POLICY, "policy", files={"exclude": ["file"]}, suspend=True)
        team.delete(POLICY, "policy")
        wait_until("the policy is gone", lambda: None if team.find(POLICY, "policy") is None else "still there")
        team.policy(location=place.name, selector={"matchLabels": {"app": "other"}})
        team.kubectl("delete", "job", "write-data", "--cascade=foreground")  # its pod, though it ended, would hold the claim
        team.delete(PVC, "data")
        wait_until("the claim is gone", lambda: None if team.find(PVC, "data") is None else "still there")
        gate.set()
        team.wait_ready(SNAPSHOT, "now")
        restores(team, "now", data="copy")
        assert_honest(team, place)
        assert len(place.points(team.name)) == 1


def its_movers_are_deleted(product: Product) -> None:
    """Another attempt follows, in a backup and in a restore, and the point is there once."""
    with slow_place(product, "evicted") as (place, gate), product.team("evicted") as team:
        protected(team, place)
        team.snapshot("now")
        kill_pod(team, working(team))
        gate.set()
        team.wait_ready(SNAPSHOT, "now")
        assert team.volume("now", "data")["attempts"] == 2
        assert len(place.points(team.name)) == 1
        gate.clear()
        team.restore("back", {"snapshotRef": {"name": "now"}}, data="copy")
        kill_pod(team, working(team))
        gate.set()
        team.wait_ready(RESTORE, "back")
        assert team.run("compare", "cmp /data/noise /copy/noise; cat /copy/file", data="/data", copy="/copy") == "kept\n"
        assert_honest(team, place)


def kill_pod(team: Team, pod: Object) -> None:
    team.kubectl("-n", pod["metadata"]["namespace"], "delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")


def its_namespace_is_deleted(product: Product) -> None:
    """At four moments of the hand-over: a mover that works then finishes, no point is doubled, and nothing is left."""
    moments = {"asked": None, "captured": VOLUME_SNAPSHOT, "taken-over": VOLUME_SNAPSHOT_CONTENT, "uploading": POD}
    with ExitStack() as stack:
        place, gate = stack.enter_context(slow_place(product, "leaving"))
        teams = {moment: stack.enter_context(product.team(f"leaving-{moment}")) for moment in moments}
        for team in teams.values():
            protected(team, place)
        for moment, team in teams.items():
            team.snapshot("now")
            wanted = moments[moment]
            if wanted is POD:
                working(team)
            elif wanted is not None:
                team.wait_child(wanted)
            team.end()
        for team in teams.values():
            wait_until(f"namespace {team.name} is gone", lambda name=team.name: _still_there(product, name))  # type: ignore[misc]
        gate.set()
        for team in teams.values():
            team.wait_clean()
            wait_until("its volumes are gone", lambda name=team.name: ", ".join(product.volumes_left(name)) or None)  # type: ignore[misc]
        gone = teams.pop("uploading")
        wait_until(
            "the location names the vault of a namespace that is gone", lambda: None if place.vaults(gone.name) else str(place.get())
        )
        assert len(place.points(gone.name)) == 1
        (vault,) = place.vaults(gone.name)
        wait_until("its writer's keys are gone", lambda: "still there" if f"writer-{vault}" in secrets(product, MOVERS) else None)
        assert f"catalogue-{vault}" in secrets(product, SYSTEM), "without it nobody could restore the point elsewhere"
        for team in teams.values():  # a mover may have begun before the namespace was seen to go
            assert len(place.points(team.name)) <= 1


def secrets(product: Product, namespace: str) -> set[str]:
    return {each["metadata"]["name"] for each in product.kube.list(SECRET, namespace)}


def _still_there(product: Product, name: str) -> str | None:
    found = [each for each in product.kube.list(NAMESPACE) if each["metadata"]["name"] == name]
    return str(found[0].get("status")) if found else None


SCENARIOS: list[Scenario] = [what_it_was_made_from_changes_or_goes, its_movers_are_deleted, its_namespace_is_deleted]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name_of)
def test_a_run_that_is_disturbed(scenario: Scenario, together: Together) -> None:
    together.finish(scenario)


def test_both_controllers_are_killed_while_runs_are_under_way(product: Product) -> None:
    """One run uploads, one begins, one restores; both movers end while no controller lives."""
    with ExitStack() as stack:
        place, gate = stack.enter_context(slow_place(product, "orphaned"))
        uploading, beginning, restoring = (stack.enter_context(product.team(f"orphaned-{name}")) for name in ("up", "new", "back"))
        begin_all(place, gate, uploading, beginning, restoring)
        product.kubectl("-n", SYSTEM, "delete", "pod", "-l", "app.kubernetes.io/name=recoup", "--grace-period=0", "--force")
        gate.set()
        end_all(product, place, uploading, beginning, restoring)


def begin_all(place: Place, gate: threading.Event, uploading: Team, beginning: Team, restoring: Team) -> None:
    """Leave three runs behind: one that uploads, one that just began, one that restores; the gate is closed."""
    gate.set()
    for team in (uploading, beginning, restoring):
        protected(team, place)
    restoring.snapshot("now")
    restoring.wait_ready(SNAPSHOT, "now")
    restoring.wait_clean()  # or the mover of the backup is taken for the one of the restore
    gate.clear()
    restoring.restore("now", {"snapshotRef": {"name": "now"}}, data="copy")
    uploading.snapshot("now")
    working(restoring)
    working(uploading)
    beginning.snapshot("now")
    beginning.wait_child(VOLUME_SNAPSHOT)


def end_all(product: Product, place: Place, uploading: Team, beginning: Team, restoring: Team) -> None:
    for team in (uploading, beginning):
        team.wait_ready(SNAPSHOT, "now")
        restores(team, "now", data="copy")
    restoring.wait_ready(RESTORE, "now")
    compare = "cmp /data/noise /copy/noise; cat /copy/file"
    assert restoring.run("compare", compare, data="/data", copy="/copy") == "kept\n"
    for team in (uploading, beginning, restoring):
        assert_honest(team, place)
        assert len(place.points(team.name)) == 1
    await_controller(product.kube)


@pytest.mark.long
def test_the_api_server_is_away_for_a_while(product: Product) -> None:
    """It hangs: nobody is told anything, connections stay open, Leases run out. Movers go on and end meanwhile."""
    with ExitStack() as stack:
        place, gate = stack.enter_context(slow_place(product, "silent"))
        uploading, beginning, restoring = (stack.enter_context(product.team(f"silent-{name}")) for name in ("up", "new", "back"))
        begin_all(place, gate, uploading, beginning, restoring)
        server = processes.load(product.node.folder, "kube-apiserver")
        gate.set()
        pause(server, 60)
        wait_until("the API server answers again", lambda: None if product.kube.ready() else "no answer", PATIENCE)
        await_controller(product.kube)
        end_all(product, place, uploading, beginning, restoring)


def pause(process: Process, seconds: float) -> None:
    """Stop a process for so long; it is always let go on."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        threading.Event().wait(seconds)
    finally:
        os.kill(process.pid, signal.SIGCONT)


@pytest.mark.long
def test_two_controllers_at_once_without_leases(product: Product) -> None:
    """Both work on everything: each point is there once, and nothing is left."""
    install(product.cluster, product.image, "controller.leaderElection=false")
    try:
        with ExitStack() as stack:
            place, gate = stack.enter_context(slow_place(product, "doubled"))
            uploading, beginning, restoring = (stack.enter_context(product.team(f"doubled-{name}")) for name in ("up", "new", "back"))
            begin_all(place, gate, uploading, beginning, restoring)
            gate.set()
            end_all(product, place, uploading, beginning, restoring)
    finally:
        install(product.cluster, product.image)
