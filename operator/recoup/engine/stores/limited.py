"""A bandwidth limit around any store: bytes wait before they are sent, or after they came, each object in one piece.

For places that cannot pace a transfer themselves. S3 can, byte by byte within a request (s3.py with limits.py), so that no connection
stands idle; it is not wrapped.
"""

from __future__ import annotations

from collections.abc import Iterator

from recoup.engine.stores.base import MAX_OBJECT, Buffer, Store, StoreOptions
from recoup.engine.stores.limits import Limiter


class LimitedStore:
    """Another store, no faster than the limits say over all threads together."""

    def __init__(self, store: Store, upload: Limiter, download: Limiter) -> None:
        self._store, self._upload, self._download = store, upload, download

    @property
    def url(self) -> str:
        return self._store.url

    def create(self, name: str, data: Buffer) -> bool:
        self._upload.take(memoryview(data).nbytes)
        return self._store.create(name, data)

    def get(self, name: str, limit: int = MAX_OBJECT) -> bytes:
        data = self._store.get(name, limit)
        self._download.take(len(data))
        return data

    def get_range(self, name: str, start: int, length: int) -> bytes:
        data = self._store.get_range(name, start, length)
        self._download.take(len(data))
        return data

    def get_into(self, name: str, buffer: memoryview) -> int:
        count = self._store.get_into(name, buffer)
        self._download.take(count)
        return count

    def size(self, name: str) -> int | None:
        return self._store.size(name)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return self._store.list(prefix)

    def folders(self, prefix: str) -> Iterator[str]:
        return self._store.folders(prefix)

    def delete(self, name: str) -> None:
        self._store.delete(name)


def limited(store: Store, options: StoreOptions) -> Store:
    """The store with the limits that the options ask for; itself if they ask for none."""
    if options.upload_limit is None and options.download_limit is None:
        return store
    return LimitedStore(store, Limiter(options.upload_limit), Limiter(options.download_limit))
