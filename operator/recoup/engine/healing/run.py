"""The entrance of a healing: from a location and others that hold copies to a location that is whole again, without any key.

Bytes from elsewhere count only if they match the digest. They are put under the next incarnation, because nothing is ever overwritten and a
late delete may still be on its way to the old name; then a HEAL says where they are. What is damaged everywhere is named.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence

from msgspec import field

from recoup.engine.descriptor import MAX_DESCRIPTOR_BYTES
from recoup.engine.format.kinds import DIGEST_BYTES
from recoup.engine.format.names import descriptor_name, digest_of, keyring_name, object_name
from recoup.engine.healing.look import Check, Looker
from recoup.engine.keys.keyring import MAX_KEYRING_BYTES
from recoup.engine.log.bodies import Heal, ObjectRef
from recoup.engine.log.facts import Committed
from recoup.engine.log.follow import Log
from recoup.engine.places import elsewhere, here
from recoup.engine.replicate.copier import Copied, Copier, Wanted
from recoup.engine.replicate.sets import Cursor, SetReader
from recoup.engine.replicate.small import copy_named
from recoup.engine.stores.base import Store
from recoup.engine.stores.failover import FailoverStore, Place
from recoup.errors import Integrity, NotFound, Retryable
from recoup.report import Progress
from recoup.typeinfo import build_type_info
from recoup.value import Record

_COMPARED = 3
"""A point's objects are not looked at again if one of so many points before it needs them as well."""
_PER_ENTRY = 500


class Healed(Record):
    """What was looked at and brought back. Bytes are stored bytes."""

    vault: str
    points: int = 0
    objects: list[str] = field(default_factory=list)
    """Names under which objects were brought back, and those of keyrings and descriptors."""
    lost: dict[str, list[str]] = field(default_factory=dict)
    """What cannot be brought back: why, and the recovery points that need it."""
    sources: list[tuple[str, int, int]] = field(default_factory=list)
    """(URL, objects, bytes) that came from there."""
    copied: Copied = field(default_factory=Copied)


def heal(
    store: Store,
    others: Sequence[Store],
    vault_id: bytes,
    progress: Progress,
    *,
    pinned_root: bytes | None = None,
    check: Check = Check.CONTENT,
    threads: int | None = None,
    done: Healed | None = None,
) -> Healed:
    """Look at everything that the vault's live points need at `store` and bring back what is bad from `others`.

    `done` is filled in as it goes. Raises Retryable if no other location answers, Integrity if the log is not this vault's; running
    again goes on.
    """
    result = done if done is not None else Healed(vault_id.hex())
    build_type_info()
    progress.start("reading logs")
    log = Log(store, vault_id, root_public=pinned_root)
    try:
        if not log.follow().next_seq:
            raise NotFound(f"{store.url} holds no vault {vault_id.hex()}", reason="NoVault")
        log.state.require_identity()
        places = elsewhere(log, others)
        _ask(places)
        run = _Run(log, FailoverStore(places), result, progress, check, threads)
        try:
            run.small()
            run.points()
        finally:
            result.sources = [(place.store.url, place.objects, place.bytes) for place in places]
    finally:
        progress.end()
    return result


def _ask(places: Sequence[Place]) -> None:
    """Raise Integrity or Invalid if a place holds no copy of the vault, Retryable if no place answers at all."""
    away: list[Retryable] = []
    for place in places:
        try:
            place.incarnations(bytes(DIGEST_BYTES))
        except Retryable as error:
            away.append(error)
    if len(away) == len(places):
        raise away[0]


class _Run:
    def __init__(self, log: Log, source: FailoverStore, result: Healed, progress: Progress, check: Check, threads: int | None) -> None:
        self._log, self._source, self._result, self._progress = log, source, result, progress
        self._state = log.state
        self._vault = log.state.vault_id
        self._looker = Looker(log.store, log.state, check)
        self._copier = Copier(source, log.store, self._vault, progress, threads=threads, look=self._looker)
        self._sets = SetReader(self._vault, here(log, check=True), source)
        result.copied = self._copier.copied

    def small(self) -> None:
        """Keyrings and descriptor, which have no incarnations: a missing one comes back, a damaged one stands in the way and is said."""
        wanted = [
            (keyring_name(self._vault, generation, digest), digest, MAX_KEYRING_BYTES)
            for generation, digest in self._state.keyrings.items()
        ]
        descriptor = self._state.descriptor
        if descriptor is not None:
            wanted.append((descriptor_name(self._vault, descriptor.number), descriptor.digest, MAX_DESCRIPTOR_BYTES))
        for name, digest, limit in wanted:
            try:
                if digest_of(self._log.store.get(name, limit)) == digest:
                    continue
            except (NotFound, Integrity):
                pass
            self._bring(name, digest, limit)

    def _bring(self, name: str, digest: bytes, limit: int) -> None:
        errors: list[Integrity] = []
        for place in self._source.places:
            try:
                copy_named(place.store, self._log.store, name, digest, limit, needed=True)
            except Integrity as error:
                errors.append(error)
            else:
                self._result.objects.append(name)
                return
        self._result.lost[f"{name}: {errors[-1]}"] = []

    def points(self) -> None:
        """Every live point, and a HEAL after each for which something was brought back."""
        before: deque[Committed] = deque(maxlen=_COMPARED)
        self._progress.start("checking", bytes_total=0, files_total=0)
        with self._copier:
            for commit in list(self._state.commits.values()):
                self._point(commit, before)
                before.append(commit)
                self._result.points += 1

    def _point(self, commit: Committed, before: Sequence[Committed]) -> None:
        try:
            found = [(1, one.size or 0) for one in self._unseen(commit, before)]
        except Integrity as error:
            self._lose(commit, error)
        else:
            self._progress.files_total = (self._progress.files_total or 0) + len(found)
            self._progress.bytes_total = (self._progress.bytes_total or 0) + sum(size for _, size in found)
        healed, lost = self._copier.copy(self._unseen(commit, before))
        for loss in lost:
            self._lose(commit, loss)
        for start in range(0, len(healed), _PER_ENTRY):
            some = healed[start : start + _PER_ENTRY]
            self._log.append(Heal(tuple(ObjectRef(one.digest, one.first) for one in some)), None)
            self._result.objects += [object_name(self._vault, one.area, one.digest, one.first) for one in some]

    def _unseen(self, commit: Committed, before: Sequence[Committed]) -> Iterator[Wanted]:
        """What the point needs and those before it do not."""
        seen = Cursor(heapq.merge(*(self._sets.known(other) for other in before)))
        for wanted in self._sets.needed(commit):
            if seen.highest(wanted.digest) is None:
                yield wanted._replace(first=max(self._looker.candidates(wanted)))

    def _lose(self, commit: Committed, error: Integrity) -> None:
        points = self._result.lost.setdefault(str(error), [])
        if commit.body.manifest.hex() not in points:
            points.append(commit.body.manifest.hex())
