"""Upkeep: the Jobs that a vault needs besides backups and restores, each one task for one vault at one location.

Copying to a replica, healing, forgetting, verifying, pruning: policies ask for them, and the policies of a namespace share a vault, so a
Job is named by its task and not by who asked: all make the same one. At a location a vault has one upkeep Job at a time, which is why a
place without atomic creates has a single appender. What a Job achieved is read from the location's log; the Job itself only tells of
troubles. Which tasks there are is their own modules' matter.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct, structs

from recoup.api.backuplocation import KIND, BackupLocation
from recoup.api.labels import UPKEEP, UPKEEP_NAMESPACE, UPKEEP_POLICY, UPKEEP_VAULT
from recoup.api.names import fit_name, label_value, short_hash
from recoup.plan.actions import Action, Create, Object
from recoup.plan.movers import MoverState, Report, Verdict, judge_mover, pod_of, watch_again
from recoup.plan.objects.identity import COMPONENT, Owner
from recoup.plan.observed import ApiFailure, FailureKey, Progress
from recoup.plan.refusals import admit
from recoup.plan.volume_view import delete, is_going

KEPT = 3600
"""Seconds that Kubernetes keeps an ended upkeep Job that no policy removes: the one that asked for it may be gone."""

_PAUSE_RETRYABLE = timedelta(minutes=1)
_PAUSE = timedelta(minutes=10)
"""From a Job's end to the next one for the same thing; the longer one where a person has to mend something, and after a success that the
log does not show."""
_POLL_ENDING = 2.0

Build = Callable[[str, dict[str, str]], Object]
"""(name, labels) → the Job."""


class Task(Struct, frozen=True, kw_only=True):
    """One thing to be done at a location now.

    kind: replicate, forget, …, the label's value. location: where it writes. namespace: whose vault it is.
    round: what this Job is for; the same thing asked for again is the same round, another round is another Job.
    asked_by: uid of the policy whose own matter it is; empty for what all policies of the namespace ask for alike.
    """

    kind: str
    location: BackupLocation
    vault: str
    namespace: str
    round: str
    build: Build
    asked_by: str = ""

    @property
    def job_name(self) -> str:
        tail = short_hash(self.kind, self.vault, self.location.metadata.uid, self.round)
        return f"{fit_name(self.location.metadata.name, self.kind, limit=52)}-{tail}"

    @property
    def labels(self) -> dict[str, str]:
        upkeep = {UPKEEP: self.kind, UPKEEP_VAULT: self.vault, UPKEEP_NAMESPACE: label_value(self.namespace)}
        own = {UPKEEP_POLICY: self.asked_by} if self.asked_by else {}
        return _owner(self.location).labels() | {COMPONENT: "mover"} | upkeep | own


class TaskPhase(StrEnum):
    WAITING = "Waiting"
    """Another task of the vault is at work at this location, or the API server refused the Job."""
    RUNNING = "Running"
    FAILED = "Failed"
    """It is tried again after a pause."""
    DONE = "Done"
    """Its Job ended well, and says how for the last time; what it achieved is in the log."""


_WORST = (TaskPhase.FAILED, TaskPhase.WAITING, TaskPhase.RUNNING, TaskPhase.DONE)


class TaskState(Struct, frozen=True, kw_only=True):
    """How one task stands. since: when it began to run, or ended. report: what the Job said at its end."""

    phase: TaskPhase
    reason: str = ""
    message: str = ""
    since: datetime | None = None
    progress: Progress | None = None
    report: Report = Report()


TaskKey = tuple[str, str]
"""kind and location name."""


class Upkeep(Struct, frozen=True, kw_only=True):
    """The next writes, how each task stands that is wanted or has a Job, and the seconds to the next look."""

    actions: tuple[Action, ...] = ()
    states: dict[TaskKey, TaskState] = {}
    again: float | None = None


class UpkeepObserved(Struct, frozen=True, kw_only=True):
    """things: Jobs and Pods labelled with the namespace of the vault. progress: by Pod name. warnings: by uid, as everywhere.

    policy: uid of the policy that is looked at: what another one asked for by itself is waited for, and otherwise left to that one.
    """

    vault: str
    policy: str = ""
    locations: tuple[BackupLocation, ...]
    things: tuple[Object, ...] = ()
    progress: dict[str, Progress] = {}
    warnings: dict[str, str] = {}
    failures: dict[FailureKey, ApiFailure] = {}


def plan_upkeep(wanted: Sequence[Task], observed: UpkeepObserved, now: datetime) -> Upkeep:
    """The next step of one policy's upkeep. `wanted`: in order of importance; of two with the same round the first counts."""
    result = Upkeep()
    for location in observed.locations:
        mine = [task for task in wanted if task.location.metadata.uid == location.metadata.uid]
        result = _joined(result, _at_location(mine, location, observed, now))
    return result


def worst_of(vaults: Iterable[Mapping[TaskKey, TaskState]]) -> dict[TaskKey, TaskState]:
    """The states of several vaults as one: of two for the same kind and location the one that there is more to say of."""
    found: dict[TaskKey, TaskState] = {}
    for states in vaults:
        for key, state in states.items():
            known = found.get(key)
            if known is None or _WORST.index(state.phase) < _WORST.index(known.phase):
                found[key] = state
    return found


def is_upkeep(thing: Object) -> bool:
    """A Job or Pod of upkeep: it belongs to a location, but is no probe and makes no keys."""
    return UPKEEP in (thing["metadata"].get("labels") or {})


def _at_location(wanted: list[Task], location: BackupLocation, observed: UpkeepObserved, now: datetime) -> Upkeep:
    actions: list[Action] = []
    states: dict[TaskKey, TaskState] = {}
    waits: list[float] = []
    rounds = {task.job_name for task in wanted}
    known: set[str] = set()
    busy: str | None = None
    pods = tuple(thing for thing in observed.things if thing["kind"] == "Pod")
    for job in _jobs(observed, location):
        kind, name = job["metadata"]["labels"][UPKEEP], job["metadata"]["name"]
        pod = pod_of(job, pods)
        verdict = judge_mover(job, pod, now=now, warnings=observed.warnings)
        state, left = _judge(verdict, observed.progress.get(pod["metadata"]["name"]) if pod else None, now)
        if job["metadata"]["labels"].get(UPKEEP_POLICY, observed.policy) != observed.policy:
            busy = busy or (kind if state.phase is TaskPhase.RUNNING else None)
            continue
        known.add(name)
        states[kind, location.metadata.name] = state
        if state.phase is TaskPhase.RUNNING:
            busy = busy or kind
            waits.append(_POLL_ENDING if verdict.state is MoverState.ENDING else watch_again(verdict, now))
        elif name not in rounds or left <= timedelta():
            actions += [] if is_going(job) else [delete(job)]
            waits.append(_POLL_ENDING)
        else:  # the memory of how it ended, until its pause is over
            waits.append(left.total_seconds())
    for task in wanted:
        if task.job_name in known:
            continue
        key = (task.kind, location.metadata.name)
        if busy is not None:
            waiting = f"{task.kind} at BackupLocation {location.metadata.name} waits for {busy} of the same vault there"
            states.setdefault(key, TaskState(phase=TaskPhase.WAITING, reason="WaitingForUpkeep", message=waiting))
            continue
        admitted = admit((Create(_build(task)),), observed.failures, now)
        actions += admitted.actions
        waits += [] if admitted.again is None else [admitted.again]
        refused = admitted.refusal
        states[key] = (
            TaskState(phase=TaskPhase.WAITING, reason=refused.reason, message=f"the Job cannot be started: {refused.message}")
            if refused
            else TaskState(phase=TaskPhase.RUNNING)
        )
        busy = task.kind
    return Upkeep(actions=tuple(actions), states=states, again=min(waits, default=None))


def _judge(verdict: Verdict, progress: Progress | None, now: datetime) -> tuple[TaskState, timedelta]:
    """The task's state by its Job, and how long an ended Job is still to stay."""
    if verdict.state in (MoverState.RUNNING, MoverState.ENDING):
        told = progress if progress is not None and progress.told else None
        state = TaskState(phase=TaskPhase.RUNNING, reason=verdict.reason, message=verdict.message, since=verdict.since, progress=told)
        return state, timedelta()
    succeeded = verdict.state is MoverState.SUCCEEDED
    pause = _PAUSE_RETRYABLE if verdict.retry and not succeeded else _PAUSE
    state = TaskState(
        phase=TaskPhase.DONE if succeeded else TaskPhase.FAILED,
        reason=verdict.reason,
        message=verdict.message,
        since=verdict.since,
        report=verdict.report,
    )
    return state, (verdict.since or now) + pause - now


def _jobs(observed: UpkeepObserved, location: BackupLocation) -> list[Object]:
    """The vault's upkeep Jobs at this location, the oldest first."""
    wanted = _owner(location).labels() | {UPKEEP_VAULT: observed.vault}
    jobs = [thing for thing in observed.things if thing["kind"] == "Job" and wanted.items() <= thing["metadata"]["labels"].items()]
    return sorted(jobs, key=lambda job: (str(job["metadata"].get("creationTimestamp", "")), job["metadata"]["name"]))


def _owner(location: BackupLocation) -> Owner:
    return Owner(kind=KIND, namespace="", name=location.metadata.name, uid=location.metadata.uid)


def _build(task: Task) -> Object:
    job = task.build(task.job_name, task.labels)
    job["spec"] |= {"ttlSecondsAfterFinished": KEPT}
    return job


def _joined(one: Upkeep, other: Upkeep) -> Upkeep:
    waits = [wait for wait in (one.again, other.again) if wait is not None]
    return structs.replace(one, actions=(*one.actions, *other.actions), states=one.states | other.states, again=min(waits, default=None))
