"""The window of the hooks, step by step: what is written ahead, what is owed, what is promised in the end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import structs

from recoup.api.hooks import Hook, HookOutcome, HookResult, Hooks, HooksStatus, Stage
from recoup.api.labels import LabelSelector
from recoup.plan.hooks import MAX_ATTEMPTS, Around, Order, Window, open_window, with_hooks
from recoup.plan.observed import HookSession, HookState

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ME = "recoup-controller-1-abc"
HOOK = Hook(name="flush", pod_selector=LabelSelector(match_labels={"app": "db"}), command=("sync",))
HOOKS = Hooks(pre=(HOOK,), post=(structs.replace(HOOK, name="thaw"),))
BEGUN = HooksStatus(started_at=NOW, holder=ME)


def around(*, begun: bool = False, settled: bool = False, holds: bool = False, blocked: str = "", me: str = ME) -> Around:
    return Around(begun=begun, settled=settled, holds=holds, blocked=blocked, me=me, now=NOW)


def result(stage: Stage = Stage.PRE, outcome: HookOutcome = HookOutcome.SUCCEEDED, **more: Any) -> HookResult:
    return HookResult(name="flush" if stage is Stage.PRE else "thaw", stage=stage, outcome=outcome, pod="db-0", **more)


GOOD = (result(), result(Stage.POST))


def ended(*results: HookResult, refused: bool = False, released: bool = True) -> HookSession:
    return HookSession(state=HookState.ENDED, results=results, refused=refused, closing=True, released=released)


def close(session: HookSession, known: HooksStatus = BEGUN, **more: Any) -> HooksStatus:
    status = open_window(known, HOOKS, session, around(begun=True, settled=True, **more)).status
    assert status is not None
    return status


def test_without_hooks_nothing_is_held_up() -> None:
    assert open_window(None, Hooks(), None, around()) == Window()
    assert Window().guarantee == "CrashConsistent"


def test_that_they_begin_is_written_before_they_begin() -> None:
    first = open_window(None, HOOKS, None, around())
    assert (first.status, first.order) == (BEGUN, None)
    assert not first.capture
    second = open_window(first.status, HOOKS, None, around())
    assert (second.order, second.capture, second.movers) == (Order.BEGIN, False, False)


@pytest.mark.parametrize("known", [None, BEGUN])
def test_a_run_that_is_held_or_cancelled_freezes_nothing(known: HooksStatus | None) -> None:
    assert open_window(known, HOOKS, None, around(holds=True)) == Window()


def test_what_was_captured_without_hooks_goes_on_without() -> None:
    assert open_window(None, HOOKS, None, around(begun=True)) == Window()


def test_the_post_hooks_get_their_word_when_all_is_captured_and_not_before() -> None:
    frozen = HookSession(state=HookState.FROZEN, results=(result(),))
    window = open_window(BEGUN, HOOKS, frozen, around(begun=True))
    assert (window.capture, window.movers, window.order) == (True, False, None)
    window = open_window(BEGUN, HOOKS, frozen, around(begun=True, settled=True))
    assert window.order is Order.RELEASE
    closing = structs.replace(frozen, closing=True)
    window = open_window(BEGUN, HOOKS, closing, around(begun=True, settled=True))
    assert (window.capture, window.order) == (False, None), "nothing more is captured while they run"


def test_application_consistent_is_what_was_captured_between_hooks_that_succeeded() -> None:
    status = close(ended(*GOOD))
    assert (status.guarantee, status.reason) == ("ApplicationConsistent", "HooksSucceeded")
    assert status.ended_at == NOW
    window = open_window(status, HOOKS, None, around(begun=True, settled=True))
    assert (window.capture, window.movers, window.guarantee) == (True, True, "ApplicationConsistent")


@pytest.mark.parametrize(
    ("session", "reason"),
    [
        (ended(*GOOD, released=False), "FreezeLimitReached"),
        (ended(result(outcome=HookOutcome.NO_POD), result(Stage.POST, HookOutcome.NO_POD)), "NoPodForHook"),
        (ended(result(outcome=HookOutcome.FAILED, exit_code=3), result(Stage.POST)), "HookFailed"),
        (ended(result(outcome=HookOutcome.TIMED_OUT), result(Stage.POST)), "HookFailed"),
        (ended(result(outcome=HookOutcome.NOT_ALLOWED)), "HookNotAllowed"),
    ],
)
def test_anything_less_is_crash_consistent_and_says_why(session: HookSession, reason: str) -> None:
    status = close(session)
    assert (status.guarantee, status.reason, status.refused) == ("CrashConsistent", reason, False)
    [condition] = with_hooks((), status, now=NOW, generation=1)
    assert (condition.type, condition.status, condition.reason) == ("HooksSucceeded", "False", reason)


def test_post_hooks_alone_promise_nothing() -> None:
    assert close(ended(result(Stage.POST))).guarantee == "CrashConsistent"


def test_a_post_hook_that_fails_spoils_no_recovery_point_but_is_told() -> None:
    status = close(ended(result(), result(Stage.POST, HookOutcome.FAILED, exit_code=1, message="no such lock")))
    assert (status.guarantee, status.reason) == ("ApplicationConsistent", "HookFailed")
    assert status.message == "post hook thaw in pod db-0 failed, exit code 1: no such lock"


def test_a_failure_that_is_to_fail_the_run_does() -> None:
    failed = ended(result(outcome=HookOutcome.FAILED, exit_code=1), result(Stage.POST), refused=True, released=False)
    window = open_window(BEGUN, HOOKS, failed, around())
    assert window.refusal is not None
    assert window.refusal.reason == "HookFailed"
    assert window.status is not None
    later = open_window(window.status, HOOKS, None, around())
    assert later.refusal == window.refusal, "also after it was written"


def test_what_another_process_began_is_thawed_first_and_begun_anew() -> None:
    window = open_window(BEGUN, HOOKS, None, around(me="other"))
    assert (window.order, window.capture) == (Order.THAW, False)
    thawed = ended(result(Stage.POST), released=False)
    again = open_window(BEGUN, HOOKS, thawed, around(me="other")).status
    assert again is not None
    assert (again.holder, again.attempt, again.ended_at) == ("other", 2, None)


@pytest.mark.parametrize(("begun", "attempt"), [(True, 1), (False, MAX_ATTEMPTS)])
def test_what_was_captured_meanwhile_is_kept_without_the_promise(begun: bool, attempt: int) -> None:
    known = structs.replace(BEGUN, attempt=attempt)
    status = open_window(known, HOOKS, ended(result(Stage.POST), released=False), around(begun=begun, me="other")).status
    assert status is not None
    assert (status.guarantee, status.reason, status.refused) == ("CrashConsistent", "HooksInterrupted", False)


@pytest.mark.parametrize("known", [None, BEGUN])
def test_what_another_process_left_behind_in_the_namespace_comes_first(known: HooksStatus | None) -> None:
    """Its guards could thaw what this run froze."""
    window = open_window(known, HOOKS, None, around(blocked="earlier"))
    assert (window.status, window.capture, window.order) == (known, False, None)
    assert "BackupSnapshot earlier" in window.waits
