"""Wires the controller: settings in, a Runtime out. What each part does is said in its module.

`open_store` comes from the command line, because only cli/ may import both the controller and the engine's stores.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from recoup.controller.apply import apply_action
from recoup.controller.cache import Cache
from recoup.controller.cached_kube import CachedKube
from recoup.controller.catalogues import Catalogues, OpenStore
from recoup.controller.coverage import CoverageGauges
from recoup.controller.exec import PodExec
from recoup.controller.gather import Reader
from recoup.controller.gather_location import LocationReconciler
from recoup.controller.gather_policy import PolicyReconciler
from recoup.controller.gather_restore import RestoreReconciler
from recoup.controller.gather_snapshot import SnapshotReconciler
from recoup.controller.gather_views import RunsAndViews, Views
from recoup.controller.hooks import HookRunner
from recoup.controller.kube import ApiServer, Kube, load_configuration
from recoup.controller.lease import Lease, LeaseTiming
from recoup.controller.ledger import FailureLedger
from recoup.controller.logs import Redactor
from recoup.controller.metrics import Metrics
from recoup.controller.queue import DelayingQueue
from recoup.controller.resources import LOCATION, NAMESPACE, POLICY, RESTORE, SNAPSHOT, Key
from recoup.controller.runtime import Parts, Runtime
from recoup.controller.seats import Seats
from recoup.controller.sweep import Sweep
from recoup.controller.watch import SETTLE
from recoup.controller.worker import Reconciler, Worker
from recoup.plan.observed import MoverLimits, Point, Surroundings
from recoup.settings import Settings

LEASE_TIMING = LeaseTiming(duration=20, renew_within=12.0, every=4.0)


def build_runtime(settings: Settings, *, open_store: OpenStore, redactor: Redactor) -> Runtime:
    """Wire everything for one process. Connects to the API server once, for the cluster's identity; raises RecoupError if it can't."""
    metrics = Metrics()
    configuration = load_configuration()
    api = ApiServer(configuration, on_call=metrics.count_call)
    around = surroundings_of(api, settings)
    cache = Cache(movers_namespace=settings.movers_namespace, clock=time.monotonic)
    kube = CachedKube(api, cache)
    jitter = random.Random().random  # noqa: S311  # spreads load; nothing secret rests on it
    queue: DelayingQueue[Key] = DelayingQueue(clock=time.monotonic, jitter=jitter, urgent=lambda key: key.kind == RESTORE.kind)
    ledger = FailureLedger()
    reader = Reader(kube, around, clock=time.monotonic, server=kube.server)
    catalogues = Catalogues(
        kube, namespace=settings.system_namespace, open_store=open_store, redactor=redactor, metrics=metrics, clock=time.monotonic,
        turned=lambda name: queue.add(Key(LOCATION.kind, "", name)),
        news=lambda points: wake_snapshots(points, cache, queue),
    )  # fmt: skip
    seats = Seats(reader, around.limits, clock=time.monotonic, wake=queue.add)
    hooks = HookRunner(kube, PodExec(configuration), identity=settings.identity, clock=time.monotonic, wake=queue.add)
    lease = build_lease(api, settings) if settings.leader_election else None
    worker = Worker(
        kube=kube,
        server=kube.server,
        queue=queue,
        reconcilers=build_reconcilers(reader, catalogues, ledger, seats, hooks),
        sweep=Sweep(reader, apply=lambda action: apply_action(kube, action), every=settings.resync, jitter=jitter),
        ledger=ledger,
        metrics=metrics,
        clock=time.monotonic,
        now=utc_now,
        jitter=jitter,
        may_work=(lambda: lease.held) if lease is not None else (lambda: True),
        resync=settings.resync,
        instance=settings.identity,
    )
    metrics.watch_queue(queue.depth, queue.oldest_age)
    metrics.registry.register(
        CoverageGauges(kube, movers_namespace=settings.movers_namespace, now=utc_now, is_leading=lambda: lease is None or lease.held)
    )
    parts = Parts(
        queue=queue, worker=worker, metrics=metrics, api=api, cache=cache, movers_namespace=settings.movers_namespace,
        resync=settings.resync, lease=lease, hooks=hooks,
    )  # fmt: skip
    return Runtime(parts, workers=settings.workers, http_address=settings.http_address, http_port=settings.http_port)


def build_reconcilers(
    reader: Reader, catalogues: Catalogues, ledger: FailureLedger, seats: Seats, hooks: HookRunner
) -> Mapping[str, Reconciler]:
    """One per kind."""
    views = Views(catalogues)
    return {
        LOCATION.kind: LocationReconciler(reader, catalogues, ledger, views),
        POLICY.kind: PolicyReconciler(reader, catalogues, ledger),
        SNAPSHOT.kind: RunsAndViews(reader, SnapshotReconciler(reader, catalogues, ledger, seats, hooks), views),
        RESTORE.kind: RestoreReconciler(reader, catalogues, ledger),
    }


def wake_snapshots(points: Iterable[Point], cache: Cache, queue: DelayingQueue[Key]) -> None:
    """Have the BackupSnapshots of these recovery points say how their copies stand. What a mover wrote only helps to find them."""
    for namespace, name, uid in {(point.source.namespace, point.snapshot, point.snapshot_uid) for point in points}:
        if uid and cache.uid(SNAPSHOT, namespace, name) == uid:
            queue.add(Key(SNAPSHOT.kind, namespace, name), SETTLE)


def build_lease(kube: Kube, settings: Settings) -> Lease:
    return Lease(
        kube,
        namespace=settings.system_namespace,
        name=settings.lease_name,
        identity=settings.identity,
        clock=time.monotonic,
        now=utc_now,
        timing=LEASE_TIMING,
    )


def surroundings_of(kube: Kube, settings: Settings) -> Surroundings:
    return Surroundings(
        image=settings.image,
        image_pull_policy=settings.image_pull_policy,
        image_pull_secrets=settings.image_pull_secrets,
        movers_namespace=settings.movers_namespace,
        system_namespace=settings.system_namespace,
        mover_service_account=settings.mover_service_account,
        keys_service_account=settings.keys_service_account,
        handout_service_account=settings.handout_service_account,
        live_namespaces=frozenset(settings.live_namespaces),
        limits=MoverLimits(
            total=settings.movers_total,
            per_node=settings.movers_per_node,
            per_namespace=settings.movers_per_namespace,
            waiting_snapshots=settings.waiting_snapshots,
        ),
        cluster_uid=kube.get(NAMESPACE, None, "kube-system")["metadata"]["uid"],
    )


def utc_now() -> datetime:
    return datetime.now(UTC)
