"""The working controller dies by kill -9 in every phase of backups and restores; the runs end Ready, with what was there, once.

Several runs are under way at once. At each of its writes the controller is stopped, and what exists says in which phase each run is;
if that was not met often enough yet, it is killed, which counts for every run in its phase; otherwise it goes on.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from recoup.controller.resources import RESTORE, SNAPSHOT
from tests.e2e.cluster.killing import kill, process_at, stop
from tests.e2e.cluster.product import CONTROLLER, SYSTEM, Product
from tests.e2e.cluster.run_phases import BACKUP, Census
from tests.e2e.cluster.run_phases import RESTORE as RESTORE_PHASES
from tests.e2e.cluster.together import assert_honest
from tests.e2e.cluster.world import Object, Team

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

WRITE = "mkdir /data/many; cd /data/many; head -c 8M /dev/urandom | split -a 4 -b 20K; ln xaaaa linked; chmod 4750 xaaac; sync"
COMPARE = """
for tree in /a /b; do
  cd $tree
  find . -mindepth 1 -printf '%p %y %m %U %G %s %T@ %n %l\\n' | LC_ALL=C sort > /tmp/found-$(basename $tree)
  find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum >> /tmp/found-$(basename $tree)
done
diff /tmp/found-a /tmp/found-b
grep -c many/x /tmp/found-b
"""
LONGEST = 900.0
ROUNDS = 8
"""Few kills in each: the kubelet waits longer before each restart of a container, and new pods begin without a wait."""
ALL = [("backup", phase) for phase in BACKUP] + [("restore", phase) for phase in RESTORE_PHASES]
Met = Counter[tuple[str, str]]


@dataclass
class Killer:
    """Follows the audit log for writes of the controller until `finish`; kills at most `limit` times for backups, and for restores.

    It kills where some run is in a phase that was met less than `need` times; `met` counts (kind of run, phase).
    """

    product: Product
    teams: list[Team]
    need: int
    limit: int
    met: Met
    kills: Counter[str] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        log = Path(self.product.node.folder / "log" / "audit.jsonl")
        with log.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            rest = b""
            while not self._over.wait(0.001):
                *lines, rest = (rest + stream.read()).split(b"\n")
                addresses = {address for line in lines if (address := _writer(line))}
                for address in addresses:
                    if self._look(address):
                        stream.seek(0, os.SEEK_END)
                        rest = b""

    def finish(self) -> None:
        self._over.set()

    def _look(self, address: str) -> bool:
        """Stop the controller that wrote, look where the runs are, kill it or let it go on. Whether there was one."""
        pid = process_at(self.product.node.cluster, address, "controller")
        if pid is None or not stop(pid):
            return False
        killed = False
        try:
            phases = self._phases()
            wanted = {kind for kind, phase in phases if self.met[kind, phase] < self.need and self.kills[kind] < self.limit}
            killed = bool(wanted) and kill(pid)
            if killed:
                self.kills[min(wanted)] += 1
                self.met.update(phases)
        finally:
            if not killed:
                os.kill(pid, signal.SIGCONT)
        return True

    def _phases(self) -> set[tuple[str, str]]:
        census = Census.take(self.product.kube)
        found: set[tuple[str, str]] = set()
        for team in self.teams:
            snapshot, request = team.find(SNAPSHOT, "now"), team.find(RESTORE, "back")
            if request is not None:
                phase = census.restore(team.name, request.get("status", {}), "copy")
                found |= {("restore", phase)} if phase else set()
            elif snapshot is not None:
                phase = census.backup(team.name, snapshot.get("status", {}))
                found |= {("backup", phase)} if phase else set()
        return found


def _writer(line: bytes) -> str | None:
    """The address of the controller, if the line of the audit log is about a write of its own that succeeded."""
    if CONTROLLER.encode() not in line:
        return None
    event: Object = json.loads(line)
    if event["verb"] not in ("create", "patch", "delete") or event["responseStatus"]["code"] >= 300:
        return None
    resource = event.get("objectRef", {}).get("resource")
    return None if resource in ("leases", "events", "backuplocations", "backuppolicies") else str(event["sourceIPs"][0])


def protected(product: Product, name: str) -> Team:
    """A team with data and a policy; the caller ends it."""
    team = Team(product.kube, product.cluster, name, product.place.name)
    team.begin()
    team.claim("data")
    team.policy()
    team.run("write", WRITE, data="/data")
    return team


def runs(team: Team) -> None:
    """A backup and then its restore, to the end of both."""
    team.snapshot("now")
    team.wait_ready(SNAPSHOT, "now", LONGEST)
    team.restore("back", {"snapshotRef": {"name": "now"}}, data="copy")
    team.wait_ready(RESTORE, "back", LONGEST)
    team.wait_clean(LONGEST)


def assert_as_it_was(product: Product, team: Team) -> None:
    compared = team.run("compare", COMPARE, data="/a", copy="/b")
    assert compared.strip().isdigit(), f"they differ:\n{compared}"
    assert int(compared) > 400
    assert_honest(team, product.place)
    assert len(product.place.points(team.name)) == 1
    assert not product.volumes_left(team.name)


def one_round(product: Product, met: Met, names: list[str], *, need: int, limit: int) -> int:
    """Runs of so many teams at once under a killer; returns how often it killed."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(len(names) + 1))
        teams = list(pool.map(lambda name: protected(product, name), names))
        for team in teams:
            stack.callback(team.end)
        killer = Killer(product, teams, need, limit, met)
        following = pool.submit(killer.run)
        try:
            list(pool.map(runs, teams))
        finally:
            killer.finish()
            following.result()
            product.kubectl("-n", SYSTEM, "rollout", "restart", "deployment/recoup-controller")  # no back-off is left to the next test
            product.kubectl("-n", SYSTEM, "rollout", "status", "deployment/recoup-controller", "--timeout=240s")
        list(pool.map(lambda team: assert_as_it_was(product, team), teams))
    return killer.kills.total()


def show(met: Met, kills: int, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\ncontroller killed {kills} times; runs met by a kill, by phase:")
        for kind, phase in ALL:
            print(f"  {kind:<8} {phase:<28} {met[kind, phase]:3}")


def test_the_controller_is_killed(product: Product, capsys: pytest.CaptureFixture[str]) -> None:
    """A few times, where most is to be seen."""
    met: Met = Counter()
    kills = one_round(product, met, [f"kill-controller-{number}" for number in range(4)], need=1, limit=2)
    show(met, kills, capsys)
    assert kills == 4
    assert {kind for kind, _ in met} == {"backup", "restore"}


@pytest.mark.long
def test_the_controller_is_killed_in_each_phase(product: Product, capsys: pytest.CaptureFixture[str]) -> None:
    """Three times in each."""
    met: Met = Counter()
    kills = 0
    for turn in range(ROUNDS):
        names = [f"kill-controller-long-{turn}-{number}" for number in range(4)]
        kills += one_round(product, met, names, need=3, limit=3)
        show(met, kills, capsys)
        if all(met[phase] >= 3 for phase in ALL):
            break
    assert not {phase: met[phase] for phase in ALL if met[phase] < 3}
