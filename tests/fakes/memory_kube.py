"""An API server in memory: recoup.controller.kube.Kube as far as the controller's decisions depend on it.

Its contract test (tests/integration/controller/test_kube_contract.py) runs against it and against a real kube-apiserver. It does
not know schemas, defaults, CEL or admission: what depends on those is tested on the real one only.
"""

from __future__ import annotations

import builtins
import re
import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, TypeVar

import msgspec

from recoup.controller import failures
from recoup.controller.resources import NAMESPACE, Resource

T = TypeVar("T")
Object = dict[str, Any]
Place = tuple[str, str, str, str]


class MemoryKube:
    """`before_write(verb, kind, name)` may raise: that is how a test stops a controller after write k."""

    def __init__(self, *, now: Callable[[], str] = lambda: "2026-11-23T12:00:00Z") -> None:
        self.objects: dict[Place, Object] = {}
        self.logs: dict[tuple[str, str], str] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.reads = 0
        self.before_write: Callable[[str, str, str], None] = lambda _verb, _kind, _name: None
        self._now = now
        self._versions = count(1)
        self._uids = count(1)
        self._lock = threading.RLock()

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        with self._lock:
            self.reads += 1
            return copied(self._find(resource, namespace, name))

    def list(self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = "") -> list[Object]:
        with self._lock:
            self.reads += 1
            wanted = (resource.api_version, resource.kind)
            places = sorted(place for place in self.objects if place[:2] == wanted and namespace in (None, place[2]))
            found = [self.objects[place] for place in places]
            return [copied(obj) for obj in found if _labels_match(obj, labels) and _fields_match(obj, fields)]

    def pages(self, resource: Resource, namespace: str | None = None, *, labels: str = "") -> Iterator[builtins.list[Object]]:
        yield self.list(resource, namespace, labels=labels)

    def list_metadata(self, resource: Resource, namespace: str | None = None, *, labels: str = "") -> builtins.list[Object]:
        kept = ("apiVersion", "kind", "metadata")
        return [{key: item[key] for key in kept if key in item} for item in self.list(resource, namespace, labels=labels)]

    def create(self, resource: Resource, obj: Object) -> Object:
        with self._lock:
            metadata = obj["metadata"]
            place = _place(resource, metadata.get("namespace"), metadata["name"])
            self._check_namespace(resource, metadata.get("namespace"))
            self._write("create", resource, metadata["name"])
            if place in self.objects:
                raise failures.AlreadyExists(f"POST {resource.kind} {metadata['name']}: exists")
            made = copied(obj)
            server = {"uid": f"uid-{next(self._uids)}", "generation": 1, "creationTimestamp": self._now()}
            made["metadata"] = {**made["metadata"], **server, "resourceVersion": str(next(self._versions))}
            if "status" in made and resource.api_version.startswith("recoup.dev"):
                del made["status"]  # a status subresource is not set by a create
            self.objects[place] = made
            return copied(made)

    def patch(self, resource: Resource, namespace: str | None, name: str, patch: Object) -> Object:
        with self._lock:
            self._write("patch", resource, name)
            present = self._find(resource, namespace, name)
            asked = patch.get("metadata", {})
            for field in ("uid", "resourceVersion"):
                if asked.get(field) not in (None, present["metadata"][field]):
                    raise failures.Conflict(f"PATCH {resource.kind} {name}: {field} is another")
            merged = _merge(present, patch)
            if resource.api_version.startswith("recoup.dev"):
                merged["status"] = present.get("status", {})
            self._store(resource, present, merged)
            return copied(self.objects.get(_place(resource, namespace, name), merged))

    def apply_status(self, resource: Resource, seen: Object, status: Object) -> Object:
        namespace, name = seen["metadata"].get("namespace"), seen["metadata"]["name"]
        with self._lock:
            self._write("apply_status", resource, name)
            present = self._find(resource, namespace, name)
            if present["metadata"]["resourceVersion"] != seen["metadata"]["resourceVersion"]:
                raise failures.Conflict(f"PATCH {resource.kind} {name}: changed since it was seen")
            self._store(resource, present, {**present, "status": copied(status)})
            return copied(self._find(resource, namespace, name))

    def delete(self, resource: Resource, namespace: str | None, name: str, *, uid: str) -> Object | None:
        with self._lock:
            self._write("delete", resource, name)
            present = self._find(resource, namespace, name)
            if present["metadata"]["uid"] != uid:
                raise failures.Conflict(f"DELETE {resource.kind} {name}: uid is another")
            if present["metadata"].get("finalizers"):
                present["metadata"].setdefault("deletionTimestamp", self._now())
                present["metadata"]["resourceVersion"] = str(next(self._versions))
                return copied(present)
            del self.objects[_place(resource, namespace, name)]
            return None

    def log_tail(self, namespace: str, pod: str, *, lines: int = 1, limit_bytes: int = 4096) -> str:
        try:
            text = self.logs[(namespace, pod)]
        except KeyError:
            raise failures.Gone(f"no log of {namespace}/{pod}") from None
        return "".join(text.splitlines(keepends=True)[-lines:])[:limit_bytes]

    def ready(self) -> bool:
        return True

    def put(self, resource: Resource, obj: Object) -> Object:
        """Play another actor (a user, the CSI sidecars): store the object as given, uid and all."""
        with self._lock:
            metadata = obj["metadata"]
            place = _place(resource, metadata.get("namespace"), metadata["name"])
            made = copied(obj) | {"apiVersion": resource.api_version, "kind": resource.kind}
            known = self.objects.get(place, {}).get("metadata", {})
            made["metadata"] = {
                "uid": known.get("uid") or f"uid-{next(self._uids)}",
                "generation": 1,
                "creationTimestamp": self._now(),
                **made["metadata"],
                "resourceVersion": str(next(self._versions)),
            }
            self.objects[place] = made
            return copied(made)

    def _find(self, resource: Resource, namespace: str | None, name: str) -> Object:
        try:
            return self.objects[_place(resource, namespace, name)]
        except KeyError:
            raise failures.Gone(f"{resource.kind} {namespace or ''}/{name} not found") from None

    def _write(self, verb: str, resource: Resource, name: str) -> None:
        self.before_write(verb, resource.kind, name)  # before anything is looked at: another client may come first here
        self.writes.append((verb, resource.kind, name))

    def _store(self, resource: Resource, present: Object, changed: Object) -> None:
        if changed == present:
            return
        metadata = {**changed["metadata"], "resourceVersion": str(next(self._versions))}
        if changed.get("spec") != present.get("spec"):
            metadata["generation"] = present["metadata"].get("generation", 1) + 1
        changed["metadata"] = metadata
        place = _place(resource, metadata.get("namespace"), metadata["name"])
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            del self.objects[place]
        else:
            self.objects[place] = changed

    def _check_namespace(self, resource: Resource, namespace: str | None) -> None:
        """A namespace that the test made may be terminating; one that it did not make is taken to exist."""
        if resource.namespaced and namespace is not None:
            found = self.objects.get(_place(NAMESPACE, None, namespace))
            if found is not None and found["metadata"].get("deletionTimestamp"):
                raise failures.NamespaceTerminating(f"POST {resource.kind}: namespace {namespace} is being terminated")


def copied(value: T) -> T:
    """A deep copy of what is JSON, as it would come back over the wire; much faster than copy.deepcopy."""
    copy: T = msgspec.json.decode(msgspec.json.encode(value))
    return copy


def _place(resource: Resource, namespace: str | None, name: str) -> Place:
    return (resource.api_version, resource.kind, namespace or "", name)


def _merge(present: Object, patch: Object) -> Object:
    merged = dict(present)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            inner = merged.get(key)
            merged[key] = _merge(inner if isinstance(inner, dict) else {}, value)
        else:
            merged[key] = copied(value)
    return merged


def _labels_match(obj: Object, selector: str) -> bool:
    """Equality, existence and `in`, which is all that the controller and the hooks of the tests use."""
    labels = obj["metadata"].get("labels") or {}
    for term in filter(None, (part.strip() for part in re.split(r",(?![^(]*\))", selector))):
        key, among, choices = term.partition(" in ")
        if among:
            if labels.get(key) not in choices.strip("()").split(","):
                return False
            continue
        key, equals, value = term.partition("=")
        if (equals and labels.get(key) != value) or (not equals and key not in labels):
            return False
    return True


def _fields_match(obj: Object, selector: str) -> bool:
    for term in filter(None, selector.split(",")):
        path, _, value = term.partition("=")
        found: Any = obj
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if str(found or "") != value:
            return False
    return True
