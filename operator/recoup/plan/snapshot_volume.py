"""One volume of a backup run: from what exists to its next writes and its line in the status.

Stored, Failed and Cancelled are final: they are written first, and only a later look, which reads them, removes the volume's objects.
Whether a volume is Stored is read from the catalogue and from nothing else; a mover's Job only says when to look there, and whether
another attempt makes sense.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from recoup.api.backuplocation import BackupLocationSpec
from recoup.api.backupsnapshot import ResolvedRun, SnapshotVolume, VolumeState
from recoup.api.durations import to_duration
from recoup.api.names import label_value
from recoup.plan.actions import Action, Create, Object
from recoup.plan.binding import is_about_to_bind
from recoup.plan.budgets import Request
from recoup.plan.capture import Handover, Terms, continue_handover, release
from recoup.plan.hooks import RUNNING_HOOKS, Window
from recoup.plan.live import NOT_POINT_IN_TIME, RECORDED, Handout, Workload, find_workload, hand_out, poll
from recoup.plan.movers import (
    MAX_ATTEMPTS,
    STALL_LIMIT,
    MoverState,
    Verdict,
    is_stalled,
    judge_mover,
    note_progress,
    parse_time,
    pod_of,
    retry_at,
    watch_again,
)
from recoup.plan.objects.jobs import build_backup_job
from recoup.plan.objects.live_job import build_live_job
from recoup.plan.observed import Point, Seat, SnapshotObserved
from recoup.plan.refusals import REFUSAL_LIMIT, admit
from recoup.plan.run_file import write_run
from recoup.plan.snapshot_status import WAITING_FOR_SEAT
from recoup.plan.suspicion import note_before
from recoup.plan.topology import away_from
from recoup.plan.volume_view import VolumeView, delete, is_going, record_claim

FINAL = frozenset({VolumeState.STORED, VolumeState.FAILED, VolumeState.CANCELLED})
UNKNOWN_LIMIT = timedelta(hours=6)
"""How long a mover that ended is kept unjudged because its location can't be read."""

_POLL = 15.0
_SEAT_POLL = 120.0
"""Seconds to a look at a run that is woken when its turn comes."""
_NOT_ASKED = Seat(granted=True)
_SOON = 2.0
_AWAITED = 5.0
"""Seconds to a look at what the snapshot controller does: its events mostly come sooner, and until then there is nothing to say."""


class Step(Struct, frozen=True):
    """The volume's line as it should read now, its writes, and when to look again at the latest."""

    known: SnapshotVolume
    actions: tuple[Action, ...] = ()
    again: float | None = None
    asks: Request | None = None
    """The mover that it starts, or would start if it had a seat."""


class Run(Struct, frozen=True, kw_only=True):
    """What the run's volumes have in common. location is None when the BackupLocation is gone.

    captures: some of its volumes were captured, and the others are to be of the same moment. place: name of the location.
    foreign_vault: the status names a vault that is not the namespace's. Whoever may write statuses may have put it there.
    """

    terms: Terms
    resolved: ResolvedRun
    vault: str
    foreign_vault: bool
    location: BackupLocationSpec | None
    place: str
    started_at: datetime
    cancel: bool
    captures: bool
    expected: tuple[str, ...]
    window: Window = Window()


def step_volume(view: VolumeView, observed: SnapshotObserved, run: Run) -> Step:
    """Decide one volume; the actions of refused writes are held back."""
    step = _decide(view, observed, run)
    admitted = admit(step.actions, observed.failures, run.terms.now)
    refusal = admitted.refusal
    if refusal is None or step.known.state in FINAL:
        return msgspec.structs.replace(step, actions=admitted.actions, again=admitted.again or step.again)
    if run.terms.now - run.started_at >= REFUSAL_LIMIT and not view.jobs:
        return _fail(view, refusal.reason, f"{refusal.message}; given up after {to_duration(REFUSAL_LIMIT)}")
    known = _line(view, step.known.state, refusal.reason, refusal.message)
    return Step(known, admitted.actions, admitted.again or _SOON)


def needs_catalogue(view: VolumeView, observed: SnapshotObserved, now: datetime) -> bool:
    """A decision about this volume rests on whether its COMMIT is there: always, but while a mover works or the outcome stands."""
    if view.known.state in FINAL:
        return False
    return not any(
        verdict.state is MoverState.RUNNING and not _seems_stalled(view, verdict, observed, number, now)
        for number, verdict in _verdicts(view, observed, now).items()
    )


def seats_wanted(views: Sequence[VolumeView], observed: SnapshotObserved, run: Run) -> tuple[Request, ...]:
    """The movers that this look would start."""
    steps = [step_volume(view, msgspec.structs.replace(observed, seats=None), run) for view in views]
    return tuple(step.asks for step in steps if step.asks is not None)


def _decide(view: VolumeView, observed: SnapshotObserved, run: Run) -> Step:
    known, now = view.known, run.terms.now
    if known.state in FINAL:
        return Step(known, release(view), _SOON if view.children() else None)
    verdicts = _verdicts(view, observed, now)
    report = max(verdicts.items(), default=(0, Verdict(state=MoverState.ENDING)))[1].report
    if view.point is not None:
        return Step(_stored(view, view.point, report.first_paths), again=0.0)
    working = [number for number, verdict in verdicts.items() if verdict.state is MoverState.RUNNING]
    if run.cancel:
        return _cancel(view, observed, working)
    if working:
        return _watch(view, observed, run, working[-1], verdicts[working[-1]])
    if any(verdict.state is MoverState.ENDING for verdict in verdicts.values()) or _pods_linger(view, now):
        return Step(_line(view, VolumeState.UPLOADING, "MoverEnding", "an earlier mover is being removed"), again=_POLL)
    if observed.catalogue is None:
        return _catalogue_unread(view, observed, run)
    return _after_attempts(view, observed, run, verdicts)


def _after_attempts(view: VolumeView, observed: SnapshotObserved, run: Run, verdicts: dict[int, Verdict]) -> Step:
    """No mover works and there is no COMMIT: the first attempt, another one, or the end."""
    last = max([*verdicts, view.known.attempts or 0])
    if last == 0:
        return _start(view, observed, run, 1)
    now = run.terms.now
    gone = Verdict(
        state=MoverState.FAILED, reason="MoverJobDeleted", message="the mover's Job was deleted before it ended", retry=True,
        since=now - timedelta(hours=1),
    )  # fmt: skip
    verdict = verdicts.get(last, gone)
    if verdict.state is MoverState.SUCCEEDED:
        message = "the mover says that it succeeded, but its COMMIT is not in the location's log"
        verdict = msgspec.structs.replace(verdict, state=MoverState.FAILED, reason="CommitNotFound", message=message, retry=True)
    due = retry_at(last, verdict, now)
    if due is None:
        tries = f" (attempt {last} of {MAX_ATTEMPTS})" if verdict.retry else ""
        return _fail(view, verdict.reason, verdict.message + tries, verdict.report.first_paths)
    if now < due:
        message = f"{verdict.message}; attempt {last + 1} of {MAX_ATTEMPTS} follows"
        return Step(_line(view, VolumeState.UPLOADING, verdict.reason, message), again=(due - now).total_seconds())
    return _start(view, observed, run, last + 1)


def _start(view: VolumeView, observed: SnapshotObserved, run: Run, attempt: int) -> Step:
    """Continue the hand-over and, once the movers' claim is there, make the mover."""
    if run.foreign_vault:
        message = f"status.vault {run.vault} is not the vault of namespace {run.terms.owner.namespace} at this location"
        return _fail(view, "VaultMismatch", f"{message}; create another BackupSnapshot")
    if not view.live and not run.captures and observed.waiting_snapshots >= observed.around.limits.waiting_snapshots:
        return Step(_line(view, VolumeState.WAITING, WAITING_FOR_SEAT, _held(observed, run)), again=_SEAT_POLL)
    window = run.window
    if not view.children() and not window.capture:
        return Step(_line(view, VolumeState.WAITING, RUNNING_HOOKS, window.waits), again=_POLL)
    if not view.children() and window.refusal is not None:
        return _fail(view, window.refusal.reason, window.refusal.message)
    workload = find_workload(view, observed, run.terms, run.resolved) if view.live else None
    if isinstance(workload, Handover):
        handover, workload = workload, None
    else:
        handover = Handover(ready=True) if workload else continue_handover(view, observed, run.terms)
    if handover.refusal is not None:
        return _fail(view, handover.refusal.reason, handover.refusal.message)
    if not handover.ready:
        state = VolumeState.CAPTURING if handover.reason is None or view.children() else VolumeState.WAITING
        return Step(_line(view, state, handover.reason, handover.waits), handover.actions, _AWAITED if handover.actions else _POLL)
    if not window.movers:
        return Step(_line(view, VolumeState.CAPTURING, RUNNING_HOOKS, window.waits), handover.after, _POLL)
    request = _request(view, run, attempt, workload)
    seat = (observed.seats or {}).get(view.known.uid, _NOT_ASKED)
    if not seat.granted:
        return Step(_line(view, VolumeState.WAITING, WAITING_FOR_SEAT, seat.message), handover.after, _SEAT_POLL, request)
    if workload is None:
        claim = view.movers_claim or next(action.object for action in handover.actions if isinstance(action, Create))
        if is_about_to_bind(claim, observed.storage_classes, run.terms.now):
            return Step(_line(view, VolumeState.CAPTURING), (*handover.actions, *handover.after), _AWAITED, request)
    job = _build_job(view, observed, run, request, attempt, seat, workload)
    if job is None:
        writes = (*handover.actions, *handover.after)
        return Step(_line(view, VolumeState.CAPTURING, "VaultKeysMissing", "the vault's keys can't be read"), writes, _POLL)
    known = msgspec.structs.replace(_line(view, VolumeState.UPLOADING), attempts=attempt, progress=None)
    return Step(known, (*handover.actions, Create(job), *handover.after), _AWAITED if workload else _POLL, request)


def _build_job(
    view: VolumeView, observed: SnapshotObserved, run: Run, request: Request, attempt: int, seat: Seat, workload: Workload | None
) -> Object | None:
    """The mover's Job; None if the vault's keys are not there. workload: it goes beside that one."""
    ticket = observed.tickets.get(view.known.uid)
    record = record_claim(view, namespace_uid=run.terms.namespace_uid)
    if run.location is None or ticket is None or record is None:
        return None
    text = write_run(
        observed,
        ticket=ticket,
        source=record,
        expected=run.expected,
        captured_at=0 if workload else view.captured_nanoseconds(),
        consistency=RECORDED if workload else run.window.guarantee,
    )
    if workload is not None:
        return build_live_job(
            run.terms.owner, observed.around, run.location, name=request.job, place=run.place, volume_uid=view.known.uid, attempt=attempt,
            vault=run.vault, run=text, claim=view.place, exclude=run.resolved.exclude, mover=run.resolved.mover,
            tolerations=workload.tolerations, node_affinity=away_from(request.node_affinity, seat.full), runs_as=workload.runs_as,
        )  # fmt: skip
    return build_backup_job(
        run.terms.owner, observed.around, run.location, name=request.job, place=run.place, volume_uid=view.known.uid, attempt=attempt,
        vault=run.vault, run=text, claim=view.name, volume_mode=record.volume_mode, exclude=run.resolved.exclude, mover=run.resolved.mover,
        node_affinity=away_from(record.node_affinity, seat.full),
    )  # fmt: skip


def _request(view: VolumeView, run: Run, attempt: int, workload: Workload | None) -> Request:
    record, owner = record_claim(view, namespace_uid=run.terms.namespace_uid), run.terms.owner
    of_volume = record.node_affinity if record else None
    return Request(
        job=owner.child_name(f"{view.place}-{attempt}", view.known.uid, str(attempt)),
        run_uid=owner.uid,
        volume_uid=view.known.uid,
        namespace=owner.namespace,
        run=owner.name,
        since=run.started_at,
        location=label_value(run.place),
        limit=run.location.limits.concurrent_movers if run.location else 1,
        node_affinity=workload.affinity(of_volume) if workload else of_volume,
        node_selector=run.resolved.mover.node_selector,
    )


def _held(observed: SnapshotObserved, run: Run) -> str:
    limit, namespace = observed.around.limits.waiting_snapshots, run.terms.owner.namespace
    what = f"{observed.waiting_snapshots} volume snapshots of namespace {namespace} wait for a mover already"
    return (
        f"{what} (at most {limit}, chart value movers.limits.waitingSnapshotsPerNamespace); its own is taken when some of them are at work"
    )


def _watch(view: VolumeView, observed: SnapshotObserved, run: Run, number: int, verdict: Verdict) -> Step:
    """A mover works: keep its progress in the status, and end a run that shows no sign of life."""
    pod, now = pod_of(view.jobs[number], view.pods), run.terms.now
    seen = observed.progress.get(pod["metadata"]["name"]) if pod else None
    if _seems_stalled(view, verdict, observed, number, now):
        if observed.catalogue is None:
            return Step(view.known, again=_POLL)  # it may have committed: not to be ended before that was looked up
        message = f"no progress for {to_duration(STALL_LIMIT)}; look at the volume and at the way to the location"
        return _fail(view, "NoProgress", message)
    handout = _hand_out(view, observed, run, number, verdict) if view.live else Handout()
    known = msgspec.structs.replace(
        _line(view, VolumeState.UPLOADING, handout.reason or verdict.reason or None, handout.message or verdict.message or None),
        attempts=max(number, view.known.attempts or 0),
        progress=note_progress(view.known.progress, seen, now),
    )
    return Step(known, handout.actions, poll(verdict, now) if view.live else watch_again(verdict, now))


def _hand_out(view: VolumeView, observed: SnapshotObserved, run: Run, number: int, verdict: Verdict) -> Handout:
    return hand_out(view, number, verdict, observed, run.terms, place=run.place, vault=run.vault, foreign=run.foreign_vault)


def _cancel(view: VolumeView, observed: SnapshotObserved, working: list[int]) -> Step:
    """Stop the movers, then see whether one had committed already."""
    jobs = tuple(delete(job) for number, job in view.jobs.items() if number in working and not is_going(job))
    if jobs or any(_is_alive_pod(pod["status"]) for pod in view.pods if pod.get("status")):
        return Step(_line(view, VolumeState.UPLOADING, "Cancelling", "the mover is being stopped"), jobs, _SOON)
    if observed.catalogue is None and (view.jobs or view.known.attempts):
        message = "the mover was stopped; whether it had finished is read as soon as the location can be read"
        return Step(_line(view, VolumeState.UPLOADING, "Cancelling", message), again=_POLL)
    return Step(_line(view, VolumeState.CANCELLED, "Cancelled", "spec.cancel is set"), again=0.0)


def _catalogue_unread(view: VolumeView, observed: SnapshotObserved, run: Run) -> Step:
    """Whether there is a COMMIT is not known, so nothing is started and nothing claimed."""
    if run.location is None:
        return _fail(view, "LocationDeleted", "the BackupLocation of this run does not exist any more")
    failure = observed.catalogue_failure
    message = f"the location can't be read: {failure.message}" if failure else "the location has not been read yet"
    since = run.started_at
    if view.jobs:
        since = max(parse_time(job["metadata"]["creationTimestamp"]) for job in view.jobs.values())
    if failure is not None and run.terms.now - since >= (UNKNOWN_LIMIT if view.jobs else REFUSAL_LIMIT):
        return _fail(view, failure.reason, f"{message}; a recovery point that was committed nevertheless is found by a RestoreRequest")
    state = VolumeState.UPLOADING if view.jobs else view.known.state
    return Step(_line(view, state, failure.reason if failure else "ReadingLocation", message), again=_POLL)


def _stored(view: VolumeView, point: Point, first_paths: tuple[str, ...]) -> SnapshotVolume:
    known = view.known
    return SnapshotVolume(
        persistent_volume_claim=known.persistent_volume_claim,
        uid=known.uid,
        state=VolumeState.STORED,
        reason="SomeFilesUnreadable" if point.errors else None,
        message=f"{point.errors} paths could not be read; the recovery point lists them" if point.errors else None,
        method=known.method or ("Live" if view.live else "Snapshot"),
        guarantee=NOT_POINT_IN_TIME if point.consistency == RECORDED else point.consistency,
        captured_at=view.captured_at() or point.taken_at,
        attempts=max([*view.jobs, known.attempts or 0]) or None,
        manifest=point.manifest,
        files_total=point.files_total,
        bytes_total=point.bytes_total,
        bytes_read=point.bytes_read,
        bytes_stored=point.bytes_stored,
        bytes_new=point.figures.bytes_new if point.figures is not None else None,
        before=note_before(point.figures),
        duration=to_duration(timedelta(seconds=point.duration)),
        warnings=point.errors or None,
        first_paths=first_paths if point.errors else (),
    )


def _fail(view: VolumeView, reason: str, message: str, first_paths: tuple[str, ...] = ()) -> Step:
    known = msgspec.structs.replace(_line(view, VolumeState.FAILED, reason, message), progress=None, first_paths=first_paths)
    return Step(known, again=0.0)


def _line(view: VolumeView, state: VolumeState, reason: str | None = None, message: str | None = None) -> SnapshotVolume:
    attempts = max([*view.jobs, view.known.attempts or 0]) or None
    short = message[:4096] if message else None
    captured = view.captured_at()
    method = ("Live" if view.live else "Snapshot") if captured else None
    return msgspec.structs.replace(
        view.known, state=state, reason=reason, message=short, attempts=attempts, captured_at=captured, method=method
    )


def _verdicts(view: VolumeView, observed: SnapshotObserved, now: datetime) -> dict[int, Verdict]:
    return {
        number: judge_mover(job, pod_of(job, view.pods), now=now, warnings=observed.warnings) for number, job in sorted(view.jobs.items())
    }


def _seems_stalled(view: VolumeView, verdict: Verdict, observed: SnapshotObserved, number: int, now: datetime) -> bool:
    pod = pod_of(view.jobs[number], view.pods)
    seen = observed.progress.get(pod["metadata"]["name"]) if pod else None
    return verdict.since is not None and is_stalled(verdict.since, view.known.progress, seen, now)


def _pods_linger(view: VolumeView, now: datetime) -> bool:
    """A pod of a deleted Job still runs; one that can't end (its node is lost) holds the run up for the stall limit only."""
    for pod in view.pods:
        going = pod["metadata"].get("deletionTimestamp")
        if going and _is_alive_pod(pod.get("status") or {}) and now - parse_time(going) < STALL_LIMIT:
            return True
    return False


def _is_alive_pod(status: dict[str, object]) -> bool:
    return status.get("phase") in ("Pending", "Running")
