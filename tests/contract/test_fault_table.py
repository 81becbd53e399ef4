"""docs/contributing/faults.md names tests that there are, and every scenario of trouble on the cluster is in it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.cluster import (
    test_happy_path,
    test_interruptions,
    test_kill_controllers,
    test_trouble_of_locations,
    test_trouble_of_volumes,
)
from tests.faults import test_backup_faults, test_location_faults, test_restore_faults

ROOT = Path(__file__).parents[2]
MODULES = (test_happy_path, test_interruptions, test_trouble_of_locations, test_trouble_of_volumes)


def named() -> tuple[set[str], set[str]]:
    """What stands in backquotes in the second and in the third column."""
    rows = [line.split("|") for line in (ROOT / "docs" / "contributing" / "faults.md").read_text().splitlines() if line.startswith("| ")][
        1:
    ]
    return tuple({name for row in rows for name in re.findall("`([^`]+)`", row[column])} for column in (2, 3))  # type: ignore[return-value]


def test_what_is_named_exists() -> None:
    on_cluster, simulated = named()
    scenarios = {scenario.__name__ for module in MODULES for scenario in module.SCENARIOS}
    tests = {name for name in (*dir(test_interruptions), *dir(test_kill_controllers)) if name.startswith("test_")}
    cases = {*test_backup_faults.CASES, *test_location_faults.CASES, *test_restore_faults.CASES}
    assert on_cluster <= scenarios | tests
    assert {name for name in simulated if not name.startswith("tests/")} <= cases
    assert all((ROOT / name).is_file() for name in simulated if name.startswith("tests/"))


def test_no_scenario_of_trouble_is_left_out() -> None:
    on_cluster, _ = named()
    trouble = {scenario.__name__ for module in MODULES[1:] for scenario in module.SCENARIOS}
    assert trouble <= on_cluster
