from __future__ import annotations

from typing import Any

import pytest

from recoup.plan.finality import is_final


def volumes(*states: str) -> list[dict[str, Any]]:
    return [{"persistentVolumeClaim": f"data-{number}", "uid": f"u{number}", "state": state} for number, state in enumerate(states)]


@pytest.mark.parametrize(
    ("before", "after", "final"),
    [
        pytest.param({}, None, False, id="no status"),
        pytest.param({}, {"conditions": []}, False, id="told"),
        pytest.param({}, {"run": {}}, True, id="a run is settled"),
        pytest.param({"run": {}}, {"run": {}}, False, id="it is settled already"),
        pytest.param({}, {"plan": {"vault": "v"}}, True, id="a restore is settled"),
        pytest.param({"volumes": volumes("Uploading")}, {"volumes": volumes("Failed")}, True, id="one fails"),
        pytest.param({"volumes": volumes("Failed")}, {"volumes": volumes("Failed")}, False, id="it failed before"),
        pytest.param({"volumes": volumes("Failed", "Uploading")}, {"volumes": volumes("Failed", "Cancelled")}, True, id="another"),
        pytest.param(
            {"volumes": volumes("Uploading")}, {"volumes": volumes("Stored"), "completedAt": "t"}, False, id="the catalogue says so"
        ),
        pytest.param(
            {"volumes": volumes("HandingOver")}, {"volumes": volumes("Restored"), "completedAt": "t"}, False, id="the user has it"
        ),
        pytest.param({}, {"completedAt": "t"}, True, id="it never begins"),
        pytest.param({"completedAt": "t"}, {"completedAt": "t"}, False, id="it never began"),
    ],
)
def test_what_no_later_look_takes_back(before: dict[str, Any], after: dict[str, Any] | None, final: bool) -> None:
    assert is_final(before, after) is final
