"""How large the objects of a recovery point are, by its object set (docs/format-data.md section 5). Needs no key."""

from __future__ import annotations

import bisect
from array import array

from recoup.engine.log.sets import StoredSets
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.objectset import iterate_set


class Sizes:
    """Stored bytes of the objects of one recovery point: sixteen bytes an object, however many there are."""

    def __init__(self, sets: StoredSets, root: ObjectRef) -> None:
        self._keys, self._sizes = array("Q"), array("Q")
        for member in iterate_set(sets.node, root):
            self._keys.append(int.from_bytes(member.digest[:8], "big"))
            self._sizes.append(member.size)

    def of(self, ref: ObjectRef) -> int:
        """0 for an object that is not in the set."""
        key = int.from_bytes(ref.digest[:8], "big")
        at = bisect.bisect_left(self._keys, key)
        return self._sizes[at] if at < len(self._keys) and self._keys[at] == key else 0
