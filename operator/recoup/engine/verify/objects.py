"""Checking each live object once: there (V1), the bytes that its name says (V2 a part of them, V3 all), openable down to every id (V4).

Bounded memory: each thread has one buffer that grows to the largest object.
"""

from __future__ import annotations

import mmap
import threading
from array import array
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from blake3 import blake3

from recoup.engine.blocks import read_named
from recoup.engine.format.kinds import MAX_OBJECT_BYTES, BlockKind, Kind
from recoup.engine.format.layout import decode_header
from recoup.engine.format.names import digest_of
from recoup.engine.format.reader import ObjectReader
from recoup.engine.keys.roles import ReaderKeys
from recoup.engine.records.index import decode_segment
from recoup.engine.stores.base import Store
from recoup.engine.verify.findings import BlockFacts, Damage, Findings
from recoup.engine.verify.live import Live
from recoup.errors import Integrity, NotFound
from recoup.report import Progress
from recoup.typeinfo import build_type_info

DAY = 86_400
PERIOD = 30 * DAY
"""Seconds in which V2 reads every object once, however often it runs."""
PRESENT, WHOLE, OPENED = 1, 3, 4
"""How deep one object is looked at: asked for, read and compared with its digest, opened down to every block."""
_AHEAD = 256
_THREADS = {1: 16, 2: 8, 3: 4, 4: 3}


class _Buffer(threading.local):
    def __init__(self) -> None:
        self.view = memoryview(mmap.mmap(-1, MAX_OBJECT_BYTES))


class ObjectChecker:
    """Checks objects at one level, several at a time."""

    def __init__(
        self, store: Store, keys: ReaderKeys, level: int, findings: Findings, progress: Progress, threads: int | None = None
    ) -> None:
        self._store, self._keys, self._findings, self._progress = store, keys, findings, progress
        self._threads = threads or _THREADS[level]
        self._buffer = _Buffer()

    def run(self, objects: Iterable[tuple[str, Live, int]]) -> None:
        """Check all of them, each as deep as its third part says. Raises what the store raises when it is away."""
        build_type_info()
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="verify")
        waiting: deque[Future[None]] = deque()
        try:
            for name, live, depth in objects:
                waiting.append(pool.submit(self._check, name, live, depth))
                if len(waiting) >= _AHEAD:
                    waiting.popleft().result()
            while waiting:
                waiting.popleft().result()
        except BaseException as error:
            # After an interrupt nobody waits for a thread that waits for the network.
            pool.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
            raise
        pool.shutdown()

    def _check(self, name: str, live: Live, depth: int) -> None:
        read = 0
        try:
            if depth >= WHOLE:
                read = self._digest(name, live, depth)
            else:
                self._exists(name, live)
        except Integrity as error:
            self._findings.damage(Damage(name, error.reason, str(error), live.ref))
        self._findings.checked(read)
        self._progress.advance(data=live.size or read, files=1)

    def _exists(self, name: str, live: Live) -> None:
        size = self._store.size(name)
        if size is None:
            raise Integrity("it is missing", reason="ObjectMissing")
        if live.size is not None and size != live.size:
            raise Integrity(f"it has {size} bytes instead of {live.size}", reason="ObjectTruncated")

    def _digest(self, name: str, live: Live, depth: int) -> int:
        view = self._buffer.view
        try:
            data = view[: self._store.get_into(name, view)]
        except NotFound:
            raise Integrity("it is missing", reason="ObjectMissing") from None
        if digest_of(data) != live.ref.digest:
            raise Integrity("its bytes are not those that its name says", reason="DigestMismatch")
        if depth >= OPENED and live.sealed:
            self._open(name, live, data)
        return len(data)

    def _open(self, name: str, live: Live, data: memoryview) -> None:
        """Every block, its id, the padding. Lineage caches stay closed: only writers have their key, and no restore needs them."""
        header = decode_header(data, name)
        if header.kind is Kind.CACHE:
            return
        if header.kind.area != live.area:
            raise Integrity(f"it is a {header.kind.name} where that does not belong", reason="ObjectDamaged")
        reader = ObjectReader(data, self._keys.opening(header.kind), name)
        id_key = self._keys.id_key(header.generation)
        reader.check_padding()
        rows = [row for row in reader.table if row.kind != BlockKind.PADDING]
        for number, row in enumerate(rows):
            if row.kind == BlockKind.INDEX:  # whoever merges segments does not hold K_id
                decode_segment(reader.read(number))
            else:
                read_named(reader, number, BlockKind(row.kind), id_key)
        facts = BlockFacts(
            b"".join(row.id for row in rows), array("I", (row.plain_length for row in rows)), bytes(row.kind for row in rows)
        )
        self._findings.know(live.ref, facts)


class Sampler:
    """Which objects V2 reads: each one once in PERIOD, at a time of its own. Keyed, so that nobody can keep only those that are due."""

    def __init__(self, keys: ReaderKeys, since: float, until: float) -> None:
        """Those whose time lies in (since, until], in seconds since 1970: nothing falls between two runs that follow each other."""
        self._key = blake3(keys.verifier_private, derive_key_context="recoup 2026 verification slice").digest()
        self._since, self._until = since, until

    def is_due(self, digest: bytes) -> bool:
        own = int.from_bytes(blake3(digest, key=self._key).digest(4), "big") / 2**32 * PERIOD
        wait = (own - self._since) % PERIOD or PERIOD
        return self._since + wait <= self._until
