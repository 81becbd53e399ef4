"""Every failure that Recoup reports on purpose.

Each error carries a CamelCase `reason` (the one shown in conditions, Events and reports) and the process exit code of the
command line. Adapters translate foreign exceptions into these at their edge; nobody above them sees a ClientError or an
ApiException.
"""

from __future__ import annotations

from typing import ClassVar


class RecoupError(Exception):
    """A failure with a reason a person can act on. `str(error)` is the message: object, cause, next step."""

    reason: ClassVar[str] = "InternalError"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason  # type: ignore[misc]  # an instance may narrow its class's reason


class Usage(RecoupError):
    """The command was called wrongly."""

    reason = "Usage"
    exit_code = 2


class Retryable(RecoupError):
    """May succeed if tried again: network, throttling, conflict, a place that is away."""

    reason = "Unavailable"
    exit_code = 10


class Invalid(RecoupError):
    """Input or configuration that a person must change."""

    reason = "InvalidConfiguration"
    exit_code = 20


class NotFound(Invalid):
    """A named object does not exist."""

    reason = "NotFound"


class Denied(Invalid):
    """The credentials are wrong or do not allow the operation."""

    reason = "AccessDenied"


class Integrity(RecoupError):
    """Bytes that are not what was written: damaged, missing, swapped, forged."""

    reason = "IntegrityError"
    exit_code = 30


class KeyUnavailable(RecoupError):
    """No key at hand opens what has to be opened."""

    reason = "KeyUnavailable"
    exit_code = 40


class Cancelled(RecoupError):
    """Stopped on request; what was done so far is kept where it helps the next run."""

    reason = "Cancelled"
    exit_code = 130


DIFFERENT_EXIT_CODE = 4
"""`recoup diff` found differences: no failure, but not the same either. 1 is taken by bugs."""

PARTIAL_EXIT_CODE = 3
"""A recovery point was made, but some source files could not be read (they are listed)."""
