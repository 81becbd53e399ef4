"""Log entries in a location that keeps versions: what was put first under a name is the entry (docs/format.md section 6).

Entries are created if absent and never overwritten, so whatever else stands under a name came from somebody who may write to the
bucket: a delete marker that hides the entry, or another object on top of it. One listing tells for a thousand entries. What was put
first stays if it is locked; that includes junk that somebody put before an honest entry came, because others have passed over it.
"""

from __future__ import annotations

from collections.abc import Iterator

from recoup.engine.format.names import log_name
from recoup.engine.log.entries import MAX_ENTRY_BYTES
from recoup.engine.stores.base import Store
from recoup.engine.stores.versions import History, Version, Versioned, history_of
from recoup.errors import Denied, Integrity, Invalid, NotFound


class FirstVersions:
    """Asks what was put first. Without versions, or the right to list them where no object lock is asked for, it answers nothing."""

    def __init__(self, store: Store, vault_id: bytes) -> None:
        self._versioned = store if isinstance(store, Versioned) else None
        self._vault_id = vault_id
        self._listing: Iterator[History] | None = None
        self._next: History | None = None

    @property
    def known(self) -> bool:
        """Whether there are versions to be asked for."""
        return self._versioned is not None and self._versioned.keeps_versions

    def begin(self) -> None:
        """Forget what was listed: a new look at the log."""
        self._listing = self._next = None

    def correct(self, seq: int, shown: bytes | None) -> bytes | None:
        """The entry at `seq`, of which the store showed `shown`; seqs are asked for in ascending order since `begin`."""
        if self._versioned is None or not self._versioned.keeps_versions:
            return shown
        history = self._listed(seq)
        if history is None and shown is not None:
            history = self._alone(seq)  # it came after the listing
        return self._read(history, shown)

    def standing(self, seq: int, shown: bytes | None) -> bytes | None:
        """The same for one entry, by a listing of its own."""
        return self._read(self._alone(seq), shown) if self.known else shown

    def first(self, seq: int) -> Version | None:
        """What was put first under the name of an entry."""
        history = self._alone(seq)
        return history.versions[-1] if history is not None and history.versions else None

    def _read(self, history: History | None, shown: bytes | None) -> bytes | None:
        if history is None or not history.contested or not history.versions or self._versioned is None:
            return shown
        try:
            return self._versioned.read_version(history.versions[-1], MAX_ENTRY_BYTES)
        except NotFound:  # an expired lock, and somebody deleted it meanwhile
            return shown
        except Integrity as error:
            if error.reason == "ObjectTooLarge":
                return b""
            raise

    def _listed(self, seq: int) -> History | None:
        name = log_name(self._vault_id, seq)
        assert self._versioned is not None, "asked for known versions only"
        try:
            if self._listing is None:
                before = log_name(self._vault_id, seq - 1) if seq else ""
                self._listing = self._versioned.histories(log_name(self._vault_id, 0)[:-16], before)
                self._next = next(self._listing, None)
            while self._next is not None and self._next.name < name:
                self._next = next(self._listing, None)
        except Invalid as error:
            self._give_up(error)
        return self._next if self._next is not None and self._next.name == name else None

    def _alone(self, seq: int) -> History | None:
        assert self._versioned is not None, "asked for known versions only"
        try:
            return history_of(self._versioned, log_name(self._vault_id, seq))
        except Invalid as error:
            self._give_up(error)
            return None

    def _give_up(self, error: Invalid) -> None:
        """These credentials may not list versions, or the server cannot: then what is shown counts, as in any other place."""
        if self._versioned is not None and self._versioned.object_lock is not None:
            raise Denied(
                f"versions of the log cannot be listed, which an object lock needs (s3:ListBucketVersions): {error}", reason=error.reason
            ) from error
        self._versioned = None


def read_entry(store: Store, vault_id: bytes, seq: int) -> bytes:
    """The bytes of one entry, as a follower of the log sees it. Raises NotFound, and Integrity if it is too long."""
    name = log_name(vault_id, seq)
    shown: bytes | None = None
    missing: NotFound | None = None
    try:
        shown = store.get(name, MAX_ENTRY_BYTES)
    except NotFound as error:
        missing = error
    except Integrity:
        if not FirstVersions(store, vault_id).known:
            raise
    data = FirstVersions(store, vault_id).standing(seq, shown)
    if data is None:
        raise missing or NotFound(f"{name} at {store.url}: no such object", reason="ObjectNotFound")
    return data
