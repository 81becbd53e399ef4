"""One volume of a restore: from what exists to its next writes and its line in the status.

A mover fills a claim in the movers' namespace and compares what it wrote with the manifest; only its exit code 0 says that it did. Then
HandingOver is written, and from then on the volume is the user's to be (handback.py). Restored, Failed and Cancelled are final.
"""

from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from recoup.api.backuplocation import BackupLocationSpec
from recoup.api.backupsnapshot import Progress as KnownProgress
from recoup.api.durations import to_duration
from recoup.api.restorerequest import PlannedVolume, RestoredVolume, RestorePaths, RestorePlan, RestoreState
from recoup.errors import PARTIAL_EXIT_CODE
from recoup.plan.access import Refusal
from recoup.plan.actions import Action, Create, Object
from recoup.plan.binding import is_about_to_bind
from recoup.plan.handback import RestoreView, continue_handback, release
from recoup.plan.movers import (
    MAX_ATTEMPTS,
    STALL_LIMIT,
    MoverState,
    Verdict,
    attempt_number,
    is_stalled,
    judge_mover,
    note_progress,
    pod_of,
    retry_at,
    watch_again,
)
from recoup.plan.objects.claims import ClaimShape, build_mover_claim
from recoup.plan.objects.identity import Owner, is_child
from recoup.plan.objects.jobs import build_restore_job
from recoup.plan.observed import Progress, RestoreObserved
from recoup.plan.refusals import REFUSAL_LIMIT, admit
from recoup.plan.restore_paths import path_options
from recoup.plan.standby import STANDBY_OPTIONS, begin_round
from recoup.plan.volume_view import delete, is_going

NOT_PRESERVED = "MetadataNotPreserved"
"""Reason of a volume that was handed over though its file system could not keep every owner, mode or attribute."""

HANDING_OVER = "written and compared; the volume is being handed over"

FINAL = frozenset({RestoreState.RESTORED, RestoreState.FAILED, RestoreState.CANCELLED})

_POLL = 15.0
_BINDING = 5.0
_SOON = 2.0
_AWAITED = 5.0
_STANDBY_POLL = 60.0
_STANDBY_PAUSE = timedelta(minutes=10)
"""Between attempts to refresh a standby after the first few."""


class Step(Struct, frozen=True):
    """The volume's line as it should read now, its writes, and when to look again at the latest."""

    known: RestoredVolume
    actions: tuple[Action, ...] = ()
    again: float | None = None


class Terms(Struct, frozen=True, kw_only=True):
    """What the request's volumes have in common. denied: why a mover must not be started (any more), judged afresh at every look."""

    owner: Owner
    plan: RestorePlan
    paths: RestorePaths
    location: BackupLocationSpec | None
    sources: tuple[BackupLocationSpec, ...] = ()
    """Where movers read, in this order; without any, at `location`."""
    denied: Refusal | None
    namespace_ending: bool
    started_at: datetime
    cancel: bool
    standby: bool = False
    promoted: bool = False
    """A standby whose volumes all hold one recovery point, and that is to be handed over."""
    places: dict[str, Object | None]
    """Node affinity of each volume's mover, by source, as far as it is known."""
    now: datetime


def begin_volume(planned: PlannedVolume, paths: RestorePaths) -> RestoredVolume:
    """The line of a volume of which nothing has been done. How much a part has is known only when a mover has looked."""
    total = None if paths.is_selection else planned.bytes
    return RestoredVolume(source=planned.source, target=planned.target, state=RestoreState.WAITING, bytes_total=total)


def view_volume(observed: RestoreObserved, owner: Owner, planned: PlannedVolume, known: RestoredVolume) -> RestoreView:
    """Pick this volume's objects out of what was observed."""
    movers = observed.around.movers_namespace
    mine = [child for child in observed.children if is_child(child, owner.uid, planned.source)]
    claim = next((child for child in mine if child["kind"] == "PersistentVolumeClaim" and child["metadata"]["namespace"] == movers), None)
    volume_name = known.persistent_volume or ((claim or {}).get("spec") or {}).get("volumeName")
    volumes = [child for child in observed.children if child["kind"] == "PersistentVolume"]
    jobs = [child for child in mine if child["kind"] == "Job"]
    current = {attempt_number(job): job for job in jobs if job["metadata"]["name"] == job_name(owner, planned, attempt_number(job))}
    return RestoreView(
        known=known,
        planned=planned,
        name=owner.child_name(planned.target, planned.source),
        movers_claim=claim,
        volume=next((volume for volume in volumes if volume["metadata"]["name"] == volume_name), None),
        target=next((claim for claim in observed.claims if claim["metadata"]["name"] == planned.target), None),
        jobs=current,
        stale=tuple(job for job in jobs if job not in current.values()),
        pods=tuple(child for child in mine if child["kind"] == "Pod"),
    )


def job_name(owner: Owner, planned: PlannedVolume, attempt: int) -> str:
    """Of one attempt to bring the volume to this recovery point: a standby's next one has other Jobs."""
    return owner.child_name(f"{planned.target}-{attempt}", planned.source, str(attempt), planned.manifest)


def step_volume(view: RestoreView, observed: RestoreObserved, terms: Terms) -> Step:
    """Decide one volume. A standby gives nothing up: what ends another restore is tried again, and its volume is kept."""
    step = _admitted(view, observed, terms)
    if terms.standby and step.known.state is RestoreState.FAILED and not _is_hopeless(view, step.known):
        return _persist(view, step.known)
    return step


def _admitted(view: RestoreView, observed: RestoreObserved, terms: Terms) -> Step:
    """The actions of refused writes are held back."""
    step = _decide(view, observed, terms)
    admitted = admit(step.actions, observed.failures, terms.now)
    refusal = admitted.refusal
    if refusal is None or step.known.state in FINAL:
        return msgspec.structs.replace(step, actions=admitted.actions, again=admitted.again or step.again)
    if terms.now - terms.started_at >= REFUSAL_LIMIT and not view.jobs and view.known.state is not RestoreState.HANDING_OVER:
        return _fail(view, refusal.reason, f"{refusal.message}; given up after {to_duration(REFUSAL_LIMIT)}")
    return Step(_line(view, step.known.state, refusal.reason, refusal.message), admitted.actions, admitted.again or _SOON)


def _decide(view: RestoreView, observed: RestoreObserved, terms: Terms) -> Step:
    known, now = view.known, terms.now
    if known.state in FINAL:
        actions = release(view, terms.owner.uid) if known.state is not RestoreState.RESTORED else ()
        return Step(known, actions, _SOON if view.children(terms.owner.uid) else None)
    if known.state is RestoreState.HANDING_OVER:
        return _hand_over(view, terms)
    if known.state is RestoreState.STANDBY:
        return _cancel(view) if terms.cancel else _stand_by(view, terms)
    verdicts = {
        number: judge_mover(job, pod_of(job, view.pods), now=now, warnings=observed.warnings) for number, job in sorted(view.jobs.items())
    }
    done = next((verdict for verdict in verdicts.values() if _is_filled(verdict)), None)
    if done is not None and view.volume is not None:
        return Step(_filled(view, done, view.volume, terms), again=0.0)
    if terms.cancel:
        return _cancel(view)
    working = [number for number, verdict in verdicts.items() if verdict.state is MoverState.RUNNING]
    if view.stale and not terms.cancel:
        gone = tuple(delete(job) for job in view.stale if not is_going(job))
        return Step(_line(view, known.state, "MoverEnding", "the mover of an earlier refresh is being removed"), gone, _SOON)
    if working:
        return _watch(view, observed, working[-1], verdicts[working[-1]], now)
    if any(verdict.state is MoverState.ENDING for verdict in verdicts.values()):
        return Step(_line(view, RestoreState.RESTORING, "MoverEnding", "an earlier mover is being removed"), again=_POLL)
    if terms.namespace_ending:
        return _fail(view, "NamespaceTerminating", f"namespace {terms.owner.namespace} is being deleted")
    return _after_attempts(view, observed, terms, verdicts)


def _after_attempts(view: RestoreView, observed: RestoreObserved, terms: Terms, verdicts: dict[int, Verdict]) -> Step:
    """No mover works and none succeeded: the first attempt, another one, or the end."""
    last = max([*verdicts, view.known.attempts or 0])
    if last == 0:
        return _start(view, observed, terms, 1)
    gone = Verdict(
        state=MoverState.FAILED, reason="MoverJobDeleted", message="the mover's Job was deleted before it ended", retry=True,
        since=terms.now - timedelta(hours=1),
    )  # fmt: skip
    verdict = verdicts.get(last, gone)
    if _is_filled(verdict):
        return _fail(view, "VolumeLost", "the volume that the mover had filled was deleted by somebody else")
    due = retry_at(last, verdict, terms.now)
    if due is None and terms.standby:
        due = (verdict.since or terms.now) + _STANDBY_PAUSE
    if due is None:
        tries = f" (attempt {last} of {MAX_ATTEMPTS})" if verdict.retry else ""
        return _fail(view, verdict.reason, verdict.message + tries)
    if terms.now < due:
        message = f"{verdict.message}; attempt {last + 1}{'' if terms.standby else f' of {MAX_ATTEMPTS}'} follows"
        return Step(_line(view, RestoreState.RESTORING, verdict.reason, message), again=(due - terms.now).total_seconds())
    return _start(view, observed, terms, last + 1)


def _start(view: RestoreView, observed: RestoreObserved, terms: Terms, attempt: int) -> Step:
    """The movers' claim, and a mover that fills it: its first consumer."""
    if terms.denied is not None:
        return _fail(view, terms.denied.reason, terms.denied.message)
    if terms.location is None:
        return _fail(view, "LocationDeleted", f"BackupLocation {terms.plan.location} does not exist any more")
    if view.target is not None and not terms.standby:
        message = f"PVC {terms.owner.namespace}/{view.planned.target} was created by somebody else while the restore ran"
        return _fail(view, "TargetExists", f"{message}; create a RestoreRequest with another volumes[].target.name")
    planned, owner = view.planned, terms.owner
    if view.volume is None and planned.source not in terms.places:
        return Step(_line(view, view.known.state, "ReadingLocation", "where the volume was is read from the location"), again=_POLL)
    actions: list[Action] = []
    if view.movers_claim is None:
        shape = ClaimShape(
            storage_class_name=planned.storage_class_name,
            access_modes=planned.access_modes,
            volume_mode=planned.volume_mode or "Filesystem",
            size=planned.size,
        )
        claim = build_mover_claim(
            owner, name=view.name, volume_uid=planned.source, movers_namespace=observed.around.movers_namespace, shape=shape, snapshot=None
        )
        actions.append(Create(claim))
    elif is_going(claim := view.movers_claim):
        return Step(_line(view, RestoreState.RESTORING, "MoverEnding", "an earlier claim is being removed"), again=_SOON)
    if is_about_to_bind(claim, observed.storage_classes, terms.now):
        return Step(_line(view, view.known.state), tuple(actions), _AWAITED)
    job = build_restore_job(
        owner,
        observed.around,
        *(terms.sources or (terms.location,)),
        keys=terms.location.encryption.keys,
        name=job_name(owner, planned, attempt),
        volume_uid=planned.source,
        attempt=attempt,
        vault=terms.plan.vault,
        fingerprint=terms.plan.fingerprint,
        manifest=planned.manifest,
        claim=view.name,
        volume_mode=planned.volume_mode or "Filesystem",
        node_affinity=None if view.volume is not None else terms.places[planned.source],
        orders=(*path_options(terms.paths), *(STANDBY_OPTIONS if terms.standby else ())),
    )
    known = msgspec.structs.replace(_line(view, RestoreState.RESTORING), attempts=attempt)
    forgotten = [delete(old) for number, old in view.jobs.items() if terms.standby and number < attempt and not is_going(old)]
    return Step(known, (*actions, *forgotten, Create(job)), _POLL)


def _stand_by(view: RestoreView, terms: Terms) -> Step:
    """Complete at one recovery point: kept, or handed over. A volume that somebody deleted is filled anew."""
    if view.volume is None or view.movers_claim is None or is_going(view.movers_claim):
        lost = msgspec.structs.replace(begin_round(view.known), persistent_volume=None)
        message = "the standby's volume was deleted by somebody else, and is filled anew"
        return Step(msgspec.structs.replace(lost, reason="VolumeLost", message=message), again=_SOON)
    leftovers = tuple(delete(job) for job in view.movers if not is_going(job))
    if leftovers or not terms.promoted:
        return Step(view.known, leftovers, _STANDBY_POLL if view.target is None else _POLL)
    said = (view.known.reason, view.known.message) if view.known.reason == NOT_PRESERVED else ("HandingOver", HANDING_OVER)
    return Step(_line(view, RestoreState.HANDING_OVER, *said), again=0.0)


def _persist(view: RestoreView, failed: RestoredVolume) -> Step:
    """Instead of giving up: the state stays, the reason is told, and what hangs is removed for the next attempt."""
    gone = tuple(delete(job) for job in view.movers if not is_going(job))
    return Step(_line(view, view.known.state, failed.reason, failed.message), gone, _STANDBY_POLL)


def _is_hopeless(view: RestoreView, failed: RestoredVolume) -> bool:
    """What was promoted and then lost can't be filled again under a target that may be in use."""
    return view.known.state is RestoreState.FAILED or (view.known.state is RestoreState.HANDING_OVER and failed.reason == "VolumeLost")


def _watch(view: RestoreView, observed: RestoreObserved, number: int, verdict: Verdict, now: datetime) -> Step:
    """A mover works: keep its progress in the status, and end one that shows no sign of life."""
    pod = pod_of(view.jobs[number], view.pods)
    seen = observed.progress.get(pod["metadata"]["name"]) if pod else None
    before = _known_progress(view.known)
    if verdict.since is not None and is_stalled(verdict.since, before, seen, now):
        message = f"no progress for {to_duration(STALL_LIMIT)}; look at the volume and at the way to the location"
        return _fail(view, "NoProgress", message)
    line = _line(view, RestoreState.RESTORING, verdict.reason or None, verdict.message or None)
    return Step(_with_progress(line, before, seen, now), again=watch_again(verdict, now))


def _hand_over(view: RestoreView, terms: Terms) -> Step:
    step = continue_handback(view, terms.owner, namespace_ending=terms.namespace_ending, now=terms.now)
    if step.refusal is not None:
        return _fail(view, step.refusal.reason, step.refusal.message)
    reservation = (view.known.reason, view.known.message) if view.known.reason == NOT_PRESERVED else None
    if step.done:
        return Step(_line(view, RestoreState.RESTORED, *(reservation or ())), again=0.0)
    line = _line(view, RestoreState.HANDING_OVER, *(reservation or ("HandingOver", HANDING_OVER)))
    return Step(line, step.actions, again=0.0 if step.actions else _BINDING)


def _cancel(view: RestoreView) -> Step:
    jobs = tuple(delete(job) for job in view.jobs.values() if not is_going(job))
    return Step(_line(view, RestoreState.CANCELLED, "Cancelled", "spec.cancel is set; what was not finished is removed"), jobs, 0.0)


def _is_filled(verdict: Verdict) -> bool:
    """All content is there and compared. With exit code 3 the target did not keep every owner, mode or attribute."""
    return verdict.state is MoverState.SUCCEEDED or verdict.exit_code == PARTIAL_EXIT_CODE


def _filled(view: RestoreView, verdict: Verdict, volume: Object, terms: Terms) -> RestoredVolume:
    report, part = verdict.report, terms.paths.is_selection
    total = view.known.bytes_total if not part or view.known.bytes_total is not None else report.bytes_written
    said: tuple[str | None, str | None] = (None, None) if terms.standby else ("HandingOver", HANDING_OVER)
    if verdict.state is not MoverState.SUCCEEDED:
        paths = f" ({', '.join(report.first_paths)})" if report.first_paths else ""
        kept = f"all content is there and compared, but the target did not keep everything else: {verdict.message}{paths}"
        said = (NOT_PRESERVED, kept)
    return msgspec.structs.replace(
        _line(view, RestoreState.STANDBY if terms.standby else RestoreState.HANDING_OVER, *said),
        holds=view.planned.manifest if terms.standby else None,
        bytes_total=total,
        bytes_done=total,
        files_done=None,
        progress_at=None,
        rate=None,
        eta=None,
        files_restored=report.files_total or (None if part else view.planned.files),
        bytes_written=report.bytes_written or None,
        duration=to_duration(timedelta(seconds=report.duration)) if report.duration else None,
        persistent_volume=volume["metadata"]["name"],
    )


def _known_progress(known: RestoredVolume) -> KnownProgress | None:
    if known.progress_at is None:
        return None
    return KnownProgress(bytes_done=known.bytes_done or 0, at=known.progress_at, files_done=known.files_done)


def _with_progress(known: RestoredVolume, before: KnownProgress | None, seen: Progress | None, now: datetime) -> RestoredVolume:
    fresh = note_progress(before, seen, now)
    if fresh is None or fresh is before:
        return known
    return msgspec.structs.replace(
        known,
        bytes_done=fresh.bytes_done,
        bytes_total=fresh.bytes_total or known.bytes_total,
        files_done=fresh.files_done,
        progress_at=fresh.at,
        rate=fresh.rate,
        eta=fresh.eta,
    )


def _fail(view: RestoreView, reason: str, message: str) -> Step:
    known = msgspec.structs.replace(_line(view, RestoreState.FAILED, reason, message), rate=None, eta=None)
    return Step(known, (), 0.0)


def _line(view: RestoreView, state: RestoreState, reason: str | None = None, message: str | None = None) -> RestoredVolume:
    attempts = max([*view.jobs, view.known.attempts or 0]) or None
    short = message[:4096] if message else None
    return msgspec.structs.replace(view.known, state=state, reason=reason, message=short, attempts=attempts)
