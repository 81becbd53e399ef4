"""Buckets that keep versions: what an attacker hid or overwrote is still found, and what is put is locked (docs/object-lock.md).

A server says with each answer whether the bucket keeps versions; where none does, not one request is spent here. An object whose name
says its digest is compared with it, and if it is absent or another, the first version that matches is read instead. Of other names,
which are created once and never overwritten, the first version counts. Log entries are left to log/follow.py, which lists all at once.
"""

from __future__ import annotations

import base64
import logging
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from recoup.engine.format.names import VAULTS, digest_in, digest_of
from recoup.engine.stores.base import MAX_OBJECT, Lock, StoreOptions, check_limit, check_prefix
from recoup.engine.stores.s3 import S3Store
from recoup.engine.stores.s3_versions import Page, ask_retention, list_page, newest_first
from recoup.engine.stores.versions import History, Retention, Version, history_of
from recoup.errors import Denied, Integrity, Invalid, NotFound, RecoupError

_TRIED: Final = 64
"""Versions of one name that are read, from the first on: what was put is the first that an honest party put."""
_log = logging.getLogger(__name__)


class VersionedS3Store(S3Store):
    """A bucket, with or without versions."""

    def __init__(self, bucket: str, prefix: str, options: StoreOptions) -> None:
        super().__init__(bucket, prefix, options)
        self._keeps_versions = options.object_lock is not None
        self._found: dict[str, str] = {}
        """Ids of the versions that are read instead of what their names show."""

    @property
    def keeps_versions(self) -> bool:
        return self._keeps_versions

    @property
    def object_lock(self) -> Lock | None:
        return self._options.object_lock

    def get(self, name: str, limit: int = MAX_OBJECT) -> bytes:
        try:
            data = super().get(name, limit)
        except (NotFound, Integrity) as error:
            return self._instead(name, limit, error)
        if not self._keeps_versions:
            return data
        digest = digest_in(name)
        if digest is None:
            return self._first(name, limit) or data if _is_small(name) else data
        return data if digest_of(data) == digest else self._recover(name, digest, limit) or data

    def get_into(self, name: str, buffer: memoryview) -> int:
        try:
            length = super().get_into(name, buffer)
        except (NotFound, Integrity) as error:
            return _fill(buffer, self._instead(name, len(buffer), error))
        digest = digest_in(name) if self._keeps_versions else None
        if digest is None or digest_of(buffer[:length]) == digest:
            return length
        found = self._recover(name, digest, len(buffer))
        return length if found is None else _fill(buffer, found)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """A part cannot be compared: whoever finds it damaged reads the whole, and parts come from what was found then."""
        try:
            return super().get_range(name, start, length)
        except NotFound as error:
            self._instead(name, MAX_OBJECT, error)
            return super().get_range(name, start, length)

    def size(self, name: str) -> int | None:
        size = super().size(name)
        if size is None and self._keeps_versions and (digest := digest_in(name)) is not None:
            found = self._recover(name, digest, MAX_OBJECT)
            return None if found is None else len(found)
        return size

    def folders(self, prefix: str) -> Iterator[str]:
        """Also those of which every object is hidden, where nothing else is shown."""
        shown = list(super().folders(prefix))
        if not shown and prefix == VAULTS:
            try:
                shown = list(dict.fromkeys(history.name[len(prefix) :].split("/")[0] for history in self.histories(prefix)))
            except Invalid:
                shown = []
        return iter(shown)

    # -- versions --------------------------------------------------------------------------------------------------------

    def histories(self, prefix: str, after: str = "") -> Iterator[History]:
        for name, group in groupby(self._stream(prefix, after), key=lambda version: version.name):
            found = list(group)
            yield History(
                name,
                tuple(version for version in found if not version.marker),
                tuple(version for version in found if version.marker),
            )

    def versions(self, prefix: str) -> Iterator[Version]:
        return newest_first(list(self._stream(prefix, "")))

    def read_version(self, version: Version, limit: int) -> bytes:
        def fetch() -> bytes:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(version.name), VersionId=version.id)
            with answer["Body"] as body:
                check_limit(self.url, version.name, answer["ContentLength"], limit)
                return self._read(version.name, body, answer["ContentLength"])

        return self._call(version.name, fetch)

    def hold_version(self, version: Version, until: datetime, mode: str) -> None:
        request: Any = {
            "Bucket": self._bucket,
            "Key": self._key(version.name),
            "VersionId": version.id,
            "Retention": {"Mode": mode, "RetainUntilDate": until},
        }
        try:
            self._call(version.name, lambda: self._client.put_object_retention(**request))
        except NotFound:
            raise
        except Invalid:  # a lock cannot be made shorter, and nobody wants that
            held = self.retention(version)
            if held.until is None or held.until < until:
                raise

    def delete_version(self, version: Version) -> None:
        key = self._key(version.name)
        self._call(version.name, lambda: self._client.delete_object(Bucket=self._bucket, Key=key, VersionId=version.id))

    def retention(self, version: Version) -> Retention:
        return self._call(version.name, lambda: ask_retention(self._client, self._bucket, self._key(version.name), version.id))

    def provider_time(self) -> datetime:
        """Now, by the provider's clock as far as an answer told it."""
        return datetime.fromtimestamp(time.time() + (self._skew or 0.0), UTC)

    # -- what stands behind ----------------------------------------------------------------------------------------------

    def _stream(self, prefix: str, after: str) -> Iterator[Version]:
        whole, strip = self._prefix + check_prefix(prefix), len(self._prefix)
        start = (self._prefix + after if after else "", "")
        while True:
            found, start = self._page(whole, strip, start)
            yield from found
            if not start[0]:
                return

    def _page(self, prefix: str, strip: int, start: tuple[str, str]) -> Page:
        return self._call(prefix, lambda: list_page(self._client, self._bucket, prefix, strip, start))

    def _instead(self, name: str, limit: int, error: RecoupError) -> bytes:
        """What was put under a name that shows nothing, or something else; otherwise raises `error`."""
        found = None
        if self._keeps_versions:
            digest = digest_in(name)
            if digest is not None:
                found = self._recover(name, digest, limit)
            elif _is_small(name):
                found = self._first(name, limit)
        if found is None:
            raise error
        return found

    def _recover(self, name: str, digest: bytes, limit: int) -> bytes | None:
        return self._search(name, limit, lambda data: digest_of(data) == digest)

    def _first(self, name: str, limit: int) -> bytes | None:
        return self._search(name, limit, lambda _data: True, only_contested=True)

    def _search(self, name: str, limit: int, accept: Callable[[bytes], bool], *, only_contested: bool = False) -> bytes | None:
        """The first version that is accepted. None if there is none, or these credentials may not look."""
        try:
            history = history_of(self, name)
            if history is None or (only_contested and not history.contested):
                return None
            for version in history.versions[: -_TRIED - 1 : -1]:
                data = self._acceptable(version, limit, accept)
                if data is not None:
                    self._note(version)
                    return data
        except Denied as error:
            if self.object_lock is not None:
                raise
            _log.info("%s: older versions cannot be looked at: %s", name, error)
        except NotFound:
            raise
        except Invalid as error:  # a server that knows no versions
            _log.info("%s: older versions cannot be looked at: %s", name, error)
        return None

    def _acceptable(self, version: Version, limit: int, accept: Callable[[bytes], bool]) -> bytes | None:
        try:
            data = self.read_version(version, limit)
        except (NotFound, Integrity):
            return None
        return data if accept(data) else None

    def _note(self, version: Version) -> None:
        if not self._found:
            _log.warning(
                "%s at %s is hidden or was overwritten by somebody who may write there; the version that was put first is read",
                version.name, self.url,
            )  # fmt: skip
        self._found[version.name] = version.id

    # -- requests --------------------------------------------------------------------------------------------------------

    def _target(self, name: str) -> Any:
        target = super()._target(name)
        version = self._found.get(name)
        return target if version is None else {**target, "VersionId": version}

    def _conditions(self, view: memoryview) -> Any:
        """The lock, and the checksum without which S3 takes no locked object."""
        lock = self.object_lock
        if lock is None:
            return {}
        checksum = base64.b64encode(zlib.crc32(view).to_bytes(4, "big")).decode()
        return {
            "ObjectLockMode": lock.mode,
            "ObjectLockRetainUntilDate": self.provider_time() + lock.period,
            "ChecksumCRC32": checksum,
        }

    def _note_answer(self, http_response: Any, **more: Any) -> None:
        super()._note_answer(http_response, **more)
        headers = http_response.headers
        if headers.get("x-amz-version-id", "null") != "null" or headers.get("x-amz-delete-marker") == "true":
            self._keeps_versions = True


def _is_small(name: str) -> bool:
    """Names that few objects have and that say no digest: descriptors."""
    return name == "recoup" or "/descriptor/" in name


def _fill(buffer: memoryview, data: bytes) -> int:
    buffer[: len(data)] = data
    return len(data)
