"""What the appender of an entry checks besides the rules, in object sets and lists (docs/format.md section 6, Appending).

A COMMIT, REPLACE or MIRROR must not name an object that a SWEEP named since its session began; a SWEEP must not name one that an
entry needs which came after the sweeper looked. Whoever appends decides on exactly the entries before its own, so that nobody has to read
sets to follow a log. Nothing is read unless there are SWEEPs to compare with; memory is a shard and a list.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

from recoup.engine.format.names import digest_of, object_name
from recoup.engine.log.bodies import Body, Commit, Mirror, Replace, Sweep
from recoup.engine.log.facts import Committed, Facts
from recoup.engine.log.mirror import home_entry
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.objectlist import MAX_LIST_BYTES, Listed, decode_list
from recoup.engine.records.objectset import MAX_SET_BYTES, iterate_set, set_nodes
from recoup.engine.stores.base import Store
from recoup.errors import Integrity, NotFound

Key = tuple[bytes, int]
"""(digest, incarnation)."""


class Sets(Protocol):
    """Reads object sets and lists; every digest is checked."""

    def needed(self, commit: Committed) -> Iterator[Key]:
        """Everything that a point needs here, sorted, once or several times."""

    def listed(self, digests: Iterable[bytes]) -> Iterator[Listed]:
        """The rows of list objects, in the order given."""


class StoredSets:
    """Sets of one vault as they stand in a store. Raises what the store raises, and Integrity for what is missing or damaged."""

    def __init__(self, store: Store, vault_id: bytes, facts: Facts | None = None) -> None:
        """`facts`: what that location's log says of healed objects; None if `store` finds those by itself (engine/places.py)."""
        self._store, self._vault, self._facts = store, vault_id, facts

    def needed(self, commit: Committed) -> Iterator[Key]:
        body = commit.body
        named = [body.manifest, *body.index_segments, *([body.cache] if body.cache else [])]
        nodes: list[ObjectRef] = []

        def fetch(ref: ObjectRef) -> bytes:
            return self._get(commit.here(ref.digest, ref.incarnation), MAX_SET_BYTES)

        root = commit.here(body.object_set)
        nodes += [commit.here(node.digest, node.incarnation) for node in set_nodes(fetch, root)]
        apart = sorted([*((ref.digest, ref.incarnation) for ref in [*nodes, *map(commit.here, named)])])
        members = (commit.here(member.digest, member.incarnation) for member in iterate_set(fetch, root))
        yield from heapq.merge(apart, ((ref.digest, ref.incarnation) for ref in members))

    def listed(self, digests: Iterable[bytes]) -> Iterator[Listed]:
        for digest in digests:
            yield from decode_list(self._get(ObjectRef(digest), MAX_LIST_BYTES), f"object list {digest.hex()}")

    def node(self, ref: ObjectRef) -> bytes:
        """A node of an object set, by where it is here."""
        return self._get(ref, MAX_SET_BYTES)

    def _get(self, ref: ObjectRef, limit: int) -> bytes:
        """From its healed incarnations first, from the highest; what is wrong with `ref` itself if none is good."""
        failure: Integrity | None = None
        for candidate in self._facts.candidates(ref) if self._facts is not None else (ref,):
            name = object_name(self._vault, "x", ref.digest, candidate.incarnation)
            try:
                data = self._store.get(name, limit)
            except NotFound:
                failure = Integrity(f"object {name} is missing at {self._store.url}", reason="ObjectMissing")
                continue
            except Integrity as error:
                failure = error
                continue
            if digest_of(data) == ref.digest:
                return data
            failure = Integrity(f"object {name} at {self._store.url} is damaged", reason="DigestMismatch")
        assert failure is not None, "an object stands at least where its entry says"
        raise failure


def collision(state: Facts, body: Body, sets: Sets) -> str | None:
    """Why an entry that the rules allow must not be appended; None if it may."""
    match body:
        case Commit():
            return _named(state, Committed(state.next_seq, 0, 0, body), _begun(state, body.session), sets)
        case Replace():
            known = state.commits[body.point]
            return _named(state, _replaced(known, body, body.incarnations), _begun(state, body.session), sets)
        case Mirror():
            home = home_entry(body).body
            if isinstance(home, Commit):
                commit = Committed(state.next_seq, 0, 0, _with(home, body), home_seq=0)
                return _named(state, commit, -1, sets)
            if isinstance(home, Replace):
                return _named(state, _replaced(state.commits[home.point], home, body.incarnations), -1, sets)
        case Sweep():
            return _swept(state, body, sets)
    return None


def swept_keys(state: Facts, sets: Sets, since: int = -1) -> Iterator[Key]:
    """All objects that SWEEPs after `since` name, sorted. Reads a list at a time of each."""
    sweeps = [noted.body.lists for seq, noted in state.swept.items() if seq > since and noted.body.lists]
    return heapq.merge(*(((row.digest, row.incarnation) for row in sets.listed(lists)) for lists in sweeps))


def _begun(state: Facts, session: bytes) -> int:
    """Seq of the session's first OPEN: what it found or put before is what no SWEEP had named then."""
    found = state.sessions.get(session)
    return min(found.opens, default=-1) if found is not None else -1


def _named(state: Facts, commit: Committed, since: int, sets: Sets) -> str | None:
    if not any(seq > since and noted.body.lists for seq, noted in state.swept.items()):
        return None
    found = first_common(sets.needed(commit), swept_keys(state, sets, since))
    if found is None:
        return None
    return f"object {found[0].hex()}, which it needs, was swept while it was at work: run again, and what is gone will be stored anew"


def _swept(state: Facts, body: Sweep, sets: Sets) -> str | None:
    lists = [
        digest for seq, noted in state.condemned.items() if seq >= body.marked and seq != body.condemned for digest in noted.body.lists
    ]
    lists += [digest for seq, swept in state.swept.items() if seq >= body.marked for digest in swept.body.lists]
    merged = [digest for digest, seq in state.merged_segments.items() if seq >= body.marked]
    named = sorted((digest, 0) for digest in [*lists, *body.lists, *merged])
    found = first_common(named, ((row.digest, 0) for row in sets.listed(body.lists))) if body.lists else None
    if found is not None:
        return f"object {found[0].hex()} was named by another entry meanwhile"
    for commit in state.commits.values():
        if commit.named_at < body.marked or not body.lists:
            continue
        wanted = ((digest, 0) for digest, _ in sets.needed(commit))
        found = first_common(wanted, ((row.digest, 0) for row in sets.listed(body.lists)))
        if found is not None:
            return f"object {found[0].hex()} is needed by recovery point {commit.body.manifest.hex()[:16]}, which was made meanwhile"
    return None


def _replaced(known: Committed, body: Replace, incarnations: tuple[ObjectRef, ...]) -> Committed:
    commit = msgspec.structs.replace(known.body, object_set=body.object_set, index_segments=(), incarnations=incarnations)
    return Committed(known.seq, 0, 0, commit, known.home_seq)


def _with(home: Commit, mirror: Mirror) -> Commit:
    return msgspec.structs.replace(home, incarnations=mirror.incarnations, index_segments=(), cache=b"")


def first_common(left: Iterable[Key], right: Iterable[Key]) -> Key | None:
    """The least key that two sorted streams share."""
    one, other = iter(left), iter(right)
    a, b = next(one, None), next(other, None)
    while a is not None and b is not None:
        if a == b:
            return a
        if a < b:
            a = next(one, None)
        else:
            b = next(other, None)
    return None
