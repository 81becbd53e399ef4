"""What Prometheus sees: one table of counters, and gauges computed at the scrape from the last look at each object.

The gauges hold a few numbers per custom resource, dropped when the object goes. docs/reference/metrics.md lists them.
"""

from __future__ import annotations

import threading
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from recoup.api.backuppolicy import RpoState
from recoup.api.restorerequest import PLANNED
from recoup.controller.resources import LOCATION, POLICY, RESTORE, SNAPSHOT, Key

Object = dict[str, Any]

RECONCILE_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
RESTORE_BUCKETS = (5, 15, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 12 * 3600)


class Metrics:
    """All metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter("recoup_reconciles", "Looks at an object, by how they ended.", ["kind", "result"], registry=self.registry)
        self.reconcile_seconds = Histogram(
            "recoup_reconcile_seconds", "Seconds that one look took.", ["kind"], buckets=RECONCILE_BUCKETS, registry=self.registry
        )
        self.writes = Counter("recoup_writes", "Objects written by reconciles.", ["kind"], registry=self.registry)
        self.api_calls = Counter(
            "recoup_api_calls", "Calls to the API server; code 0: no answer.", ["verb", "kind", "code"], registry=self.registry
        )
        self.catalogue_reads = Counter(
            "recoup_catalogue_reads", "Catalogue reads from a location.", ["location", "result"], registry=self.registry
        )
        self.leading = Gauge("recoup_leading", "1 while this replica holds the Lease.", registry=self.registry)
        self.restore_seconds = Histogram(
            "recoup_restore_seconds",
            "From RestoreRequest, or from its approval or promotion, to Restored.",
            buckets=RESTORE_BUCKETS,
            registry=self.registry,
        )
        self.bytes_read = Counter("recoup_backup_read_bytes", "Bytes that backups read from volumes.", registry=self.registry)
        self.bytes_stored = Counter("recoup_backup_stored_bytes", "Bytes that backups added to locations.", registry=self.registry)
        self.objects = ObjectGauges()
        self.registry.register(self.objects)

    def watch_queue(self, depth: Callable[[], int], oldest_age: Callable[[], float]) -> None:
        Gauge("recoup_queue_depth", "Objects that wait for a worker.", registry=self.registry).set_function(depth)
        Gauge("recoup_queue_oldest_seconds", "How long the first of them has been waiting.", registry=self.registry).set_function(
            oldest_age
        )

    def saw(self, key: Key, created: datetime, status: Object, now: datetime) -> None:
        """Count what ended between the last look and this one; what had ended before this process first looked is not counted."""
        if not self.objects.saw(key, status):
            return
        if key.kind == RESTORE.kind:
            self.restore_seconds.observe((now - _asked_at(status, created)).total_seconds())
        elif key.kind == SNAPSHOT.kind:
            volumes = status.get("volumes") or ()
            self.bytes_read.inc(sum(volume.get("bytesRead") or 0 for volume in volumes))
            self.bytes_stored.inc(sum(volume.get("bytesStored") or 0 for volume in volumes))

    def count_call(self, verb: str, kind: str, code: int) -> None:
        self.api_calls.labels(verb, kind, str(code)).inc()


class ObjectGauges(Collector):
    """Gauges about the custom resources themselves, from their statuses as last read or written."""

    def __init__(self) -> None:
        self._facts: dict[Key, Object] = {}
        self._lock = threading.Lock()

    def saw(self, key: Key, status: Object) -> bool:
        """Remember what is shown of this object. Returns whether its work was done, and was not at the last look."""
        facts = _facts(key, status)
        with self._lock:
            before = self._facts.get(key)
            self._facts[key] = facts
        return bool(facts["done"]) and before is not None and not before["done"]

    def gone(self, key: Key) -> None:
        with self._lock:
            self._facts.pop(key, None)

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            facts = list(self._facts.items())
        yield from _conditions(facts)
        yield from _policies([(key, fact) for key, fact in facts if key.kind == POLICY.kind])


def _asked_at(status: Object, created: datetime) -> datetime:
    """When the restore itself was asked for: a plan may have waited for its approval, and a standby for its promotion."""
    approved = any(each.get("type") == PLANNED for each in status.get("conditions") or ())
    asked = (status.get("standby") or {}).get("promotedAt") or (status.get("startedAt") if approved else None)
    return datetime.fromisoformat(str(asked)) if asked else created


def _facts(key: Key, status: Object) -> Object:
    conditions = {str(c.get("type")): str(c.get("status")) for c in status.get("conditions") or ()}
    facts: Object = {"conditions": conditions, "done": "True" in (conditions.get("Restored"), conditions.get("Stored"))}
    if key.kind == POLICY.kind:
        facts["coverage"] = {name: (status.get("coverage") or {}).get(name) for name in ("selected", "protected", "failed")}
        facts["last"] = (status.get("lastSuccess") or {}).get("at")
        facts["rpo"] = status.get("rpo")
        facts["behind"] = {line["location"]: line.get("behindSince") for line in status.get("replication") or () if "lacking" in line}
        facts["verified"] = {each["location"]: each["at"] for each in status.get("verifications") or ()}
        facts["drill"] = status.get("lastDrill")
        facts["damaged"] = sum(each.get("damaged") or 0 for each in status.get("verifications") or ()) if facts["verified"] else None
        facts["suspicious"] = len(status.get("suspicious") or ())
        facts["newest"] = {each["persistentVolumeClaim"]: each.get("newestPoint") for each in status.get("volumes") or ()}
    return facts


def _conditions(facts: list[tuple[Key, Object]]) -> Iterator[Metric]:
    state = {"True": "ready", "False": "not_ready"}
    tally = Tally((key.kind, state.get(fact["conditions"].get("Ready", ""), "unknown")) for key, fact in facts)
    objects = GaugeMetricFamily("recoup_objects", "Custom resources by their condition Ready.", labels=["kind", "state"])
    for kind in (LOCATION, POLICY, SNAPSHOT, RESTORE):
        for name in ("ready", "not_ready", "unknown"):
            objects.add_metric([kind.kind, name], tally[(kind.kind, name)])
    yield objects
    ready = GaugeMetricFamily("recoup_ready", "1 if the condition Ready is True, 0 if False.", labels=["kind", "namespace", "name"])
    for key, fact in facts:
        if key.kind in (LOCATION.kind, POLICY.kind) and fact["conditions"].get("Ready") in ("True", "False"):
            ready.add_metric([key.kind, key.namespace, key.name], float(fact["conditions"]["Ready"] == "True"))
    yield ready
    reachable = GaugeMetricFamily("recoup_location_reachable", "1 if the location answered when last asked.", labels=["location"])
    for key, fact in facts:
        if key.kind == LOCATION.kind and fact["conditions"].get("Reachable") in ("True", "False"):
            reachable.add_metric([key.name], float(fact["conditions"]["Reachable"] == "True"))
    yield reachable


def _policies(facts: list[tuple[Key, Object]]) -> Iterator[Metric]:
    labels = ["namespace", "policy"]
    last = GaugeMetricFamily("recoup_policy_last_success_timestamp_seconds", "Newest complete recovery point.", labels=labels)
    volumes = GaugeMetricFamily("recoup_policy_volumes", "Volumes of the policy.", labels=[*labels, "state"])
    for key, fact in facts:
        if fact["last"]:
            last.add_metric([key.namespace, key.name], datetime.fromisoformat(str(fact["last"])).timestamp())
        for state, count in fact["coverage"].items():
            if count is not None:
                volumes.add_metric([key.namespace, key.name, state], float(count))
    yield last
    yield volumes
    yield from _protection(facts)
    yield from _copies(facts)
    yield from _verified(facts)
    yield from _suspicious(facts)


def _suspicious(facts: list[tuple[Key, Object]]) -> Iterator[Metric]:
    waiting = GaugeMetricFamily(
        "recoup_policy_suspicious_points",
        "Recovery points of volumes that changed suspiciously and that nobody accepted; as many as the status lists.",
        labels=["namespace", "policy"],
    )
    for key, fact in facts:
        waiting.add_metric([key.namespace, key.name], float(fact["suspicious"]))
    yield waiting


def _copies(facts: list[tuple[Key, Object]]) -> Iterator[Metric]:
    met = GaugeMetricFamily(
        "recoup_policy_copies_met", "1 if the copies are as objectives ask, 0 if not; of policies that ask.", labels=["namespace", "policy"]
    )
    behind = GaugeMetricFamily(
        "recoup_replica_behind_since_timestamp_seconds",
        "Time whose state the oldest recovery point holds that the location lacks; 0 if it lacks none.",
        labels=["namespace", "policy", "location"],
    )
    for key, fact in facts:
        if fact["conditions"].get("CopiesMet") in ("True", "False"):
            met.add_metric([key.namespace, key.name], float(fact["conditions"]["CopiesMet"] == "True"))
        for location, since in fact["behind"].items():
            behind.add_metric([key.namespace, key.name, location], datetime.fromisoformat(str(since)).timestamp() if since else 0.0)
    yield met
    yield behind


def _protection(facts: list[tuple[Key, Object]]) -> Iterator[Metric]:
    rpo = GaugeMetricFamily("recoup_policy_rpo", "1 for how objectives.rpo is kept now.", labels=["namespace", "policy", "state"])
    newest = GaugeMetricFamily(
        "recoup_volume_newest_point_timestamp_seconds",
        "Time whose state the volume's newest restorable point holds; 0 without any.",
        labels=["namespace", "policy", "persistentvolumeclaim"],
    )
    for key, fact in facts:
        if fact["rpo"]:
            for state in RpoState:
                rpo.add_metric([key.namespace, key.name, state], float(fact["rpo"] == state))
        for name, point in fact["newest"].items():
            newest.add_metric([key.namespace, key.name, name], datetime.fromisoformat(str(point)).timestamp() if point else 0.0)
    yield rpo
    yield newest


def _verified(facts: list[tuple[Key, Object]]) -> Iterator[Metric]:
    last = GaugeMetricFamily(
        "recoup_policy_last_verification_timestamp_seconds",
        "When the newest verification of all recovery points at the location began.",
        labels=["namespace", "policy", "location"],
    )
    damaged = GaugeMetricFamily(
        "recoup_policy_damaged_points", "Recovery points of volumes that are not whole at some location.", labels=["namespace", "policy"]
    )
    for key, fact in facts:
        for location, at in fact["verified"].items():
            last.add_metric([key.namespace, key.name, location], datetime.fromisoformat(str(at)).timestamp())
        if fact["damaged"] is not None:
            damaged.add_metric([key.namespace, key.name], float(fact["damaged"]))
    verified = GaugeMetricFamily(
        "recoup_policy_verified", "1 if the condition Verified is True, 0 if False.", labels=["namespace", "policy"]
    )
    for key, fact in facts:
        if fact["conditions"].get("Verified") in ("True", "False"):
            verified.add_metric([key.namespace, key.name], float(fact["conditions"]["Verified"] == "True"))
    yield last
    yield damaged
    yield verified
    yield from _drilled(facts)


def _drilled(facts: list[tuple[Key, Object]]) -> Iterator[Metric]:
    labels = ["namespace", "policy", "location", "persistentvolumeclaim"]
    seconds = GaugeMetricFamily("recoup_policy_last_drill_timestamp_seconds", "When the newest drill ended.", labels=labels)
    passed = GaugeMetricFamily("recoup_policy_last_drill_passed", "1 if the newest drill came back whole, 0 if not.", labels=labels)
    for key, fact in facts:
        if fact["drill"]:
            drill = fact["drill"]
            where = [key.namespace, key.name, drill["location"], drill["persistentVolumeClaim"]]
            seconds.add_metric(where, datetime.fromisoformat(str(drill["at"])).timestamp())
            passed.add_metric(where, float(drill["result"] == "Passed"))
    yield seconds
    yield passed
