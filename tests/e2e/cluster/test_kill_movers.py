"""Movers die by kill -9 in every phase of a backup and of a restore: the run ends Ready, with what was there, once, and nothing is left.

One kill in each phase in the usual selection, three more with `long`. The last test prints how often each was met.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from recoup.api.names import vault_id
from recoup.controller.resources import RESTORE, SNAPSHOT
from tests.cluster.node import Node
from tests.cluster.s3 import network
from tests.cluster.s3.proxy import FaultProxy
from tests.e2e.cluster.killing import Moment, MoverKill, files_written, in_phase, report_written
from tests.e2e.cluster.locations import Place
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.together import assert_honest
from tests.e2e.cluster.world import Team

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

AT_ONCE = 6
TRIES = 5
Until = Callable[[Node], Callable[[int], bool]]


@dataclass(frozen=True)
class Phase:
    """Where a mover is when it makes the request `method` of a key in its vault; `until` moves the moment on from there."""

    command: str
    name: str
    method: str
    key: str
    moment: Moment
    until: Until | None = None
    skip: int = 0

    @property
    def id(self) -> str:
        return re.sub("[^a-z0-9]+", "-", f"{self.command} {self.name}".lower()).strip("-")


OPEN, COMMIT = "log/0{15}1$", "log/0{15}2$"
"""In a vault whose log has INIT only when the mover starts."""

PHASES = (
    Phase("backup", "reading the log", "GET", "log/", Moment.BEFORE),
    Phase("backup", "OPEN not written", "PUT", OPEN, Moment.BEFORE),
    Phase("backup", "OPEN written, no answer", "PUT", OPEN, Moment.AFTER),
    Phase("backup", "walking", "PUT", OPEN, Moment.LATER, lambda node: in_phase(node, "backup")),
    Phase("backup", "first pack not written", "PUT", "d/", Moment.BEFORE),
    Phase("backup", "a pack written", "PUT", "d/", Moment.AFTER, skip=1),
    Phase("backup", "closing: tree not written", "PUT", "m/", Moment.BEFORE),
    Phase("backup", "closing: refs written", "PUT", "x/", Moment.AFTER),
    Phase("backup", "COMMIT not written", "PUT", COMMIT, Moment.BEFORE),
    Phase("backup", "COMMIT written, no answer", "PUT", COMMIT, Moment.AFTER),
    Phase("backup", "before exit", "PUT", "log/", Moment.LATER, lambda _: report_written),
    Phase("restore", "reading the log", "GET", "log/", Moment.BEFORE),
    Phase("restore", "reading the tree", "GET", "m/", Moment.BEFORE),
    Phase("restore", "fetching", "GET", "d/", Moment.BEFORE),
    Phase("restore", "writing", "GET", "d/", Moment.BEFORE, lambda _: files_written, skip=1),
    Phase("restore", "comparing", "GET", "d/", Moment.LATER, lambda node: in_phase(node, "comparing")),
    Phase("restore", "before exit", "GET", "d/", Moment.LATER, lambda _: report_written),
)
"""In the order in which a mover comes through them."""

WRITE = """
mkdir /data/many; cd /data/many
head -c 48M /dev/urandom | split -a 4 -b 100K
ln xaaaa linked; ln -s xaaab pointer; chmod 4750 xaaac; sync
"""
COMPARE = """
for tree in /a /b; do
  cd $tree
  find . -mindepth 1 -printf '%p %y %m %U %G %s %T@ %n %l\\n' | LC_ALL=C sort > /tmp/found-$(basename $tree)
  find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum >> /tmp/found-$(basename $tree)
done
diff /tmp/found-a /tmp/found-b
grep -c many/x /tmp/found-b
"""


@dataclass
class Killing:
    """The kills of this module: what they need, what they came to, and how often each phase was met."""

    product: Product
    place: Place
    proxy: FaultProxy
    outcomes: dict[str, Future[None]] = field(default_factory=dict)
    met: Counter[Phase] = field(default_factory=Counter)

    def arm(self, team: Team, phase: Phase) -> MoverKill:
        """Kill the next mover of the team that comes into the phase."""
        vault = vault_id(self.place.get()["metadata"]["uid"], team.uid)
        node = self.product.node
        fault = MoverKill(node.cluster, phase.command, phase.moment, phase.until(node) if phase.until else None)
        self.proxy.on(fault, method=phase.method, key=f"v/{vault}/{phase.key}", skip=phase.skip, times=None)
        return fault


def one_kill(killing: Killing, phase: Phase, number: int) -> None:
    with killing.product.team(f"kill-{phase.id}-{number}"[:63].strip("-")) as team:
        team.claim("data")
        team.policy(location=killing.place.name)
        team.run("write", WRITE, data="/data")
        armed = killing.arm(team, phase) if phase.command == "backup" else None
        taken = backups(team, armed)
        armed = armed or killing.arm(team, phase)
        restores(team, taken[-1], armed if phase.command == "restore" else None)
        assert armed.killed == 1
        killing.met[phase] += 1
        assert_honest(team, killing.place)
        assert len(killing.place.points(team.name)) == len(taken)
        assert not killing.product.volumes_left(team.name)


def backups(team: Team, armed: MoverKill | None) -> list[str]:
    """Recovery points until one of their movers was killed; their names. Without a kill to wait for, one."""
    taken = []
    for number in range(TRIES):
        taken.append(f"now-{number}")
        team.snapshot(taken[-1])
        team.wait_ready(SNAPSHOT, taken[-1])
        if armed is None or armed.killed:
            break
    return taken


def restores(team: Team, point: str, armed: MoverKill | None) -> None:
    """Restores until one of their movers was killed; each brings back what was there."""
    for number in range(TRIES):
        copy = f"copy-{number}"
        team.restore(f"back-{number}", {"snapshotRef": {"name": point}}, data=copy)
        team.wait_ready(RESTORE, f"back-{number}")
        compared = team.run(f"compare-{number}", COMPARE, **{"data": "/a", copy: "/b"})
        assert compared.strip().isdigit(), f"they differ:\n{compared}"
        assert int(compared) > 400
        if armed is None or armed.killed:
            return


@pytest.fixture(scope="module")
def killing(product: Product, request: pytest.FixtureRequest) -> Iterator[Killing]:
    """Starts every kill that was selected, some at a time."""
    assert product.server.slot.network is not None
    address = network.host_address(product.server.slot.network)
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(product.server.endpoint, address=address))
        place = stack.enter_context(product.make_place("killing", endpoint=proxy.endpoint))
        place.wait_ready()
        pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE))
        stack.callback(pool.shutdown, cancel_futures=True)  # of a session that was stopped
        killing = Killing(product, place, proxy)
        for phase, number in chosen(request):
            killing.outcomes[f"{phase.id} {number}"] = pool.submit(one_kill, killing, phase, number)
        yield killing


def chosen(request: pytest.FixtureRequest) -> list[tuple[Phase, int]]:
    """The kills that the selected tests of this module ask for."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    given: list[dict[str, Any]] = [item.callspec.params for item in items if hasattr(item, "callspec")]
    return [(params["phase"], params["number"]) for params in given]


@pytest.mark.parametrize("number", [0])
@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.id)
def test_a_mover_is_killed(killing: Killing, phase: Phase, number: int) -> None:
    killing.outcomes[f"{phase.id} {number}"].result()


@pytest.mark.long
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.id)
def test_a_mover_is_killed_in_each_phase(killing: Killing, phase: Phase, number: int) -> None:
    killing.outcomes[f"{phase.id} {number}"].result()


def test_phases_met(killing: Killing, capsys: pytest.CaptureFixture[str]) -> None:
    """Says how often a mover was killed in which phase."""
    with capsys.disabled():
        print("\nmovers killed, by phase:")
        for phase in PHASES:
            print(f"  {phase.command:<8} {phase.name:<28} {killing.met[phase]:3}")
    asked = Counter(outcome.split()[0] for outcome in killing.outcomes)
    assert {phase.id: killing.met[phase] for phase in PHASES if killing.met[phase]} == dict(asked)
