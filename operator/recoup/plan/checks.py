"""Verification, healing and drills of one policy together: the tasks they ask for, and what they add to its status.

The one place where plan/policy.py meets them; what is due and what is said stand in verification.py, verified.py, drills.py, drilled.py.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct, structs

from recoup.api.backuplocation import BackupLocation
from recoup.api.backuppolicy import BackupPolicy, BackupPolicyStatus
from recoup.plan.actions import EventNote, Object
from recoup.plan.drilled import judge_drilled
from recoup.plan.drills import Drills, plan_drills
from recoup.plan.observed import Catalogue
from recoup.plan.upkeep import Task, TaskKey, TaskState
from recoup.plan.verification import HEAL, Checking, Place, Vault, plan_verification
from recoup.plan.verified import judge_verified


class Checks(Struct, frozen=True, kw_only=True):
    """What one look found due."""

    checking: Checking = Checking()
    drilling: Drills = Drills()

    @property
    def heals(self) -> tuple[Task, ...]:
        return tuple(task for task in self.checking.tasks if task.kind == HEAL)

    @property
    def looks(self) -> tuple[Task, ...]:
        return tuple(task for task in self.checking.tasks if task.kind != HEAL)

    @property
    def drills(self) -> tuple[Task, ...]:
        return (self.drilling.task,) if self.drilling.task is not None else ()


class Checked(Struct, frozen=True):
    """The status with all of it, Events, and when the next verification, healing or drill is due."""

    status: BackupPolicyStatus
    events: tuple[EventNote, ...]
    changes_at: datetime | None


def plan_checks(
    policy: BackupPolicy, locations: Mapping[str, BackupLocation], catalogues: Mapping[str, Catalogue], vault: Vault | None,
    restores: Sequence[Object], classes: Sequence[Object], now: datetime, beside: Sequence[Place] = (),
) -> Checks:  # fmt: skip
    """`restores`: the RestoreRequests of the namespace. `classes`: all StorageClasses. `vault`: None until it has keys.

    `beside`: where the policy's other vaults are, if its home was away once.
    """
    checking = plan_verification(policy, locations, catalogues, vault, restores, now, beside)
    return Checks(checking=checking, drilling=plan_drills(policy, checking.places, vault, classes, now))


def judge_checks(
    policy: BackupPolicy,
    status: BackupPolicyStatus,
    checks: Checks,
    states: Mapping[TaskKey, TaskState],
    restores: Sequence[Object],
    now: datetime,
) -> Checked:
    """`status` with verifications, damage, the newest drill and their conditions."""
    places = checks.checking.places
    verified = judge_verified(policy, status.conditions, places, checks.checking.due, states, now)
    drilled = judge_drilled(policy, verified.conditions, places, checks.drilling, states, restores, now)
    moments = (at for at in (verified.changes_at, drilled.changes_at) if at is not None)
    fields = structs.replace(
        status,
        conditions=drilled.conditions,
        verifications=verified.results,
        damaged=verified.damaged,
        last_drill=drilled.last,
    )
    return Checked(fields, (*verified.events, *drilled.events), min(moments, default=None))
