"""`prune`: condemn what nothing live needs, sweep what was condemned long enough, delete it (docs/retention.md).

Runs beside writers, other sweepers and itself without a lock: what it decides counts only if the log, where the entry comes to stand,
still allows it. Stopped anywhere, the next run goes on. Whatever is unclear (a fork, a gap, a set that cannot be read) ends it before
anything is deleted.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import timedelta
from typing import Final

from msgspec import field

from recoup.engine.keys.roles import MaintenanceKeys
from recoup.engine.log.bodies import Abort, Condemn, Sweep
from recoup.engine.log.facts import Facts
from recoup.engine.log.follow import Log, LogRejected, SweptMeanwhile
from recoup.engine.log.sets import StoredSets
from recoup.engine.log.upkeep import open_since
from recoup.engine.maintenance.checkpoints import audit
from recoup.engine.maintenance.delete import Deleted, check_sweep, delete_all
from recoup.engine.maintenance.garbage import ListWriter
from recoup.engine.maintenance.look import Due, Look, look, surviving
from recoup.engine.maintenance.merge import Merged, merge_segments
from recoup.engine.records.objectlist import Listed
from recoup.engine.stores.versions import Versioned
from recoup.errors import Integrity, Retryable
from recoup.report import Progress
from recoup.typeinfo import build_type_info
from recoup.value import Record, Value

GRACE: Final = timedelta(days=7)
DEAD_AFTER: Final = timedelta(days=30)
SHRINK_LIMIT: Final = 0.8
"""Of the live objects at the last decision: fewer without a FORGET or REPLACE since are not believed."""
_TRIED_FOR: Final = timedelta(days=2)
"""So long the objects of a SWEEP are tried by each run: the one that wrote it may have been stopped. Then not before their locks end."""
_ATTEMPTS: Final = 5
_THREADS: Final = 16


class Wishes(Value, frozen=True):
    """How to prune."""

    grace: timedelta = GRACE
    """Between CONDEMN and SWEEP."""
    dead_after: timedelta = DEAD_AFTER
    """A session whose last OPEN is so old is ended."""
    dry_run: bool = False
    threads: int = _THREADS


class Waiting(Record):
    """A CONDEMN that was not swept. Times are milliseconds since 1970."""

    seq: int
    objects: int
    size: int
    due: int
    sessions: int = 0
    """Unfinished sessions to which the objects may belong; if there are any, it waits for them."""


class Pruned(Record):
    """What a run did, or in a dry run would do. Bytes are stored bytes."""

    live_objects: int = 0
    objects: int = 0
    size: int = 0
    """What the location held before, in the areas of objects."""
    checkpoints: int = 0
    """Of the log, that were written."""
    index: Merged = field(default_factory=Merged)
    ended_sessions: int = 0
    condemned_objects: int = 0
    condemned_size: int = 0
    swept_objects: int = 0
    swept_size: int = 0
    deleted: Deleted = field(default_factory=Deleted)
    locked_objects: int = 0
    """Swept before, and not tried again yet since they are locked."""
    locked_size: int = 0
    locked_until: int = 0
    """Milliseconds since 1970: when the last of those is tried again."""
    waiting: list[Waiting] = field(default_factory=list)
    given_up: int = 0
    """CONDEMNs whose lists could not be read: what they named is condemned anew."""
    strange: int = 0
    """Names where objects stand that are no object's; nobody touches them."""


def prune(log: Log, keys: MaintenanceKeys, wishes: Wishes, progress: Progress, *, now: float | None = None) -> Pruned:
    """Prune once. `now`: seconds since 1970. Raises Integrity, nothing deleted, if it is not clear what is live; what the store raises."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    build_type_info()
    pool = ThreadPoolExecutor(wishes.threads, thread_name_prefix="prune")
    try:
        result = _Run(log, keys, wishes, progress, milliseconds, pool).run()
    except BaseException as error:
        pool.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
        raise
    finally:
        progress.end()
    pool.shutdown()
    return result


def check_log(log: Log) -> None:
    """Raise Integrity unless the log is whole as far as can be seen: otherwise there may be points that nobody here knows of."""
    state, head = log.read_all(), -1
    state.require_identity()
    if state.breaks:
        what = f"what entry {state.breaks[0]} follows was damaged or replaced in the store"
        raise Integrity(f"LogForked: {what}; nothing is deleted until that entry is brought back from another copy", reason="LogForked")
    if state.lost and max(state.lost) == state.next_seq - 1:
        what = f"entry {max(state.lost)}, the last of the log, is not what a key of this vault signed"
        raise Integrity(f"{what}: it may have been a recovery point's; nothing is deleted until another entry follows", reason="LogDamaged")
    beyond = 1
    while beyond and log.follow().next_seq != head:  # somebody may be appending
        head = log.state.next_seq
        beyond = log.beyond_head()
    if beyond:
        what = f"entry {head} of the log is missing though {beyond} later ones are there"
        raise Integrity(
            f"{what}: recovery points from it on are not seen, so nothing is deleted; see `recoup verify --level 0`", reason="LogGap"
        )


class _Run:
    def __init__(self, log: Log, keys: MaintenanceKeys, wishes: Wishes, progress: Progress, now: int, pool: Executor) -> None:
        self._log, self._keys, self._wishes, self._progress, self._now, self._pool = log, keys, wishes, progress, now, pool
        self._signer = keys.signer
        self._sets = StoredSets(log.store, log.state.vault_id, log.state)
        self._result = Pruned()

    def run(self) -> Pruned:
        self._result.checkpoints = audit(self._log, None if self._wishes.dry_run else self._signer)
        check_log(self._log)
        self._end_dead_sessions()
        if not self._wishes.dry_run:
            self._progress.start("merging index segments")
            self._result.index = merge_segments(self._log, self._keys, self._pool)
        if not self._wishes.dry_run:
            self._give_up_unreadable()
        rejected: LogRejected | SweptMeanwhile | None = None
        for _ in range(_ATTEMPTS):
            try:
                self._once()
            except (LogRejected, SweptMeanwhile) as error:  # the log went on and what was seen counts no longer: look again
                rejected = error
                check_log(self._log)
            else:
                return self._result
        raise Retryable(f"the vault changed {_ATTEMPTS} times while it was looked at, nothing unclear was deleted: try again ({rejected})")

    def _give_up_unreadable(self) -> None:
        """End CONDEMNs whose lists are damaged: nothing is swept for them, and what they named will be found again."""
        for seq, noted in list(self._log.state.condemned.items()):
            try:
                for _ in self._sets.listed(noted.body.lists):
                    pass
            except Integrity:
                live = noted.body.live_objects
                self._log.append(Sweep(seq, self._log.state.next_seq, (), 0, 0, live), self._signer)
                self._result.given_up += 1

    def _once(self) -> None:
        state, result, wishes = self._log.state, self._result, self._wishes
        ripe, later = self._due(state), self._later()
        seen = look(self._log.store, state, self._keys, ripe, later, self._pool, self._progress, put=not wishes.dry_run)
        result.locked_objects, result.locked_size = seen.locked_objects, seen.locked_size
        result.live_objects, result.objects, result.size, result.strange = seen.live_objects, seen.objects, seen.size, seen.strange
        _check_shrinking(state, seen)
        if wishes.dry_run:
            self._report(seen)
            return
        finished = self._delete_leftovers(seen)
        due = [*seen.due]
        for writer, unnamed in ((seen.named, False), (seen.unnamed, True)):
            if writer.objects:
                due += self._condemn(seen, writer, finished, unnamed=unnamed)
                finished = ()
        for one in due:
            self._sweep(seen, one)
        self._note_waiting()

    def _due(self, state: Facts) -> set[int]:
        grace = self._wishes.grace // timedelta(milliseconds=1)
        return {seq for seq, noted in state.condemned.items() if not grace or noted.time + grace <= self._now}

    def _later(self) -> set[int]:
        """SWEEPs that it is too early for. What they name was not locked after their CONDEMN, so all locks end a period after them."""
        store, state = self._log.store, self._log.state
        lock = store.object_lock if isinstance(store, Versioned) else None
        if lock is None:
            return set()
        period, tried = lock.period // timedelta(milliseconds=1), _TRIED_FOR // timedelta(milliseconds=1)
        ends = {seq: state.swept[seq].time + period for seq in state.unfinished if state.swept[seq].time + tried <= self._now}
        later = {seq for seq, end in ends.items() if end > self._now}
        self._result.locked_until = max((ends[seq] for seq in later), default=0)
        return later

    def _end_dead_sessions(self) -> None:
        state = self._log.state
        limit = self._now - self._wishes.dead_after // timedelta(milliseconds=1)
        dead = [(ident, session) for ident, session in state.sessions.items() if not session.ended and session.opened_at <= limit]
        for ident, session in dead if state.at_home else []:
            if not self._wishes.dry_run:
                try:
                    self._log.append(Abort(ident, max(session.opens)), self._signer)
                except LogRejected:
                    continue  # it went on, or ended by itself
            self._result.ended_sessions += 1

    def _condemn(self, seen: Look, writer: ListWriter, finished: tuple[int, ...], *, unnamed: bool) -> list[Due]:
        """Append the CONDEMN. It is due at once only without a grace."""
        lists, objects, size = tuple(writer.lists), writer.objects, writer.size
        body = Condemn(lists, objects, size, unnamed, seen.marked, seen.live_objects, finished)
        entry = self._log.append(body, self._signer)
        self._result.condemned_objects += objects
        self._result.condemned_size += size
        return [] if self._wishes.grace else [Due(entry.head.seq, body)]

    def _sweep(self, seen: Look, due: Due) -> None:
        if due.body.unnamed and open_since(self._log.state, due.seq):
            return
        writer = ListWriter(self._log.store, self._log.state.vault_id)
        lists = surviving(self._sets, due, writer)
        entry = self._log.append(Sweep(due.seq, seen.marked, lists, writer.objects, writer.size, seen.live_objects), self._signer)
        self._result.swept_objects += writer.objects
        self._result.swept_size += writer.size
        check_sweep(self._log.store, self._log.state, entry)
        self._progress.start("deleting", bytes_total=writer.size, files_total=writer.objects)
        self._delete(self._sets.listed(lists))

    def _delete_leftovers(self, seen: Look) -> tuple[int, ...]:
        """Finish the deletes of a run that was stopped; the SWEEPs of which nothing is left."""
        done = self._result.deleted
        stayed = done.refused + done.deferred
        if seen.leftovers:
            self._progress.start("deleting", files_total=len(seen.leftovers))
            self._delete(seen.leftovers)
        before = {seq for seq in self._log.state.unfinished - seen.later if seq < seen.marked}
        return tuple(sorted(before)) if done.refused + done.deferred == stayed else ()

    def _delete(self, rows: Iterable[Listed]) -> None:
        delete_all(self._log.store, self._log.state.vault_id, rows, self._pool, self._progress, self._result.deleted)

    def _report(self, seen: Look) -> None:
        """What a run without --dry-run would do now."""
        result, at_once = self._result, not self._wishes.grace
        for writer in (seen.named, seen.unnamed):
            result.condemned_objects += writer.objects
            result.condemned_size += writer.size
        for one in seen.due:
            if not (one.body.unnamed and open_since(self._log.state, one.seq)):
                result.swept_objects += one.body.objects - len(one.taken)
                result.swept_size += one.body.size
        if at_once:
            fresh = [seen.named, *([] if open_since(self._log.state, seen.marked) else [seen.unnamed])]
            result.swept_objects += sum(writer.objects for writer in fresh)
            result.swept_size += sum(writer.size for writer in fresh)
        self._note_waiting()

    def _note_waiting(self) -> None:
        grace = self._wishes.grace // timedelta(milliseconds=1)
        for seq, noted in self._log.state.condemned.items():
            sessions = open_since(self._log.state, seq) if noted.body.unnamed else 0
            self._result.waiting.append(Waiting(seq, noted.body.objects, noted.body.size, noted.time + grace, sessions))


def _check_shrinking(state: Facts, seen: Look) -> None:
    if state.last_live is None:
        return
    seq, before = state.last_live
    if seen.live_objects < before * SHRINK_LIMIT and state.last_shrinking < seq:
        raise Integrity(
            f"{seen.live_objects} objects are live, {before} were at entry {seq} of the log, and nothing was forgotten since: "
            "something is wrong with the log or the object sets here, nothing is deleted; run `recoup verify`",
            reason="LiveSetShrank",
        )
