"""What the API server refuses, as errors of this project.

Only kube.py raises these from an answer; nobody above sees an HTTP status. Retryable ones put the key back with back-off, the
others are handed to the planner, which turns them into a condition.
"""

from typing import Any

from recoup.errors import Denied, Invalid, NotFound, RecoupError, Retryable


class Gone(NotFound):
    """The object, or its whole kind, is not there."""


class Conflict(Retryable):
    """The object changed since it was read, or a uid precondition failed: look again."""

    reason = "Conflict"


class Unavailable(Retryable):
    """The API server can't be reached, is overloaded, or is failing."""

    reason = "APIServerUnavailable"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AlreadyExists(Invalid):
    """An object of that name is there already."""

    reason = "AlreadyExists"


class Forbidden(Denied):
    """Access rules, an admission policy or a terminating namespace refuse the call."""

    reason = "Forbidden"


class QuotaExceeded(Denied):
    """A ResourceQuota or LimitRange refuses the object."""

    reason = "QuotaExceeded"


class NamespaceTerminating(Denied):
    """Nothing can be created in a namespace that is being deleted."""

    reason = "NamespaceTerminating"


class Rejected(Invalid):
    """The API server calls the object itself wrong (schema, admission)."""

    reason = "Rejected"


_UNTYPED = "failed to create typed patch object"
"""Said with HTTP 500 of a server-side apply that does not fit the schema: an older CRD, and nothing that passes by itself."""


def from_answer(call: str, code: int, status: Any, retry_after: str | None = None) -> RecoupError:
    """Translate a failed answer. `call` names verb and object; `status` is the decoded metav1.Status or None."""
    body: dict[str, Any] = status if isinstance(status, dict) else {}
    reason = str(body.get("reason") or "")
    message = f"{call}: {body.get('message') or f'HTTP {code}'}"
    if code in (404, 410):
        return Gone(message)
    if code == 409:
        return AlreadyExists(message) if reason == "AlreadyExists" else Conflict(message)
    if code == 403:
        return _forbidden(message, body)
    if code in (400, 405, 406, 413, 415, 422) or _UNTYPED in message:
        return Rejected(message)
    if code == 401:
        return Unavailable(message)  # a token that expired between two reads of its file; the next call reads it again
    return Unavailable(message, retry_after=_seconds(retry_after))


def _forbidden(message: str, body: dict[str, Any]) -> RecoupError:
    details = body.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    if any(isinstance(cause, dict) and cause.get("reason") == "NamespaceTerminating" for cause in causes or ()):
        return NamespaceTerminating(message)
    if "exceeded quota" in message or "failed quota" in message:
        return QuotaExceeded(message)
    return Forbidden(message)


def _seconds(value: str | None) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:
        return None
