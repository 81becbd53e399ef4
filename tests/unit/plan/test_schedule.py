"""Slots over daylight-saving changes, odd zones and years, against a search minute by minute."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoup.api.backuppolicy import Schedule
from recoup.errors import Invalid
from recoup.plan.schedule import EPOCH, Every, deadline_of, delay_of, describe, latest_slot, read_schedule, slots_between

BERLIN = "Europe/Berlin"
SPRING = (datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 3, 29, 6, tzinfo=UTC))
AUTUMN = (datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 6, tzinfo=UTC))

CHANGES = [
    ("30 * * * *", BERLIN, SPRING, "23:30+1 00:30+1 01:30+1 03:30+2 04:30+2 05:30+2 06:30+2 07:30+2"),
    ("30 * * * *", BERLIN, AUTUMN, "00:30+2 01:30+2 02:30+2 02:30+1 03:30+1 04:30+1 05:30+1 06:30+1"),
    ("30 2 * * *", BERLIN, SPRING, "03:00+2"),
    ("30 2 * * *", BERLIN, AUTUMN, "02:30+2"),
    ("0,30 2 * * *", BERLIN, SPRING, "03:00+2"),
    ("15 */2 * * *", BERLIN, SPRING, "00:15+1 03:00+2 04:15+2 06:15+2"),
    ("15 */2 * * *", BERLIN, AUTUMN, "00:15+2 02:15+2 04:15+1 06:15+1"),
    ("0 1-4 * * *", BERLIN, SPRING, "01:00+1 03:00+2 04:00+2"),
    ("@hourly", BERLIN, SPRING, "00:00+1 01:00+1 03:00+2 04:00+2 05:00+2 06:00+2 07:00+2 08:00+2"),
]


@pytest.mark.parametrize(("cron", "zone", "span", "expected"), CHANGES)
def test_slots_over_a_change_of_clocks(cron: str, zone: str, span: tuple[datetime, datetime], expected: str) -> None:
    slots = read_schedule(Schedule(cron=cron, time_zone=zone))
    local = [slot.astimezone(ZoneInfo(zone)) for slot in slots_between(slots, *span)]
    assert " ".join(f"{slot:%H:%M}+{(slot.utcoffset() or timedelta()).seconds // 3600}" for slot in local) == expected


def test_a_day_that_a_country_skipped_still_has_its_daily_run() -> None:
    """Samoa had no 30 December 2011: the run of that day is made when the next day begins."""
    slots = read_schedule(Schedule(cron="0 2 * * *", time_zone="Pacific/Apia"))
    local = [
        slot.astimezone(ZoneInfo("Pacific/Apia"))
        for slot in slots_between(slots, datetime(2011, 12, 29, tzinfo=UTC), datetime(2011, 12, 31, tzinfo=UTC))
    ]
    assert [f"{slot:%d %H:%M}" for slot in local] == ["29 02:00", "31 00:00", "31 02:00"]


def test_a_shift_of_half_an_hour_leaves_no_hole_in_an_hourly_schedule() -> None:
    slots = read_schedule(Schedule(cron="15 * * * *", time_zone="Australia/Lord_Howe"))
    found = list(slots_between(slots, datetime(2026, 10, 3, 12, tzinfo=UTC), datetime(2026, 10, 3, 18, tzinfo=UTC)))
    assert max(later - earlier for earlier, later in pairwise(found)) <= timedelta(hours=1)


def test_29_february_is_found_across_a_century_without_one() -> None:
    slots = read_schedule(Schedule(cron="0 0 29 2 *"))
    assert slots.next_after(datetime(2096, 3, 1, tzinfo=UTC)) == datetime(2104, 2, 29, tzinfo=UTC)


INVALID = [
    (Schedule(cron="61 * * * *"), "bad minute"),
    (Schedule(cron="0 0 31 2 *"), "bad day-of-month"),
    (Schedule(cron="* * * *"), "fields"),
    (Schedule(cron="0 * * * * *"), "five fields"),
    (Schedule(cron="@reboot"), "fields"),
    (Schedule(cron="0 2 * * *", time_zone="Mars/Olympus"), "IANA"),
    (Schedule(cron="0 2 * * *", time_zone="../../etc/passwd"), "IANA"),
    (Schedule(every="59s"), "1m or longer"),
    (Schedule(every="often"), "not a duration"),
    (Schedule(), "neither"),
]


@pytest.mark.parametrize(("schedule", "words"), INVALID)
def test_a_schedule_that_cannot_be_kept_is_refused_in_its_own_words(schedule: Schedule, words: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read_schedule(schedule)
    assert refusal.value.reason == "InvalidSchedule"
    assert words in str(refusal.value)


EXPRESSIONS = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "30 * * * *", "30 2 * * *", "*/15 1-4 * * *", "0 0 * * 0", "59 23 28-31 * *", "15 */2 * * *", "0 3 1 * 1"]
)
ZONES = st.sampled_from(
    [
        "UTC",
        BERLIN,
        "America/New_York",
        "America/St_Johns",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "Asia/Kathmandu",
        "America/Santiago",
    ]
)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2037, 12, 1)).map(lambda naive: naive.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001


@settings(max_examples=30, deadline=None)
@given(EXPRESSIONS, ZONES, st.integers(2000, 2037), st.sampled_from([3, 4, 9, 10, 11]), st.integers(-2, 2))
def test_every_wall_clock_time_has_its_slot_once(cron: str, zone: str, year: int, month: int, day: int) -> None:
    """Against a walk over a whole week of minutes: no slot is doubled, none is left out, and none is there that was not asked for."""
    start = datetime(year, month, 15, tzinfo=UTC) + timedelta(days=7 * day)
    end = start + timedelta(days=7)
    tz = ZoneInfo(zone)
    slots = read_schedule(Schedule(cron=cron, time_zone=zone))
    found = list(slots_between(slots, start, end))
    assert found == sorted(set(found))
    hours = {int(part) for part in _hours(cron)}
    wanted = _matches(cron, start - timedelta(days=1), end + timedelta(days=1), tz)
    local: dict[datetime, list[datetime]] = {}
    for slot in found:
        local.setdefault(slot.astimezone(tz).replace(tzinfo=None), []).append(slot)
    minute = start + timedelta(minutes=1)
    while minute <= end:
        naive = minute.astimezone(tz).replace(tzinfo=None)
        first_pass = naive.replace(tzinfo=tz, fold=0).astimezone(UTC) == minute
        if naive in wanted and (first_pass or len(hours) == 24):
            assert minute in local[naive]
        elif minute in found:  # only the end of a gap may have a slot that no wall clock shows
            assert (minute - timedelta(minutes=1)).astimezone(tz).utcoffset() != minute.astimezone(tz).utcoffset()
        minute += timedelta(minutes=1)


def _hours(cron: str) -> set[int]:
    return _field(cron.split()[1], 24)


def _field(text: str, size: int, start: int = 0) -> set[int]:
    """A cron field by the book, independent of the library."""
    span, _, step = text.partition("/")
    low, _, high = span.partition("-")
    values = range(start, size + start) if span == "*" else range(int(low), int(high or low) + 1)
    return set(values[:: int(step or 1)])


def _matches(cron: str, start: datetime, end: datetime, tz: ZoneInfo) -> set[datetime]:
    minutes, hours, days, months, weekdays = cron.split()
    found = set()
    naive = start.astimezone(tz).replace(tzinfo=None, second=0)
    last = end.astimezone(tz).replace(tzinfo=None)
    by_day, by_weekday = _field(days, 31, 1), {day % 7 for day in _field(weekdays, 8)}
    both = days.startswith("*") or weekdays.startswith("*")
    while naive <= last:
        day, weekday = naive.day in by_day, (naive.weekday() + 1) % 7 in by_weekday
        right_day = day and weekday if both else day or weekday
        if right_day and naive.minute in _field(minutes, 60) and naive.hour in _field(hours, 24) and naive.month in _field(months, 12, 1):
            found.add(naive)
        naive += timedelta(minutes=1)
    return found


@settings(max_examples=200, deadline=None)
@given(EXPRESSIONS, ZONES, MOMENTS, st.integers(0, 40 * 24 * 3600))
def test_the_latest_slot_is_the_last_of_them_all(cron: str, zone: str, moment: datetime, seconds: int) -> None:
    slots = read_schedule(Schedule(cron=cron, time_zone=zone))
    start = moment - timedelta(seconds=seconds) if cron != "* * * * *" else moment - timedelta(seconds=seconds % 7200)
    found = list(slots_between(slots, start, moment))
    assert latest_slot(slots, start, moment) == (found[-1] if found else None)


@given(st.integers(60, 10**7), MOMENTS)
def test_every_has_one_slot_per_interval_and_for_ever_the_same(seconds: int, moment: datetime) -> None:
    slots = Every(timedelta(seconds=seconds))
    found = slots.next_after(moment)
    assert found is not None
    assert timedelta() < found - moment <= slots.interval
    assert (found - EPOCH) % slots.interval == timedelta()


def test_thirty_years_of_a_nightly_run_have_every_night_once() -> None:
    slots = read_schedule(Schedule(cron="30 2 * * *", time_zone=BERLIN))
    start = datetime(2000, 1, 1, tzinfo=UTC)
    found = list(slots_between(slots, start, datetime(2030, 1, 1, tzinfo=UTC)))
    days = [slot.astimezone(ZoneInfo(BERLIN)).date() for slot in found]
    assert len(days) == len(set(days)) == (datetime(2030, 1, 1, tzinfo=UTC) - start).days


def test_jitter_is_fixed_for_a_policy_and_spread_over_policies() -> None:
    schedule = Schedule(cron="0 2 * * *", jitter="10m")
    delays = [delay_of(schedule, f"shop/policy-{number}") for number in range(500)]
    assert delays == [delay_of(schedule, f"shop/policy-{number}") for number in range(500)]
    assert all(timedelta() <= delay < timedelta(minutes=10) for delay in delays)
    per_minute = [sum(delay // timedelta(minutes=1) == minute for delay in delays) for minute in range(10)]
    assert min(per_minute) > 20  # 50 on average
    assert delay_of(Schedule(cron="0 2 * * *"), "shop/a") == timedelta()


def test_what_is_left_out_has_no_deadline() -> None:
    assert deadline_of(Schedule(every="1h")) is None
    assert deadline_of(Schedule(every="1h", starting_deadline="1h30m")) == timedelta(minutes=90)


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (None, "on demand"),
        (Schedule(every="15m"), "every 15m"),
        (Schedule(cron="15 */4 * * *"), "15 */4 * * *"),
        (Schedule(cron="0 2 * * *", time_zone=BERLIN), "0 2 * * * Europe/Berlin"),
    ],
)
def test_the_column_reads_as_the_spec(schedule: Schedule | None, text: str) -> None:
    assert describe(schedule) == text
