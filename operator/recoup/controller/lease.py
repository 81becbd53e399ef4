"""Which replica works: leader election on a coordination.k8s.io Lease.

Only the monotonic clock of this process decides (another holder is dead when its record did not change for a whole lease
duration *as seen here*), so skewed clocks elsewhere do no harm; the times written into the Lease are for people. Two replicas
that both believe they lead are still safe: names and preconditions of every write see to that (docs/architecture.md).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from msgspec import Struct

from recoup.controller import failures
from recoup.controller.kube import Kube, Object
from recoup.controller.resources import LEASE
from recoup.errors import RecoupError, Retryable

log = logging.getLogger(__name__)


class LeaseTiming(Struct, frozen=True):
    """Seconds. Renewing ends early enough before others may take over: renew_within < duration."""

    duration: int = 30
    renew_within: float = 20.0
    every: float = 5.0


class Lease:
    """One replica's view of the Lease. `step` makes one attempt; `run` repeats it until stopped or lost."""

    def __init__(
        self, kube: Kube, *, namespace: str, name: str, identity: str, clock: Callable[[], float], now: Callable[[], datetime],
        timing: LeaseTiming = LeaseTiming(),  # noqa: B008  # frozen
    ) -> None:  # fmt: skip
        self._kube = kube
        self._namespace, self._name, self._identity = namespace, name, identity
        self._clock, self._now, self._timing = clock, now, timing
        self._seen: tuple[Any, ...] | None = None
        self._seen_at = 0.0
        self._renewed_at: float | None = None

    @property
    def held(self) -> bool:
        """Whether this replica may work now: it renewed recently enough."""
        return self._renewed_at is not None and self._clock() - self._renewed_at < self._timing.renew_within

    def step(self) -> bool:
        """Try once to take or renew the Lease; returns `held`. Never raises for an API server that is away."""
        started = self._clock()  # the time before the write counts, however long the answer takes
        try:
            if self._take_or_renew():
                self._renewed_at = started
            else:
                self._renewed_at = None
        except Retryable as error:
            log.warning("lease not renewed: %s", error)
        except failures.Gone as error:
            log.warning("lease not readable: %s", error)
        return self.held

    def run(self, *, stop: threading.Event, on_acquired: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Stand by until acquired, then renew; on_lost is called at most once, and only after on_acquired."""
        while not stop.is_set() and not self.step():
            stop.wait(self._timing.every)
        if stop.is_set():
            return
        log.info("leading", extra={"identity": self._identity})
        on_acquired()
        while not stop.wait(self._timing.every):
            if not self.step():
                log.error("lease lost", extra={"identity": self._identity})
                on_lost()
                return

    def release(self) -> None:
        """Give the Lease up at a clean stop, so that the other replica need not wait; best effort."""
        if self._renewed_at is None:
            return
        self._renewed_at = None
        try:
            lease = self._kube.get(LEASE, self._namespace, self._name)
            if lease["spec"].get("holderIdentity") == self._identity:
                self._write(lease, {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._time()})
        except RecoupError as error:
            log.warning("lease not released: %s", error)

    def _take_or_renew(self) -> bool:
        try:
            lease = self._kube.get(LEASE, self._namespace, self._name)
        except failures.Gone:
            return self._create()
        spec: Object = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder == self._identity:
            self._write(lease, {"renewTime": self._time()})
            return True
        if holder and not self._expired(spec):
            return False
        self._write(
            lease,
            {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": self._timing.duration,
                "acquireTime": self._time(),
                "renewTime": self._time(),
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1,
            },
        )
        return True

    def _expired(self, spec: Object) -> bool:
        record = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if record != self._seen:
            self._seen, self._seen_at = record, self._clock()
        return self._clock() - self._seen_at >= float(spec.get("leaseDurationSeconds") or self._timing.duration)

    def _create(self) -> bool:
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._timing.duration,
            "acquireTime": self._time(),
            "renewTime": self._time(),
            "leaseTransitions": 0,
        }
        metadata = {"namespace": self._namespace, "name": self._name}
        try:
            self._kube.create(LEASE, {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec})
        except failures.AlreadyExists:
            return False
        return True

    def _write(self, lease: Object, spec: Object) -> None:
        metadata = {key: lease["metadata"][key] for key in ("uid", "resourceVersion")}
        self._kube.patch(LEASE, self._namespace, self._name, {"metadata": metadata, "spec": spec})

    def _time(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
