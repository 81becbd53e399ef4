"""Where the objects of one vault are: the location that was opened, and others that hold copies.

Every location has its own log, which says under which incarnation it keeps an object (docs/format.md sections 1 and 6); what stands in
refs and object sets is true of the vault's home only. The log of another place is read when it is first needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from recoup.engine.log.bodies import ObjectRef
from recoup.engine.log.facts import Facts
from recoup.engine.log.follow import Log
from recoup.engine.log.state import LogState
from recoup.engine.records.nodes import ObjectRef as StoredObject
from recoup.engine.stores.base import Store
from recoup.engine.stores.failover import FailoverStore, Place
from recoup.errors import Invalid


def here(log: Log, *, check: bool = False) -> FailoverStore:
    """The objects of the followed log's own location. With `check` only those whose bytes match their digests."""
    return FailoverStore([Place(log.store, lambda digest: incarnations(log.state, digest))], check=check)


def here_and_elsewhere(log: Log, others: Sequence[Store], notice: Callable[[str], None] = lambda _text: None) -> FailoverStore:
    """The followed log's own location first, then the others in their order."""
    mine = Place(log.store, lambda digest: incarnations(log.state, digest))
    return FailoverStore([mine, *elsewhere(log, others)], notice=notice)


def elsewhere(log: Log, others: Sequence[Store]) -> list[Place]:
    """Other locations of the followed log's vault."""
    return [Place(store, _LogElsewhere(store, log).incarnations) for store in others]


def incarnations(facts: Facts, digest: bytes) -> list[int]:
    """Under which incarnations a location may hold an object, best first: healed ones, then the one that its entries name."""
    named = facts.incarnations.get(digest, 0)
    return [ref.incarnation for ref in facts.candidates(ObjectRef(digest, named))]


def standing(facts: Facts, ref: StoredObject) -> ObjectRef:
    """Under which incarnation the location should hold an object that refs or sets name."""
    named = ref.incarnation if facts.at_home else facts.incarnations.get(ref.digest, 0)
    return facts.candidates(ObjectRef(ref.digest, named))[0]


class _LogElsewhere:
    """The log of the same vault at another location."""

    def __init__(self, store: Store, log: Log) -> None:
        identity = log.state.require_identity()
        self._log = Log(store, identity.vault_id, root_public=identity.root_public)
        self._lock = threading.Lock()
        self._state: LogState | None = None

    def incarnations(self, digest: bytes) -> list[int]:
        with self._lock:
            if self._state is None:
                state = self._log.follow()
                if not state.next_seq:
                    raise Invalid(f"{self._log.store.url} holds no copy of vault {state.vault_id.hex()}", reason="NoVault")
                state.require_identity()
                self._state = state
        return incarnations(self._state, digest)
