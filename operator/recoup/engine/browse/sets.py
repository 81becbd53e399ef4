"""Reading object sets (docs/format-data.md section 5) node by node, each compared with the digest that names it. Needs no key."""

from __future__ import annotations

import bisect
from array import array

from recoup.engine.format.names import digest_of, object_name
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.objectset import MAX_SET_BYTES, iterate_set
from recoup.engine.stores.base import Store
from recoup.errors import Integrity, NotFound


class SetNodes:
    """Fetches nodes of the object sets of one vault. Raises Integrity for one that is missing or damaged."""

    def __init__(self, store: Store, vault_id: bytes) -> None:
        self._store, self._vault = store, vault_id

    def __call__(self, ref: ObjectRef) -> bytes:
        name = object_name(self._vault, "x", ref.digest, ref.incarnation)
        try:
            data = self._store.get(name, MAX_SET_BYTES)
        except NotFound as error:
            raise Integrity(f"object {name} of an object set is missing at {self._store.url}", reason="ObjectMissing") from error
        if digest_of(data) != ref.digest:
            raise Integrity(f"object {name} of an object set is damaged", reason="DigestMismatch")
        return data


class Sizes:
    """Stored bytes of the objects of one recovery point: sixteen bytes an object, however many there are."""

    def __init__(self, nodes: SetNodes, root: ObjectRef) -> None:
        self._keys, self._sizes = array("Q"), array("Q")
        for member in iterate_set(nodes, root):
            self._keys.append(int.from_bytes(member.digest[:8], "big"))
            self._sizes.append(member.size)

    def of(self, ref: ObjectRef) -> int:
        """0 for an object that is not in the set."""
        key = int.from_bytes(ref.digest[:8], "big")
        at = bisect.bisect_left(self._keys, key)
        return self._sizes[at] if at < len(self._keys) and self._keys[at] == key else 0
