"""Where nodes of refs and caches stand that name each other by place, while their objects are still open.

A place in an object that is not sealed yet carries the object's number instead of its digest; `written` turns it into what a
parent's record says: nothing for the parent's own object, else the digest. `final` gives the full place when all are sealed.
"""

from __future__ import annotations

from typing import Final

from recoup.engine.backup.packs import Ledger, MetaWriter
from recoup.engine.format.kinds import BlockKind
from recoup.engine.records.nodes import MAX_NODE_BYTES, Locator

_NUMBER_BYTES: Final = 4


class NodeWriter:
    """Writes nodes of one kind with a MetaWriter."""

    def __init__(self, meta: MetaWriter, ledger: Ledger, kind: BlockKind) -> None:
        self._meta = meta
        self._ledger = ledger
        self._kind = kind

    def put(self, plain: bytes) -> Locator:
        _, number, block = self._meta.add(self._kind, plain)
        return Locator(number.to_bytes(_NUMBER_BYTES, "big"), 0, block)

    def begin_parent(self) -> None:
        """Call before `written` is asked for a parent's children: the parent will be in the object that is open now."""
        self._meta.make_room(MAX_NODE_BYTES)

    def written(self, place: Locator) -> Locator:
        """The place as a parent that is written next says it."""
        if self._meta.open_object is not None and place.digest == self._meta.open_object.to_bytes(_NUMBER_BYTES, "big"):
            return Locator(b"", 0, place.number)
        return self.final(place)

    def final(self, place: Locator) -> Locator:
        """The full place. Its object must have been finished."""
        if len(place.digest) != _NUMBER_BYTES:
            return place
        return Locator(self._ledger.digests[int.from_bytes(place.digest, "big")], 0, place.number)

    def finish(self) -> bytes:
        """Seal the open object; its digest."""
        return self._meta.finish()
