"""The slot ledger of a policy: which slot is due, and what became of every slot of the recent past.

A slot is run, skipped on purpose or missed, once, whatever restarts, doubled controllers or steps of the clock there are: the name of
its BackupSnapshot follows from it, and a slot that has a BackupSnapshot or a line in the ledger is never looked at again. After an
absence of the controller only the newest slot is still run. plan/policy.py turns the answer into a Plan.
"""

from datetime import datetime, timedelta
from itertools import islice

from msgspec import Struct, structs

from recoup.api.backuppolicy import MAX_RUNS, BackupPolicyStatus, Run, RunResult
from recoup.api.backupsnapshot import BackupSnapshot, Trigger
from recoup.api.durations import to_duration
from recoup.api.names import snapshot_name
from recoup.plan.access import Refusal
from recoup.plan.schedule import Slots, latest_slot, slots_between

COUNT_LIMIT = 1000
"""Slots missed in a row are counted up to here."""

SUSPENDED = "Suspended"

_SECOND = timedelta(seconds=1)
_YEAR = timedelta(days=366)
_WORTH_TELLING = timedelta(minutes=1)


class Timetable(Struct, frozen=True, kw_only=True):
    """When a policy runs. slots: None where runs are made on demand only. first: the slot of runOnCreate, which has no delay."""

    slots: Slots | None = None
    delay: timedelta = timedelta()
    deadline: timedelta | None = None
    first: datetime | None = None

    def starts(self, slot: datetime) -> datetime:
        return slot if slot == self.first else slot + self.delay

    def next_start(self, now: datetime, taken: frozenset[datetime]) -> datetime | None:
        if self.slots is None:
            return None
        slot = self.slots.next_after(now - self.delay)
        while slot is not None and slot in taken:  # the clock was set back over slots that ran
            slot = self.slots.next_after(slot)
        return None if slot is None else slot + self.delay


class Obstacles(Struct, frozen=True, kw_only=True):
    """What keeps a due slot from being run now.

    hold: it may go away, so the slot waits until the next one is due. active: name of a run that has not ended.
    """

    suspended: bool = False
    hold: Refusal | None = None
    active: str | None = None


class Before(Struct, frozen=True, kw_only=True):
    """What the status says of the time before this look. changed: the spec is not the one that it is about."""

    created: datetime
    status: BackupPolicyStatus
    changed: bool = False
    suspended: bool = False
    hold: Refusal | None = None


class Ledger(Struct, frozen=True, kw_only=True):
    """run: the slot to run now. waiting: a slot that is due and held up. next_start: when the next one, or the waiting one, starts."""

    runs: tuple[Run, ...]
    run: datetime | None = None
    waiting: datetime | None = None
    next_start: datetime | None = None


def keep_ledger(
    timetable: Timetable, before: Before, snapshots: tuple[BackupSnapshot, ...], obstacles: Obstacles, *, now: datetime
) -> Ledger:
    """Bring the ledger up to date and say what is due. `snapshots`: those of the policy, whoever made them."""
    runs = _known(timetable, before.status.last_runs, _ran(timetable, snapshots))
    taken = frozenset(runs)
    if obstacles.suspended:
        return Ledger(runs=_newest_first(runs))
    since = _since(before, now)
    if before.suspended:
        since = now
        _note(runs, timetable, (max((*taken, before.created)), now - timetable.delay), RunResult.SKIPPED, Refusal(SUSPENDED, "suspended"))
    due = None
    if timetable.slots is not None:
        due = latest_slot(timetable.slots, since - timetable.delay, now - timetable.delay)
    hold = obstacles.hold or before.hold
    missed = RunResult.SKIPPED if hold else RunResult.MISSED
    older = hold or Refusal("ControllerAway", "no controller was there to start it")
    if due is not None and not before.changed:
        _note(runs, timetable, (since - timetable.delay, due - _SECOND), missed, older)
    if timetable.first is not None and timetable.first <= now and all(slot < timetable.first for slot in taken):
        if due is None:
            due = timetable.first
        else:
            runs[timetable.first] = Run(slot=timetable.first, result=missed, reason=older.reason, message=older.message)
    if due is None or due in taken:
        return Ledger(runs=_newest_first(runs), next_start=timetable.next_start(now, taken))
    return _settle(runs, timetable, due, obstacles, taken=taken, now=now)


def _settle(
    runs: dict[datetime, Run], timetable: Timetable, due: datetime, obstacles: Obstacles, *, taken: frozenset[datetime], now: datetime
) -> Ledger:
    """Decide the slot that is due."""
    start = timetable.starts(due)
    late = now - start
    next_start = timetable.next_start(now, taken)
    if timetable.deadline is not None and late > timetable.deadline:
        why = obstacles.hold or Refusal("ControllerAway", "no controller was there to start it in time")
        message = f"could not be started within {to_duration(timetable.deadline)} of its time: {why.message}"
        runs[due] = Run(slot=due, result=RunResult.MISSED, reason=why.reason, message=message)
        return Ledger(runs=_newest_first(runs), next_start=next_start)
    if obstacles.active is not None:
        message = f"BackupSnapshot {obstacles.active} of this policy was still running"
        runs[due] = Run(slot=due, result=RunResult.SKIPPED, reason="PreviousRunActive", message=message)
        return Ledger(runs=_newest_first(runs), next_start=next_start)
    if obstacles.hold is not None:
        return Ledger(runs=_newest_first(runs), waiting=due, next_start=start)
    return Ledger(runs=_newest_first(runs), run=due, next_start=next_start)


def ran(slot: datetime, snapshot: str, late: timedelta) -> Run:
    """The line of a slot that was run."""
    return Run(slot=slot, result=RunResult.RAN, snapshot=snapshot, late_by=to_duration(late) if late >= _WORTH_TELLING else None)


def with_run(runs: tuple[Run, ...], run: Run) -> tuple[Run, ...]:
    return _newest_first({entry.slot: entry for entry in runs} | {run.slot: run})


def _since(before: Before, now: datetime) -> datetime:
    """The moment after which starts are looked at: earlier ones are settled, or were never promised."""
    promised = before.status.next_run
    if before.status.observed_generation is None:  # seen for the first time, or no status could be written yet
        return before.created
    if promised is None or (before.changed and promised > now):
        return now
    return promised - _SECOND


def _note(runs: dict[datetime, Run], timetable: Timetable, span: tuple[datetime, datetime], result: RunResult, why: Refusal) -> None:
    """One line for the slots of the span (first excluded, last included) that have none yet."""
    if timetable.slots is None:
        return
    open_slots = [slot for slot in islice(slots_between(timetable.slots, *span), COUNT_LIMIT) if slot not in runs]
    if not open_slots:
        return
    last = latest_slot(timetable.slots, *span)
    newest = last if last is not None and last not in runs else open_slots[-1]
    message = f"{why.message} ({COUNT_LIMIT} slots or more)" if len(open_slots) == COUNT_LIMIT else why.message
    runs[newest] = Run(
        slot=newest, result=result, reason=why.reason, message=message, slots=len(open_slots) if len(open_slots) > 1 else None
    )


def _known(timetable: Timetable, lines: tuple[Run, ...], made: list[Run]) -> dict[datetime, Run]:
    """The ledger as written, and what there are BackupSnapshots of. Where a second controller was a moment ahead, theirs is the truth."""
    runs = {run.slot: run for run in made}
    for line in lines:
        if line.slot not in runs or line.result is RunResult.RAN:
            runs[line.slot] = line
        elif line.slots is not None and timetable.slots is not None:  # the rest of a series goes by the slot before
            slot = latest_slot(timetable.slots, line.slot - _YEAR, line.slot - _SECOND)
            if slot is not None and slot not in runs:
                runs[slot] = structs.replace(line, slot=slot, slots=line.slots - 1 if line.slots > 2 else None)
    return runs


def _ran(timetable: Timetable, snapshots: tuple[BackupSnapshot, ...]) -> list[Run]:
    entries = []
    for snapshot in snapshots:
        slot, made = snapshot.spec.slot, snapshot.metadata.creation_timestamp
        held = snapshot.status.taken_at
        if (
            snapshot.spec.origin is not None
            and held is not None
            and snapshot.metadata.name == snapshot_name(snapshot.spec.policy_ref.name, held)
        ):
            # Its object was lost and came back from the log, which does not say how late it was.
            entries.append(ran(held, snapshot.metadata.name, timedelta()))
        if snapshot.spec.trigger is not Trigger.MANUAL and slot is not None and made is not None:
            entries.append(ran(slot, snapshot.metadata.name, made - timetable.starts(slot)))
    return entries


def _newest_first(runs: dict[datetime, Run]) -> tuple[Run, ...]:
    return tuple(runs[slot] for slot in sorted(runs, reverse=True)[:MAX_RUNS])
