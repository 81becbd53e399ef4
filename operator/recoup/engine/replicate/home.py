"""What a location's log has to give to a copy, and what a copy has already: both as the logs are followed, in bounded memory.

The entries themselves are fetched again when their turn comes; what is remembered of each is its place and digest. A location that
is itself a copy gives the home's entries that it holds.
"""

from __future__ import annotations

from collections.abc import Mapping

from recoup.engine.format.names import log_name
from recoup.engine.log.bodies import Commit, Mirror
from recoup.engine.log.entries import Entry, decode_entry
from recoup.engine.log.firsts import read_entry
from recoup.engine.log.mirror import MIRRORED, home_entry, subject_of
from recoup.engine.log.state import LogState
from recoup.engine.stores.base import Store
from recoup.errors import Integrity, Retryable
from recoup.value import Value


class Offered(Value, frozen=True):
    """One entry of the home's log that a copy may want."""

    home_seq: int
    digest: bytes
    at: int
    """Its place in the log that was followed: another one than `home_seq` if that is a copy's."""
    point: bytes
    """The manifest that it is about; empty if it is about the vault."""
    is_commit: bool


class SourceState(LogState):
    """The log to copy from. `known` are the home's entries that the copy has, by seq."""

    __slots__ = ("differing", "known", "met", "offered")

    def __init__(self, vault_id: bytes, pinned_root: bytes | None, known: Mapping[int, bytes]) -> None:
        super().__init__(vault_id, pinned_root)
        self.known = known
        self.offered: list[Offered] = []
        self.differing: list[int] = []
        """Seqs at which the copy has another entry."""
        self.met = 0
        """Entries that both have."""

    def take(self, seq: int, data: bytes) -> Entry | None:
        entry = LogState.take(self, seq, data)
        if entry is not None:
            self._note(seq, home_entry(entry.body) if isinstance(entry.body, Mirror) else entry)
        return entry

    def _note(self, at: int, entry: Entry) -> None:
        if not isinstance(entry.body, MIRRORED):
            return
        seq = entry.head.seq
        mine = self.known.get(seq)
        if mine is None:
            self.offered.append(Offered(seq, entry.digest, at, subject_of(entry.body), isinstance(entry.body, Commit)))
        elif mine == entry.digest:
            self.met += 1
        else:
            self.differing.append(seq)

    def fetch(self, store: Store, offered: Offered) -> tuple[bytes, Entry]:
        """The home's entry, byte for byte: the very one that was validated when the log was followed. Raises Retryable if it changed."""
        name = log_name(self.vault_id, offered.at)
        try:
            data = read_entry(store, self.vault_id, offered.at)
            entry = decode_entry(data, name)
            if isinstance(entry.body, Mirror):
                data, entry = entry.body.entry, home_entry(entry.body)
        except Integrity as error:
            raise Retryable(f"{name} could not be read again: {error}") from error
        if entry.digest != offered.digest:
            raise Retryable(f"{name} at {store.url} is another entry than a moment ago: its log was changed in the store")
        return data, entry


class TargetState(LogState):
    """The copy's log, and which of the home's entries are in it."""

    __slots__ = ("copied",)

    def __init__(self, vault_id: bytes, pinned_root: bytes | None) -> None:
        super().__init__(vault_id, pinned_root)
        self.copied: dict[int, bytes] = {}
        """Digest by seq in the home's log."""

    def take(self, seq: int, data: bytes) -> Entry | None:
        entry = LogState.take(self, seq, data)
        if entry is not None and isinstance(entry.body, Mirror):
            inner = home_entry(entry.body)
            self.copied[inner.head.seq] = inner.digest
        return entry
