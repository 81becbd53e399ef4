"""Mark: the digests of everything that some recovery points need, by their first byte (docs/format.md section 6, Live).

Object sets are sharded by that byte, so that memory holds one shard's range at a time, whatever the vault's size; shards that points
share are read once. An object set that cannot be read raises: it must never pass for an empty one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor

from recoup.engine.log.facts import Committed, Facts
from recoup.engine.log.sets import StoredSets
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.objectset import decode_leaf, decode_root
from recoup.errors import Integrity

Shard = tuple[ObjectRef, int, int]
"""(where its node is, least and greatest first byte)."""


class NeededDigests:
    """Ask `at` for 0, 1, … 255 in this order, each once."""

    def __init__(self, sets: StoredSets, commits: Iterable[Committed], pool: Executor, *, lenient: bool = False) -> None:
        """Read the roots. `lenient` passes over points whose sets are not whole: only where nothing depends on it. Raises Integrity."""
        self._sets, self._pool, self._lenient = sets, pool, lenient
        self._found: defaultdict[int, set[bytes]] = defaultdict(set)
        self._shards: defaultdict[int, list[Shard]] = defaultdict(list)
        self.count = 0
        """Digests handed out so far."""
        known: set[ObjectRef] = set()
        for commit, root, data in self._roots(commits):
            self.add([commit.body.manifest, root.digest, *([commit.body.cache] if commit.body.cache else [])])
            if data is None:
                continue
            for shard in decode_root(data, f"the object set of recovery point {commit.body.manifest.hex()[:16]}"):
                ref = commit.here(shard.digest, shard.incarnation)
                if ref not in known:
                    known.add(ref)
                    self.add([ref.digest])
                    self._shards[shard.low].append((ref, shard.low, shard.high))

    def add(self, digests: Iterable[bytes]) -> None:
        """More that is needed; before the first `at`."""
        for digest in digests:
            self._found[digest[0]].add(digest)

    def at(self, byte: int) -> set[bytes]:
        """All digests that begin with `byte`. Raises Integrity."""
        for found in self._pool.map(self._leaf, self._shards.pop(byte, ())):
            for digest in found:
                self._found[digest[0]].add(digest)
        digests = self._found.pop(byte, set())
        self.count += len(digests)
        return digests

    def _roots(self, commits: Iterable[Committed]) -> Iterator[tuple[Committed, ObjectRef, bytes | None]]:
        """Every point once, with its root's bytes where no earlier point had the same root."""
        fresh: dict[ObjectRef, Committed] = {}
        for commit in commits:
            root = commit.here(commit.body.object_set)
            if root in fresh:
                yield commit, root, None
            else:
                fresh[root] = commit
        for (root, commit), data in zip(fresh.items(), self._pool.map(self._node(self._sets.node), fresh), strict=True):
            yield commit, root, data

    def _leaf(self, shard: Shard) -> list[bytes]:
        ref, low, high = shard
        data = self._node(self._sets.node)(ref)
        return [] if data is None else [member.digest for member in decode_leaf(data, low, high, f"object set shard {ref.digest.hex()}")]

    def _node(self, fetch: Callable[[ObjectRef], bytes]) -> Callable[[ObjectRef], bytes | None]:
        def get(ref: ObjectRef) -> bytes | None:
            try:
                return fetch(ref)
            except Integrity:
                if self._lenient:
                    return None
                raise

        return get


def live_digests(sets: StoredSets, state: Facts, pool: Executor) -> NeededDigests:
    """Everything that is live by the log as it stands, but what unfinished sessions put. Raises Integrity naming what cannot be read."""
    live = NeededDigests(sets, state.commits.values(), pool)
    live.add(state.segments)
    live.add(digest for noted in state.condemned.values() for digest in noted.body.lists)
    live.add(digest for swept in state.swept.values() for digest in swept.body.lists)
    return live


def forgotten_digests(sets: StoredSets, state: Facts, pool: Executor) -> NeededDigests:
    """What points named that were forgotten since objects were last condemned: no unfinished session has put any of it."""
    since = max([*state.condemned, *(noted.body.condemned for noted in state.swept.values())], default=-1)
    commits = [gone.commit for gone in state.forgotten.values() if gone.seq > since]
    named = NeededDigests(sets, commits, pool, lenient=True)
    named.add(segment for commit in commits for segment in commit.body.index_segments)
    return named
