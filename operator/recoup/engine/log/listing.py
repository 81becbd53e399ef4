"""How far a log seems to go, from a listing: a hint that saves requests, and nothing more (docs/format.md section 6).

Every entry is read by GET all the same, and the head is where one is absent. A listing that is refused, old or wrong only has the
reader search for the head by reading on.
"""

from __future__ import annotations

import itertools
import logging
from typing import Final

from recoup.engine.format.names import log_name
from recoup.engine.stores.base import Store
from recoup.errors import RecoupError

_DIGITS: Final = 2
_LISTED: Final = 16**_DIGITS
"""Entries that one listing is of: those whose names differ in the last digits only. One page, however long the log is."""
_log = logging.getLogger(__name__)


class Listing:
    """Of one log, during one look at it."""

    def __init__(self, store: Store, vault_id: bytes) -> None:
        self._store, self._vault_id = store, vault_id
        self._end = 0
        self._trusted = True

    def end(self, seq: int) -> int | None:
        """The first entry from `seq` on that is not listed, as far as one request tells; None if listings are of no help here.

        Asked again only when the reader has come by what was told: where that was the end, others went on meanwhile, or it was wrong.
        """
        if not self._trusted or seq <= self._end:
            return self._end if self._trusted else None
        if self._end % _LISTED:
            self._trusted = False
            return None
        first = log_name(self._vault_id, seq)
        try:
            page = itertools.islice(self._store.list(first[:-_DIGITS]), _LISTED)
            found = {name for name, _ in page}
        except RecoupError as error:
            _log.info("the log cannot be listed, its end is searched for: %s", error)
            self._trusted = False
            return None
        end = seq
        while log_name(self._vault_id, end) in found:
            end += 1
        self._end = end
        return end
