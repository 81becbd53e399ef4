"""Small readings of our objects that several commands show: conditions, ages, whether something is over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from recoup.api.durations import to_duration

Object = dict[str, Any]


def condition(thing: Object, kind: str) -> Object:
    """The condition of that type; empty if the controller has not said anything about it yet."""
    conditions = (thing.get("status") or {}).get("conditions") or ()
    return next((item for item in conditions if item.get("type") == kind), {})


def is_true(thing: Object, kind: str) -> bool:
    return condition(thing, kind).get("status") == "True"


def is_over(thing: Object) -> bool:
    """It ended, well or not, or only a person can help."""
    return is_true(thing, "Ready") or bool((thing.get("status") or {}).get("completedAt")) or is_true(thing, "Stalled")


def age(text: str | None) -> str:
    """How long ago, as kubectl writes it; a dash if it never was."""
    if not text:
        return "-"
    return to_duration(datetime.now(UTC) - datetime.fromisoformat(text), parts=1)


def text(value: object) -> str:
    return "-" if value is None or value == "" else str(value)
