"""What the controller knows of the cluster without asking: the newest seen version of every object of the watched kinds, as JSON.

Fed by the watch, by lists and by the answers to our own writes, in any order: a version replaces an older one only, and what was
deleted does not come back. Knows nothing of the wire (cached_kube.py) nor of what decides (plan/). Why stale answers are safe is said
in docs/architecture.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import field

from recoup.api.labels import MANAGED_BY, MANAGER, OWNER_UID
from recoup.controller.resources import (
    JOB,
    LOCATION,
    NAMESPACE,
    POD,
    POLICY,
    PV,
    PVC,
    RESTORE,
    SNAPSHOT,
    STORAGE_CLASS,
    VOLUME_SNAPSHOT,
    VOLUME_SNAPSHOT_CLASS,
    VOLUME_SNAPSHOT_CONTENT,
    Resource,
)
from recoup.value import Record

Object = dict[str, Any]
Place = tuple[str, str]
"""Namespace ("" if cluster-scoped) and name."""

WHOLE = (
    NAMESPACE, LOCATION, POLICY, SNAPSHOT, RESTORE, STORAGE_CLASS, VOLUME_SNAPSHOT_CLASS, PVC, PV, VOLUME_SNAPSHOT_CONTENT,
)  # fmt: skip
"""Kinds of which every object is known."""
OURS = (VOLUME_SNAPSHOT, JOB, POD)
"""Kinds of which only what carries our label is known; Jobs and Pods in the movers' namespace only."""
KINDS = (*WHOLE, *OURS)
OUR_LABEL = f"{MANAGED_BY}={MANAGER}"

NAME = "metadata.name"
POLICY_NAME = "spec.policyRef.name"
"""Fields of which one may be asked for besides labels."""

K = TypeVar("K")

REMEMBER_GONE = 600.0
"""Seconds for which a deleted object is remembered: longer than any late answer or event about it can take."""

FOR_EVER = float("inf")
"""As a version: of an object that was deleted none comes back."""


class Entry(NamedTuple):
    """One object. `touched`: when its version, or its being new, was last learned, on the cache's clock."""

    uid: str
    version: int
    labels: Mapping[str, str]
    raw: bytes
    touched: float
    policy: str = ""
    """Of a BackupSnapshot: the name in spec.policyRef."""


class _Shelf(Record):
    """All objects of one kind. synced: it was listed, so that a list may be answered from here."""

    entries: dict[Place, Entry] = field(default_factory=dict)
    by_owner: dict[str, set[Place]] = field(default_factory=dict)
    by_namespace: dict[str, set[Place]] = field(default_factory=dict)
    by_policy: dict[Place, set[Place]] = field(default_factory=dict)
    """Of BackupSnapshots: by namespace and name of the policy that they are of."""
    gone: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By uid of what is not here any more: when that was learned, and the last version that is not to come back."""
    synced: bool = False


class Cache:
    """Thread-safe. Answers are copies. `clock` in seconds, monotonic."""

    def __init__(self, *, movers_namespace: str, clock: Callable[[], float]) -> None:
        self._movers_namespace, self.clock = movers_namespace, clock
        self._shelves = {resource: _Shelf() for resource in KINDS}
        self._lock = threading.Lock()

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """The object as last seen; None says nothing: it may be there, unknown."""
        shelf = self._shelves.get(resource)
        entry = shelf.entries.get((namespace or "", name)) if shelf else None
        return _decode(resource, entry) if entry else None

    def labels(self, resource: Resource, namespace: str, name: str) -> dict[str, str]:
        """The labels of an object as last seen, {} if it is not known."""
        shelf = self._shelves.get(resource)
        entry: Entry | None = shelf.entries.get((namespace, name)) if shelf else None
        return dict(entry.labels) if entry else {}

    def uid(self, resource: Resource, namespace: str | None, name: str) -> str:
        """The uid of an object as last seen, "" if it is not known."""
        shelf = self._shelves.get(resource)
        entry = shelf.entries.get((namespace or "", name)) if shelf else None
        return entry.uid if entry else ""

    def select(self, resource: Resource, namespace: str | None, labels: str, fields: str = "") -> list[Object] | None:
        """All that match by name, or None if the answer can't be known from here.

        `fields`: one of NAME and POLICY_NAME with its value, together with a namespace.
        """
        shelf = self._shelves.get(resource)
        if shelf is None or not shelf.synced or not self._covers(resource, namespace, labels):
            return None
        path, _, value = fields.partition("=")
        if path not in ("", NAME, POLICY_NAME) or (path and namespace is None) or (path == POLICY_NAME and resource is not SNAPSHOT):
            return None
        with self._lock:
            found = self._matching(shelf, namespace, labels, path, value)
        return [_decode(resource, entry) for _, entry in sorted(found)]

    def names(self, resource: Resource, namespace: str | None, labels: str) -> list[tuple[Place, str, Mapping[str, str]]] | None:
        """Place, uid and labels of what `select` would return, decoding nothing."""
        shelf = self._shelves.get(resource)
        if shelf is None or not shelf.synced or not self._covers(resource, namespace, labels):
            return None
        with self._lock:
            found = self._matching(shelf, namespace, labels)
        return [(place, entry.uid, entry.labels) for place, entry in found]

    def put(self, resource: Resource, obj: Object) -> bool:
        """Take an object as it was told; returns whether that was news. Older versions and what was deleted are ignored."""
        shelf = self._shelves.get(resource)
        if shelf is None or not self._is_kept(resource, obj):
            return False
        metadata = obj["metadata"]
        place: Place = (metadata.get("namespace") or "", metadata["name"])
        version, now = int(metadata["resourceVersion"]), self.clock()
        seen = shelf.entries.get(place)
        if seen is not None and seen.version >= version:
            return False  # as most of what a comparison lists; before it is encoded for nothing
        policy = policy_of(obj) if resource is SNAPSHOT else ""
        kept = obj | {"metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}
        entry = Entry(metadata["uid"], version, metadata.get("labels") or {}, msgspec.json.encode(kept), now, policy)
        with self._lock:
            known = shelf.entries.get(place)
            if version <= shelf.gone.get(entry.uid, (0.0, -1.0))[1] or (known is not None and known.version >= version):
                return False
            if known is not None and known.uid != entry.uid:  # made anew under its name: the earlier one is gone
                _remember_gone(shelf, known.uid, now)
            self._store(shelf, place, known, entry)
        return True

    def drop(self, resource: Resource, uid: str, namespace: str | None, name: str) -> bool:
        """Take note that this very object is gone; returns whether it was known."""
        shelf = self._shelves.get(resource)
        if shelf is None:
            return False
        with self._lock:
            _remember_gone(shelf, uid, self.clock())
            place = (namespace or "", name)
            known = shelf.entries.get(place)
            if known is None or known.uid != uid:
                return False
            self._store(shelf, place, known, None)
        return True

    def forget(self, resource: Resource, namespace: str | None, name: str, *, before: float) -> None:
        """The server has nothing of that name, asked at `before`: whatever was known of it since longer is gone."""
        shelf = self._shelves.get(resource)
        known = shelf.entries.get((namespace or "", name)) if shelf else None
        if known is not None and known.touched < before:
            self.drop(resource, known.uid, namespace, name)

    def reconcile(
        self, resource: Resource, namespace: str | None, labels: str, seen: Collection[str], *, began: float, whole: bool = False
    ) -> list[Object]:
        """The server listed exactly the uids `seen` (already put) for this selection, asked at `began`: the rest of it is gone.

        What was learned after `began` is kept: the list may be older. `whole`: it was all there is, so lists may be answered from
        here from now on. Returns what was dropped.
        """
        shelf = self._shelves.get(resource)
        if shelf is None:
            return []
        with self._lock:
            stale = [
                (place, entry)
                for place, entry in self._matching(shelf, namespace, labels)
                if entry.uid not in seen and entry.touched < began
            ]
            for place, entry in stale:
                # missing from a selection, it may have lost the label only, which a newer version tells
                _remember_gone(shelf, entry.uid, self.clock(), FOR_EVER if whole else entry.version)
                self._store(shelf, place, entry, None)
            shelf.synced = shelf.synced or whole
        return [_decode(resource, entry) for _, entry in stale]

    def _covers(self, resource: Resource, namespace: str | None, labels: str) -> bool:
        if resource in WHOLE:
            return True
        return OUR_LABEL in labels.split(",") and (resource is VOLUME_SNAPSHOT or namespace == self._movers_namespace)

    def _is_kept(self, resource: Resource, obj: Object) -> bool:
        if resource in WHOLE:
            return True
        metadata = obj["metadata"]
        ours = (metadata.get("labels") or {}).get(MANAGED_BY) == MANAGER
        return ours and (resource is VOLUME_SNAPSHOT or metadata.get("namespace") == self._movers_namespace)

    def _matching(self, shelf: _Shelf, namespace: str | None, labels: str, path: str = "", value: str = "") -> list[tuple[Place, Entry]]:
        terms = [term.partition("=") for term in labels.split(",") if term]
        owner = next((value for key, equals, value in terms if key == OWNER_UID and equals), None)
        places: Iterable[Place] = shelf.entries
        if path == NAME and namespace is not None:
            places = [place] if (place := (namespace, value)) in shelf.entries else []
        elif path == POLICY_NAME and namespace is not None:
            places = shelf.by_policy.get((namespace, value), ())
        elif owner is not None:
            places = shelf.by_owner.get(owner, ())
        elif namespace is not None:
            places = shelf.by_namespace.get(namespace, ())
        found = ((place, shelf.entries[place]) for place in places if namespace in (None, place[0]))
        return [(place, entry) for place, entry in found if all(_matches(entry.labels, *term) for term in terms)]

    def _store(self, shelf: _Shelf, place: Place, known: Entry | None, entry: Entry | None) -> None:
        """Replace one entry, and keep the indexes."""
        if known is not None:
            _unfile(shelf.by_owner, known.labels.get(OWNER_UID), place)
            _unfile(shelf.by_policy, (place[0], known.policy), place)
        if entry is None:
            shelf.entries.pop(place, None)
            _unfile(shelf.by_namespace, place[0], place)
            return
        shelf.entries[place] = entry
        shelf.by_namespace.setdefault(place[0], set()).add(place)
        if OWNER_UID in entry.labels:
            shelf.by_owner.setdefault(entry.labels[OWNER_UID], set()).add(place)
        if entry.policy:
            shelf.by_policy.setdefault((place[0], entry.policy), set()).add(place)


def policy_of(snapshot: Object) -> str:
    """The policy that a BackupSnapshot names."""
    return str(((snapshot.get("spec") or {}).get("policyRef") or {}).get("name", ""))


def _decode(resource: Resource, entry: Entry) -> Object:
    obj: Object = msgspec.json.decode(entry.raw)
    return obj | {"apiVersion": resource.api_version, "kind": resource.kind}


def _matches(labels: Mapping[str, str], key: str, equals: str, value: str) -> bool:
    return labels.get(key) == value if equals else key in labels


def _unfile(index: dict[K, set[Place]], key: K | None, place: Place) -> None:
    places = index.get(key) if key is not None else None
    if key is not None and places is not None:
        places.discard(place)
        if not places:
            del index[key]


def _remember_gone(shelf: _Shelf, uid: str, now: float, version: float = FOR_EVER) -> None:
    """Insertion order is order of time, so the oldest come first."""
    before = shelf.gone.pop(uid, (0.0, -1.0))[1]
    shelf.gone[uid] = (now, max(before, version))
    while shelf.gone and now - (first := next(iter(shelf.gone.items())))[1][0] > REMEMBER_GONE:
        del shelf.gone[first[0]]
