"""Not sending again what an earlier attempt of the same session sent (docs/format.md section 4, "what may be referred to").

While a run works, `Checkpoints` writes down from time to time which blocks have reached the store: a partial index segment, named by
another OPEN of the session. `Earlier` finds those blocks for a later attempt, which asks the store for each object before it refers to
it. Which attempts are of one session is chosen in choosing.py.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from recoup.engine.backup.packs import Ledger, compress, put_object
from recoup.engine.backup.readback import ReadBack
from recoup.engine.backup.sampling import CacheDistrusted
from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import Area, BlockKind, Kind
from recoup.engine.format.names import object_name
from recoup.engine.format.sealed import ObjectBuilder, SealedObject
from recoup.engine.keys.roles import WriterKeys
from recoup.engine.keys.signing import SigningKey
from recoup.engine.log.bodies import Abort, Open
from recoup.engine.log.facts import Session
from recoup.engine.log.follow import Log
from recoup.engine.log.sets import StoredSets
from recoup.engine.records.index import encode_segment
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.objectset import Member
from recoup.engine.records.rows import ROW_BYTES, Place, Table
from recoup.engine.stores.base import Store
from recoup.errors import Denied, Integrity, KeyUnavailable, NotFound, RecoupError

LEAST_OBJECTS: Final = 16
"""Objects that must have come in since the last checkpoint..."""
SHARE: Final = 8
"""...and one for so many before: the log grows with the logarithm of a run's length. At most that much is sent again."""
MOST_OBJECTS: Final = 2048
INTERVAL: Final = 180.0
"""Seconds after which fewer objects are enough: on a slow line, one."""
MAX_WINDOW_BYTES: Final = 32 << 20
"""Of earlier attempts' tables in memory. They are in the order of the walk, so that a part of them is enough."""

RESUMABLE: Final = frozenset({Kind.DATA, Kind.TREE, Kind.REFS})

_log = logging.getLogger(__name__)


class OpenSession:
    """A session of this run as the log knows it: its OPEN, repeated with every partial segment."""

    def __init__(self, log: Log, signer: SigningKey, session: bytes, ticket: bytes, pack_bytes: int) -> None:
        self.log, self.session, self.ticket = log, session, ticket
        self._signer = signer
        self._pack_bytes = pack_bytes
        self.seq = -1
        """Of the latest OPEN, which COMMIT and ABORT name."""

    def open(self, *segments: bytes) -> None:
        """Append an OPEN. Raises LogRejected if the session has its COMMIT already, and what the store raises."""
        self.seq = self.log.append(Open(self.session, self.ticket, self._pack_bytes, segments), self._signer).head.seq

    def abort(self) -> None:
        """Say that the session ends here, unless something of it is worth going on with. Best effort: no end is allowed, too."""
        if any(segments_of(self.log.state.sessions.get(self.session))):
            return
        try:
            self.log.append(Abort(self.session, self.seq), self._signer)
        except RecoupError:
            return


def segments_of(session: Session | None) -> Iterator[bytes]:
    """Partial segments of a session in the order in which they were written; none of OPENs that were aborted."""
    if session is not None:
        for seq in sorted(session.opens):
            if seq > session.aborted_up_to:
                yield from session.opens[seq].index_segments


def earlier_attempts(log: Log, keys: WriterKeys, readback: ReadBack, session: bytes) -> Earlier:
    """What this session sent so far, less what is damaged, condemned or swept."""
    state, known = log.state, log.state.sessions.get(session)
    segments = list(segments_of(known))
    barred = {ObjectRef(ref.digest, ref.incarnation) for ref in state.damaged}
    if known is not None and segments:
        begun = min(known.opens)
        lists = [digest for one in state.condemned.values() if one.seq > begun for digest in one.body.lists]
        lists += [digest for one in state.swept.values() if one.seq > begun for digest in one.body.lists]
        try:
            barred |= {row.object for row in StoredSets(log.store, state.vault_id, state).listed(lists)}
        except Integrity as error:
            _log.warning("what is to be swept cannot be read, everything is sent again: %s", error)
            segments = []
    return Earlier(log.store, keys, readback, iter(segments), barred)


class Checkpoints:
    """Told of every object that is in the store, by the threads that put them."""

    def __init__(self, opened: OpenSession, keys: WriterKeys, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        self._opened, self._keys, self._ledger, self._clock = opened, keys, ledger, clock
        self._lock = threading.Lock()
        self._rows: dict[bytes, Place] = {}
        self._fresh = 0
        self._before = 0
        self._since = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """A run that is stopped, or begins anew, leaves word of all that it sent. Not where store or log were what failed."""
        if isinstance(error, (KeyboardInterrupt, CacheDistrusted, Integrity)):
            with suppress(RecoupError):
                self.write()

    def reached(self, sealed: SealedObject) -> None:
        """Note that an object is durable; write a checkpoint if one is due. Raises what the store and the log raise."""
        blocks = self._ledger.take_fresh(sealed.digest)
        if sealed.kind not in RESUMABLE:
            return
        with self._lock:
            self._rows.update((block, Place(sealed.digest, 0, number, 0)) for block, number in blocks)
            self._fresh += 1
            if self._is_due():
                self._write()

    def write(self) -> None:
        """Write down what has come in since the last checkpoint, if there is anything."""
        with self._lock:
            if self._fresh:
                self._write()

    def _is_due(self) -> bool:
        enough = min(MOST_OBJECTS, max(LEAST_OBJECTS, self._before // SHARE))
        return self._fresh >= enough or self._clock() - self._since >= INTERVAL

    def _write(self) -> None:
        rows = sorted(self._rows.items())
        sealed = seal_segment(self._keys, rows)
        put_object(self._opened.log.store, sealed.name, sealed.data)
        self._opened.open(sealed.digest)
        self._before += self._fresh
        self._rows, self._fresh, self._since = {}, 0, self._clock()


def seal_segment(keys: WriterKeys, rows: list[tuple[bytes, Place]]) -> SealedObject:
    """An index segment of sorted rows as one object."""
    tables = [(table, block_id(keys.id_key, BlockKind.INDEX, table)) for table in encode_segment(rows)]
    builder = ObjectBuilder(keys.sealing(Kind.INDEX), len(rows) * (2 * ROW_BYTES) + (1 << 20))
    for table, block in tables:
        codec, payload = compress(table, keys.id_key, block, BlockKind.INDEX)
        builder.add(block, BlockKind.INDEX, codec, len(table), payload)
    return builder.close(stored_size=None)


class Earlier:
    """Blocks that earlier attempts of a session sent. Asked by the main thread, in the order of the walk."""

    def __init__(self, store: Store, keys: WriterKeys, readback: ReadBack, segments: Iterator[bytes], barred: set[ObjectRef]) -> None:
        self._store, self._vault, self._readback = store, keys.identity.vault_id, readback
        self._segments = segments
        self._barred = barred
        self._window: deque[list[Table]] = deque()
        self._bytes = 0
        self.members: dict[ObjectRef, Member] = {}
        """Objects that were asked for and are there."""
        self._gone: set[ObjectRef] = set()

    @property
    def used(self) -> tuple[int, int]:
        """(objects, bytes) that need not be sent."""
        return len(self.members), sum(member.size for member in self.members.values())

    def find(self, block: bytes, area: Area) -> Place | None:
        """Where a block is that an earlier attempt stored, if its object is still there."""
        while self._bytes < MAX_WINDOW_BYTES and self._load():
            pass
        for index, tables in enumerate(self._window):
            for table in tables:
                place = table.find(block)
                if place is not None and self._is_there(place.object, area):
                    if index == len(self._window) - 1:
                        self._move_on()
                    return place
        return None

    def _move_on(self) -> None:
        """The walk has come to the end of the window: the next segment for the first."""
        if self._load():
            while self._bytes > MAX_WINDOW_BYTES and len(self._window) > 2:
                self._bytes -= sum(table.size for table in self._window.popleft())

    def _load(self) -> bool:
        for segment in self._segments:
            try:
                tables = self._readback.segment(segment)
            except (Integrity, NotFound, KeyUnavailable) as error:
                _log.warning("a partial index segment cannot be read, its blocks are sent again: %s", error)
                continue
            self._window.append(tables)
            self._bytes += sum(table.size for table in tables)
            return True
        return False

    def _is_there(self, ref: ObjectRef, area: Area) -> bool:
        if ref in self.members:
            return True
        if ref in self._gone or ref in self._barred:
            return False
        size = self._size(object_name(self._vault, area, ref.digest, ref.incarnation))
        if size is None:
            self._gone.add(ref)
            return False
        self.members[ref] = Member(ref.digest, ref.incarnation, area, size, 0)
        return True

    def _size(self, name: str) -> int | None:
        """By HEAD; by a listing of just this name where a writer may not read: what its own session put and nobody swept is listed."""
        try:
            return self._store.size(name)
        except Denied:
            return next((size for found, size in self._store.list(name) if found == name), None)
