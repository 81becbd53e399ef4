"""A location in memory, for hundreds of disturbed runs. The conformance suite is for real places; this one only has to be quick."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from recoup.engine.stores.base import MAX_OBJECT, Buffer, check_length, check_limit, check_name, check_prefix
from recoup.errors import NotFound


class MemoryStore:
    """Objects by name. `copy` is another location that begins with the same."""

    url = "memory://test"

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        self.objects = objects if objects is not None else {}
        self._lock = threading.Lock()

    def copy(self) -> MemoryStore:
        with self._lock:
            return MemoryStore(dict(self.objects))

    def create(self, name: str, data: Buffer) -> bool:
        value = bytes(data)
        with self._lock:
            return self.objects.setdefault(check_name(name), value) == value

    def get(self, name: str, limit: int = MAX_OBJECT) -> bytes:
        data = self._object(name)
        check_limit(self.url, name, len(data), limit)
        return data

    def get_range(self, name: str, start: int, length: int) -> bytes:
        data = self._object(name)
        if start < 0:
            return data[start:]
        part = data[start : start + length]
        check_length(self.url, name, length, len(part))
        return part

    def get_into(self, name: str, buffer: memoryview) -> int:
        data = self._object(name)
        check_limit(self.url, name, len(data), len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def size(self, name: str) -> int | None:
        with self._lock:
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

    def _object(self, name: str) -> bytes:
        with self._lock:
            data = self.objects.get(check_name(name))
        if data is None:
            raise NotFound(f"{name} at {self.url}: no such object", reason="ObjectNotFound")
        return data
