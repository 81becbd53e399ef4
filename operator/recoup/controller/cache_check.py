"""Fills the cache when this replica begins to lead, and compares it with the server from time to time.

The watch tells changes, but not when its first list is complete, and a watch that was broken off for long lists anew without saying
what vanished meanwhile. Both are seen here by listing every kind page by page: soon after the start, after such a new list, and
periodically. What is found to be news goes the way of an event, so that its owner is looked at.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from recoup.controller import failures
from recoup.controller.cache import KINDS, OUR_LABEL, OURS, Cache, Object
from recoup.controller.kube import Kube
from recoup.controller.resources import JOB, POD, Resource
from recoup.errors import Retryable

log = logging.getLogger(__name__)

RETRY = 1.0
SETTLED_AFTER = 30.0
"""Seconds from the start to the first comparison: by then every watch has had its first list."""
RELIST_SETTLES = 5.0
"""Seconds from the first object of a watch's new list to the comparison that it causes."""


class CacheCheck:
    """`news` is told (kind, event, object) as a watch would: event None for what is, DELETED for what is no more."""

    def __init__(
        self, kube: Kube, cache: Cache, *, movers_namespace: str, every: float, news: Callable[[Resource, str | None, Object], None]
    ) -> None:  # fmt: skip
        self._kube, self._cache, self._movers_namespace = kube, cache, movers_namespace
        self._every, self._news = every, news
        self._relisted = threading.Event()
        self._settled = False

    def fill(self, stop: threading.Event) -> None:
        """List everything once, however long the server is away. What the watch told meanwhile stays if it is newer."""
        for resource in KINDS:
            while not stop.is_set():
                try:
                    self.compare(resource)
                    break
                except Retryable as error:
                    log.warning("%s not listed yet: %s", resource.kind, error)
                    stop.wait(RETRY)

    def run(self, stop: threading.Event) -> None:
        """Compare until stopped."""
        stop.wait(SETTLED_AFTER)
        while not stop.is_set():
            self._relisted.clear()
            self._settled = True
            for resource in () if stop.is_set() else KINDS:
                try:
                    self.compare(resource)
                except Retryable as error:
                    log.warning("%s not compared with the server: %s", resource.kind, error)
            if self._relisted.wait(self._every):
                stop.wait(RELIST_SETTLES)

    def relisted(self) -> None:
        """A watch lists anew, or this ends: do not wait for the next comparison. The first list of each watch needs none."""
        if self._settled:
            self._relisted.set()

    def compare(self, resource: Resource) -> int:
        """Bring one kind to what the server lists; returns how many objects that changed. Raises Retryable if it can't be listed."""
        began, seen, changed = self._cache.clock(), set[str](), 0
        namespace = self._movers_namespace if resource in (JOB, POD) else None
        labels = OUR_LABEL if resource in OURS else ""
        try:
            for page in self._kube.pages(resource, namespace, labels=labels):
                for obj in page:
                    seen.add(obj["metadata"]["uid"])
                    if self._cache.put(resource, obj):
                        changed += 1
                        self._news(resource, None, obj)
        except failures.Gone:
            return 0  # the cluster does not have this kind (yet): reads of it go to the server
        dropped = self._cache.reconcile(resource, namespace, labels, seen, began=began, whole=True)
        for obj in dropped:
            self._news(resource, "DELETED", obj)
        return changed + len(dropped)
