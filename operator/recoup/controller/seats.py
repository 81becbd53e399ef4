"""Hands out the movers' seats: who waits is known here, in memory; who works is read from the cache at every look.

One lock makes looks at the same time count each other's grants. After a restart nobody is known to wait until each run was looked at
once, which happens at the start; limits are kept from the first look on, because they are read from the Jobs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec import Struct

from recoup.api.labels import MANAGED_BY, MANAGER
from recoup.controller.gather import Reader
from recoup.controller.kube import Object
from recoup.controller.resources import JOB, NODE, POD, SNAPSHOT, VOLUME_SNAPSHOT, Key
from recoup.plan.budgets import Mover, Request, count_waiting, movers_of, needs_nodes, no_seat_left, share_seats
from recoup.plan.objects.identity import LOCATION
from recoup.plan.observed import MoverLimits, Seat

OFFERED_FOR = 30.0
"""Seconds for which a seat is kept for a run that was woken for it. One that does not come (deleted, failing) waits from its next look."""

LONGEST_LOOK = 300.0
"""Seconds after which a seat is free again whose Job was not made: the look that got it has failed."""

NODES_FOR = 60.0
"""Seconds for which one list of the nodes serves."""

_BACKUP_MOVERS = f"{MANAGED_BY}={MANAGER},{LOCATION}"


class _Waiting(Struct):
    """A request, and since when a seat has been offered to it."""

    key: Key
    request: Request
    offered: float | None = None


class _Granted(NamedTuple):
    """A seat whose Job is being made."""

    run_uid: str
    mover: Mover
    at: float


class Seats:
    """Thread-safe. `clock` in seconds, monotonic; `wake` makes a run be looked at."""

    def __init__(self, reader: Reader, limits: MoverLimits, *, clock: Callable[[], float], wake: Callable[[Key], None]) -> None:
        self._reader, self.limits, self._clock, self._wake = reader, limits, clock, wake
        self._lock = threading.Lock()
        self._waiting: dict[str, _Waiting] = {}
        self._granted: dict[str, _Granted] = {}
        self._elsewhere: dict[str, tuple[float, tuple[Mover, ...]]] = {}
        self._uncaptured: dict[str, dict[str, Key]] = {}
        self._nodes: tuple[float, tuple[Object, ...]] = (float("-inf"), ())

    def ask(self, key: Key, run_uid: str, requests: Sequence[Request]) -> dict[str, Seat]:
        """One look at a run: its requests replace what it asked for before. Returns its seats by PVC uid, and wakes whom else it can."""
        with self._lock:
            self._forget(run_uid)
            self._waiting |= {request.job: _Waiting(key, request) for request in requests}
            if not self._waiting:
                return {}
            seats, movers = self._share()
            mine = {request.job: seats.get(request.job) or no_seat_left(movers, self.limits) for request in requests}
            for request in requests:
                if mine[request.job].granted:
                    del self._waiting[request.job]
                    self._granted[request.job] = _Granted(run_uid, request.mover(), self._clock())
            woken = self._offer(seats)
        for other in woken:
            self._wake(other)
        return {request.volume_uid: mine[request.job] for request in requests}

    def note(self, run_uid: str, children: Sequence[Object]) -> None:
        """The movers of a run that are in the workload's namespace, where nobody else is told of them; () when it is over."""
        jobs, pods = ([child for child in children if child["kind"] == kind.kind] for kind in (JOB, POD))
        movers = movers_of(jobs, pods)
        with self._lock:
            self._elsewhere.pop(run_uid, None)
            if movers:
                self._elsewhere[run_uid] = (self._clock(), movers)

    def waiting_snapshots(self, key: Key, run_uid: str) -> int:
        """Captured volumes of the namespace's other runs that wait for a mover. Where these are many, the run is woken when one starts."""
        captured = self._reader.ours(VOLUME_SNAPSHOT, None, key.namespace)
        jobs = self._reader.ours(JOB, self._reader.around.movers_namespace, key.namespace) if captured else ()
        waiting = count_waiting(captured, jobs, but=run_uid)
        with self._lock:
            runs = self._uncaptured.setdefault(key.namespace, {})
            runs.pop(run_uid, None)
            if waiting >= self.limits.waiting_snapshots:
                runs[run_uid] = key
            if not runs:
                del self._uncaptured[key.namespace]
        return waiting

    def _share(self) -> tuple[dict[str, Seat], Sequence[Mover]]:
        now = self._clock()
        for job in [job for job, one in self._waiting.items() if one.offered is not None and now - one.offered > OFFERED_FOR]:
            del self._waiting[job]
        movers = self._movers()
        nodes = self._list_nodes() if needs_nodes(movers, len(self._waiting), self.limits) else ()
        return share_seats((one.request for one in self._waiting.values()), movers, nodes, self.limits), movers

    def _movers(self) -> Sequence[Mover]:
        """Those that exist, and those whose Job is being made by a look that is not over."""
        namespace, kube = self._reader.around.movers_namespace, self._reader.kube
        jobs = kube.list(JOB, namespace, labels=_BACKUP_MOVERS)
        since = self._clock() - LONGEST_LOOK
        self._elsewhere = {run: (at, found) for run, (at, found) in self._elsewhere.items() if at >= since}
        elsewhere = [mover for _, found in self._elsewhere.values() for mover in found]
        known = {job["metadata"]["name"] for job in jobs} | {mover.job for mover in elsewhere}
        self._granted = {job: one for job, one in self._granted.items() if job not in known and one.at >= since}
        working = (*movers_of(jobs, kube.list(POD, namespace, labels=_BACKUP_MOVERS)), *elsewhere)
        return (*working, *(one.mover for one in self._granted.values()))

    def _list_nodes(self) -> tuple[Object, ...]:
        read_at, nodes = self._nodes
        if self._clock() - read_at >= NODES_FOR:
            nodes = tuple(self._reader.kube.list(NODE))
            self._nodes = (self._clock(), nodes)
        return nodes

    def _offer(self, seats: dict[str, Seat]) -> list[Key]:
        """Those who may have a seat now, and for each of their namespaces a run that could not be captured until then."""
        woken = []
        for job, one in self._waiting.items():
            seat = seats.get(job)
            if seat is None or not seat.granted:
                one.offered = None
            elif one.offered is None:
                one.offered = self._clock()
                woken.append(one.key)
        granted = {key.namespace for key in woken} | {one.mover.namespace for one in self._granted.values()}
        for namespace in granted & self._uncaptured.keys():
            runs = self._uncaptured[namespace]
            woken.append(runs.pop(next(iter(runs))))
            if not runs:
                del self._uncaptured[namespace]
        return woken

    def _forget(self, run_uid: str) -> None:
        """What was granted to its look before is a Job by now, or was not made."""
        self._waiting = {job: one for job, one in self._waiting.items() if one.request.run_uid != run_uid}
        self._granted = {job: one for job, one in self._granted.items() if one.run_uid != run_uid}


def run_key(snapshot: Object) -> Key:
    return Key(SNAPSHOT.kind, snapshot["metadata"]["namespace"], snapshot["metadata"]["name"])
