"""The language in which planners tell the controller what to do.

A planner returns a Plan and never loops or waits; controller/apply.py carries it out: the actions in order, stopping at the first
that fails, then the status, then the Events. Every action is safe to repeat: a Create finds its own object there, a Delete and a
Patch name the uid that the planner saw. Nothing here talks to the API server.
"""

from enum import StrEnum
from typing import Any

from msgspec import Struct

Object = dict[str, Any]
"""A Kubernetes object as plain JSON."""


class Create(Struct, frozen=True, tag=True):
    """POST the object. "Already exists" with our owner uid label on it is success; with another owner it is a conflict."""

    object: Object

    @property
    def api_version(self) -> str:
        return str(self.object["apiVersion"])

    @property
    def kind(self) -> str:
        return str(self.object["kind"])

    @property
    def namespace(self) -> str | None:
        namespace: str | None = self.object["metadata"].get("namespace")
        return namespace

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])


class Delete(Struct, frozen=True, tag=True):
    """DELETE with the uid as precondition; an object that is gone, or that has another uid by now, is success."""

    api_version: str
    kind: str
    namespace: str | None
    name: str
    uid: str


class Patch(Struct, frozen=True, tag=True):
    """JSON merge patch; the adapter puts uid and resourceVersion into it, so a conflict means: look again, then decide anew."""

    api_version: str
    kind: str
    namespace: str | None
    name: str
    uid: str
    resource_version: str
    patch: Object


Action = Create | Delete | Patch


class EventType(StrEnum):
    NORMAL = "Normal"
    WARNING = "Warning"


class EventNote(Struct, frozen=True):
    """One Event on the reconciled object: posted once per transition of a condition, never on a repeated look."""

    type: EventType
    reason: str
    message: str


class Plan(Struct, frozen=True):
    """What is to happen now.

    status: our full set of status fields for a server-side apply, or None to leave it alone; it is written after all actions
    succeeded and only if it differs. requeue_after: seconds until the object should be looked at again without any event.
    """

    actions: tuple[Action, ...] = ()
    status: Object | None = None
    events: tuple[EventNote, ...] = ()
    requeue_after: float | None = None
