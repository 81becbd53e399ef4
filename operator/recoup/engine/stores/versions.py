"""Stores that keep old versions of objects (S3 versioning, object lock), and removing an object there for good.

Nothing of Recoup is ever overwritten, so the first version of a name is the one that was put; what came later was put there by somebody
else (docs/object-lock.md). `erase` says what could not be removed, and until when. A store without versions just deletes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Protocol, runtime_checkable

from recoup.engine.stores.base import Lock, Store
from recoup.errors import Denied, Invalid, NotFound
from recoup.value import Value


class Version(Value, frozen=True):
    """One version of an object, or a delete marker."""

    name: str
    id: str
    marker: bool
    size: int = 0
    """Bytes as the listing says."""
    modified: datetime | None = None
    """When it was put, by the provider's time."""


class Retention(Value, frozen=True):
    """What keeps a version."""

    until: datetime | None
    """The provider's own time; None if it does not say."""
    hold: bool
    """Under legal hold: until somebody lifts it."""


class History(Value, frozen=True):
    """All versions of one name, the newest first, without delete markers."""

    name: str
    versions: tuple[Version, ...]
    markers: tuple[Version, ...] = ()

    @property
    def contested(self) -> bool:
        """Whether anything stands there besides what was put first."""
        return len(self.versions) != 1 or bool(self.markers)


@runtime_checkable
class Versioned(Protocol):
    """A store that keeps versions, or may. Errors as those of Store."""

    @property
    def keeps_versions(self) -> bool:
        """Whether it said so in an answer, or its user does by asking for an object lock."""

    @property
    def object_lock(self) -> Lock | None:
        """With which objects are put."""

    def histories(self, prefix: str, after: str = "") -> Iterator[History]:
        """Every name that begins with `prefix`, in byte order, from the first one after `after` on."""

    def read_version(self, version: Version, limit: int) -> bytes:
        """The bytes of a version. Raises NotFound, and Integrity if it is larger than `limit`."""

    def hold_version(self, version: Version, until: datetime, mode: str) -> None:
        """Lock a version until then; a lock that lasts longer stays. Raises Denied, NotFound, or Invalid if it cannot be locked."""

    def provider_time(self) -> datetime:
        """Now, by the provider's clock as far as an answer told it."""

    def versions(self, prefix: str) -> Iterator[Version]:
        """All that stands under names that begin with `prefix`, the newest first."""

    def delete_version(self, version: Version) -> None:
        """Raises Denied, or another Invalid, if it is locked or these credentials may not."""

    def retention(self, version: Version) -> Retention:
        """What keeps it, as far as these credentials may ask."""


class Kept(Value, frozen=True):
    """What is still there."""

    name: str
    version: str
    """Empty where the store has no versions."""
    until: datetime | None
    reason: str
    locked: bool = False
    """By a retention or a legal hold; otherwise these credentials may not."""


def history_of(store: Versioned, name: str) -> History | None:
    """The versions of one name; None if there is none. Raises what the store raises."""
    found = next(store.histories(name), None)
    return found if found is not None and found.name == name else None


def names_below(store: Store, prefix: str) -> list[str]:
    """Names that begin with `prefix`, also of objects that only old versions are left of. A hint, as every listing."""
    found = {name for name, _ in store.list(prefix)}
    if isinstance(store, Versioned):
        with suppress(Denied):  # without that right there is the plain listing
            found.update(version.name for version in store.versions(prefix) if not version.marker)
    return sorted(found)


def erase(store: Store, name: str, *, hide: bool = True) -> list[Kept]:
    """Remove the object with all its versions; what is left of it. Raises what the store raises, but for refusals.

    `hide` what cannot be removed behind a delete marker.
    """
    if not isinstance(store, Versioned):
        return _delete(store, name)
    try:
        found = [version for version in store.versions(name) if version.name == name]
    except Denied as error:
        left = _delete(store, name)
        return left or [Kept(name, "", None, f"it is deleted, but older versions may exist: {error}")]
    kept = [left for version in found if not version.marker for left in _erase_version(store, version)]
    if kept:
        if hide and not found[0].marker:
            _delete(store, name)  # at least out of sight
        return kept
    for marker in (version for version in found if version.marker):
        _erase_version(store, marker)
    return []


def _delete(store: Store, name: str) -> list[Kept]:
    try:
        store.delete(name)
    except Denied as error:
        return [] if store.size(name) is None else [Kept(name, "", None, f"these credentials may not delete it: {error}")]
    if store.size(name) is None:
        return []
    return [Kept(name, "", None, "it is there still after its delete")]


def _erase_version(store: Versioned, version: Version) -> list[Kept]:
    try:
        store.delete_version(version)
    except NotFound:
        return []
    except Invalid as error:  # Denied, or minio's 400 for what is locked
        retention = store.retention(version)
        held = "under legal hold" if retention.hold else "locked" if retention.until else f"it cannot be deleted: {error}"
        return [Kept(version.name, version.id, retention.until, held, retention.hold or retention.until is not None)]
    return []
