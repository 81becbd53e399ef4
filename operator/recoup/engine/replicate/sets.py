"""Which objects a recovery point needs, and which of them are new to a copy.

Object sets are read without a key and leaf by leaf (docs/format-data.md section 5): they are compared like sorted lists, so memory
does not grow with the vault. Nodes read lately are kept, up to a limit: the next point of a lineage shares almost everything.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter

from recoup.engine.format.names import digest_of, object_name
from recoup.engine.log.facts import Committed
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.objectset import MAX_SET_BYTES, iterate_set, set_nodes
from recoup.engine.replicate.copier import Wanted
from recoup.engine.stores.base import Store
from recoup.errors import Integrity, NotFound

KEPT_BYTES = 24 << 20


class SetReader:
    """Reads the object sets of one vault from the first of `stores` that has a node as its digest says."""

    def __init__(self, vault_id: bytes, *stores: Store) -> None:
        self._vault, self._stores = vault_id, stores
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0

    def needed(self, commit: Committed) -> Iterator[Wanted]:
        """Every object that restoring the point needs, once, in the order of digests; `at` is what its location says.

        Index segments and the lineage cache's root are not among them: they serve writers, who work at the home only. Raises
        Integrity if a node of the set cannot be had.
        """
        root = commit.here(commit.body.object_set)
        apart = [Wanted(commit.body.manifest, "m", commit.here(commit.body.manifest).incarnation)]
        nodes = (commit.here(node.digest, node.incarnation) for node in set_nodes(self._fetch, root))
        apart += [Wanted(node.digest, "x", node.incarnation, data=self._kept.get(node.digest)) for node in nodes]
        members = (
            Wanted(one.digest, one.area, commit.here(one.digest, one.incarnation).incarnation, one.size)
            for one in iterate_set(self._fetch, root)
        )
        for _, same in groupby(heapq.merge(sorted(apart), members, key=itemgetter(0)), key=itemgetter(0)):
            yield next(same)

    def known(self, commit: Committed) -> Iterator[tuple[bytes, int]]:
        """Digests and incarnations of what the point needs, sorted; a set that cannot be read to its end makes nothing more known."""
        try:
            for wanted in self.needed(commit):
                yield wanted.digest, wanted.at
        except Integrity:
            return

    def _fetch(self, ref: ObjectRef) -> bytes:
        data = self._kept.get(ref.digest)
        if data is not None:
            self._kept.move_to_end(ref.digest)
            return data
        data = self._kept[ref.digest] = self._read(ref)
        self._bytes += len(data)
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= len(self._kept.popitem(last=False)[1])
        return data

    def _read(self, ref: ObjectRef) -> bytes:
        name = object_name(self._vault, "x", ref.digest, ref.incarnation)
        said: list[str] = []
        for store in self._stores:
            try:
                data = store.get(name, MAX_SET_BYTES)
            except (NotFound, Integrity) as error:
                said.append(str(error))
                continue
            if digest_of(data) == ref.digest:
                return data
            said.append(f"{name} at {store.url}: its bytes are not those that its name says")
        raise Integrity(f"object {name} of an object set cannot be had: {'; '.join(said)}", reason="ObjectDamaged")


class Cursor:
    """A sorted stream of (digest, incarnation) that is asked about digests in ascending order."""

    def __init__(self, keys: Iterable[tuple[bytes, int]]) -> None:
        self._keys = iter(keys)
        self._next = next(self._keys, None)

    def highest(self, digest: bytes) -> int | None:
        """The highest incarnation that the stream has of a digest, None if it has none."""
        found: int | None = None
        while self._next is not None and self._next[0] <= digest:
            if self._next[0] == digest:
                found = max(found or 0, self._next[1])
            self._next = next(self._keys, None)
        return found
