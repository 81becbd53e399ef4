"""What two runs are compared by: every object but Events, the statuses without their times, and what is on storage and in the bucket."""

from __future__ import annotations

from typing import Any

from tests.faults.world import World

_TIMES = frozenset(
    {"lastTransitionTime", "startedAt", "completedAt", "duration", "takenAt", "capturedAt", "at", "progressAt", "resolvedAt", "promotedAt"}
)


def outcome(world: World) -> dict[str, Any]:
    """The state that must not depend on where a controller was stopped."""
    objects = {
        (kind, namespace, name): _status(thing) if thing["apiVersion"].startswith("recoup.dev") else None
        for (_, kind, namespace, name), thing in world.kube.objects.items()
        if kind != "Event"
    }
    return {
        "objects": objects,
        "disks": sorted(world.disks.values()),
        "cuts": sorted(world.cuts.values()),
        "points": sorted((point.session, point.id) for point in world.points),
    }


def difference(left: dict[str, Any], right: dict[str, Any]) -> list[str]:
    """What differs, for people."""
    found = [f"{key}: {left[key]} != {right[key]}" for key in ("disks", "cuts", "points") if left[key] != right[key]]
    for place in sorted(left["objects"].keys() | right["objects"].keys()):
        one, other = left["objects"].get(place, "absent"), right["objects"].get(place, "absent")
        if one != other:
            found.append(f"{place}: {one} != {other}")
    return found


def _status(thing: Any) -> Any:
    return _without_times(thing.get("status") or {})


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if key not in _TIMES}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return value
