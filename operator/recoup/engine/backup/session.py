"""One backup from OPEN to COMMIT, in the order in which things are written (docs/format.md section 6).

OPEN, packs and trees, index segment, refs, object set, manifest, cache, COMMIT. Stopped anywhere, it leaves objects that nothing
names, and the earlier recovery points as they were. `back_up` is the entrance.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from msgspec import field

from recoup.engine.backup.capture import Captured, Work, capture
from recoup.engine.backup.choosing import choose_session
from recoup.engine.backup.closing import Closing, close_point
from recoup.engine.backup.cutting import Chosen, Unit
from recoup.engine.backup.dedup import Dedup, Index
from recoup.engine.backup.fixed import MAX_BLOCKS_OF_REGION
from recoup.engine.backup.lineage import Lineage, walker_key
from recoup.engine.backup.pace import Pace
from recoup.engine.backup.packs import PACK_BYTES, Ledger, put_object
from recoup.engine.backup.parent import figures_before, find_lineage
from recoup.engine.backup.pipeline import Pipeline, worker_count
from recoup.engine.backup.readback import ReadBack
from recoup.engine.backup.resume import Checkpoints, OpenSession, earlier_attempts
from recoup.engine.backup.run import RunFile, record_source
from recoup.engine.backup.sampling import CacheDistrusted
from recoup.engine.backup.source import OpenSource
from recoup.engine.format.kinds import ID_BYTES, Kind
from recoup.engine.format.sealed import SealedObject
from recoup.engine.keys.roles import WriterKeys
from recoup.engine.log.bodies import Commit
from recoup.engine.log.follow import Log, LogRejected
from recoup.engine.log.points import open_point
from recoup.engine.records.manifest import FileError
from recoup.engine.source.rules import WalkRules
from recoup.engine.source.stream import Stream
from recoup.errors import Integrity, Invalid, NotFound, RecoupError
from recoup.value import Record, Value

UPLOADERS: Final = 2
"""Objects on their way at the same time, if nobody says otherwise."""


class Request(Value, frozen=True):
    """What to back up, and how."""

    source: str
    excludes: tuple[str, ...] = ()
    run: RunFile | None = None
    pack_bytes: int = PACK_BYTES
    """Stored bytes of a pack; more than the longest block (4 MiB) and what surrounds it."""
    uploaders: int = UPLOADERS
    exclude_caches: bool = False
    one_file_system: bool = False
    unit: Unit = Unit.AUTO
    region_blocks: int = MAX_BLOCKS_OF_REGION
    """Blocks in which the units of a 4 MiB region of a database file or device may lie; in more, it is written afresh."""
    stream: Stream | None = None
    """What to read instead of `source`, which is then without meaning."""

    @property
    def rules(self) -> WalkRules:
        return WalkRules(self.excludes, self.exclude_caches, self.one_file_system)


class Result(Record):
    """A recovery point that was committed."""

    id: str
    files: int
    bytes_total: int
    bytes_read: int
    bytes_stored: int
    errors: list[FileError] = field(default_factory=list)
    errors_total: int = 0
    notes: list[str] = field(default_factory=list)
    """What the run found worth saying: why everything was read, that a cache was distrusted."""
    chosen: dict[tuple[str, str], Chosen] = field(default_factory=dict)
    """How large files that were read were cut (`fixed`, `cdc`), and why."""
    bytes_rewritten: int = 0
    """Of `bytes_read`, what had not changed and was stored again, because it lay in too many blocks."""


OnProgress = Callable[[int, int], None]
"""(bytes, files) more are done."""
OnStart = Callable[[int | None, int | None], None]
"""(bytes, files) that there may be: those of the last point, or what the file system says."""


def back_up(log: Log, keys: WriterKeys, request: Request, on_start: OnStart, on_progress: OnProgress) -> Result:
    """Make one recovery point. Raises what the store raises; Invalid for a source that cannot be read; LogRejected."""
    log.follow()
    if log.state.generation != keys.generation:
        raise Invalid(
            f"the keys are of generation {keys.generation}, the vault is at {log.state.generation}: fetch new keys", reason="KeysOutdated"
        )
    done = _committed(log, keys, request)
    if done is not None:
        return done
    with OpenSource(request.source, request.stream) as source, choose_session(log.state, keys, request.run, source.path) as session:
        try:
            return _in_session(session, log, keys, request, source, on_start, on_progress)
        except LogRejected:
            known = log.follow().sessions.get(session)
            if request.run is not None or request.stream is not None or known is None or known.committed is None:
                raise
        # Somebody with the same host name backed up the same path, and was done first: a point of its own, from the beginning.
        return _in_session(os.urandom(ID_BYTES), log, keys, request, source, on_start, on_progress)


def _in_session(
    session: bytes, log: Log, keys: WriterKeys, request: Request, source: OpenSource, on_start: OnStart, on_progress: OnProgress
) -> Result:
    ticket = request.run.ticket_bytes if request.run is not None else b""
    opened = OpenSession(log, keys.signer, session, ticket, request.pack_bytes)
    opened.open()
    try:
        return _attempts(log, keys, request, source, opened, on_start, on_progress)
    except RecoupError as error:
        if request.run is None and not isinstance(error, LogRejected):
            opened.abort()
        raise


def _committed(log: Log, keys: WriterKeys, request: Request) -> Result | None:
    """The point that an earlier attempt of the same session made, whose end nobody heard of."""
    session = log.state.sessions.get(request.run.session_id) if request.run is not None else None
    if session is None or session.committed is None:
        return None
    found = next((c for c in log.state.commits.values() if c.seq == session.committed), None)
    if found is None:
        return None
    record = open_point(keys.meta_key, keys.identity, found.generation, found.body.session, found.body.record)
    note = "an earlier attempt of this session made the recovery point"
    read, stored = record.bytes_read, record.bytes_stored
    return Result(found.body.manifest.hex(), record.files, record.bytes_total, read, stored, [], record.errors, [note])


def _attempts(
    log: Log,
    keys: WriterKeys,
    request: Request,
    source: OpenSource,
    opened: OpenSession,
    on_start: OnStart,
    on_progress: OnProgress,
) -> Result:
    """With the lineage's cache; without it if the cache turns out to lie."""
    readback = ReadBack(log.store, keys)
    walker = walker_key(keys.path_key, source.kind.value, request.rules.tokens)
    lineage, reason = find_lineage(
        log.state, keys, readback, pvc_uid=_claim_uid(request), source=record_source(request.run, source.path), walker=walker
    )
    notes = [reason] if reason else []
    try:
        return _attempt(log, keys, request, source, opened, lineage, readback, walker, notes, on_start, on_progress)
    except CacheDistrusted:
        notes.append("CacheDistrusted: a file that looked unchanged has other content; everything was read")
    except (Integrity, NotFound) as error:  # NotFound: it was forgotten and swept meanwhile
        if lineage is None or error.reason == "SelfCheckFailed":
            raise
        if request.stream is not None:
            hint = "a stream can be read only once; `recoup verify` records the damage, and the next run builds on nothing"
            raise Integrity(f"the last recovery point of {source.path} cannot be built on: {error}; {hint}") from error
        notes.append(f"the last recovery point cannot be built on, everything was read: {error}")
    return _attempt(log, keys, request, source, opened, None, readback, walker, notes, on_start, on_progress)


def _attempt(
    log: Log,
    keys: WriterKeys,
    request: Request,
    source: OpenSource,
    opened: OpenSession,
    lineage: Lineage | None,
    readback: ReadBack,
    walker: bytes,
    notes: list[str],
    on_start: OnStart,
    on_progress: OnProgress,
) -> Result:
    started = time.time_ns()
    ledger = Ledger(keep_fresh=True)
    on_start(*source.expected(lineage.root if lineage is not None else None))

    pace = Pace(request.pack_bytes)
    checkpoints = Checkpoints(opened, keys, ledger)

    def upload(sealed: SealedObject) -> None:
        begun = time.monotonic()
        put_object(log.store, sealed.name, sealed.data)
        if sealed.kind is Kind.DATA:
            pace.took(len(sealed.data), time.monotonic() - begun)
        checkpoints.reached(sealed)

    live = [committed.body for committed in log.state.commits.values() if keys.builds_on(committed.generation)]
    earlier = earlier_attempts(log, keys, readback, opened.session)
    dedup = Dedup(readback, lineage, live, log.state.damaged, earlier, Index(tuple(log.state.merged_segments), log.state.replaced_segments))
    with checkpoints, Pipeline(upload, workers=worker_count(), uploaders=request.uploaders) as pipeline:
        work = Work(
            pipeline, keys, ledger, dedup, lineage, pace, request.pack_bytes, request.uploaders, request.region_blocks, started, on_progress
        )
        captured = capture(work, source, request.rules, request.unit)
        before = figures_before(log.state, keys, pvc_uid=_claim_uid(request), source=record_source(request.run, source.path))
        closing = Closing(work, log.store, readback, request, source, walker, before)
        commit = close_point(closing, captured, opened)
    log.append(commit, keys.signer)
    objects, size = earlier.used
    if objects:
        notes.append(f"{objects} objects ({size} bytes) that an earlier attempt sent were not sent again")
    if captured.rewritten:
        notes.append(f"{captured.rewritten} bytes that did not change were written again, because they lay in too many blocks")
    return _result(commit, captured, ledger, notes)


def _claim_uid(request: Request) -> str:
    """The claim that the ticket is for; empty for a run without one, which is known by where its data comes from."""
    return request.run.source.persistent_volume_claim_uid if request.run is not None and request.run.ticket else ""


def _result(commit: Commit, captured: Captured, ledger: Ledger, notes: list[str]) -> Result:
    totals = captured.totals
    return Result(
        commit.manifest.hex(),
        totals.files,
        totals.bytes,
        captured.bytes_read,
        ledger.stored,
        captured.errors,
        captured.errors_total,
        notes,
        captured.chosen,
        captured.rewritten,
    )
