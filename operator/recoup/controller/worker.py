"""The worker threads: take a key, look (gather), decide (plan), carry out (apply), say when to look again.

The only place with a broad catch: whatever goes wrong with one object is logged, counted and retried with back-off, and never
stops the others. A worker starts nothing unless this replica leads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from recoup.controller import failures
from recoup.controller.apply import ActionFailed, apply_actions, apply_status
from recoup.controller.events import post_events
from recoup.controller.kube import Kube, Object
from recoup.controller.ledger import FailureLedger
from recoup.controller.metrics import Metrics
from recoup.controller.queue import BACKOFF_FIRST, DelayingQueue
from recoup.controller.resources import OWNERS, SWEEP, Key
from recoup.errors import RecoupError, Retryable
from recoup.plan.actions import Create, EventNote, EventType, Plan
from recoup.plan.finality import is_final

log = logging.getLogger(__name__)

AFTER_DELETION = 2.0
"""Seconds to the sweep after something of an owner that is gone was seen: several of them make one."""

AFTER_CONFLICT = 0.1
"""Seconds with which the back-off begins when somebody else was quicker."""

LONGEST_LOOK = 300.0
"""Seconds after which a look at one object counts as hung: above the sum of the time limits of the calls it makes."""


class Reconciler(Protocol):
    """One kind's gather and plan (reconcilers.py)."""

    def observe(self, obj: Object, now: datetime, *, sure: bool = False) -> Any:
        """Read all that decides, `sure`: from the server itself; raises RecoupError if it can't be read."""

    def plan(self, observed: Any, now: datetime) -> Plan:
        """Decide. Pure."""

    def with_failures(self, observed: Any, obj: Object) -> Any:
        """The same observation with the refusals known now."""


class Worker:
    """Reconciles keys; `run` is the loop of one thread, `reconcile` one look."""

    def __init__(
        self, *, kube: Kube, queue: DelayingQueue[Key], reconcilers: Mapping[str, Reconciler], sweep: Callable[[datetime], float],
        ledger: FailureLedger, metrics: Metrics, clock: Callable[[], float], now: Callable[[], datetime], jitter: Callable[[], float],
        may_work: Callable[[], bool], resync: float, instance: str, server: Kube | None = None,
    ) -> None:  # fmt: skip
        """`server`: where `kube` answers from memory, the way past it."""
        self._server = server or kube
        self._kube, self._queue, self._reconcilers, self._sweep = kube, queue, reconcilers, sweep
        self._ledger, self._metrics = ledger, metrics
        self._clock, self._now, self._jitter = clock, now, jitter
        self._may_work, self._resync, self._instance = may_work, resync, instance
        self._busy: dict[int, tuple[Key, float]] = {}

    def run(self) -> None:
        """Work until the queue is closed or this replica may no longer work."""
        while (key := self._queue.get()) is not None:
            if not self._may_work():
                self._queue.done(key)
                return
            self._busy[threading.get_ident()] = (key, self._clock())
            try:
                self._work(key)
            finally:
                self._busy.pop(threading.get_ident(), None)

    def hung(self) -> str | None:
        """Name an object that a worker has been on for too long, if any."""
        for key, since in list(self._busy.values()):
            if self._clock() - since > LONGEST_LOOK:
                return f"a worker has been on {key} for {self._clock() - since:.0f} s"
        return None

    def _work(self, key: Key) -> None:
        started = self._clock()
        result = "error"
        try:
            again = self.reconcile(key)
            result = "ok"
            self._queue.done(key, again_in=again)
        except Retryable as error:
            result = "retry"
            conflict = isinstance(error, failures.Conflict)  # the cache has learned by it, so the next look is likely to go well
            first = AFTER_CONFLICT if conflict else BACKOFF_FIRST
            delay = self._queue.failed(key, at_least=getattr(error, "retry_after", None) or 0.0, first=first)
            level = logging.DEBUG if conflict else logging.WARNING
            log.log(level, "to be tried again in %.0f s: %s", delay, error, extra=_who(key))
        except RecoupError as error:
            delay = self._queue.failed(key)
            log.error("%s", error, extra=_who(key) | {"reason": error.reason, "again_in": round(delay)})  # noqa: TRY400  # no bug of ours
        except Exception:
            delay = self._queue.failed(key)
            log.exception("this is a bug in recoup; tried again in %.0f s", delay, extra=_who(key))
        finally:
            self._metrics.reconciles.labels(key.kind, result).inc()
            self._metrics.reconcile_seconds.labels(key.kind).observe(self._clock() - started)

    def reconcile(self, key: Key) -> float | None:
        """Look once; returns the seconds until the next look, None if the object is gone."""
        if key.kind not in OWNERS:
            return self._sweep(self._now())
        try:
            obj = self._kube.get(OWNERS[key.kind], key.namespace or None, key.name)
        except failures.Gone:
            self._metrics.objects.gone(key)
            self._queue.add(SWEEP, AFTER_DELETION)  # a child of it changed, as of a mover that was let finish: its rest may go now
            return None
        reconciler = self._reconcilers[key.kind]
        now = self._now()
        try:
            observed = reconciler.observe(obj, now)
            plan = reconciler.plan(observed, now)
            if is_final(obj.get("status"), plan.status) and self._server is not self._kube:
                obj = self._at_server(obj)
                observed = reconciler.observe(obj, now, sure=True)
                plan = reconciler.plan(observed, now)
            else:
                self._make_sure(obj, plan)
        except Retryable:
            raise
        except RecoupError as error:
            note = EventNote(type=EventType.WARNING, reason=error.reason, message=str(error))
            post_events(self._kube, obj, (note,), now=now, instance=self._instance)
            raise
        return self._carry_out(key, obj, reconciler, observed, plan)

    def _make_sure(self, obj: Object, plan: Plan) -> None:
        """What is created is created for an owner as it is now: not for one that was over, cancelled or deleted meanwhile."""
        if self._server is self._kube or not any(isinstance(action, Create) for action in plan.actions):
            return
        if self._at_server(obj)["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            raise failures.Conflict(f"{obj['kind']} {obj['metadata']['name']} changed since it was seen")

    def _at_server(self, obj: Object) -> Object:
        metadata = obj["metadata"]
        try:
            return self._server.get(OWNERS[obj["kind"]], metadata.get("namespace"), metadata["name"])
        except failures.Gone as error:
            raise failures.Conflict(str(error)) from error

    def _carry_out(self, key: Key, obj: Object, reconciler: Reconciler, observed: Any, plan: Plan) -> float | None:
        uid = obj["metadata"]["uid"]
        now = self._now()
        refused: RecoupError | None = None
        try:
            writes = apply_actions(self._kube, plan.actions, succeeded=lambda action: self._ledger.succeeded(uid, action))
        except ActionFailed as failed:
            if isinstance(failed.error, Retryable):
                raise failed.error from failed
            self._ledger.failed(uid, failed.action, failed.error, now)
            refused, writes = failed.error, 0
            plan = reconciler.plan(reconciler.with_failures(observed, obj), now)  # its status tells; its actions wait for the next look
        try:
            writes += apply_status(self._kube, obj, plan, now=now, instance=self._instance)
        except failures.Gone:
            return None
        self._metrics.writes.labels(key.kind).inc(writes)
        self._show(key, obj, plan)
        if refused is not None:
            raise refused
        resync = self._resync * (0.9 + 0.2 * self._jitter())
        return resync if plan.requeue_after is None else min(resync, max(plan.requeue_after, 0.0))

    def _show(self, key: Key, obj: Object, plan: Plan) -> None:
        created = datetime.fromisoformat(obj["metadata"]["creationTimestamp"])
        self._metrics.saw(key, created, plan.status if plan.status is not None else obj.get("status") or {}, self._now())


def _who(key: Key) -> dict[str, str]:
    return {"kind": key.kind, "namespace": key.namespace, "object": key.name}
