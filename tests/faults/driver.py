"""Runs the real worker (gather, plan, apply) against the world in memory, one look at a time, and can end it before any write."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from recoup.controller import failures
from recoup.controller.apply import apply_action
from recoup.controller.cache import Cache
from recoup.controller.cached_kube import CachedKube
from recoup.controller.catalogues import Catalogues
from recoup.controller.exec import Exec, Stream
from recoup.controller.gather import Reader
from recoup.controller.gather_restore import RestoreReconciler
from recoup.controller.gather_snapshot import SnapshotReconciler
from recoup.controller.hooks import HookRunner
from recoup.controller.ledger import FailureLedger
from recoup.controller.metrics import Metrics
from recoup.controller.queue import DelayingQueue
from recoup.controller.resources import LOCATION, POLICY, PV, PVC, RESTORE, SECRET, SNAPSHOT, Key
from recoup.controller.seats import Seats
from recoup.controller.sweep import Sweep
from recoup.controller.worker import Reconciler, Worker
from recoup.errors import RecoupError
from recoup.plan.observed import Catalogue, Surroundings, Ticket
from tests.faults.lagging_watch import LaggingWatch, steady_clock
from tests.faults.world import Object, World

RESYNC = 600.0
HOME = "frankfurt"
AROUND = Surroundings(image="recoup:test", cluster_uid="cluster-1", live_namespaces=frozenset({"shop"}))


class Killed(BaseException):
    """The process ends here: nothing in the controller may catch it."""


@dataclass
class BucketView:
    """Stands for controller.catalogues.Catalogues: what the log in the bucket says, without a bucket."""

    world: World
    outage: RecoupError | None = None
    away: str = ""
    """The location that the outage is of; "" for all."""
    reads: int = 0
    held: dict[tuple[str, str], Catalogue] = field(default_factory=dict)

    def has_keys(self, vault: str) -> bool:
        try:
            self.world.kube.get(SECRET, AROUND.system_namespace, f"catalogue-{vault}")
        except failures.Gone:
            return False
        return True

    def ticket(self, vault: str, *, policy_uid: str, slot: str, snapshot_uid: str, claim_uid: str) -> Ticket:
        session = hashlib.sha256(f"{snapshot_uid} {claim_uid}".encode()).hexdigest()[:32]
        return Ticket(session=session, ticket=f"ticket of {vault} {policy_uid} {slot} {claim_uid}")

    def read(self, location: Object, vault: str, *, max_age: float = 0.0) -> Catalogue:  # noqa: ARG002  # one bucket, always fresh
        self.reads += 1
        name = location["metadata"]["name"]
        if self.outage is not None and self.away in ("", name):
            raise self.outage
        points = self.world.points if name == HOME else self.world.copies.get(name, [])
        self.held[name, vault] = Catalogue(vault=vault, fingerprint="f" * 64, points=tuple(points))
        return self.held[name, vault]

    def known(self, location: Object, vault: str) -> Catalogue | None:
        return self.held.get((location["metadata"]["name"], vault))

    def known_at(self, location: str, vault: str) -> Catalogue | None:
        return self.held.get((location, vault))


class NoExec:
    """Nobody's pods can be entered."""

    def start(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> Stream:  # noqa: ARG002  # as asked
        raise failures.Forbidden(f"exec in Pod {namespace}/{pod}")


@dataclass
class Controller:
    """One process. `looks` counts reconciles; a new Controller on the same world is a restart: nothing is carried over."""

    world: World
    bucket: BucketView
    lag: int = 0
    """How many changes of every kind its watch is behind while something goes on."""
    looks: int = 0
    errors: list[RecoupError] = field(default_factory=list)
    pods: Exec = field(default_factory=NoExec)
    woken: list[Key] = field(default_factory=list)
    """Runs whose turn for a mover has come."""

    def __post_init__(self) -> None:
        def clock() -> float:
            return self.world.now.timestamp()

        cache = Cache(movers_namespace=AROUND.movers_namespace, clock=steady_clock())
        self.watch = LaggingWatch(self.world.kube, cache, movers_namespace=AROUND.movers_namespace, lag=self.lag)
        kube = CachedKube(self.world.kube, cache)
        reader = Reader(kube, AROUND, clock=clock, server=kube.server)
        self.seats = Seats(reader, AROUND.limits, clock=clock, wake=self.woken.append)
        self.hooks = HookRunner(kube, self.pods, identity="test", clock=time.monotonic, wake=self.woken.append, rest=lambda _seconds: None)
        ledger = FailureLedger()
        self.worker = Worker(
            kube=kube,
            server=kube.server,
            queue=DelayingQueue(clock=clock, jitter=lambda: 0.5),
            reconcilers=self._reconcilers(reader, ledger),
            sweep=Sweep(reader, apply=lambda action: apply_action(kube, action), every=RESYNC, jitter=lambda: 0.5),
            ledger=ledger,
            metrics=Metrics(),
            clock=clock,
            now=lambda: self.world.now,
            jitter=lambda: 0.5,
            may_work=lambda: True,
            resync=RESYNC,
            instance="test",
        )

    def look(self, key: Key) -> float:
        """Reconcile once; the seconds until the next look that it asked for."""
        self.looks += 1
        self.watch.deliver()
        try:
            again = self.worker.reconcile(key)
        except RecoupError as error:
            self.errors.append(error)
            return 1.0
        return RESYNC if again is None else again

    def run(self, key: Key, *, until: Callable[[], bool] | None = None, limit: int = 600) -> None:
        """Look and let the world act, in turn, until nothing changes any more (or `until` says so); time passes only in between."""
        for _ in range(limit):
            written = len(self.world.kube.writes)
            again = self.look(key)
            changed = self.world.step()
            if until is not None and until():
                return
            if not changed and len(self.world.kube.writes) == written and not self.watch.catch_up():
                if again >= RESYNC * 0.9 and until is None:
                    return
                self.world.pass_time(seconds=max(again, 1.0))
        raise AssertionError(f"{key} does not come to rest: {self.errors[-3:]}")

    def _reconcilers(self, reader: Reader, ledger: FailureLedger) -> Mapping[str, Reconciler]:
        catalogues = cast("Catalogues", self.bucket)
        return {
            "BackupSnapshot": SnapshotReconciler(reader, catalogues, ledger, self.seats, self.hooks),
            "RestoreRequest": RestoreReconciler(reader, catalogues, ledger),
        }


def start(world: World, *, lag: int = 0) -> Controller:
    return Controller(world, BucketView(world), lag)


def killed_at(world: World, write: int, work: Callable[[], None]) -> bool:
    """Run `work`, but end the process instead of its `write`-th write (0 is the first). False if it made fewer writes than that."""
    left = [write]

    def hook(_verb: str, _kind: str, _name: str) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1

    world.kube.before_write = hook
    try:
        work()
    except Killed:
        return True
    finally:
        world.kube.before_write = lambda _verb, _kind, _name: None
    return False


SWEEP = Key("Sweep", "", "")
NAMESPACE_UID = "uid-of-shop"
SNAPSHOT_KEY = Key("BackupSnapshot", "shop", "before-upgrade")


def shop(*claims: str, binding: str = "Immediate", policy: Mapping[str, Any] | None = None, **classes: bool) -> World:
    """A namespace `shop` with these PVCs, a policy for all of them, a healthy location, and a BackupSnapshot that has just been made."""
    world = World()
    world.add_namespace("shop", NAMESPACE_UID)
    for name in ("recoup-system", "recoup-movers"):
        world.add_namespace(name, f"uid-of-{name}")
    world.add_storage(binding=binding, classes=classes or None)
    for claim in claims:
        world.add_volume("shop", claim, f"content of {claim}", labels={"app": "shop"})
    world.kube.put(LOCATION, a_location(world.now))
    spec = {"selector": {}, "locations": [{"name": "frankfurt"}]} | dict(policy or {})
    world.kube.put(POLICY, {"metadata": {"name": "shop", "namespace": "shop", "uid": "uid-of-policy"}, "spec": spec})
    metadata = {"name": "before-upgrade", "namespace": "shop", "uid": "uid-of-snapshot"}
    world.kube.put(SNAPSHOT, {"metadata": metadata, "spec": {"policyRef": {"name": "shop"}, "trigger": "Manual", "cancel": False}})
    return world


def a_location(now: datetime, **spec: Any) -> Object:
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [
        {"type": kind, "status": "True", "reason": "Probed", "message": "", "lastTransitionTime": stamp}
        for kind in ("Reachable", "Conformant", "Ready")
    ]
    return {
        "metadata": {"name": "frankfurt", "uid": "uid-of-location"},
        "spec": {
            "provider": "acme",
            "region": "eu",
            "s3": {"bucket": "backups", "endpoint": "http://s3.test", "credentialsSecretRef": {"name": "frankfurt-s3"}},
            "encryption": {"keys": [{"name": "daily", "secret": {"secretRef": {"name": "recoup-key"}}}]},
        }
        | spec,
        "status": {"conditions": conditions, "repositoryId": "repo-1"},
    }


RESTORE_KEY = Key("RestoreRequest", "shop", "incident")


def incident(
    world: World, *, source: Object | None = None, volumes: list[Object] | None = None, namespace: str = "shop", **more: Any
) -> Key:
    """A RestoreRequest that has just been made; by default of the BackupSnapshot, each volume as `<name>-restored`. `more` of its spec."""
    asked = volumes if volumes is not None else [{"source": "data-0", "target": {"name": "data-0-restored"}}]
    spec: Object = {"source": source or {"snapshotRef": {"name": "before-upgrade"}}, "cancel": False} | more
    if asked:
        spec["volumes"] = asked
    world.kube.put(RESTORE, {"metadata": {"name": "incident", "namespace": namespace, "uid": "uid-of-restore"}, "spec": spec})
    return Key("RestoreRequest", namespace, "incident")


def backed_up(*claims: str, binding: str = "Immediate") -> World:
    """A world in which BackupSnapshot shop/before-upgrade is Ready, and the location knows the vault."""
    world = shop(*claims, binding=binding)
    start(world).run(SNAPSHOT_KEY)
    location = world.get(LOCATION, None, "frankfurt")
    vault = snapshot_status(world)["vault"]
    location["status"]["vaults"] = [{"id": vault, "namespace": "shop", "namespaceUid": NAMESPACE_UID, "fingerprint": "f" * 64}]
    world.kube.put(LOCATION, location)
    return world


def restore_status(world: World, namespace: str = "shop") -> Object:
    status: Object = world.get(RESTORE, namespace, "incident").get("status") or {}
    return status


def content_of(world: World, claim: str, namespace: str = "shop") -> str:
    """What is on the disk of a bound claim."""
    found = world.get(PVC, namespace, claim)
    assert found["status"]["phase"] == "Bound", found
    volume = world.get(PV, None, found["spec"]["volumeName"])
    assert volume["spec"]["claimRef"]["uid"] == found["metadata"]["uid"]
    return world.disks[volume["spec"]["csi"]["volumeHandle"]]


def snapshot_status(world: World) -> Object:
    status: Object = world.get(SNAPSHOT, "shop", "before-upgrade").get("status") or {}
    return status


def condition(status: Object, kind: str) -> Object:
    return next((item for item in status.get("conditions") or () if item["type"] == kind), {})
