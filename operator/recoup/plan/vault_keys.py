"""Before the first run of a vault: the keys Job, which makes or unwraps its keyring and hands each role its part.

The policy asks for it as soon as its home can be used, so that the first run finds the keys, and a person learns at once of a key that is
missing or wrong. It and all runs make the same Job (its owner is the location): it does not matter who comes first. The vault is ready when
its catalogue Secret is there, which the Job writes last; the Job itself is removed by whoever sees it done.
"""

from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct

from recoup.api.backuplocation import KIND, BackupLocation
from recoup.plan.actions import Action, Create, Object
from recoup.plan.movers import MoverState, judge_mover, pod_of
from recoup.plan.objects.identity import Owner
from recoup.plan.objects.jobs import build_keys_job
from recoup.plan.observed import Surroundings
from recoup.plan.volume_view import delete, is_going

_POLL = 2.0
_POLL_QUICK = 0.7
_QUICK = timedelta(seconds=4)
"""A keys Job is mostly done a second after it began, and its Pod's end is told a second later: so it is asked for, but not for long."""
_POLL_SLOW = 15.0
_PAUSE_RETRYABLE = timedelta(seconds=15)
_PAUSE = timedelta(seconds=60)
"""After a failure that a person has to mend (a key that is missing or wrong): tried again all the same, because then it just works."""


class KeysObserved(Protocol):
    """What a look at a run, or at a policy before its first run, tells of the vault's keys."""

    @property
    def around(self) -> Surroundings: ...

    @property
    def keys_jobs(self) -> tuple[Object, ...]: ...

    @property
    def vault_ready(self) -> bool: ...

    @property
    def warnings(self) -> dict[str, str]: ...


class KeysStep(Struct, frozen=True):
    """What to do about the vault's keys, and why the run waits. failed: they could not be made, and mostly a person has to act."""

    actions: tuple[Action, ...]
    reason: str
    message: str
    again: float
    failed: bool = False


def drop_finished_keys_jobs(observed: KeysObserved) -> tuple[Action, ...]:
    """With the keys in place no keys Job of the vault is needed any more."""
    return tuple(delete(job) for job in _jobs(observed) if not is_going(job)) if observed.vault_ready else ()


def provide_keys(
    observed: KeysObserved, location: BackupLocation, *, vault: str, namespace: str, namespace_uid: str, now: datetime
) -> KeysStep:
    """The next step towards a vault with keys; called while there are none."""
    job = next(iter(_jobs(observed)), None)
    if job is None:
        owner = Owner(kind=KIND, namespace="", name=location.metadata.name, uid=location.metadata.uid)
        name = owner.child_name(f"keys-{vault[:8]}", vault)
        made = build_keys_job(
            owner, observed.around, location.spec, name=name, attempt=1, vault=vault, namespace=namespace, namespace_uid=namespace_uid
        )
        return KeysStep((Create(made),), "MakingKeys", "the vault's keys are being made", _POLL)
    pods = tuple(thing for thing in observed.keys_jobs if thing["kind"] == "Pod")
    verdict = judge_mover(job, pod_of(job, pods), now=now, warnings=observed.warnings)
    if verdict.state in (MoverState.RUNNING, MoverState.ENDING):
        soon = verdict.since is not None and now - verdict.since < _QUICK
        message = verdict.message or "the vault's keys are being made"
        again = _POLL if verdict.since is None else _POLL_QUICK if soon else _POLL_SLOW
        return KeysStep((), verdict.reason or "MakingKeys", message, again)
    remove = () if is_going(job) else (delete(job),)
    if verdict.state is MoverState.SUCCEEDED:
        return KeysStep(remove, "MakingKeys", "the keys Job is done, and its Secrets are awaited", _POLL)
    message = f"the vault's keys could not be made: {verdict.message}"
    left = (verdict.since or now) + (_PAUSE_RETRYABLE if verdict.retry else _PAUSE) - now
    if left > timedelta(0):
        return KeysStep((), verdict.reason, message, left.total_seconds(), failed=True)
    return KeysStep(remove, verdict.reason, message, _POLL, failed=True)


def _jobs(observed: KeysObserved) -> tuple[Object, ...]:
    return tuple(thing for thing in observed.keys_jobs if thing["kind"] == "Job")
