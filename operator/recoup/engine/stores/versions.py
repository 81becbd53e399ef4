"""Removing an object for good where the store keeps old versions (S3 versioning), and saying what could not be removed, and until when.

For what must not stay: replaced keyrings, and all of them when a vault is shredded. A store without versions just deletes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Protocol, runtime_checkable

from recoup.engine.stores.base import Store
from recoup.errors import Denied, Invalid, NotFound
from recoup.value import Value


class Version(Value, frozen=True):
    """One version of an object, or a delete marker."""

    name: str
    id: str
    marker: bool


class Retention(Value, frozen=True):
    """What keeps a version."""

    until: datetime | None
    """The provider's own time; None if it does not say."""
    hold: bool
    """Under legal hold: until somebody lifts it."""


@runtime_checkable
class Versioned(Protocol):
    """A store that keeps versions, or may. Errors as those of Store."""

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


def names_below(store: Store, prefix: str) -> list[str]:
    """Names that begin with `prefix`, also of objects that only old versions are left of. A hint, as every listing."""
    found = {name for name, _ in store.list(prefix)}
    if isinstance(store, Versioned):
        with suppress(Denied):  # without that right there is the plain listing
            found.update(version.name for version in store.versions(prefix) if not version.marker)
    return sorted(found)


def erase(store: Store, name: str) -> list[Kept]:
    """Remove the object with all its versions; what is left of it. Raises what the store raises, but for refusals."""
    if not isinstance(store, Versioned):
        return _delete(store, name)
    try:
        found = [version for version in store.versions(name) if version.name == name]
    except Denied as error:
        left = _delete(store, name)
        return left or [Kept(name, "", None, f"it is deleted, but older versions may exist: {error}")]
    kept = [left for version in found if not version.marker for left in _erase_version(store, version)]
    if kept:
        if not found[0].marker:
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
        return [Kept(version.name, version.id, retention.until, held)]
    return []
