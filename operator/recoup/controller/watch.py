"""kopf as event source and nothing more: an event goes into the cache, and becomes the key of the custom resource it belongs to.

No state of kopf's in the cluster: no finalizer, no annotation, no peering, no Event. Volume snapshots, Jobs and Pods are streamed by our
label only. A lost event costs at most one resync period: the queue brings every object back by itself.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import kopf

from recoup.api.labels import MANAGED_BY, MANAGER, OWNER_KIND, OWNER_NAME, OWNER_NAMESPACE, OWNER_UID, UPKEEP_NAMESPACE
from recoup.api.names import label_value
from recoup.api.restorerequest import RestoreMode
from recoup.controller.cache import KINDS, OURS, Cache
from recoup.controller.resources import (
    JOB,
    LOCATION,
    OWNERS,
    POD,
    POLICY,
    PV,
    PVC,
    RESTORE,
    SNAPSHOT,
    VOLUME_SNAPSHOT,
    VOLUME_SNAPSHOT_CONTENT,
    Key,
    Resource,
)
from recoup.plan.objects.identity import LOCATION as LOCATION_OF_MOVER
from recoup.plan.objects.identity import RESTORED_BY, VAULT, VAULT_NAMESPACE

log = logging.getLogger(__name__)

CHILDREN = (PVC, PV, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT, JOB, POD)
MOVERS_KINDS = (JOB, POD)
"""Watched in the movers' namespace only: no right to see anybody else's pods is needed."""
SETTLE = 0.05
"""Seconds to let further events of one step arrive, so that they cost one look."""

AFTER_DELETION = 1.0
"""Seconds after a child went: what is removed together mostly goes within them."""

Body = dict[str, Any]
Hear = Callable[[Resource, str | None, Body], None]
"""Called with (kind, event, object); event is None for what a list names."""


def listener(cache: Cache, router: Router, relisted: Callable[[], None]) -> Hear:
    """What every event of the watch goes through: the cache first, so that the look that it causes sees it."""

    def hear(resource: Resource, event: str | None, body: Body) -> None:
        metadata = body["metadata"]
        if event == "DELETED":
            cache.drop(resource, metadata["uid"], metadata.get("namespace"), metadata["name"])
        else:
            cache.put(resource, body)
        if event is None:
            relisted()
        router.tell(resource, event, body)

    return hear


class Router:
    """Turns events into keys. Remembers of each custom resource only what tells an asked-for change from our own status write."""

    def __init__(
        self, *, changed: Callable[[Key, float], None], gone: Callable[[Key], None],
        snapshot_labels: Callable[[str, str], dict[str, str]] = lambda _namespace, _name: {},
    ) -> None:  # fmt: skip
        """`snapshot_labels`: the labels of a VolumeSnapshot of ours by namespace and name, {} if it is none."""
        self._changed = changed
        self._gone = gone
        self._snapshot_labels = snapshot_labels
        self._seen: dict[str, tuple[Key, object]] = {}
        self._over: dict[str, str] = {}
        self._standbys: dict[str, Key] = {}
        self._children: dict[str, object] = {}
        self._verdicts: dict[str, object] = {}

    def tell(self, resource: Resource, event: str | None, body: Body) -> None:
        """One event of any watched kind; of those that are neither owner nor child nothing follows."""
        if resource.kind in OWNERS:
            self.owner_event(resource.kind, event, body)
        elif resource in CHILDREN:
            self.child_event(resource.kind, event, body)

    def owner_event(self, kind: str, event: str | None, body: Body) -> None:
        metadata = body["metadata"]
        key = Key(kind, metadata.get("namespace") or "", metadata["name"])
        if event == "DELETED":
            self._seen.pop(metadata["uid"], None)
            self._standbys.pop(metadata["uid"], None)
            self._verdicts.pop(metadata["uid"], None)
            self._gone(key)
            if kind == SNAPSHOT.kind:
                self._tell_policy(key, event, body)
                self._tell_location(body)
            if kind == LOCATION.kind:
                self._tell_users(key, event, {})
            return
        asked = (metadata.get("generation"), metadata.get("deletionTimestamp"), metadata.get("labels"), metadata.get("annotations"))
        before = self._seen.get(metadata["uid"])
        self._seen[metadata["uid"]] = (key, asked)
        if before is None or before[1] != asked:
            self._changed(key, 0.0)
            if kind == SNAPSHOT.kind and before is not None:  # a pin is its policy's to carry out
                self._changed(self._policy_of(key, body), SETTLE)
        if kind == RESTORE.kind and body["spec"].get("mode") == RestoreMode.STANDBY:
            self._standbys[metadata["uid"]] = key
        if kind == SNAPSHOT.kind:
            self._tell_policy(key, event, body)
        if kind == LOCATION.kind:
            self._tell_users(key, event, body)
        if kind == POLICY.kind:
            self._tell_points(key, body)

    def _tell_points(self, policy: Key, body: Body) -> None:
        """Recovery points say what keeps them: what a policy says of its retention is news for those of its namespace."""
        status = body.get("status") or {}
        lines = [line | {"prune": None} for line in status.get("retention") or ()]
        told = (lines, status.get("suspicious"), body["spec"].get("suspiciousChange"))
        before = self._verdicts.get(body["metadata"]["uid"])
        self._verdicts[body["metadata"]["uid"]] = told
        if before == told or before is None:
            return
        for uid, (key, _) in list(self._seen.items()):
            if key.kind == SNAPSHOT.kind and key.namespace == policy.namespace and uid in self._over:
                self._changed(key, SETTLE)

    @staticmethod
    def _policy_of(snapshot: Key, body: Body) -> Key:
        return Key(POLICY.kind, snapshot.namespace, body["spec"]["policyRef"]["name"])

    def _tell_users(self, location: Key, event: str | None, body: Body) -> None:
        """Policies say whether their location is fine, and runs wait for it: a changed condition of it, which is rare, wakes them all.

        So do a location that was not there before and one that is no more; the ones that are listed at the beginning are no news.
        """
        conditions = (body.get("status") or {}).get("conditions") or ()
        verdict = sorted((str(c.get("type")), str(c.get("status")), str(c.get("reason"))) for c in conditions)
        before = self._verdicts.pop(location.name, None)
        if event != "DELETED":
            self._verdicts[location.name] = verdict
            if before == verdict or (before is None and event != "ADDED"):
                return
        self._wake((POLICY.kind, SNAPSHOT.kind, RESTORE.kind))

    def _wake(self, kinds: tuple[str, ...], *, namespace: str | None = None) -> None:
        """namespace: as in a label; None for all."""
        for uid, (key, _) in list(self._seen.items()):
            if key.kind in kinds and uid not in self._over and namespace in (None, label_value(key.namespace)):
                self._changed(key, SETTLE)

    def _tell_policy(self, key: Key, event: str | None, body: Body) -> None:
        """A policy says how its newest runs ended, so the end of a run is news for it, and for the standbys of its namespace."""
        uid, over = body["metadata"]["uid"], (body.get("status") or {}).get("completedAt")
        if event == "DELETED" or (over and self._over.get(uid) != over):
            self._changed(self._policy_of(key, body), SETTLE)
        if over and event is not None and self._over.get(uid) != over:
            for standby in [each for each in list(self._standbys.values()) if each.namespace == key.namespace]:
                self._changed(standby, SETTLE)
        if event == "DELETED":
            self._over.pop(uid, None)
        elif over:
            self._over[uid] = over

    def _tell_location(self, body: Body) -> None:
        """What was deleted may only have been a view of a recovery point that the location still has."""
        location = ((body.get("spec") or {}).get("origin") or body.get("status") or {}).get("location")
        if location:
            self._changed(Key(LOCATION.kind, "", location), AFTER_DELETION)

    def child_event(self, kind: str, event: str | None, body: Body) -> None:
        """Only what a decision can rest on is news. A new child is none: we made it ourselves (a list after a lost watch has no type)."""
        uid = body["metadata"]["uid"]
        before = self._children.pop(uid, None)
        if event == "DELETED":
            if kind != POD.kind or (body["metadata"].get("labels") or {}).get(OWNER_KIND) != LOCATION.kind:  # of those its Job tells
                self._tell_owner(kind, body, AFTER_DELETION)
            return
        state = self._children[uid] = _state_of(kind, body)
        if state != before and event != "ADDED":
            self._tell_owner(kind, body, SETTLE)
            if kind == JOB.kind and state == ["Failed"] and LOCATION_OF_MOVER in (body["metadata"].get("labels") or {}):
                self._wake((LOCATION.kind,))  # it may be the location's fault: that is for its probe to tell

    def _tell_owner(self, kind: str, body: Body, delay: float) -> None:
        labels = body["metadata"].get("labels") or {}
        if kind == VOLUME_SNAPSHOT_CONTENT.kind and OWNER_UID not in labels:  # the snapshot controller's own, of a snapshot of ours
            ref = body["spec"].get("volumeSnapshotRef") or {}
            labels = self._snapshot_labels(ref.get("namespace") or "", ref.get("name") or "")
        if UPKEEP_NAMESPACE in labels:  # it belongs to the location, but policies asked for it
            self._wake((POLICY.kind,), namespace=labels[UPKEEP_NAMESPACE])
            return
        key = self.owner_of(labels)
        if key is not None:
            self._changed(key, delay)
        if VAULT in labels:  # a keys Job belongs to the location too, and policies and runs of its namespace wait for it
            self._wake((POLICY.kind, SNAPSHOT.kind), namespace=labels.get(VAULT_NAMESPACE))

    def owner_of(self, labels: dict[str, str]) -> Key | None:
        known = self._seen.get(labels.get(OWNER_UID) or labels.get(RESTORED_BY, ""))
        if known is not None:
            return known[0]  # by uid, because the name in a label may have been cut
        kind, name = labels.get(OWNER_KIND), labels.get(OWNER_NAME)
        return Key(kind, labels.get(OWNER_NAMESPACE, ""), name) if kind in OWNERS and name else None


def _state_of(kind: str, body: Body) -> object:
    """The part of a child that a plan looks at; everything else that moves in it (counters, probes, finalizers) is noise."""
    status: Body = body.get("status") or {}
    if kind == JOB.kind:
        return sorted(
            c["type"] for c in status.get("conditions") or () if c.get("status") == "True" and c["type"] in ("Complete", "Failed")
        )
    if kind == VOLUME_SNAPSHOT.kind:
        return bool(status.get("readyToUse")), (status.get("error") or {}).get("message")
    if kind == VOLUME_SNAPSHOT_CONTENT.kind:
        return (
            bool(status.get("creationTime")),
            bool(status.get("readyToUse") and status.get("snapshotHandle")),
            (status.get("error") or {}).get("message"),
        )
    if kind == POD.kind:
        ended = any("terminated" in (c.get("state") or {}) for c in status.get("containerStatuses") or ())
        return status.get("phase"), ended, (body.get("spec") or {}).get("nodeName")
    return status.get("phase")


def build_registry(hear: Hear, *, kinds: tuple[Resource, ...]) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    for resource in kinds:
        _on_event(registry, hear, resource)
    kopf.on.login(registry=registry)(kopf.login_via_client)
    return registry


def _on_event(registry: kopf.OperatorRegistry, hear: Hear, resource: Resource) -> None:
    @kopf.on.event(*_selector(resource), registry=registry, id=resource.kind)
    async def changed(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002  # names and colour are kopf's
        hear(resource, type, dict(body))


def _selector(resource: Resource) -> tuple[str, str, str]:
    group, _, version = resource.api_version.rpartition("/")
    return group, version, resource.plural


def build_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.watching.server_timeout = 3000  # bookmarks, which come every minute, tell that a watch is alive
    settings.watching.client_timeout = 3060
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    for resource in OURS:
        settings.watching.label_selectors[_selector(resource)] = f"{MANAGED_BY}={MANAGER}"
    return settings


class Watcher:
    """Runs kopf in two threads: one for the cluster, one for the movers' namespace. `died` is called if one ends unasked."""

    def __init__(self, hear: Hear, *, movers_namespace: str, died: Callable[[BaseException | None], None]) -> None:
        self._died = died
        self._stop = threading.Event()
        cluster = tuple(resource for resource in KINDS if resource not in MOVERS_KINDS)
        self._streams = [
            _Stream(build_registry(hear, kinds=cluster), None),
            _Stream(build_registry(hear, kinds=MOVERS_KINDS), movers_namespace),
        ]
        self._threads = [threading.Thread(target=self._run, args=(stream,), name="watch", daemon=True) for stream in self._streams]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(15)

    @property
    def watching(self) -> bool:
        return all(stream.ready.is_set() for stream in self._streams) and all(thread.is_alive() for thread in self._threads)

    def _run(self, stream: _Stream) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(stream.operate(self._stop))
        except BaseException as caught:  # noqa: BLE001  # a dead watch must end the process, whatever killed it
            error = caught
        if not self._stop.is_set():
            log.error("the watch ended", exc_info=error)
            self._died(error)


class _Stream:
    """One embedded kopf operator. namespace: None for the whole cluster."""

    def __init__(self, registry: kopf.OperatorRegistry, namespace: str | None) -> None:
        self._registry = registry
        self._namespace = namespace
        self.ready = threading.Event()

    async def operate(self, stop: threading.Event) -> None:
        await kopf.operator(
            registry=self._registry,
            settings=build_settings(),
            identity="recoup",  # type: ignore[arg-type]  # else it asks for the user's name, which a container's uid need not have
            standalone=True,
            clusterwide=self._namespace is None,
            namespaces=[self._namespace] if self._namespace else [],
            stop_flag=stop,
            ready_flag=self.ready,
        )
