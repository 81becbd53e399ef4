"""Hooks in real shells: the order, the guard that thaws by itself, timeouts, and what is told of failures."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from recoup.api.hooks import Hook, HookOutcome, Hooks, OnError, Stage
from recoup.api.labels import LabelSelector
from recoup.controller import failures
from recoup.controller.exec import Stream
from recoup.controller.hooks import HookRunner, SessionKey
from recoup.controller.resources import POD, Key
from recoup.plan.observed import HookSession, HookState
from tests.fakes.memory_kube import MemoryKube
from tests.unit.controller.local_exec import LocalExec

Object = dict[str, Any]
RUN = Key("BackupSnapshot", "shop", "now")
KEY = SessionKey("run-uid", 1, owed=False)
SHELLS = [words for words in (("sh",), ("dash",), ("bash",), ("busybox", "sh")) if shutil.which(words[0])]
PATIENCE = 30.0


class Bench:
    """A namespace with the pods `names`, and a folder in which hooks leave their traces."""

    def __init__(self, folder: Path, execute: Any = None, *, pods: Sequence[str] = ("db-0",)) -> None:
        self.trace = folder / "trace"
        self.trace.touch()
        self.kube = MemoryKube()
        for name in pods:
            metadata = {"name": name, "namespace": "shop", "labels": {"app": "db"}}
            self.kube.put(POD, {"metadata": metadata, "spec": {"containers": [{"name": "db"}]}, "status": {"phase": "Running"}})
        self.execute = execute or LocalExec()
        self.woken = threading.Semaphore(0)
        self.runner = HookRunner(self.kube, self.execute, identity="me", clock=time.monotonic, wake=lambda _key: self.woken.release())

    def hook(self, name: str, script: str = "", **more: Any) -> Hook:
        command = ("sh", "-c", f"echo {name} >> {self.trace}; {script}")
        return Hook(name=name, pod_selector=LabelSelector(match_labels={"app": "db"}), command=command, **more)

    def begin(self, *, pre: Sequence[Hook] = (), post: Sequence[Hook] = (), limit: str = "60s", owed: bool = False) -> None:
        self.runner.begin(KEY._replace(owed=owed), RUN, Hooks(pre=tuple(pre), post=tuple(post), freeze_limit=limit))

    def wait(self, state: HookState, *, owed: bool = False) -> HookSession:
        deadline = time.monotonic() + PATIENCE
        while True:
            session = self.runner.session(KEY._replace(owed=owed))
            assert session is not None
            if session.state is state:
                return session
            assert time.monotonic() < deadline, session
            self.woken.acquire(timeout=0.05)

    def traces(self, count: int | None = None) -> list[str]:
        """What ran, in order; waits until it is as many."""
        deadline = time.monotonic() + PATIENCE
        while count is not None and len(self.trace.read_text().split()) < count:
            assert time.monotonic() < deadline, self.trace.read_text()
            threading.Event().wait(0.01)
        return self.trace.read_text().split()


Make = Callable[..., Bench]


@pytest.fixture
def make() -> Iterator[Make]:
    """Benches whose processes are waited for in the end."""
    made: list[Bench] = []

    def build(*given: Any, **more: Any) -> Bench:
        made.append(Bench(*given, **more))
        return made[-1]

    yield build
    for bench in made:
        bench.runner.close(PATIENCE)
        bench.execute.close()


def outcomes(session: HookSession) -> list[tuple[str, str, HookOutcome]]:
    return [(result.stage.value, result.name, result.outcome) for result in session.results]


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
def test_pre_hooks_then_our_word_then_post_hooks(shell: Sequence[str], make: Make, tmp_path: Path) -> None:
    bench = make(tmp_path, LocalExec(shell), pods=("db-0", "db-1"))
    bench.begin(pre=[bench.hook("lock"), bench.hook("flush")], post=[bench.hook("unlock")])
    bench.wait(HookState.FROZEN)
    assert bench.traces() == ["lock", "lock", "flush", "flush"]
    bench.runner.release(KEY)
    session = bench.wait(HookState.ENDED)
    assert bench.traces() == ["lock", "lock", "flush", "flush", "unlock", "unlock"]
    assert session.released
    assert {outcome for _, _, outcome in outcomes(session)} == {HookOutcome.SUCCEEDED}
    assert [result.pod for result in session.results] == ["db-0", "db-1"] * 3


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
def test_a_dead_controller_leaves_nothing_frozen(shell: Sequence[str], make: Make, tmp_path: Path) -> None:
    """Every connection breaks while all is frozen, as if the controller were dead: the pod thaws by itself at the freeze limit."""
    bench = make(tmp_path, LocalExec(shell))
    bench.begin(pre=[bench.hook("lock")], post=[bench.hook("unlock")], limit="4s")
    bench.wait(HookState.FROZEN)
    bench.execute.cut()
    assert bench.traces() == ["lock"]
    bench.runner.release(KEY)
    session = bench.wait(HookState.ENDED)
    assert bench.traces() == ["lock", "unlock"], "over only when the guard has done it, so that no later run is thawed by it"
    assert session.results[-1].outcome is HookOutcome.FAILED


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
def test_at_the_freeze_limit_the_post_hooks_run_without_our_word(shell: Sequence[str], make: Make, tmp_path: Path) -> None:
    bench = make(tmp_path, LocalExec(shell))
    bench.begin(pre=[bench.hook("lock")], post=[bench.hook("unlock")], limit="4s")
    session = bench.wait(HookState.ENDED)
    assert not session.released
    assert bench.traces() == ["lock", "unlock"], "once"


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
def test_a_command_is_killed_at_its_timeout_and_leaves_no_process(shell: Sequence[str], make: Make, tmp_path: Path) -> None:
    bench = make(tmp_path, LocalExec(shell))
    hang = Hook(name="hang", pod_selector=LabelSelector(), command=("sleep", "86399"), timeout="1s")
    bench.begin(pre=[hang], post=[bench.hook("unlock")])
    session = bench.wait(HookState.ENDED)
    assert outcomes(session) == [("Pre", "hang", HookOutcome.TIMED_OUT), ("Post", "unlock", HookOutcome.SUCCEEDED)]
    assert session.refused
    assert "86399" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_no_timer_is_left_behind(make: Make, tmp_path: Path) -> None:
    bench = make(tmp_path)
    bench.begin(pre=[bench.hook("lock", timeout="321s")], post=[bench.hook("unlock", timeout="322s")], limit="10m")
    bench.wait(HookState.FROZEN)
    bench.runner.release(KEY)
    bench.wait(HookState.ENDED)
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert not [line for line in processes if line in ("sleep 321", "sleep 322", "sleep 600", "sleep 599")]


def test_post_hooks_run_when_a_pre_hook_fails(make: Make, tmp_path: Path) -> None:
    bench = make(tmp_path)
    bench.begin(pre=[bench.hook("lock", "echo no space >&2; exit 3"), bench.hook("never")], post=[bench.hook("unlock")])
    session = bench.wait(HookState.ENDED)
    assert session.refused
    assert not session.released
    assert bench.traces() == ["lock", "unlock"]
    assert (session.results[0].exit_code, session.results[0].message) == (3, "no space")


def test_a_failure_that_may_be_does_not_refuse_the_run(make: Make, tmp_path: Path) -> None:
    bench = make(tmp_path)
    bench.begin(pre=[bench.hook("lock", "exit 3", on_error=OnError.CONTINUE), bench.hook("flush")], post=[])
    session = bench.wait(HookState.FROZEN)
    assert not session.refused
    bench.runner.release(KEY)
    bench.wait(HookState.ENDED)
    assert bench.traces() == ["lock", "flush"]


def test_no_pod_is_told_and_holds_nothing_up(make: Make, tmp_path: Path) -> None:
    bench = make(tmp_path, pods=())
    bench.begin(pre=[bench.hook("lock")], post=[bench.hook("unlock")])
    bench.wait(HookState.FROZEN)
    bench.runner.release(KEY)
    session = bench.wait(HookState.ENDED)
    assert {outcome for _, _, outcome in outcomes(session)} == {HookOutcome.NO_POD}
    assert not session.refused


class Refusing:
    """An API server that grants no exec, or a container without a shell."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error
        self._local = LocalExec(("false",))

    def close(self) -> None:
        self._local.close()

    def start(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> Stream:
        if self._error is not None:
            raise self._error
        return self._local.start(namespace, pod, container, command)


@pytest.mark.parametrize(
    ("error", "outcome", "word"),
    [
        (failures.Forbidden("exec"), HookOutcome.NOT_ALLOWED, "chart value hooks.namespaces"),
        (failures.Unavailable("the kubelet is away"), HookOutcome.FAILED, "the kubelet is away"),
        (None, HookOutcome.FAILED, "hooks need a shell (sh)"),
    ],
)
def test_what_can_not_be_thawed_is_not_frozen(error: Exception | None, outcome: HookOutcome, word: str, make: Make, tmp_path: Path) -> None:
    bench = make(tmp_path, Refusing(error))
    bench.begin(pre=[bench.hook("lock")], post=[bench.hook("unlock")])
    session = bench.wait(HookState.ENDED)
    assert session.refused
    assert [(result.stage, result.outcome) for result in session.results] == [(Stage.POST, outcome)]
    assert word in (session.results[0].message or "")
    assert bench.traces() == []


def test_two_runs_of_a_namespace_freeze_it_one_after_the_other(make: Make, tmp_path: Path) -> None:
    bench = make(tmp_path)
    bench.begin(pre=[bench.hook("lock")], post=[bench.hook("unlock")])
    bench.wait(HookState.FROZEN)
    other = SessionKey("other-uid", 1, owed=False)
    bench.runner.begin(other, RUN, Hooks(pre=(bench.hook("lock-2"),), post=(bench.hook("unlock-2"),)))
    assert bench.traces() == ["lock"]
    bench.runner.release(KEY)
    bench.wait(HookState.ENDED)
    assert bench.traces(3) == ["lock", "unlock", "lock-2"]
    bench.runner.release(other)


def test_what_is_owed_for_another_process_are_the_post_hooks_alone(make: Make, tmp_path: Path) -> None:
    """And then the time in which a guard of that process may still wake up."""
    bench = make(tmp_path)
    bench.begin(pre=[bench.hook("lock")], post=[bench.hook("unlock")], owed=True, limit="1s")
    session = bench.wait(HookState.ENDED, owed=True)
    assert bench.traces() == ["unlock"]
    assert not session.released


def test_a_controller_that_is_stopped_thaws_first(make: Make, tmp_path: Path) -> None:
    bench = make(tmp_path)
    bench.begin(pre=[bench.hook("lock")], post=[bench.hook("unlock")])
    bench.wait(HookState.FROZEN)
    bench.runner.close(PATIENCE)
    assert bench.traces() == ["lock", "unlock"]
    session = bench.wait(HookState.ENDED)
    assert not session.released, "nobody said that everything was captured"


def test_sessions_are_kept_until_their_run_is_over(make: Make, tmp_path: Path) -> None:
    bench = make(tmp_path)
    bench.begin(pre=[bench.hook("lock", "exit 1")])
    bench.wait(HookState.ENDED)
    bench.begin(pre=[bench.hook("again")])
    assert bench.traces() == ["lock"], "begun once"
    bench.runner.forget("run-uid")
    assert bench.runner.session(KEY) is None
