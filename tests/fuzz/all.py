"""All targets. Each group makes its world once, when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

from tests.fuzz.container import container_targets
from tests.fuzz.keys import key_targets
from tests.fuzz.log import log_targets
from tests.fuzz.points import point_targets
from tests.fuzz.records import record_targets
from tests.fuzz.target import Target

GROUPS: Final[dict[str, Callable[[], Iterator[Target]]]] = {
    "records": record_targets,
    "container": container_targets,
    "keys": key_targets,
    "log": log_targets,
    "points": point_targets,
}


@cache
def group(name: str) -> tuple[Target, ...]:
    return tuple(GROUPS[name]())


def target_by_name(name: str) -> Target:
    """Raises KeyError naming all targets if there is none of this name."""
    found = {target.name: target for known in GROUPS for target in group(known)}
    if name not in found:
        raise KeyError(f"{name} is none of {', '.join(sorted(found))}")
    return found[name]
