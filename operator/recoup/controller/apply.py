"""Carries a Plan out: its actions in order, then the status, then the Events.

Every step is safe to repeat, so a crash between any two of them, or a second replica doing the same, ends in the same objects.
Stops at the first failure by raising it; decides nothing itself. Plans come from plan/, the wire is kube.py.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec

from recoup.api.labels import OWNER_UID
from recoup.controller import failures
from recoup.controller.events import post_events
from recoup.controller.kube import Kube, Object
from recoup.controller.resources import resource_of
from recoup.errors import Invalid, RecoupError
from recoup.plan.actions import Action, Create, Delete, Patch, Plan
from recoup.plan.objects.identity import RESTORED_BY

LONG_ROW = 32
"""From so many on a row of creates or deletes of one kind, as of a catalogue's recovery points, is not made one after the other."""
AT_A_TIME = 6
"""Of a long row: enough to keep the API server answering, few enough to leave others their share of it."""


class NameTaken(Invalid):
    """A child's name is used by an object that is not ours."""

    reason = "NameTaken"


class ActionFailed(Exception):
    """Which action was refused; the refusal is `error`."""

    def __init__(self, action: Action, error: RecoupError) -> None:
        super().__init__(str(error))
        self.action = action
        self.error = error


def apply_actions(kube: Kube, actions: tuple[Action, ...], *, succeeded: Callable[[Action], None]) -> int:
    """Carry out the actions in order; returns how many objects changed. Raises ActionFailed at the first refusal.

    A long row of creates, or of deletes, of one kind has no order of its own: it is made by some threads at once, to its end.
    """
    writes = 0
    for _, row in groupby(actions, key=lambda action: (type(action), action.kind)):
        for action, outcome in _outcomes(kube, tuple(row)):
            if isinstance(outcome, RecoupError):
                raise ActionFailed(action, outcome) from outcome
            writes += outcome
            succeeded(action)
    return writes


def _outcomes(kube: Kube, row: tuple[Action, ...]) -> Iterator[tuple[Action, int | RecoupError]]:
    """Each action with the number of objects that it changed, or its refusal."""

    def attempt(action: Action) -> int | RecoupError:
        try:
            return apply_action(kube, action)
        except RecoupError as error:
            return error

    if len(row) < LONG_ROW or isinstance(row[0], Patch):
        yield from ((action, attempt(action)) for action in row)
        return
    with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="apply") as pool:
        outcomes = list(pool.map(attempt, row))
    yield from zip(row, outcomes, strict=True)


def apply_status(kube: Kube, owner: Object, plan: Plan, *, now: datetime, instance: str) -> int:
    """Write the status if it differs, then the Events; returns the number of writes. `owner` is the custom resource as read."""
    writes = 0
    if plan.status is not None and differs(plan.status, owner.get("status") or {}):
        kube.apply_status(resource_of(owner["apiVersion"], owner["kind"]), owner, plan.status)
        writes += 1
    post_events(kube, owner, plan.events, now=now, instance=instance)
    return writes + len(plan.events)


def apply_action(kube: Kube, action: Action) -> int:
    """Carry out one action; returns the number of objects changed (0: it was so already)."""
    match action:
        case Create():
            return _create(kube, action)
        case Delete():
            return _delete(kube, action)
        case Patch():
            return _patch(kube, action)


def _create(kube: Kube, action: Create) -> int:
    resource = resource_of(action.api_version, action.kind)
    try:
        kube.create(resource, action.object)
    except failures.AlreadyExists as error:
        place = f"{action.kind} {action.namespace + '/' if action.namespace else ''}{action.name}"
        try:
            present = kube.get(resource, action.namespace, action.name)
        except failures.Gone:
            raise failures.Conflict(f"{place} vanished while it was looked at") from error
        if _owner_uid(present) is None or _owner_uid(present) != _owner_uid(action.object):
            raise NameTaken(f"{place} exists and is not ours; rename or delete it, then this goes on by itself") from error
        if present["metadata"].get("deletionTimestamp"):
            raise failures.Conflict(f"{place} of an earlier attempt is still being deleted") from error
        return 0
    return 1


def _delete(kube: Kube, action: Delete) -> int:
    try:
        kube.delete(resource_of(action.api_version, action.kind), action.namespace, action.name, uid=action.uid)
    except (failures.Gone, failures.Conflict):
        return 0  # gone, or another object has its name by now
    return 1


def _patch(kube: Kube, action: Patch) -> int:
    preconditions = {"uid": action.uid, "resourceVersion": action.resource_version}
    patch = action.patch | {"metadata": {**action.patch.get("metadata", {}), **preconditions}}
    try:
        kube.patch(resource_of(action.api_version, action.kind), action.namespace, action.name, patch)
    except failures.Gone as error:
        raise failures.Conflict(str(error)) from error
    return 1


def _owner_uid(obj: Object) -> str | None:
    labels = obj["metadata"].get("labels") or {}
    label: str | None = labels.get(OWNER_UID) or labels.get(RESTORED_BY)
    return label


def differs(wanted: Object, present: Object) -> bool:
    """Say whether writing `wanted` would change anything. The order of lists of objects (list-maps) and nulls don't count."""
    return bool(canonical(wanted) != canonical(present))


def canonical(value: Any) -> Any:
    """Bring a status into the one form in which equal statuses are equal."""
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        items = [canonical(item) for item in value]
        if items and all(isinstance(item, dict) for item in items):
            items.sort(key=lambda item: msgspec.json.encode(item, order="sorted"))
        return items
    return value
