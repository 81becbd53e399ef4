"""Which backup movers may start now: so many per location, per node, per namespace and in all, and fair between namespaces.

The next seat goes to the namespace that has the fewest; within it to the run that began first. What can't have a seat because of its
location or its nodes holds up nobody behind it. Restores are neither counted nor held up. Pure: who works is read from the Jobs and
Pods, who waits from controller/seats.py.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from heapq import heapify, heappop, heappush

import msgspec
from msgspec import Struct

from recoup.api.labels import OWNER_NAME, OWNER_NAMESPACE, OWNER_UID, VOLUME
from recoup.plan.actions import Object
from recoup.plan.movers import is_over
from recoup.plan.objects.identity import LOCATION
from recoup.plan.observed import MoverLimits, Seat
from recoup.plan.topology import HOSTNAME, can_take

JOB_NAME = "batch.kubernetes.io/job-name"
_NAMED = 3
"""Of those who hold what is waited for, so many are named."""


class Mover(Struct, frozen=True, kw_only=True):
    """A backup mover that works or is about to: `job` by name, for `run` of `namespace`. node: None until it was placed."""

    job: str
    namespace: str
    run: str
    location: str
    node: str | None = None
    node_affinity: Object | None = None
    node_selector: dict[str, str] = {}


class Request(Struct, frozen=True, kw_only=True):
    """A volume that is ready for its mover, the Job `job`. location: as in the label; limit: how many movers the location takes."""

    job: str
    run_uid: str
    volume_uid: str
    namespace: str
    run: str
    since: datetime
    location: str
    limit: int
    node_affinity: Object | None = None
    node_selector: dict[str, str] = {}

    def mover(self) -> Mover:
        """What it is once it has its seat."""
        return Mover(
            job=self.job, namespace=self.namespace, run=self.run, location=self.location,
            node_affinity=self.node_affinity, node_selector=self.node_selector,
        )  # fmt: skip


def movers_of(jobs: Iterable[Object], pods: Iterable[Object]) -> tuple[Mover, ...]:
    """The backup movers among these that are not over. A pod that still ends after its Job was deleted counts too."""
    nodes: dict[str, str | None] = {}
    holders: dict[str, Object] = {}
    ended: set[str] = set()
    for pod in pods:
        name = (pod["metadata"].get("labels") or {}).get(JOB_NAME, "")
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            ended.add(name)
            continue
        nodes[name] = pod["spec"].get("nodeName")
        holders[name] = pod
    for job in jobs:
        name = job["metadata"]["name"]
        if is_over(job):
            holders.pop(name, None)
        elif name not in ended or name in nodes:
            holders[name] = job
    return tuple(_mover(name, thing, nodes.get(name)) for name, thing in holders.items() if LOCATION in _labels(thing))


def needs_nodes(movers: Sequence[Mover], waiting: int, limits: MoverLimits) -> bool:
    """A node might get full in this round, so which ones there are matters."""
    unplaced = sum(mover.node is None for mover in movers)
    return max(_count(mover.node for mover in movers if mover.node).values(), default=0) + unplaced + waiting > limits.per_node


def share_seats(requests: Iterable[Request], movers: Sequence[Mover], nodes: Sequence[Object], limits: MoverLimits) -> dict[str, Seat]:
    """By Job name, who gets a seat and what the others wait for.

    nodes: empty if they don't matter (needs_nodes). Once all seats are taken nobody else is looked at: see no_seat_left.
    """
    house = _House(list(movers), nodes, limits)
    seats: dict[str, Seat] = {}
    lanes = _lanes(requests)
    heap = [(house.of_namespace(lane[0].namespace), lane[0].since, number) for number, lane in enumerate(lanes)]
    heapify(heap)
    while heap and len(house.movers) < limits.total:
        load, _, number = heappop(heap)
        lane = lanes[number]
        now = house.of_namespace(lane[0].namespace)
        if now == load:
            seat = house.seat(lane[0])
            seats[lane[0].job] = seat
            if not seat.granted:  # nor the others in this lane: the limits only get tighter
                seats |= {request.job: seat for request in lane}
                continue
            house.take(lane.pop(0))
        if lane:
            heappush(heap, (house.of_namespace(lane[0].namespace), lane[0].since, number))
    return seats


def no_seat_left(movers: Sequence[Mover], limits: MoverLimits) -> Seat:
    """What those wait for that were not looked at because all seats are taken."""
    return Seat(granted=False, message=_waits(f"all {limits.total} movers of the cluster (chart value movers.limits.total)", movers))


def count_waiting(things: Iterable[Object], jobs: Iterable[Object], *, but: str) -> int:
    """Volumes that were captured, as the volume snapshots of a namespace's runs tell, and have no mover yet; `but`: a run not counted."""
    started = {(_labels(job).get(OWNER_UID), _labels(job).get(VOLUME)) for job in jobs}
    captured = {(_labels(thing).get(OWNER_UID), _labels(thing).get(VOLUME)) for thing in things}
    return sum(uid != but for uid, _ in captured - started)


class _House:
    """The movers at work, and those that get their seat in this round."""

    def __init__(self, movers: list[Mover], nodes: Sequence[Object], limits: MoverLimits) -> None:
        self.movers, self._nodes, self._limits = movers, nodes, limits
        self._namespaces = _count(mover.namespace for mover in movers)
        self._locations = _count(mover.location for mover in movers)
        self._placed = _count(mover.node for mover in movers if mover.node)
        self._unplaced = [mover for mover in movers if mover.node is None]

    def of_namespace(self, namespace: str) -> int:
        return self._namespaces.get(namespace, 0)

    def take(self, request: Request) -> None:
        mover = request.mover()
        self.movers.append(mover)
        self._unplaced.append(mover)
        for counts, key in ((self._namespaces, mover.namespace), (self._locations, mover.location)):
            counts[key] = counts.get(key, 0) + 1

    def seat(self, request: Request) -> Seat:
        limits = self._limits
        if self.of_namespace(request.namespace) >= limits.per_namespace:
            what = f"all {limits.per_namespace} movers of namespace {request.namespace} (chart value movers.limits.perNamespace)"
            return self._wait(what, [mover for mover in self.movers if mover.namespace == request.namespace])
        if self._locations.get(request.location, 0) >= request.limit:
            what = f"all {request.limit} movers of BackupLocation {request.location} (its spec.limits.concurrentMovers)"
            return self._wait(what, [mover for mover in self.movers if mover.location == request.location])
        return self._seat_on_node(request)

    def _seat_on_node(self, request: Request) -> Seat:
        """A mover that was not placed yet counts on every node that it may go to, so that no node ever gets one too many."""
        fitting = [node for node in self._nodes if can_take(node, request.node_affinity, request.node_selector)]
        full = [node for node in fitting if self._load(node) >= self._limits.per_node]
        if fitting and len(full) == len(fitting):
            names = [node["metadata"]["name"] for node in full]
            what = f"all {self._limits.per_node} movers of node {_some(names)} (chart value movers.limits.perNode)"
            return self._wait(what, [mover for mover in self.movers if mover.node in (None, *names)])
        hostnames = sorted(_hostname(node) for node in full)
        return Seat(granted=True, full=tuple(hostnames))

    def _load(self, node: Object) -> int:
        coming = sum(can_take(node, mover.node_affinity, mover.node_selector) for mover in self._unplaced)
        return self._placed.get(node["metadata"]["name"], 0) + coming

    def _wait(self, what: str, holders: Sequence[Mover]) -> Seat:
        return Seat(granted=False, message=_waits(what, holders))


def _lanes(requests: Iterable[Request]) -> list[list[Request]]:
    """Requests that stand before the same limits, in their order."""
    lanes: dict[tuple[str, str, bytes], list[Request]] = {}
    for request in sorted(requests, key=lambda request: (request.since, request.run, request.job)):
        place = msgspec.json.encode((request.node_affinity, request.node_selector))
        lanes.setdefault((request.namespace, request.location, place), []).append(request)
    return list(lanes.values())


def _mover(name: str, thing: Object, node: str | None) -> Mover:
    labels = _labels(thing)
    spec = thing["spec"]["template"]["spec"] if "template" in thing["spec"] else thing["spec"]
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    return Mover(
        job=name,
        namespace=labels.get(OWNER_NAMESPACE, ""),
        run=labels.get(OWNER_NAME, ""),
        location=labels[LOCATION],
        node=node,
        node_affinity={"required": required} if required else None,
        node_selector=spec.get("nodeSelector") or {},
    )


def _waits(what: str, holders: Sequence[Mover]) -> str:
    return f"waits for one of {what}; at work for {_some(sorted({f'{mover.namespace}/{mover.run}' for mover in holders}))}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _count(keys: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    return counts


def _labels(thing: Object) -> dict[str, str]:
    return thing["metadata"].get("labels") or {}


def _hostname(node: Object) -> str:
    return str((node["metadata"].get("labels") or {}).get(HOSTNAME) or node["metadata"]["name"])
