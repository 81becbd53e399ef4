"""Runs that each stand in a phase of their own at the same time, and the kill of the controller that works on them.

One namespace, one vault; per run a claim, a policy and a BackupSnapshot, or a RestoreRequest. What happens to a run afterwards is the
test's to check.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from recoup.controller.failures import Gone
from recoup.controller.resources import LEASE, POD, RESTORE, SNAPSHOT
from tests.e2e.cluster.api_gate import HOLD, ApiGate, Hold, Write, api_gate
from tests.e2e.cluster.killing import kill, process_in
from tests.e2e.cluster.locations import Place
from tests.e2e.cluster.product import CONTROLLER, SYSTEM, Product
from tests.e2e.cluster.run_phases import Census, Ends, Phase, Subject
from tests.e2e.cluster.together import slow_place
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import Team

LONGEST = 420.0
"""Seconds for what takes some ten on an idle machine."""
OTHERS_WAIT = 20.0
"""Seconds that others than the controller are held: each refusal doubles the time until they come again."""
LEASE_NAME = "recoup-controller"
BINDER = "system:serviceaccount:kube-system:persistent-volume-binder"
JOBS = "system:serviceaccount:kube-system:job-controller"
STORAGE = "csi"
"""The user of the snapshot controller and the CSI sidecars on the local cluster."""
Met = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Run:
    """One run and the phase in which it is to stand. point: the BackupSnapshot that is made or restored; claim: what it is of."""

    phase: Phase
    subject: Subject
    point: str
    claim: str

    @property
    def kind(self) -> str:
        return "backup" if self.subject.kind == SNAPSHOT.kind else "restore"

    @property
    def is_cancelled(self) -> bool:
        return "cancelled" in self.phase.name


@dataclass
class Stage:
    """met: how often a kill met which (kind of run, phase). kills: how often a controller was killed."""

    product: Product
    team: Team
    gate: ApiGate
    slow: Place
    opened: threading.Event
    """The gate of the slow place: while it is closed, a mover there works and does not end."""
    met: Met = field(default_factory=Counter)
    kills: int = 0
    _killed: str = ""

    def place_of(self, phase: Phase) -> Place:
        return self.slow if phase.slow else self.product.place

    @contextmanager
    def standing(self, runs: list[Run]) -> Iterator[dict[Run, Hold]]:
        """Start the runs; when each stands in its phase, hand over what holds it. All go on at the end."""
        self.opened.clear()
        holds = {run: self._hold(run.phase, run.phase.ends, run.subject) for run in runs if run.phase.ends}
        try:
            for run in runs:
                self._start(run)
            wait_until("each run stands in its phase", lambda: self._elsewhere(runs, holds), LONGEST)
            yield holds
        finally:
            for hold in holds.values():
                hold.open()
            self.opened.set()
        assert not self.gate.errors, self.gate.errors

    def _hold(self, phase: Phase, ends: Ends, subject: Subject) -> Hold:
        return self.gate.hold(lambda write: ends(write, subject), HOLD if phase.by_controller else OTHERS_WAIT)

    def kill_for_all(self, runs: list[Run], holds: dict[Run, Hold]) -> None:
        """Kill the controller once, at its next write about any of the runs: it dies with all of them in their phases."""
        done = threading.Event()
        turn = threading.Lock()

        def act(write: Write) -> bool:
            with turn:
                if not done.is_set() and self._kill(write.pod, runs):
                    done.set()
                return done.is_set()

        for run, hold in holds.items():
            hold.act, hold.acts_on = (act if run.phase.by_controller else None), CONTROLLER
        self._await(done, "the controller writes something that is held")
        for hold in holds.values():
            hold.act = None
        self._replace()

    def kill_for(self, run: Run, hold: Hold | None) -> None:
        """Kill the controller while the write that would end this run's phase is in the air; if that is not its own, just then."""
        done = threading.Event()

        def act(write: Write) -> bool:
            if self._kill(write.pod, [run]):
                done.set()
            return done.is_set()

        if hold is not None and run.phase.by_controller:
            hold.act, hold.acts_on = act, CONTROLLER
            self._await(done, f"the controller writes what ends {run.phase.name!r}")
        else:
            wait_until("a controller leads", lambda: None if self._leader() else "none")
            assert self._kill(self._leader(), [run]), "it had ended by itself"
        self._replace()

    def _await(self, done: threading.Event, what: str) -> None:
        wait_until(what, lambda: None if done.is_set() or self.gate.errors else "not yet", LONGEST)
        assert not self.gate.errors, self.gate.errors

    def _kill(self, pod: str, runs: list[Run]) -> bool:
        """Kill the controller of this pod; counts for the runs, of which each must be where it is said to be.

        False if there is none: a write may arrive when the process that made it is dead already.
        """
        pid = process_in(self.product.node.cluster, pod, "controller")
        elsewhere = self._elsewhere(runs, {})
        assert elsewhere is None, elsewhere
        try:
            killed = pid is not None and kill(pid)
        except ProcessLookupError:
            killed = False
        if killed:
            self.kills += 1
            self.met.update((run.kind, run.phase.name) for run in runs)
            self._killed = pod
        return killed

    def _replace(self) -> None:
        """Have the other replica go on. A pod that died often begins late, and a Lease outlives its holder: neither is tested here."""
        api = self.product.kube
        for thing in (each for each in api.list(POD, SYSTEM) if each["metadata"]["uid"] == self._killed):
            name = thing["metadata"]["name"]
            self.product.kubectl("-n", SYSTEM, "delete", "pod", name, "--grace-period=0", "--force", "--ignore-not-found")
        with suppress(Gone):
            lease = api.get(LEASE, SYSTEM, LEASE_NAME)
            api.delete(LEASE, SYSTEM, LEASE_NAME, uid=lease["metadata"]["uid"])

    def _leader(self) -> str:
        """The uid of the pod that holds the Lease; empty if there is none."""
        with suppress(Gone):
            holder = self.product.kube.get(LEASE, SYSTEM, LEASE_NAME)["spec"].get("holderIdentity")
            return str(self.product.kube.get(POD, SYSTEM, holder)["metadata"]["uid"]) if holder else ""
        return ""

    def _start(self, run: Run) -> None:
        if run.kind == "backup":
            self.team.snapshot(run.subject.name, policy=run.subject.name)
            return
        target = {run.claim: run.subject.target}
        if not run.is_cancelled:
            self.team.restore(run.subject.name, {"snapshotRef": {"name": run.point}}, **target)
            return
        begun = self.gate.hold(lambda write: write.resource == "pods" and run.subject.owns(write.label))
        self.team.restore(run.subject.name, {"snapshotRef": {"name": run.point}}, **target)
        wait_until("its mover is about to begin", lambda: None if begun.asked else "no pod yet", LONGEST)
        self.team.edit(RESTORE, run.subject.name, cancel=True)

    def _elsewhere(self, runs: list[Run], holds: dict[Run, Hold]) -> str | None:
        """Which runs are not in their phase, or not held there yet."""
        census = Census.take(self.product.kube)
        found = {run: self._phase_of(run, census) for run in runs}
        wrong = [f"{run.subject.name}: {phase!r} instead of {run.phase.name!r}" for run, phase in found.items() if phase != run.phase.name]
        free = [f"{run.subject.name}: nothing is held" for run in found if run in holds and not holds[run].asked]
        return "; ".join([*wrong, *free]) or None

    def _phase_of(self, run: Run, census: Census) -> str | None:
        resource = SNAPSHOT if run.kind == "backup" else RESTORE
        status = self.team.get(resource, run.subject.name).get("status", {})
        return (census.backup if run.kind == "backup" else census.restore)(run.subject, status)


@contextmanager
def staged(product: Product, name: str) -> Iterator[Stage]:
    """A namespace, a slow place, and a gate for what the controller, and those that it waits for, write."""
    with ExitStack() as stack:
        slow, opened = stack.enter_context(slow_place(product, name))
        opened.set()
        team = stack.enter_context(product.team(name))
        folder = product.folder / f"gate-{name}"
        gate = stack.enter_context(api_gate(product.kube, folder, product.node.addresses.host, [CONTROLLER, BINDER, JOBS, STORAGE]))
        yield Stage(product, team, gate, slow, opened)
