"""Conditions change their time with their status only; Events tell of changes only."""

from datetime import UTC, datetime, timedelta

import pytest

from recoup.api.conditions import (
    MESSAGE_LIMIT,
    Conditions,
    find_condition,
    is_true,
    set_condition,
    set_not_ready,
    set_ready,
    set_reconciling,
    set_stalled,
)
from recoup.plan.actions import EventNote, EventType
from recoup.plan.conditions import transition_notes

NOW = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def types(conditions: Conditions) -> dict[str, str]:
    return {condition.type: str(condition.status) for condition in conditions}


def test_the_time_is_that_of_the_change_in_whole_seconds() -> None:
    first = set_condition((), "Reachable", True, "Answers", "it answers", now=NOW, generation=1)
    again = set_condition(first, "Reachable", True, "AnswersSlowly", "it answers, slowly", now=LATER, generation=2)
    found = find_condition(again, "Reachable")
    assert found is not None
    assert (found.last_transition_time, found.reason, found.observed_generation) == (NOW.replace(microsecond=0), "AnswersSlowly", 2)
    changed = find_condition(set_condition(again, "Reachable", None, "NotRead", "", now=LATER, generation=2), "Reachable")
    assert changed is not None
    assert (str(changed.status), changed.last_transition_time) == ("Unknown", LATER.replace(microsecond=0))


def test_saying_the_same_again_changes_nothing() -> None:
    first = set_ready((), "Usable", "fine", now=NOW, generation=1)
    assert set_ready(first, "Usable", "fine", now=LATER, generation=1) == first


def test_the_shapes_that_kstatus_knows() -> None:
    working = set_reconciling((), "Probing", "", now=NOW, generation=1)
    assert types(working) == {"Ready": "False", "Reconciling": "True"}
    stuck = set_stalled(working, "NotAtomic", "", now=NOW, generation=1)
    assert types(stuck) == {"Ready": "False", "Stalled": "True"}
    assert types(set_not_ready(stuck, "Away", "", now=NOW, generation=1)) == {"Ready": "False"}
    assert types(set_ready(working, "Usable", "", now=NOW, generation=1)) == {"Ready": "True"}
    assert is_true(set_ready((), "Usable", "", now=NOW, generation=1), "Ready")


def test_a_message_is_cut_where_the_schema_ends_it() -> None:
    found = find_condition(set_stalled((), "Long", "x" * 10_000, now=NOW, generation=1), "Ready")
    assert found is not None
    assert len(found.message) == MESSAGE_LIMIT


READY = set_ready((), "Usable", "fine", now=NOW, generation=1)
WORKING = set_reconciling((), "Probing", "probing", now=NOW, generation=1)
STUCK = set_stalled((), "NotAtomic", "two winners", now=NOW, generation=1)
AWAY = set_not_ready(READY, "LocationUnreachable", "no route", now=LATER, generation=1)
NORMAL, WARNING = EventType.NORMAL, EventType.WARNING


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((), WORKING, ()),
        (WORKING, READY, (EventNote(NORMAL, "Usable", "fine"),)),
        (READY, READY, ()),
        (READY, AWAY, (EventNote(WARNING, "LocationUnreachable", "no route"),)),
        (WORKING, STUCK, (EventNote(WARNING, "NotAtomic", "two winners"),)),
        ((), STUCK, (EventNote(WARNING, "NotAtomic", "two winners"),)),
        (READY, STUCK, (EventNote(WARNING, "NotAtomic", "two winners"),)),
        (STUCK, STUCK, ()),
        ((), set_condition((), "Conformant", None, "NotProbed", "", now=NOW, generation=1), ()),
    ],
)
def test_one_event_for_one_change(before: Conditions, after: Conditions, expected: tuple[EventNote, ...]) -> None:
    assert transition_notes(before, after) == expected
