"""The watch of a controller in the world in memory: brings the changes of the cluster into its cache, as late as a test wants."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from recoup.controller.cache import KINDS, Cache
from recoup.controller.cache_check import CacheCheck
from recoup.controller.resources import Resource, resource_of
from tests.fakes.memory_kube import MemoryKube, Object, Place

Event = tuple[Resource, str | None, Object]


def steady_clock() -> Callable[[], float]:
    """Each asking is later than the one before, and the whole test is over before anything is forgotten."""
    ticks = count()
    return lambda: next(ticks) * 1e-6


class LaggingWatch:
    """Of every kind the newest `lag` changes are held back, until `catch_up`. The cache begins with a full list, as after a start."""

    def __init__(self, kube: MemoryKube, cache: Cache, *, movers_namespace: str, lag: int = 0) -> None:
        self._kube, self._cache, self._lag = kube, cache, lag
        check = CacheCheck(kube, cache, movers_namespace=movers_namespace, every=600, news=lambda _kind, _event, _obj: None)
        for resource in KINDS:
            check.compare(resource)
        self._seen: dict[Place, Object] = dict(kube.objects)
        self._waiting: dict[Resource, list[Event]] = {resource: [] for resource in KINDS}

    def deliver(self) -> None:
        """Let the cache hear what happened, less the lag."""
        self._note()
        for waiting in self._waiting.values():
            self._tell(waiting, len(waiting) - self._lag)

    def catch_up(self) -> bool:
        """Time passes: nothing stays on its way. True if there was something."""
        self._note()
        late = [waiting for waiting in self._waiting.values() if waiting]
        for waiting in late:
            self._tell(waiting, len(waiting))
        return bool(late)

    def _note(self) -> None:
        now = dict(self._kube.objects)
        for place, obj in now.items():
            before = self._seen.get(place)
            if before is not None and before["metadata"]["uid"] != obj["metadata"]["uid"]:
                self._queue("DELETED", before)
                before = None
            if before is None or before["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
                self._queue("ADDED" if before is None else "MODIFIED", obj)
        for place in self._seen.keys() - now.keys():
            self._queue("DELETED", self._seen[place])
        self._seen = now

    def _queue(self, event: str, obj: Object) -> None:
        resource = resource_of(obj["apiVersion"], obj["kind"])
        if resource in self._waiting:
            self._waiting[resource].append((resource, event, obj))

    def _tell(self, waiting: list[Event], number: int) -> None:
        for resource, event, obj in waiting[: max(0, number)]:
            metadata = obj["metadata"]
            if event == "DELETED":
                self._cache.drop(resource, metadata["uid"], metadata.get("namespace"), metadata["name"])
            else:
                self._cache.put(resource, obj)
        del waiting[: max(0, number)]
