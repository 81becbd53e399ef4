"""The window in which a run's volumes are captured: opened by the pre hooks, closed by the post hooks, whoever dies in between.

Write-ahead: the status says that hooks have begun before the first one runs, and by which process. A process that finds the word of
another one runs the post hooks first, and begins anew if nothing was captured yet. The hooks themselves run in controller/hooks.py; in the
pods they guard themselves against the controller's death (docs/hooks.md). Pure.
"""

from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec import Struct

from recoup.api.conditions import Conditions, set_condition
from recoup.api.hooks import HOOKS_SUCCEEDED, MAX_RESULTS, HookOutcome, HookResult, Hooks, HooksStatus, Stage
from recoup.plan.access import Refusal
from recoup.plan.observed import HookSession, HookState

APPLICATION, CRASH = "ApplicationConsistent", "CrashConsistent"
RUNNING_HOOKS = "RunningHooks"
HOOKS_POLL = 5.0
"""Seconds to a look at a run whose hooks run; it is woken when they get on."""
MAX_ATTEMPTS = 3
"""How often hooks are begun for one run, if the controller dies in between each time; after that it is captured without their promise."""


class Order(StrEnum):
    """What controller/hooks.py is to do now."""

    BEGIN = "Begin"
    THAW = "Thaw"
    """The post hooks only, which another process owed."""
    RELEASE = "Release"
    """Everything is captured: the post hooks may run."""


class Window(Struct, frozen=True, kw_only=True):
    """status: as it should read now. capture: volume snapshots may be taken; movers: they may start. waits: for people, if not both."""

    status: HooksStatus | None = None
    capture: bool = True
    movers: bool = True
    refusal: Refusal | None = None
    waits: str = ""
    order: Order | None = None

    @property
    def guarantee(self) -> str:
        return (self.status.guarantee if self.status else None) or CRASH


class Around(Struct, frozen=True, kw_only=True):
    """begun: some volume has a volume snapshot. settled: each is cut, or is over. holds: no hook is to begin.

    blocked: a run of the namespace whose hooks another process left behind; "" if there is none. me: this process.
    """

    begun: bool
    settled: bool
    holds: bool
    blocked: str
    me: str
    now: datetime


def open_window(known: HooksStatus | None, hooks: Hooks, session: HookSession | None, around: Around) -> Window:
    """The next step of the hooks of one run."""
    if not (hooks.pre or hooks.post):
        return Window()
    if around.blocked and not around.begun and session is None and (known is None or known.holder == around.me):
        return _waiting(known, f"the hooks wait for those of BackupSnapshot {around.blocked}, which another controller left behind")
    if known is None:
        if around.begun or around.holds:  # captured before this version knew hooks, or not to be captured yet
            return Window()
        return _waiting(_begin(around, 1), "the hooks are about to run")
    if known.ended_at is not None:
        refusal = Refusal(known.reason or "HookFailed", known.message or "") if known.refused else None
        return Window(status=known, refusal=refusal)
    mine = known.holder == around.me
    if session is None and mine and around.holds:  # cancelled before any ran
        return Window()
    if session is None:
        order = Order.BEGIN if mine else Order.THAW
        said = "the pre hooks run" if mine else "the post hooks run, which the controller before did not get to"
        return Window(status=known, capture=False, movers=False, waits=said, order=order)
    if session.state is not HookState.ENDED:
        return _while_it_lasts(known, session, around)
    if not mine and not around.begun and known.attempt < MAX_ATTEMPTS:
        return _waiting(_begin(around, known.attempt + 1), "the hooks are about to run again: the controller changed while they ran")
    return _close(known, session, around.now, mine=mine)


def _begin(around: Around, attempt: int) -> HooksStatus:
    return HooksStatus(started_at=around.now.replace(microsecond=0), holder=around.me, attempt=attempt)


def _waiting(known: HooksStatus | None, said: str) -> Window:
    return Window(status=known, capture=False, movers=False, waits=said)


def _while_it_lasts(known: HooksStatus, session: HookSession, around: Around) -> Window:
    if session.state is HookState.PREPARING:
        return _waiting(known, "the hooks run")
    order = Order.RELEASE if around.settled and not session.closing else None
    return Window(status=known, capture=not session.closing, movers=False, waits="the hooks wait for all volume snapshots", order=order)


def _close(known: HooksStatus, session: HookSession, now: datetime, *, mine: bool) -> Window:
    promise = mine and session.released and _all_succeeded(session.results)
    reason, message = _verdict(session, mine=mine)
    ended = msgspec.structs.replace(
        known,
        ended_at=now.replace(microsecond=0),
        guarantee=APPLICATION if promise else CRASH,
        reason=reason,
        message=message,
        refused=session.refused,
        results=session.results[:MAX_RESULTS],
    )
    return Window(status=ended, refusal=Refusal(reason, message) if session.refused else None)


def _all_succeeded(results: tuple[HookResult, ...]) -> bool:
    """Of the pre hooks, of which there must be some: they are what makes the application's state a consistent one."""
    pre = [result for result in results if result.stage is Stage.PRE]
    return bool(pre) and all(result.outcome is HookOutcome.SUCCEEDED for result in pre)


def _verdict(session: HookSession, *, mine: bool) -> tuple[str, str]:
    """One reason for the whole, the worst first."""
    bad = [result for result in session.results if result.outcome not in (HookOutcome.SUCCEEDED, HookOutcome.NO_POD)]
    if bad:
        denied = any(result.outcome is HookOutcome.NOT_ALLOWED for result in bad)
        return "HookNotAllowed" if denied else "HookFailed", "; ".join(_tell(result) for result in bad)[:2048]
    if not mine:
        return "HooksInterrupted", "the controller changed while the hooks ran; the post hooks were run again"
    if not session.released:
        return "FreezeLimitReached", "the post hooks ran before every volume was captured; raise spec.hooks.freezeLimit of the policy"
    absent = [result for result in session.results if result.outcome is HookOutcome.NO_POD]
    if absent:
        return "NoPodForHook", "; ".join(_tell(result) for result in absent)[:2048]
    return "HooksSucceeded", f"all {len(session.results)} hooks succeeded"


def _tell(result: HookResult) -> str:
    place = f" in pod {result.pod}" if result.pod else ""
    code = f", exit code {result.exit_code}" if result.exit_code else ""
    said = f": {result.message}" if result.message else ""
    return f"{result.stage.lower()} hook {result.name}{place} {_WORDS[result.outcome]}{code}{said}"


_WORDS = {
    HookOutcome.SUCCEEDED: "succeeded",
    HookOutcome.FAILED: "failed",
    HookOutcome.TIMED_OUT: "did not end in time",
    HookOutcome.NO_POD: "found no running pod",
    HookOutcome.NOT_ALLOWED: "is not allowed",
}


def with_hooks(conditions: Conditions, known: HooksStatus | None, *, now: datetime, generation: int) -> Conditions:
    """HooksSucceeded, once they have ended."""
    if known is None or known.ended_at is None:
        return conditions
    good = known.reason == "HooksSucceeded"
    return set_condition(
        conditions, HOOKS_SUCCEEDED, good, known.reason or "HookFailed", known.message or "", now=now, generation=generation
    )
