"""Reading a log up to its head and appending to it, through any store (docs/format.md section 6, Append).

Reading is by GET alone, up to the first entry that is absent; a listing only tells how many to ask for at once. Appending decides on
the whole prefix, creates the next entry if it is absent, and settles lost responses by the entry's nonce. Safe to use from several threads.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from recoup.engine.format.kinds import ID_BYTES
from recoup.engine.format.names import log_name
from recoup.engine.keys.signing import SigningKey
from recoup.engine.log.bodies import TYPE_OF, Body, Init, Signer
from recoup.engine.log.checkpoint import EVERY
from recoup.engine.log.entries import MAX_ENTRY_BYTES, Entry, Head, decode_entry, encode_entry
from recoup.engine.log.firsts import FirstVersions
from recoup.engine.log.jump import jump
from recoup.engine.log.listing import Listing
from recoup.engine.log.rules import objection
from recoup.engine.log.sets import Sets, StoredSets, collision
from recoup.engine.log.state import LogState
from recoup.engine.stores.base import Store
from recoup.engine.stores.versions import Versioned
from recoup.errors import Integrity, Invalid, NotFound, RecoupError, Retryable
from recoup.typeinfo import build_type_info

_FIRST_BATCH = 4
_SEQ = re.compile(r"[0-9a-f]{16}")
_MAX_BATCH = 32
_SHORT = 8
"""Entries that are read before it is worth a request to ask for a checkpoint, if no listing says how many there are."""
_READERS = 16
_MAX_CONFLICTS = 200
_MAX_UNANSWERED = 5


class LogRejected(Invalid):
    """The entry would not count where the log now stands, for instance a second COMMIT of one session."""

    reason = "LogRejected"


class SweptMeanwhile(Retryable):
    """The entry needs an object that was swept while its session was at work, or sweeps one that is needed since: run again."""

    reason = "SweptMeanwhile"


class Log:
    """The log of one vault at one location. `state` is what was read so far; `follow` brings it up to the head."""

    def __init__(
        self,
        store: Store,
        vault_id: bytes,
        *,
        root_public: bytes | None,
        state: LogState | None = None,
        sets: Sets | None = None,
        generation: int = 0,
        checkpoints: bool = True,
        watch: Callable[[LogState], None] | None = None,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Follow from `state` (an earlier answer of `follow`), or from the beginning. `root_public` is the pinned root key.

        `sets` reads object sets when an entry is appended that SWEEPs must be compared with; by default from the same store.
        `generation` is the newest that is known beforehand, which checkpoints must not be older than; without `checkpoints` every entry is
        read, which decisions that cannot be taken back, and states that note more than the facts, need. `watch` is called with the state
        at every multiple of 128 that is come by.
        """
        self.store = store
        self.state = state if state is not None else LogState(vault_id, root_public)
        self._sets = sets if sets is not None else StoredSets(store, vault_id, self.state)
        self._vault_id = vault_id
        self._generation = generation
        self._firsts = FirstVersions(store, vault_id)
        self._held: set[int] = set()
        self._may_jump = checkpoints and type(self.state) is LogState and not self.state.next_seq
        self._watch = watch
        self._clock = clock
        self._pause = pause
        self._lock = threading.RLock()
        self._followed = False

    def follow(self) -> LogState:
        """Read up to the head: one request if nothing is new. Raises what the store raises, and Invalid (NewerFormat)."""
        with self._lock:
            self._firsts.begin()
            if (self.state.next_seq or self._followed) and not self._read_batch(1, map):
                self._followed = True
                return self.state
            build_type_info()
            with ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="log") as pool:
                self._read_on(pool.map)
            self._followed = True
            return self.state

    def read_all(self, watch: Callable[[LogState], None] | None = None) -> LogState:
        """Follow, and have every entry read, by no checkpoint: for decisions that cannot be taken back.

        `watch` is called with the state at every multiple of 128, for which a log that has any is read once more.
        """
        with self._lock:
            if self.follow().base or (watch is not None and self.state.next_seq >= EVERY):
                whole = Log(self.store, self._vault_id, root_public=self.state.pinned_root, checkpoints=False, watch=watch)
                self.state = whole.follow()
            return self.state

    def beyond_head(self) -> int:
        """How many entries a listing shows beyond the head: not part of the log, and put there by nobody of this vault.

        What has no entry's name is no entry, wherever it sorts.
        """
        prefix = log_name(self._vault_id, 0)[:-16]
        head = log_name(self._vault_id, self.state.next_seq)
        return sum(name >= head and _SEQ.fullmatch(name[len(prefix) :]) is not None for name, _ in self.store.list(prefix))

    def append(
        self,
        body: Body,
        key: SigningKey | None,
        *,
        init_ids: tuple[bytes, bytes] | None = None,
        guard: Callable[[LogState], str | None] | None = None,
    ) -> Entry:
        """Append `body`, signed by `key` (None for MIRROR and HEAL), and return the entry as it stands in the log, durably.

        Raises LogRejected if it would not count (decided anew after every conflict), SweptMeanwhile, and Retryable if the store does not
        answer; the entry may then be there all the same, which following the log again will show. `init_ids` (repo id,
        location id) are for INIT, or the MIRROR of one, which comes before the log can say them. `guard` is the caller's own
        objection, asked on the same prefix as the rules.
        """
        nonce = os.urandom(ID_BYTES)
        with self._lock:
            newest = not self._followed  # a prefix read earlier will do: if the log went on, the create below fails
            if newest:
                self.follow()
            for conflict in range(_MAX_CONFLICTS):
                try:
                    speaker = self._may_speak(body, key, init_ids, guard)
                except RecoupError:
                    if newest:
                        raise
                else:
                    entry = self._try_append(body, key, nonce, speaker)
                    if entry is not None:
                        return entry
                    self._pause(random.uniform(0, min(2.0, 0.02 * 2 ** min(conflict, 8))))  # noqa: S311 - jitter, not a secret
                self.follow()
                newest = True
        raise Retryable(f"the log of vault {self._vault_id.hex()} was taken by others {_MAX_CONFLICTS} times: try again later")

    def _read_on(self, run: Callable[[Callable[[str], bytes | None], list[str]], Iterable[bytes | None]]) -> None:
        """Read until the head is met. What a listing shows is read with the one behind it; without one, as many again as were read.

        So the requests in vain are one or two, and at most half of all where listings do not help.
        """
        first, batch = self.state.next_seq, _FIRST_BATCH
        listing = Listing(self.store, self._vault_id)
        while self._read_batch(batch, run):
            end = listing.end(self.state.next_seq)
            long = end >= EVERY if end is not None else self.state.next_seq >= _SHORT
            if self._may_jump and long and self.state.next_seq < EVERY:
                self._may_jump = False
                if jump(self.state, self.store, run, self._generation):
                    first = self.state.next_seq - _SHORT
                    self._firsts.begin()
                    end = listing.end(self.state.next_seq)
            batch = min(self.state.next_seq - first if end is None else end + 1 - self.state.next_seq, _MAX_BATCH)

    def _read_batch(self, size: int, run: Callable[[Callable[[str], bytes | None], list[str]], Iterable[bytes | None]]) -> bool:
        """Take up to `size` entries, fetched by `run`; False when the head was met."""
        first = self.state.next_seq
        answers = list(run(self._get, [log_name(self._vault_id, first + step) for step in range(size)]))
        for seq, shown in enumerate(answers, start=first):
            data = self._firsts.correct(seq, shown)
            if data is None:
                return False
            self.state.take(seq, data)
            if self._watch is not None and not self.state.next_seq % EVERY:
                self._watch(self.state)
        return True

    def _get(self, name: str) -> bytes | None:
        """The entry; None beyond the head; nothing if it is too long to be an entry, which makes it an invalid one.

        An answer that was cut short must not pass for an invalid entry: everybody has to see the same log.
        """
        try:
            return self.store.get(name, MAX_ENTRY_BYTES)
        except NotFound:
            return None
        except Integrity as error:
            if error.reason == "ObjectTooLarge":
                return b""
            raise Retryable(f"{name} could not be read whole: {error}") from error

    def _may_speak(
        self, body: Body, key: SigningKey | None, init_ids: tuple[bytes, bytes] | None, guard: Callable[[LogState], str | None] | None
    ) -> tuple[Signer, int, bytes, bytes]:
        """What `_speaker` says, if neither the caller nor the rules object to the entry on the prefix read so far."""
        state, speaker = self.state, self._speaker(body, key, init_ids)
        what = f"{type(body).__name__.upper()} was not appended to the log"
        reason = (guard(state) if guard is not None else None) or objection(state, body, *speaker[:2])
        if reason is not None:
            raise LogRejected(f"{what}: {reason}")
        swept = collision(state, body, self._sets)
        if swept is not None:
            raise SweptMeanwhile(f"{what}: {swept}")
        return speaker

    def _try_append(self, body: Body, key: SigningKey | None, nonce: bytes, speaker: tuple[Signer, int, bytes, bytes]) -> Entry | None:
        """One attempt at the next seq: the entry if it is ours now, None if somebody else's stands there."""
        state = self.state
        seq = state.next_seq
        role, generation, repo_id, location_id = speaker
        place = (repo_id, self._vault_id, location_id, seq, state.previous, int(self._clock() * 1000), nonce)
        data = encode_entry(Head(TYPE_OF[type(body)], role, generation, *place), body, key)
        name = log_name(self._vault_id, seq)
        self._hold_lost()
        for unanswered in range(_MAX_UNANSWERED):
            try:
                created = self.store.create(name, data)
            except Retryable:
                stored = self._firsts.standing(seq, self._get(name))
                if stored is None:
                    if unanswered == _MAX_UNANSWERED - 1:
                        raise
                    continue
                created = stored == data
            else:
                stored = self._firsts.standing(seq, data if created else self._get(name))
                created = created and stored == data
            if not created and (stored is None or not _is_ours(stored, name, nonce)):
                return None
            entry = state.take(seq, stored or data)
            if entry is None:
                raise LogRejected(f"the entry stands in the log as {name}, but does not count: {state.complaints[-1][1]}")
            return entry
        return None

    def _hold_lost(self) -> None:
        """Lock what is passed over: were it deleted, what is appended behind it now would stand behind the end of the log."""
        store, state = self.store, self.state
        lock = store.object_lock if isinstance(store, Versioned) else None
        if lock is None or not isinstance(store, Versioned):
            return
        for seq in sorted(each for each in state.lost - self._held if each > state.previous_seq):
            version = self._firsts.first(seq)
            if version is None:
                raise Retryable(f"{log_name(self._vault_id, seq)}, which was there a moment ago, is gone: read the log again")
            store.hold_version(version, store.provider_time() + lock.period, lock.mode)
            self._held.add(seq)

    def _speaker(self, body: Body, key: SigningKey | None, init_ids: tuple[bytes, bytes] | None) -> tuple[Signer, int, bytes, bytes]:
        """(role, generation, repo id, location id) for an entry that `key` signs now."""
        if key is None and init_ids is not None and not self.state.initialised:
            return Signer.NOBODY, 0, *init_ids
        if isinstance(body, Init) and init_ids is not None:
            return Signer.MAINTENANCE, body.keyring.generation, *init_ids
        identity = self.state.require_identity()
        if key is None:
            return Signer.NOBODY, 0, identity.repo_id, self.state.location_id
        found = self.state.role_of(key.public)
        if found is None:
            raise LogRejected("the signing key is not one of this vault: its keys were changed, or belong to another vault")
        return *found, identity.repo_id, self.state.location_id


def _is_ours(stored: bytes, name: str, nonce: bytes) -> bool:
    if len(stored) > MAX_ENTRY_BYTES:
        return False
    try:
        return decode_entry(stored, name).head.nonce == nonce
    except Integrity:
        return False
