"""When a policy's slots are: pure arithmetic on cron expressions, time zones, fixed intervals and jitter.

A slot is an instant (UTC). A cron slot is a wall-clock time; where clocks change it follows one of two rules:
- an expression that has every hour of the day keeps its real distance: nothing is added for the hour that clocks skip, and both
  passes through a repeated hour have their slots;
- any other one has each of its wall-clock times exactly once: a time that is skipped is run when the gap ends, one that occurs
  twice is run the first time.
What becomes of slots is decided in plan/policy.py and plan/ledger.py.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from msgspec import Struct

from recoup.api.backuppolicy import Schedule
from recoup.api.durations import parse_duration
from recoup.api.names import spread
from recoup.errors import Invalid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HORIZON = timedelta(days=366 * 8 + 2)
"""How far ahead a slot is looked for: 29 February may be eight years away."""

SHORTEST = timedelta(minutes=1)

_HOUR = timedelta(hours=1)
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class Every(Struct, frozen=True):
    """A slot at each multiple of the interval since 1970."""

    interval: timedelta

    def next_after(self, moment: datetime) -> datetime | None:
        return EPOCH + ((moment - EPOCH) // self.interval + 1) * self.interval


class Cron(Struct, frozen=True):
    """A slot at each wall-clock time that the expression names in the zone."""

    expression: str
    zone: ZoneInfo
    every_hour: bool

    def next_after(self, moment: datetime) -> datetime | None:
        local = moment.astimezone(self.zone)
        found = self._search(local.replace(tzinfo=None), moment)
        if found is None or not self.every_hour:
            return found
        turned_back = _offset(local) - _offset(found.astimezone(self.zone))
        if turned_back <= timedelta():
            return found
        # Clocks go back before that slot: the second pass through the repeated time comes first.
        return self._search(local.replace(tzinfo=None) - turned_back, moment)

    def _search(self, start: datetime, moment: datetime) -> datetime | None:
        """The first slot after `moment` among the wall-clock times after `start`."""
        for naive in takewhile(lambda naive: naive - start < HORIZON, CronSim(self.expression, start)):
            later = [instant for instant in self._instants(naive) if instant > moment]
            if later:
                return min(later)
        return None

    def _instants(self, naive: datetime) -> Iterator[datetime]:
        first, second = (naive.replace(tzinfo=self.zone, fold=fold) for fold in (0, 1))
        shift = _offset(second) - _offset(first)
        if not shift:
            yield first.astimezone(UTC)
        elif shift < timedelta():  # it occurs twice
            yield first.astimezone(UTC)
            if self.every_hour:
                yield second.astimezone(UTC)
        elif not self.every_hour or shift % _HOUR:  # it is skipped
            yield _end_of_gap(first, second)


Slots = Every | Cron


def read_schedule(schedule: Schedule) -> Slots:
    """Raises Invalid, reason InvalidSchedule, with what is wrong in the words of the field."""
    if schedule.every is not None:
        interval = _duration("every", schedule.every)
        if interval < SHORTEST:
            raise _invalid(f"schedule.every is {schedule.every}; it must be 1m or longer")
        return Every(interval)
    if schedule.cron is None:
        raise _invalid("schedule has neither cron nor every")
    expression = _MACROS.get(schedule.cron.strip().lower(), schedule.cron)
    try:
        zone = ZoneInfo(schedule.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _invalid(f"schedule.timeZone {schedule.time_zone!r} is not an IANA time zone such as Europe/Berlin") from None
    try:
        parsed = CronSim(expression, EPOCH)
    except CronSimError as error:
        raise _invalid(f"schedule.cron {schedule.cron!r}: {str(error).lower()}; see crontab(5), for example '15 */4 * * *'") from None
    if len(expression.split()) != 5:
        raise _invalid(f"schedule.cron {schedule.cron!r} does not have five fields")
    slots = Cron(expression, zone, every_hour=len(parsed.hours) == 24)
    if slots.next_after(EPOCH) is None:
        raise _invalid(f"schedule.cron {schedule.cron!r} names no date that exists")
    return slots


def slots_between(slots: Slots, after: datetime, until: datetime) -> Iterator[datetime]:
    """The slots in (after, until], in order."""
    slot = slots.next_after(after)
    while slot is not None and slot <= until:
        yield slot
        slot = slots.next_after(slot)


def latest_slot(slots: Slots, after: datetime, until: datetime) -> datetime | None:
    """The last slot in (after, until], found without walking all of them."""
    window = timedelta(hours=1)
    while True:
        start = max(after, until - window)
        last: datetime | None = None
        for last in slots_between(slots, start, until):  # noqa: B007 - the last one is the answer
            pass
        if last is not None or start == after:
            return last
        window *= 2


def delay_of(schedule: Schedule, seed: str) -> timedelta:
    """The fixed delay of this policy's runs after their slots; `seed` is its namespace and name, so that re-creation keeps it."""
    if schedule.jitter is None:
        return timedelta()
    return timedelta(seconds=spread(seed, int(_duration("jitter", schedule.jitter).total_seconds())))


def deadline_of(schedule: Schedule) -> timedelta | None:
    """How late a run may start; None for any time."""
    return None if schedule.starting_deadline is None else _duration("startingDeadline", schedule.starting_deadline)


def describe(schedule: Schedule | None) -> str:
    """The schedule in one line, as the column shows it."""
    if schedule is None:
        return "on demand"
    if schedule.every is not None:
        return f"every {schedule.every}"
    zone = "" if schedule.time_zone == "UTC" else f" {schedule.time_zone}"
    return f"{schedule.cron}{zone}"


def _offset(moment: datetime) -> timedelta:
    return moment.utcoffset() or timedelta()


def _end_of_gap(first: datetime, second: datetime) -> datetime:
    """The instant at which clocks jump over a wall-clock time.

    The offset before the jump reads the time as an instant after it, and the offset after the jump as one before it; in between lies
    the one instant at which the offset changes.
    """
    zone = first.tzinfo
    before, after = second.astimezone(UTC), first.astimezone(UTC)
    low, high = int(before.timestamp()), int(after.timestamp())
    old = _offset(before.astimezone(zone))
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(datetime.fromtimestamp(middle, zone)) == old:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def _duration(field: str, text: str) -> timedelta:
    try:
        return parse_duration(text)
    except Invalid as error:
        raise _invalid(f"schedule.{field}: {error}") from None


def _invalid(message: str) -> Invalid:
    return Invalid(message, reason="InvalidSchedule")
