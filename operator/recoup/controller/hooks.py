"""Runs the hooks of runs, each run's in a thread of its own, never in a worker's: one pass from arming over the pre to the post hooks.

Before the first pre hook each post hook is armed: a shell in its pod waits for our word, and if it does not come by the freeze limit it
runs the post hook by itself, whatever became of the controller, the network or the API server. Commands are ended by their own shell at
their timeout, so none freezes anything after that.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from recoup.api.durations import parse_duration
from recoup.api.hooks import Hook, HookOutcome, HookResult, Hooks, OnError, Stage
from recoup.api.labels import selector_text
from recoup.controller import failures
from recoup.controller.exec import Ended, Exec, Stream
from recoup.controller.kube import Kube, Object
from recoup.controller.resources import POD, Key
from recoup.errors import RecoupError
from recoup.plan.observed import HookSession, HookState

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Runs whose hooks run at the same time; further ones wait, and nothing of theirs is frozen meanwhile."""
KEPT = 1000
"""Sessions that ended are remembered until their run is over, but no more than this."""
MARGIN = 2.0
"""Seconds before the freeze limit from which our word could cross the guard's own start: it is left to the guard."""
ANSWER = 10.0
"""Seconds beyond its timeout in which a command must have ended, or the way to it is broken."""
ARMED = "recoup: armed"

_TIMER = '(sleep "$0" & n=$!; trap "kill $n; wait $n; exit" TERM; wait $n; trap - TERM;'
"""The beginning of a subshell that does something after $0 seconds and, told to end before, leaves no process behind."""
_RUN = (
    f'"$@" & p=$!; {_TIMER} kill -9 $p) >/dev/null 2>&1 & w=$!; '
    "wait $p; s=$?; kill $w 2>/dev/null; wait $w 2>/dev/null; exit $s"
)  # fmt: skip
"""The command, killed after $0 seconds."""
_GUARD = (
    f'{_TIMER} exec "$@") >/dev/null 2>&1 </dev/null & g=$!; echo "{ARMED}"; '
    'if read -r word && [ "$word" = go ]; then kill $g 2>/dev/null; wait $g 2>/dev/null; exec "$@" </dev/null; fi; wait $g'
)
"""The command when told so, else after $0 seconds."""
_KILLED = 137
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


class SessionKey(NamedTuple):
    """owed: the post hooks only, for another process."""

    run_uid: str
    attempt: int
    owed: bool


@dataclass
class _Session:
    key: Key
    hooks: Hooks
    go: threading.Event = field(default_factory=threading.Event)
    state: HookState = HookState.PREPARING
    results: list[HookResult] = field(default_factory=list)
    refused: bool = False
    closing: bool = False
    unseen: bool = False
    """Of some command it is not known whether it has ended, nor of its guard whether it still waits."""
    done: threading.Event = field(default_factory=threading.Event)
    told: bool = False
    """`go` means that everything is captured; else the process is ending."""
    released: bool = False


@dataclass
class _Guard:
    """A post hook that is armed in one pod."""

    hook: Hook
    pod: str
    stream: Stream


class HookRunner:
    """Thread-safe. `holder` names this process; `wake` makes a run be looked at; `clock` in seconds, monotonic."""

    def __init__(
        self, kube: Kube, execute: Exec, *, identity: str, clock: Callable[[], float], wake: Callable[[Key], None],
        rest: Callable[[float], object] | None = None,
    ) -> None:  # fmt: skip
        """`rest` waits so many seconds, for tests; by default until the process ends at the latest."""
        self._kube, self._exec, self._clock, self._wake = kube, execute, clock, wake
        self._stopping = threading.Event()
        self._rest = rest or self._stopping.wait
        self.holder = f"{identity}-{secrets.token_hex(8)}"
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._turns: dict[str, threading.Lock] = {}
        self._sessions: dict[SessionKey, _Session] = {}
        self._lock = threading.Lock()

    def session(self, key: SessionKey) -> HookSession | None:
        """How far the hooks are; None if they were not begun here."""
        with self._lock:
            found = self._sessions.get(key)
            if found is None:
                return None
            return HookSession(
                state=found.state, results=tuple(found.results), refused=found.refused, closing=found.closing, released=found.released
            )

    def begin(self, key: SessionKey, run: Key, hooks: Hooks) -> None:
        with self._lock:
            if key in self._sessions:
                return
            self._prune()
            session = self._sessions[key] = _Session(run, hooks)
        threading.Thread(target=self._run, args=(session, key.owed), name="hooks", daemon=True).start()

    def release(self, key: SessionKey) -> None:
        """All volumes are captured: the post hooks run now."""
        with self._lock:
            session = self._sessions[key]
            session.told = session.closing = True
        session.go.set()

    def forget(self, run_uid: str) -> None:
        """The run is over, and with it its sessions."""
        with self._lock:
            ended = [key for key, one in self._sessions.items() if key.run_uid == run_uid and one.state is HookState.ENDED]
            for key in ended:
                del self._sessions[key]

    def close(self, seconds: float) -> None:
        """The process ends: let all post hooks run now, and wait for them."""
        self._stopping.set()
        with self._lock:
            open_sessions = [one for one in self._sessions.values() if one.state is not HookState.ENDED]
        for one in open_sessions:
            one.go.set()
        deadline = self._clock() + seconds
        for one in open_sessions:
            one.done.wait(max(0.0, deadline - self._clock()))

    def _prune(self) -> None:
        ended = [key for key, one in self._sessions.items() if one.state is HookState.ENDED]
        for key in ended[: max(0, len(ended) - KEPT)]:
            del self._sessions[key]

    def _run(self, session: _Session, owed: bool) -> None:  # a thread's argument
        try:
            with self._turn(session.key.namespace):
                with self._slots:
                    if owed:
                        self._run_all(session, session.hooks.post, Stage.POST, limit=None)
                    elif not session.go.is_set():
                        self._run_window(session)
                if owed or session.unseen:
                    session.closing = True
                    self._rest(parse_duration(session.hooks.freeze_limit).total_seconds() + MARGIN)  # guards that nobody reaches
        except Exception:
            log.exception("hooks of %s: this is a bug in recoup", session.key)
            session.results.append(HookResult(name="", stage=Stage.POST, outcome=HookOutcome.FAILED, message="internal error, see the log"))
        finally:
            session.state = HookState.ENDED
            session.done.set()
            self._wake(session.key)

    def _turn(self, namespace: str) -> threading.Lock:
        """One run of a namespace after the other: the post hooks of one would thaw what another has frozen."""
        with self._lock:
            return self._turns.setdefault(namespace, threading.Lock())

    def _run_window(self, session: _Session) -> None:
        hooks = session.hooks
        length = parse_duration(hooks.freeze_limit).total_seconds()
        limit = self._clock() + length
        guards: list[_Guard] = []
        try:
            ready = self._arm(session, guards, limit) and self._run_all(session, hooks.pre, Stage.PRE, limit=limit)
            session.refused = _refuses(session.results, (*hooks.pre, *hooks.post))
            if ready:
                session.state = HookState.FROZEN
                self._wake(session.key)
                session.go.wait(max(0.0, limit - MARGIN - self._clock()))
        finally:
            session.closing = True
            session.released = session.told and self._is_before(limit)
            for guard in guards:
                if self._is_before(limit):
                    guard.stream.send("go\n")
                patience = parse_duration(guard.hook.timeout).total_seconds() + max(0.0, limit - self._clock()) + ANSWER
                self._note(session, guard.hook, Stage.POST, guard.pod, guard.stream.finish(patience))

    def _is_before(self, limit: float) -> bool:
        """There is time for our word to arrive before the guards begin by themselves."""
        return limit - self._clock() > MARGIN / 2

    def _arm(self, session: _Session, guards: list[_Guard], limit: float) -> bool:
        """Have a guard in every pod of every post hook; False if one can't be had: nothing is frozen that may stay so."""
        for hook in session.hooks.post:
            for pod, container in self._pods(session, hook, Stage.POST):
                seconds = max(1, int(limit - self._clock()))
                command = ("sh", "-c", _GUARD, str(seconds), *_limited(hook, None))
                try:
                    stream = self._exec.start(session.key.namespace, pod, container, command)
                except RecoupError as error:
                    self._refuse(session, hook, Stage.POST, pod, error)
                    continue
                if stream.await_line(ARMED, ANSWER):
                    guards.append(_Guard(hook, pod, stream))
                else:
                    self._note(session, hook, Stage.POST, pod, stream.finish(ANSWER), armed=False)
        return all(result.outcome is HookOutcome.NO_POD for result in session.results)

    def _run_all(self, session: _Session, hooks: Iterable[Hook], stage: Stage, *, limit: float | None) -> bool:
        """Run them one after the other; False as soon as one fails whose failure is the run's. Post hooks run all."""
        for hook in hooks:
            for pod, container in self._pods(session, hook, stage):
                left = None if limit is None else limit - self._clock()
                if left is not None and left < 1:
                    message = "the freeze limit was reached before it began"
                    session.results.append(HookResult(name=hook.name, stage=stage, pod=pod, outcome=HookOutcome.TIMED_OUT, message=message))
                    continue
                self._run_one(session, hook, stage, (pod, container), left)
            if stage is Stage.PRE and _refuses(session.results, [hook]):
                return False
        return True

    def _run_one(self, session: _Session, hook: Hook, stage: Stage, place: tuple[str, str], left: float | None) -> None:
        try:
            stream = self._exec.start(session.key.namespace, *place, _limited(hook, left))
        except RecoupError as error:
            self._refuse(session, hook, stage, place[0], error)
            return
        patience = parse_duration(hook.timeout).total_seconds()
        self._note(session, hook, stage, place[0], stream.finish(patience + ANSWER))

    def _pods(self, session: _Session, hook: Hook, stage: Stage) -> list[tuple[str, str]]:
        """Name and container of every running pod that the hook is for; what stands in the way becomes its result."""
        try:
            found = self._kube.list(POD, session.key.namespace, labels=selector_text(hook.pod_selector))
        except RecoupError as error:
            self._refuse(session, hook, stage, None, error)
            return []
        running = sorted((pod for pod in found if _runs(pod)), key=lambda pod: str(pod["metadata"]["name"]))
        if not running:
            session.results.append(HookResult(name=hook.name, stage=stage, outcome=HookOutcome.NO_POD))
        return [(pod["metadata"]["name"], hook.container or _container_of(pod)) for pod in running]

    def _refuse(self, session: _Session, hook: Hook, stage: Stage, pod: str | None, error: RecoupError) -> None:
        outcome, message = HookOutcome.FAILED, str(error)
        if isinstance(error, failures.Forbidden):
            namespace = session.key.namespace
            outcome = HookOutcome.NOT_ALLOWED
            message = f"the controller has no right to run commands in pods of {namespace}; add it to the chart value hooks.namespaces"
        session.results.append(HookResult(name=hook.name, stage=stage, pod=pod, outcome=outcome, message=message))

    def _note(self, session: _Session, hook: Hook, stage: Stage, pod: str, ended: Ended | None, *, armed: bool = True) -> None:
        session.unseen |= armed and (ended is None or ended.code is None)
        if ended is None or (ended.code == _KILLED and armed):
            outcome, message = HookOutcome.TIMED_OUT, f"killed after {hook.timeout}" if ended else "no answer from the pod"
        elif ended.code == 0 and armed:
            outcome, message = HookOutcome.SUCCEEDED, ""
        else:
            outcome, message = HookOutcome.FAILED, ended.said
            if not armed or ended.code is None:
                message = f"{message}; hooks need a shell (sh) with sleep in the container".lstrip("; ")
        code = ended.code if ended else None
        session.results.append(
            HookResult(name=hook.name, stage=stage, pod=pod, outcome=outcome, exit_code=code or None, message=message or None)
        )


def _limited(hook: Hook, left: float | None) -> tuple[str, ...]:
    """The command as its shell runs it: killed at its timeout, and at the freeze limit if that is sooner."""
    seconds = parse_duration(hook.timeout).total_seconds()
    return ("sh", "-c", _RUN, str(max(1, int(seconds if left is None else min(seconds, left)))), *hook.command)


def _refuses(results: Iterable[HookResult], hooks: Iterable[Hook]) -> bool:
    """One of these hooks failed, and that is to fail the run."""
    decisive = {hook.name for hook in hooks if hook.on_error is OnError.FAIL}
    return any(result.name in decisive and result.outcome not in (HookOutcome.SUCCEEDED, HookOutcome.NO_POD) for result in results)


def _runs(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")


def _container_of(pod: Object) -> str:
    wanted = (pod["metadata"].get("annotations") or {}).get(_DEFAULT_CONTAINER)
    return str(wanted or pod["spec"]["containers"][0]["name"])
