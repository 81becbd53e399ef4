"""One process of the controller: lease, watch, workers and health, started and stopped together.

A standby replica watches nothing and holds nothing. Losing the Lease, or the death of any thread, ends the process with an error,
because a fresh one is the state that is known to be right; a clean stop finishes what is in hand and hands the Lease over.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from msgspec import Struct

from recoup.controller.cache import Cache
from recoup.controller.cache_check import CacheCheck
from recoup.controller.health import HealthServer
from recoup.controller.hooks import HookRunner
from recoup.controller.kube import ApiServer
from recoup.controller.lease import Lease
from recoup.controller.metrics import Metrics
from recoup.controller.queue import DelayingQueue
from recoup.controller.resources import SWEEP, VOLUME_SNAPSHOT, Key
from recoup.controller.watch import Router, Watcher, listener
from recoup.controller.worker import AFTER_DELETION, Worker
from recoup.typeinfo import build_type_info

log = logging.getLogger(__name__)

WORKERS_STOP_WITHIN = 40.0
"""Seconds; one call may take 35."""


HOOKS_STOP_WITHIN = 15.0
"""Seconds to let post hooks run that are due; those that take longer end by themselves in their pods."""


class Parts(Struct, frozen=True):
    """What main.py wired."""

    queue: DelayingQueue[Key]
    worker: Worker
    metrics: Metrics
    api: ApiServer
    cache: Cache
    movers_namespace: str
    resync: float
    lease: Lease | None
    hooks: HookRunner


class Runtime:
    """Runs until `stop` is set or something dies; `run` returns the exit code."""

    def __init__(self, parts: Parts, *, workers: int, http_address: str, http_port: int) -> None:
        self._parts = parts
        self._worker_count = workers
        self._stop = threading.Event()
        self._failure: str | None = None
        self._threads: list[threading.Thread] = []
        self._watcher: Watcher | None = None
        self._check: CacheCheck | None = None
        self._filled = False
        self.health = HealthServer(http_address, http_port, healthy=self.unhealthy, ready=self.unready, registry=parts.metrics.registry)

    def stop(self) -> None:
        """Ask for a clean end; returns at once."""
        self._stop.set()

    def run(self) -> int:
        self.health.start()
        try:
            lease = self._parts.lease
            if lease is None:
                log.warning("leader election is off: every replica works; safe, but meant for tests")
                self._lead()
                self._stop.wait()
            else:
                lease.run(stop=self._stop, on_acquired=self._lead, on_lost=lambda: self._fail("the Lease was lost"))
        finally:
            self._end()
        if self._failure is not None:
            log.error("ending: %s", self._failure)
            return 1
        log.info("stopped")
        return 0

    def unhealthy(self) -> str | None:
        """What only a restart mends, or None."""
        return self._failure or self._parts.worker.hung()

    def unready(self) -> str | None:
        """Why this replica could not do its part now, or None. A standby's part is to be able to read the Lease."""
        if self._stop.is_set():
            return "stopping"
        if not self._parts.api.ready():
            return "the API server does not answer"
        if self._watcher is not None and not (self._watcher.watching and self._filled):
            return "what the cluster holds has not been listed yet"
        return None

    def _lead(self) -> None:
        self._parts.metrics.leading.set(1)
        queue = self._parts.queue
        cache, movers = self._parts.cache, self._parts.movers_namespace
        router = Router(
            changed=queue.add,
            gone=lambda _key: queue.add(SWEEP, AFTER_DELETION),
            snapshot_labels=lambda namespace, name: cache.labels(VOLUME_SNAPSHOT, namespace, name),
        )
        check = CacheCheck(self._parts.api, cache, movers_namespace=movers, every=self._parts.resync, news=router.tell)
        self._check = check
        self._watcher = Watcher(
            listener(cache, router, check.relisted),
            movers_namespace=movers,
            died=lambda error: self._fail(f"the watch ended: {error}"),
        )
        self._watcher.start()
        queue.add(SWEEP)
        build_type_info()
        self._start("cache", lambda: self._keep_cache(check))

    def _keep_cache(self, check: CacheCheck) -> None:
        """Nothing is decided before everything was listed once. Not in the thread that renews the Lease: it may take long."""
        check.fill(self._stop)
        self._filled = True
        for number in range(self._worker_count if not self._stop.is_set() else 0):
            self._start(f"worker-{number}", self._parts.worker.run)
        check.run(self._stop)

    def _start(self, name: str, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # a thread must not vanish silently
                log.exception("a thread died")
                self._fail(f"{name} died: {error}")
                raise

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _fail(self, why: str) -> None:
        self._failure = self._failure or why
        self._stop.set()

    def _end(self) -> None:
        self._stop.set()
        self._parts.queue.close()
        if self._check is not None:
            self._check.relisted()
        self._parts.hooks.close(HOOKS_STOP_WITHIN)
        for thread in self._threads:
            thread.join(WORKERS_STOP_WITHIN)
        if self._watcher is not None:
            self._watcher.stop()
        if self._parts.lease is not None and self._failure is None:
            self._parts.lease.release()
        self._parts.metrics.leading.set(0)
        self.health.stop()
