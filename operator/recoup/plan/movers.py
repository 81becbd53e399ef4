"""How a mover is doing: reads a Job and its Pod and says running, succeeded or failed, why, and whether another try makes sense.

The same judgement for backups and restores. A mover's own word (its termination message) only explains; what it achieved is decided
elsewhere, from the catalogue or from the exit code. A message may be missing, cut or a lie, so it is read leniently and bounded.
"""

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec
from msgspec import Struct

from recoup.api.backupsnapshot import Progress as KnownProgress
from recoup.api.durations import to_duration
from recoup.plan.actions import Object
from recoup.plan.objects.identity import ATTEMPT
from recoup.plan.observed import Progress

STALL_LIMIT = timedelta(minutes=15)
"""How long one step may show no sign of life before it is given up."""

START_GRACE = timedelta(seconds=30)
"""How long a pod may take to start before anybody is told why it does not: volumes are bound and images fetched in that time."""

MAX_ATTEMPTS = 3
OUT_OF_MEMORY = "OOMKilled"
"""What the kubelet says of a container that went over its memory limit; there is no termination message then."""
_RETRY_DELAYS = (timedelta(seconds=15), timedelta(seconds=60))

_PROGRESS_STEP = 0.05
_PROGRESS_INTERVAL = timedelta(seconds=60)
_PROGRESS_FIRST = timedelta(seconds=15)

_MESSAGE_LIMIT = 1024
_PATHS_LIMIT = 5


class MoverState(StrEnum):
    RUNNING = "Running"
    ENDING = "Ending"
    """Its Job is being deleted."""
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Report(Struct, frozen=True, rename="camel"):
    """What a mover left as termination message (docs/command-line.md); every field may be absent."""

    outcome: str = ""
    reason: str = ""
    message: str = ""
    manifest: str = ""
    files_total: int = 0
    bytes_read: int = 0
    bytes_stored: int = 0
    bytes_written: int = 0
    duration: float = 0.0
    errors: int = 0
    first_paths: tuple[str, ...] = ()


class Verdict(Struct, frozen=True, kw_only=True):
    """retry: the same thing may work next time. since: when it ended, or when it began to run (None: not yet)."""

    state: MoverState
    reason: str = ""
    message: str = ""
    retry: bool = False
    since: datetime | None = None
    exit_code: int | None = None
    report: Report = Report()


def attempt_number(job: Object) -> int:
    text = (job["metadata"].get("labels") or {}).get(ATTEMPT, "1")
    return int(text) if text.isdigit() else 1


def pod_of(job: Object, pods: tuple[Object, ...]) -> Object | None:
    """The newest pod of the Job."""
    mine = [pod for pod in pods if (pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name") == job["metadata"]["name"]]
    return max(mine, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)


def judge_mover(job: Object, pod: Object | None, *, now: datetime, warnings: dict[str, str]) -> Verdict:
    """State of one attempt. `warnings` explains a pod that does not start."""
    ended = _terminated(pod)
    condition = _job_condition(job)
    if ended is not None and (condition is None or condition["type"] == "Failed" or ended.get("exitCode") == 0):
        return _judge_exit(ended, condition)
    if condition is not None and condition["type"] == "Complete":
        return Verdict(state=MoverState.SUCCEEDED, since=_time(condition.get("lastTransitionTime")))
    if condition is not None:
        message = f"the mover's pod is gone without a result ({condition.get('message') or condition.get('reason') or 'Job failed'})"
        since = _time(condition.get("lastTransitionTime"))
        return Verdict(state=MoverState.FAILED, reason="MoverPodLost", message=message, retry=True, since=since)
    if job["metadata"].get("deletionTimestamp"):
        return Verdict(state=MoverState.ENDING)
    started = _running_since(pod)
    if started is not None:
        return Verdict(state=MoverState.RUNNING, since=started)
    age = now - parse_time(job["metadata"]["creationTimestamp"])
    if age < START_GRACE:
        return Verdict(state=MoverState.RUNNING)
    reason, message = _why_not_started(job, pod, warnings)
    if age >= STALL_LIMIT:
        return Verdict(state=MoverState.FAILED, reason=reason, message=f"{message}; given up after {to_duration(STALL_LIMIT)}", since=now)
    return Verdict(state=MoverState.RUNNING, reason=reason, message=message)


def retry_at(attempt: int, failed: Verdict, now: datetime) -> datetime | None:
    """When the next attempt may start; None if there is none."""
    if not failed.retry or attempt >= MAX_ATTEMPTS:
        return None
    return (failed.since or now) + _RETRY_DELAYS[min(attempt, len(_RETRY_DELAYS)) - 1]


def note_progress(before: KnownProgress | None, seen: Progress | None, now: datetime) -> KnownProgress | None:
    """The progress to show: a new one after 5 % or a minute, else the one shown, so that a status is not written for nothing.

    `at` of the result is the last time at which the mover was seen to have moved; `is_stalled` rests on it.
    """
    if seen is None or not seen.told or (before is not None and not _moved(before, seen)):
        return before
    fresh = KnownProgress(
        bytes_done=seen.bytes_done,
        at=now.replace(microsecond=0),
        bytes_total=seen.bytes_total,
        files_done=seen.files_done,
        files_total=seen.files_total,
        rate=round(seen.rate) if seen.rate > 0 else None,
        eta=to_duration(timedelta(seconds=seen.eta)) if seen.eta is not None else None,
    )
    if before is None or now - before.at >= _PROGRESS_INTERVAL:
        return fresh
    step = abs(seen.bytes_done - before.bytes_done)
    return fresh if seen.bytes_total and step >= _PROGRESS_STEP * seen.bytes_total else before


def watch_again(verdict: Verdict, now: datetime) -> float:
    """Seconds to the next look at a mover that works: soon for one that may not start or is quickly done, then once a minute."""
    young = verdict.since is None or now - verdict.since < _PROGRESS_FIRST
    return (_PROGRESS_FIRST if young else _PROGRESS_INTERVAL).total_seconds()


def is_stalled(running_since: datetime, known: KnownProgress | None, seen: Progress | None, now: datetime) -> bool:
    """No sign of progress for the stall limit. A log that could not be read (`seen` is None) proves nothing; one that tells none does.

    What was never looked at before has moved if it is beyond its beginning: the controller may have been away for long.
    """
    if seen is None or (seen.told and _moved(known, seen)):
        return False
    return now - max(running_since, known.at if known else running_since) >= STALL_LIMIT


def _moved(known: KnownProgress | None, seen: Progress) -> bool:
    before = (known.bytes_done, known.files_done or 0) if known else (0, 0)
    return before != (seen.bytes_done, seen.files_done)


def _judge_exit(ended: Object, condition: Object | None) -> Verdict:
    code = int(ended.get("exitCode", 1))
    since = _time(ended.get("finishedAt")) or (_time(condition.get("lastTransitionTime")) if condition else None)
    report = _report(ended)
    if code == 0:
        return Verdict(state=MoverState.SUCCEEDED, since=since, report=report)
    if ended.get("reason") == OUT_OF_MEMORY:
        message = "the mover was killed because it used more memory than its limit; raise spec.mover.resources.limits.memory of the policy"
        return Verdict(state=MoverState.FAILED, reason="MoverOutOfMemory", message=message, retry=True, since=since)
    reason, retry = _EXIT_CODES.get(code, ("MoverKilled" if code > 128 else "MoverFailed", True))
    message = report.message or f"the mover ended with exit code {code} and left no message"
    return Verdict(
        state=MoverState.FAILED,
        reason=report.reason or reason,
        message=message,
        retry=retry,
        since=since,
        exit_code=code,
        report=report,
    )


_EXIT_CODES = {
    2: ("Usage", False),
    10: ("Unavailable", True),
    20: ("InvalidConfiguration", False),
    30: ("IntegrityError", False),
    40: ("KeyUnavailable", False),
    130: ("Cancelled", True),
}
"""Exit code → reason if the mover gave none, and whether to try again. Interrupted (130) is a drained node or a deleted pod."""


def _report(ended: Object) -> Report:
    try:
        report = msgspec.json.decode(str(ended.get("message") or ""), type=Report)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):  # a mover that was taken over may write anything
        return Report()
    reason = report.reason if report.reason.isalnum() and len(report.reason) <= 64 else ""
    paths = tuple(path[:256] for path in report.first_paths[:_PATHS_LIMIT])
    return msgspec.structs.replace(report, reason=reason, message=report.message[:_MESSAGE_LIMIT], first_paths=paths)


def _why_not_started(job: Object, pod: Object | None, warnings: dict[str, str]) -> tuple[str, str]:
    if pod is None:
        return "MoverPodNotCreated", f"Job {job['metadata']['name']} has no pod yet{_hint(warnings.get(job['metadata'].get('uid', '')))}"
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return "MoverNotScheduled", f"the mover's pod can't be scheduled: {condition.get('message') or condition.get('reason')}"
    warning = warnings.get(pod["metadata"].get("uid", ""))
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return "MoverNotStarted", f"the mover does not start: {waiting['reason']}{_hint(waiting.get('message') or warning)}"
    return "MoverNotStarted", f"the mover's pod has not started yet{_hint(warning)}"


def _hint(text: str | None) -> str:
    return f" ({text[:512]})" if text else ""


def _terminated(pod: Object | None) -> Object | None:
    for container in ((pod or {}).get("status") or {}).get("containerStatuses") or ():
        ended: Object | None = (container.get("state") or {}).get("terminated")
        if ended:
            return ended
    return None


def _running_since(pod: Object | None) -> datetime | None:
    for container in ((pod or {}).get("status") or {}).get("containerStatuses") or ():
        running = (container.get("state") or {}).get("running")
        if running:
            return _time(running.get("startedAt"))
    return None


def _job_condition(job: Object) -> Object | None:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            found: Object = condition
            return found
    return None


def is_over(job: Object) -> bool:
    """The Job has ended, well or not."""
    return _job_condition(job) is not None


def parse_time(text: str) -> datetime:
    """A time as the API server writes it."""
    return msgspec.convert(text, datetime)


def _time(text: str | None) -> datetime | None:
    return parse_time(text) if text else None
