"""Hooks: commands in pods of the workload around the moment at which its volumes are captured. Part of BackupPolicy and BackupSnapshot."""

from datetime import datetime
from enum import StrEnum

from msgspec import structs

from recoup.api.labels import LabelSelector
from recoup.api.objects import Spec, Status, cut

HOOKS_SUCCEEDED = "HooksSucceeded"
MAX_RESULTS = 64
MESSAGE_LIMIT = 512


class OnError(StrEnum):
    FAIL = "Fail"
    CONTINUE = "Continue"


class Hook(Spec, frozen=True):
    """A command, run in every running pod that the selector matches. container: left out, the pod's default one."""

    name: str
    pod_selector: LabelSelector
    command: tuple[str, ...]
    container: str | None = None
    timeout: str = "30s"
    on_error: OnError = OnError.FAIL


class Hooks(Spec, frozen=True):
    """freeze_limit: how long after the first pre hook began the post hooks run at the latest, whatever else happens."""

    pre: tuple[Hook, ...] = ()
    post: tuple[Hook, ...] = ()
    freeze_limit: str = "60s"


class Stage(StrEnum):
    PRE = "Pre"
    POST = "Post"


class HookOutcome(StrEnum):
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    NO_POD = "NoPod"
    NOT_ALLOWED = "NotAllowed"


class HookResult(Status, frozen=True):
    """One hook in one pod; `pod` is empty if there was none."""

    name: str
    stage: Stage
    outcome: HookOutcome
    pod: str | None = None
    exit_code: int | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        if self.message is not None:
            structs.force_setattr(self, "message", cut(self.message, MESSAGE_LIMIT))


class HooksStatus(Status, frozen=True):
    """started_at is written before the first hook runs; without ended_at the post hooks are owed. holder: the process that runs them."""

    started_at: datetime
    holder: str
    attempt: int = 1
    ended_at: datetime | None = None
    guarantee: str | None = None
    reason: str | None = None
    message: str | None = None
    refused: bool = False
    results: tuple[HookResult, ...] = ()
