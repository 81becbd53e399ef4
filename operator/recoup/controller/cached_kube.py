"""The API server behind the cache: reads that the watch can answer are answered from memory, the rest goes to the server.

Two views of one server. `CachedKube` is what looks are made with; its `server` asks the server every time and is for the reads on
which something rests that can't be undone. Whatever either learns, from reads, from the answers to writes and from refusals that
contradict the cache, goes into it. Presence is answered from memory; absence of a single object never is.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator

from recoup.controller import failures
from recoup.controller.cache import POLICY_NAME, Cache, policy_of
from recoup.controller.kube import Kube, Object
from recoup.controller.resources import Resource
from recoup.errors import RecoupError


class ServerKube:
    """Asks the server, and has the cache learn from it."""

    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube, self.cache = kube, cache

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        began = self.cache.clock()
        try:
            obj = self._kube.get(resource, namespace, name)
        except failures.Gone:
            self.cache.forget(resource, namespace, name, before=began)
            raise
        self.cache.put(resource, obj)
        return obj

    def list(self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = "") -> list[Object]:
        path, _, value = fields.partition("=")
        if path == POLICY_NAME:  # servers do not select by it: only the cache does
            every = self.list(resource, namespace, labels=labels)
            return [item for item in every if policy_of(item) == value]
        began = self.cache.clock()
        found = self._kube.list(resource, namespace, labels=labels, fields=fields)
        for obj in found:
            self.cache.put(resource, obj)
        if not fields:
            self.cache.reconcile(resource, namespace, labels, {obj["metadata"]["uid"] for obj in found}, began=began)
        return found

    def pages(self, resource: Resource, namespace: str | None = None, *, labels: str = "") -> Iterator[builtins.list[Object]]:
        return self._kube.pages(resource, namespace, labels=labels)

    def list_metadata(self, resource: Resource, namespace: str | None = None, *, labels: str = "") -> builtins.list[Object]:
        return self._kube.list_metadata(resource, namespace, labels=labels)

    def create(self, resource: Resource, obj: Object) -> Object:
        metadata = obj["metadata"]
        return self._write(resource, metadata.get("namespace"), metadata["name"], lambda: self._kube.create(resource, obj))

    def patch(self, resource: Resource, namespace: str | None, name: str, patch: Object) -> Object:
        return self._write(resource, namespace, name, lambda: self._kube.patch(resource, namespace, name, patch))

    def apply_status(self, resource: Resource, seen: Object, status: Object) -> Object:
        metadata = seen["metadata"]
        return self._write(resource, metadata.get("namespace"), metadata["name"], lambda: self._kube.apply_status(resource, seen, status))

    def delete(self, resource: Resource, namespace: str | None, name: str, *, uid: str) -> Object | None:
        try:
            left = self._kube.delete(resource, namespace, name, uid=uid)
        except failures.Gone:
            self.cache.drop(resource, uid, namespace, name)
            raise
        except failures.Conflict:
            self._look_again(resource, namespace, name)
            raise
        if left is None:
            self.cache.drop(resource, uid, namespace, name)
        else:
            self.cache.put(resource, left)
        return left

    def log_tail(self, namespace: str, pod: str, *, lines: int = 1, limit_bytes: int = 4096) -> str:
        return self._kube.log_tail(namespace, pod, lines=lines, limit_bytes=limit_bytes)

    def _write(self, resource: Resource, namespace: str | None, name: str, call: Callable[[], Object]) -> Object:
        """A refusal that says that the cache is behind is followed by a look, so that the next decision is not made of the same."""
        try:
            obj = call()
        except (failures.AlreadyExists, failures.Conflict, failures.Gone):
            self._look_again(resource, namespace, name)
            raise
        self.cache.put(resource, obj)
        return obj

    def _look_again(self, resource: Resource, namespace: str | None, name: str) -> None:
        try:
            ServerKube.get(self, resource, namespace, name)
        except RecoupError:
            return  # absent (the cache knows by now), or the server is away: the write's own refusal is the one to tell


class CachedKube(ServerKube):
    """The same with reads from memory where the cache can answer."""

    def __init__(self, kube: Kube, cache: Cache) -> None:
        super().__init__(kube, cache)
        self.server = ServerKube(kube, cache)

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        return self.cache.get(resource, namespace, name) or super().get(resource, namespace, name)

    def list_metadata(self, resource: Resource, namespace: str | None = None, *, labels: str = "") -> builtins.list[Object]:
        """Names, namespaces, uids and labels, where the cache can answer; all metadata from the server."""
        known = self.cache.names(resource, namespace, labels)
        if known is None:
            return super().list_metadata(resource, namespace, labels=labels)
        return [{"metadata": {"namespace": place[0], "name": place[1], "uid": uid, "labels": marks}} for place, uid, marks in known]

    def list(self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = "") -> list[Object]:
        known = self.cache.select(resource, namespace, labels, fields)
        return known if known is not None else super().list(resource, namespace, labels=labels, fields=fields)
