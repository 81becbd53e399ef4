"""A store around a store that fails on order: at the n-th call, before its effect, after it, or by losing the answer.

Calls are counted over all methods from 0, in the order in which they begin; `calls` lists them. Nothing here retries: a fault
stands for what is left after a store's own retries.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from recoup.engine.stores.base import MAX_OBJECT, Buffer, Store
from recoup.errors import Retryable

T = TypeVar("T")


class Fault(StrEnum):
    REFUSED = "refused"
    """Retryable, and nothing happened."""
    LOST = "lost"
    """Retryable, but it happened: the answer was lost."""
    CRASH_BEFORE = "crash-before"
    """The process dies before the call has its effect; every later call dies too."""
    CRASH_AFTER = "crash-after"
    """The process dies after the effect."""


class Crashed(BaseException):
    """Stands for kill -9: no `except Exception` may catch it."""


@dataclass(frozen=True)
class Call:
    method: str
    name: str


class FaultStore:
    """`faults` maps call numbers to what goes wrong there."""

    def __init__(self, store: Store, faults: dict[int, Fault] | None = None) -> None:
        self._store = store
        self._faults = faults or {}
        self._lock = threading.Lock()
        self._dead = False
        self.calls: list[Call] = []

    @property
    def url(self) -> str:
        return self._store.url

    def create(self, name: str, data: Buffer) -> bool:
        return self._run("create", name, lambda: self._store.create(name, data))

    def get(self, name: str, limit: int = MAX_OBJECT) -> bytes:
        return self._run("get", name, lambda: self._store.get(name, limit))

    def get_range(self, name: str, start: int, length: int) -> bytes:
        return self._run("get_range", name, lambda: self._store.get_range(name, start, length))

    def get_into(self, name: str, buffer: memoryview) -> int:
        return self._run("get_into", name, lambda: self._store.get_into(name, buffer))

    def size(self, name: str) -> int | None:
        return self._run("size", name, lambda: self._store.size(name))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return iter(self._run("list", prefix, lambda: list(self._store.list(prefix))))

    def folders(self, prefix: str) -> Iterator[str]:
        return iter(self._run("folders", prefix, lambda: list(self._store.folders(prefix))))

    def delete(self, name: str) -> None:
        self._run("delete", name, lambda: self._store.delete(name))

    def count(self, method: str) -> int:
        return sum(call.method == method for call in self.calls)

    def _run(self, method: str, name: str, effect: Callable[[], T]) -> T:
        with self._lock:
            if self._dead:
                raise Crashed
            fault = self._faults.get(len(self.calls))
            self.calls.append(Call(method, name))
            self._dead = fault in {Fault.CRASH_BEFORE, Fault.CRASH_AFTER}
        if fault is Fault.CRASH_BEFORE:
            raise Crashed
        if fault is Fault.REFUSED:
            raise Retryable(f"{name}: the store does not answer (fault)")
        result = effect()
        if fault is Fault.LOST:
            raise Retryable(f"{name}: the answer was lost (fault)")
        if fault is Fault.CRASH_AFTER:
            raise Crashed
        return result
