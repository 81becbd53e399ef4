"""A store in memory, for tests that make thousands of calls: a disk would only wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from recoup.engine.stores.base import MAX_OBJECT, Buffer, check_length, check_limit, check_name, check_prefix
from recoup.engine.stores.base import Store as StoreProtocol
from recoup.errors import NotFound


class MemoryStore:
    """`objects` may be changed by a test that plays a rotten disk."""

    def __init__(self, url: str = "memory://") -> None:
        self._url, self._lock = url, threading.Lock()
        self.objects: dict[str, bytes] = {}

    @classmethod
    def like(cls, store: StoreProtocol, url: str = "memory://") -> MemoryStore:
        """A copy of everything that another store holds."""
        made = cls(url)
        made.objects = {name: store.get(name) for name, _ in store.list("")}
        return made

    @property
    def url(self) -> str:
        return self._url

    def create(self, name: str, data: Buffer) -> bool:
        with self._lock:
            if check_name(name) in self.objects:
                return False
            self.objects[name] = bytes(data)
            return True

    def get(self, name: str, limit: int = MAX_OBJECT) -> bytes:
        data = self.objects.get(check_name(name))
        if data is None:
            raise NotFound(f"{name} at {self.url}: no such object", reason="ObjectNotFound")
        check_limit(self.url, name, len(data), limit)
        return data

    def get_range(self, name: str, start: int, length: int) -> bytes:
        data = self.get(name)
        part = data[start:] if start < 0 else data[start : start + length]
        if start >= 0:
            check_length(self.url, name, length, len(part))
        return part

    def get_into(self, name: str, buffer: memoryview) -> int:
        data = self.get(name, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def size(self, name: str) -> int | None:
        data = self.objects.get(check_name(name))
        return None if data is None else len(data)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        check_prefix(prefix)
        with self._lock:
            found = sorted((name, len(data)) for name, data in self.objects.items() if name.startswith(prefix))
        return iter(found)

    def folders(self, prefix: str) -> Iterator[str]:
        return iter(sorted({name[len(prefix) :].split("/")[0] for name, _ in self.list(prefix)}))

    def delete(self, name: str) -> None:
        with self._lock:
            self.objects.pop(check_name(name), None)
