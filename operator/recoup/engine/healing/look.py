"""Whether an object is good where it stands: by its bytes, by its presence, or by what verifications wrote into the log.

An object may stand here under several incarnations; one good one is enough.
"""

from __future__ import annotations

from enum import StrEnum

from recoup.engine.format.names import object_name
from recoup.engine.log.bodies import ObjectRef
from recoup.engine.log.facts import Facts
from recoup.engine.places import incarnations
from recoup.engine.replicate.copier import Wanted, reads_back
from recoup.engine.stores.base import Store
from recoup.errors import Integrity


class Check(StrEnum):
    """How closely to look before anything is brought back."""

    CONTENT = "content"
    """Every object is read and compared with its digest."""
    PRESENCE = "presence"
    """Every object is asked for, none is read."""
    RECORDED = "recorded"
    """Only those that a verification found damaged."""


class Looker:
    """Looks at objects of one location. Safe for several threads."""

    def __init__(self, store: Store, facts: Facts, check: Check) -> None:
        self._store, self._facts, self._check = store, facts, check

    def __call__(self, _name: str, wanted: Wanted, buffer: memoryview) -> int | None:
        """Length of the object if it is good here, None if it has to be brought back."""
        return next((length for k in self.candidates(wanted) if (length := self._one(wanted, k, buffer)) is not None), None)

    def candidates(self, wanted: Wanted) -> list[int]:
        """Incarnations under which the object may stand here, best first."""
        return list(dict.fromkeys((*incarnations(self._facts, wanted.digest), wanted.at)))

    def _one(self, wanted: Wanted, incarnation: int, buffer: memoryview) -> int | None:
        name = object_name(self._facts.vault_id, wanted.area, wanted.digest, incarnation)
        # What was found damaged is read in any case: it may have been the line, or somebody brought it back by hand.
        if self._check is Check.CONTENT or ObjectRef(wanted.digest, incarnation) in self._facts.damaged:
            return reads_back(self._store, name, wanted, buffer)
        if self._check is Check.RECORDED:
            return 0
        try:
            size = self._store.size(name)
        except Integrity:
            return None
        return size if size is not None and wanted.size in {None, size} else None
