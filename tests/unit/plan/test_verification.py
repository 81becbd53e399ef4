"""When a location is verified and healed, and what the condition Verified says: tables of logs and times."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from recoup.api.backuplocation import BackupLocation
from recoup.api.backuppolicy import VERIFIED, BackupPolicy
from recoup.api.conditions import find_condition
from recoup.api.objects import decode
from recoup.plan.access import Refusal
from recoup.plan.movers import Report
from recoup.plan.observed import Catalogue, ClaimRecord, Point, PointDamage, VerificationRun
from recoup.plan.upkeep import Task, TaskPhase, TaskState
from recoup.plan.verification import Checking, Place, Vault, places_of, plan_verification
from recoup.plan.verified import Verified, judge_verified
from tests.unit.plan.examples import AROUND, TWO_KEYS, Object, location, policy, text

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SLOT = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
DAY = timedelta(days=1)
DAILY = {"schedule": {"cron": "0 3 * * *"}}
A, B = "a" * 64, "b" * 64


def asked(**more: Any) -> Object:
    return policy(locations=[{"name": "frankfurt"}, {"name": "oregon"}], verification=DAILY | more)


def place(name: str) -> BackupLocation:
    made = location()
    made["metadata"] |= {"name": name, "uid": f"{name}-uid"}
    return decode(BackupLocation, made)


def point(id_: str = A, *, damage: PointDamage | None = None, uid: str = "policy-uid") -> Point:
    source = ClaimRecord(persistent_volume_claim="data-0")
    return Point(id=id_, session="s", manifest=id_, taken_at=NOW - DAY, policy_uid=uid, snapshot="shop-1", source=source, damage=damage)


def run(at: datetime, *, level: int = 2, **more: Any) -> VerificationRun:
    return VerificationRun(round=more.pop("round", ""), started=at, ended=at, level=level, **more)


def log(*points: Point, runs: tuple[VerificationRun, ...] = ()) -> Catalogue:
    return Catalogue(vault="ab" * 16, fingerprint="recoup1", points=points, verifications=runs)


def hurt(*, at: datetime = NOW, since: datetime = NOW, tried: str = "", level: int = 1) -> PointDamage:
    return PointDamage(since=since, at=at, paths=2, healing=tried, cleared_by=level)


def look(
    made: Object, home: Catalogue | None, replica: Catalogue | None = None, *, now: datetime = NOW, keys: Any = TWO_KEYS,
    restores: tuple[Object, ...] = (), beside: tuple[Place, ...] = (),
) -> tuple[BackupPolicy, Checking]:  # fmt: skip
    read = decode(BackupPolicy, made)
    spec = decode(BackupLocation, location(spec={"encryption": {"keys": keys}})).spec
    vault = Vault(id="ab" * 16, namespace="shop", around=AROUND, keys=spec.encryption.keys, home="frankfurt")
    catalogues = {name: one for name, one in (("frankfurt", home), ("oregon", replica)) if one is not None}
    locations = {name: place(name) for name in ("frankfurt", "oregon")}
    return read, plan_verification(read, locations, catalogues, vault, restores, now, beside)


def beside(made: Object, home: Catalogue, replica: Catalogue, *, keys: Any = TWO_KEYS) -> tuple[Place, ...]:
    """Another vault of the policy, whose home is oregon."""
    spec = decode(BackupLocation, location(spec={"encryption": {"keys": keys}})).spec
    vault = Vault(id="cd" * 16, namespace="shop", around=AROUND, keys=spec.encryption.keys, home="oregon")
    locations = {name: place(name) for name in ("frankfurt", "oregon")}
    return places_of(decode(BackupPolicy, made), locations, {"frankfurt": home, "oregon": replica}, vault)


def test_every_vault_of_the_policy_is_verified_and_healed_from_its_own_copies() -> None:
    """After the home was away: the points of both vaults, each by its own Job, and damage of one is not looked for in the other."""
    done = (run(SLOT, round="20261123t030000z"),)
    others = beside(asked(), log(point(B, damage=hurt())), log(point(B)))
    read, checking = look(asked(), log(point(A), runs=done), log(point(A), runs=done), beside=others)
    assert [(task.kind, task.location.metadata.name, task.vault[:2]) for task in checking.tasks] == [
        ("heal", "frankfurt", "cd"), ("verify", "frankfurt", "cd"), ("verify", "oregon", "cd"),
    ]  # fmt: skip
    arguments = " ".join(checking.tasks[0].build("heal", {})["spec"]["template"]["spec"]["containers"][0]["args"])
    assert "--vault " + "cd" * 16 in arguments
    told = judge_verified(read, read.status.conditions, checking.places, checking.due, {}, NOW)
    assert [(line.location, line.manifest) for line in told.damaged] == [("frankfurt", B)]


def test_a_location_counts_as_verified_when_all_vaults_there_are() -> None:
    done = (run(SLOT, round="20261123t030000z"),)
    later = (run(SLOT + timedelta(minutes=5), round="20261123t030000z", level=3),)
    others = beside(asked(), log(point(B), runs=later), log(point(B), runs=later))
    read, checking = look(asked(), log(point(A), runs=done), log(point(A), runs=done), beside=others)
    assert checking.tasks == ()
    told = judge_verified(read, read.status.conditions, checking.places, checking.due, {}, NOW)
    assert [(line.location, line.points, line.at, line.level) for line in told.results] == [
        ("frankfurt", 2, SLOT, 2), ("oregon", 2, SLOT, 2),
    ]  # fmt: skip
    found = find_condition(told.conditions, VERIFIED)
    assert found is not None
    assert found.status == "True"


def test_a_vault_that_no_job_can_open_is_told_by_its_home() -> None:
    safe = [{"name": "safe", "recipient": {"publicKey": "recouprecipient1" + "a" * 58}}]
    _, checking = look(asked(), log(point(A)), log(point(A)), beside=beside(asked(), log(point(B)), log(point(B)), keys=safe))
    assert isinstance(checking.due, Refusal)
    assert checking.due.reason == "KeyUnavailable"
    assert "oregon" in checking.due.message


def rounds(checking: Checking) -> list[tuple[str, str, str]]:
    return [(task.kind, task.location.metadata.name, task.round) for task in checking.tasks]


def judged(made: Object, *logs: Catalogue | None, states: dict[tuple[str, str], TaskState] | None = None, now: datetime = NOW) -> Verified:
    read, checking = look(made, *logs, now=now)
    return judge_verified(read, read.status.conditions, checking.places, checking.due, states or {}, now)


def said(verified: Verified) -> tuple[str, str, str]:
    condition = find_condition(verified.conditions, VERIFIED)
    assert condition is not None
    return str(condition.status), condition.reason, condition.message


def arguments(task: Task) -> list[str]:
    args: list[str] = task.build("n", {})["spec"]["template"]["spec"]["containers"][0]["args"]
    return args


def test_each_location_that_holds_points_is_verified_once_a_slot() -> None:
    _, checking = look(asked(), log(point()), log(point()))
    assert rounds(checking) == [("verify", "frankfurt", "20261123t030000z/2"), ("verify", "oregon", "20261123t030000z/2")]
    done = log(point(), runs=(run(SLOT + timedelta(minutes=5)),))
    assert rounds(look(asked(), done, log(point()))[1]) == [("verify", "oregon", "20261123t030000z/2")]


@pytest.mark.parametrize(
    ("runs", "still_due"),
    [
        ((run(SLOT - timedelta(minutes=1)),), True),
        ((run(SLOT - timedelta(minutes=1), round="20261123t030000z"),), False),
        ((run(SLOT, level=1),), True),
        ((run(SLOT, level=4),), False),
        ((run(SLOT, chosen=True),), True),
    ],
    ids=["before the slot", "a clock that is slow", "not deep enough", "deeper", "only some points"],
)
def test_a_slot_is_done_when_the_log_has_evidence_of_it(runs: tuple[VerificationRun, ...], *, still_due: bool) -> None:
    assert bool(look(asked(), log(point(), runs=runs))[1].tasks) is still_due


def test_nothing_is_due_before_there_is_a_slot_or_a_point_or_a_readable_log() -> None:
    assert look(asked(), log())[1].tasks == ()
    assert look(asked(), log(point(uid="other")))[1].tasks == ()
    assert look(asked(), None)[1].tasks == ()
    young = asked()
    young["metadata"]["creationTimestamp"] = text(SLOT + timedelta(hours=1))
    assert look(young, log(point()))[1].tasks == ()


def test_after_an_absence_only_the_newest_slot_is_made_up_for() -> None:
    _, checking = look(asked(), log(point(), runs=(run(SLOT - 9 * DAY),)), now=NOW + 3 * DAY)
    assert rounds(checking) == [("verify", "frankfurt", "20261126t030000z/2")]


def test_a_vault_without_a_key_in_the_cluster_is_said_not_to_be_verified() -> None:
    _, checking = look(asked(), log(point()), keys=[TWO_KEYS[1]])
    assert isinstance(checking.due, Refusal)
    assert (checking.tasks, checking.due.reason) == ((), "KeyUnavailable")


def test_the_job_verifies_here_with_the_keys_of_the_home_and_heals_from_there() -> None:
    _, checking = look(asked(level=3), log(point()), log(point()))
    args = arguments(checking.tasks[1])
    assert args[0] == "verify"
    assert args[args.index("--level") + 1] == "3"
    assert args[args.index("--round") + 1] == "20261123t030000z"
    assert "--heal-from" in args
    assert "/recoup/keys/daily/key" in args
    assert "--snapshot" not in args


def test_a_location_without_points_heals_nobody() -> None:
    assert "--heal-from" not in arguments(look(asked(), log(point()), log())[1].tasks[0])


DONE = (run(SLOT),)


def test_damage_is_healed_from_a_location_that_holds_the_point_good() -> None:
    broken, fine = log(point(damage=hurt(level=4)), runs=DONE), log(point(), runs=DONE)
    [task] = look(asked(), broken, fine)[1].tasks
    assert (task.kind, task.location.metadata.name) == ("heal", "frankfurt")
    args = arguments(task)
    assert (args[args.index("--snapshot") + 1], args[args.index("--level") + 1]) == (A, "4")


@pytest.mark.parametrize(
    "replica", [log(point(damage=hurt()), runs=DONE), log(point(B), runs=DONE), None], ids=["damaged too", "another point", "away"]
)
def test_what_nobody_holds_good_is_not_tried_in_vain(replica: Catalogue | None) -> None:
    assert look(asked(), log(point(damage=hurt()), runs=DONE), replica)[1].tasks == ()


@pytest.mark.parametrize(
    ("age", "ago", "due"),
    [(0, 9, False), (0, 10, True), (60, 59, False), (60, 60, True), (90 * 1440, 1439, False), (90 * 1440, 1440, True)],
)
def test_healing_that_was_in_vain_is_tried_again_after_growing_pauses(age: int, ago: int, *, due: bool) -> None:
    last = NOW - timedelta(minutes=ago)
    damage = hurt(at=last, since=last - timedelta(minutes=age), tried="Tried")
    tasks = look(asked(), log(point(damage=damage), runs=DONE), log(point(), runs=DONE))[1].tasks
    assert bool(tasks) is due


def test_a_season_of_damage_that_nobody_can_heal_is_no_storm() -> None:
    """The same pair, healed in vain each time that it is due: at most 9 attempts on the first day and one a day from then on."""
    since = last = NOW
    tried = 0
    now = NOW
    while now < NOW + 90 * DAY:
        slot_done = (run(now),)
        damage = hurt(at=last, since=since, tried="Tried")
        if any(task.kind == "heal" for task in look(asked(), log(point(damage=damage), runs=slot_done), log(point()), now=now)[1].tasks):
            last, tried = now, tried + 1
        now += timedelta(minutes=30)
    assert 90 <= tried <= 90 + 9


def failed_restore(uid: str, reason: str, ended: datetime) -> Object:
    volume = {"source": "data-0", "target": "new", "state": "Failed", "reason": reason}
    planned = {"source": "data-0", "target": "new", "manifest": A, "bytes": 1, "size": "1Gi"}
    plan = {
        "location": "frankfurt", "vault": "ab" * 16, "fingerprint": "f", "namespace": "shop", "namespaceUid": "shop-uid",
        "resolvedAt": text(ended), "takenAt": text(ended), "volumes": [planned],
    }  # fmt: skip
    status = {"plan": plan, "volumes": [volume], "completedAt": text(ended)}
    spec = {"source": {"snapshotRef": {"name": "shop-1"}}}
    return {"metadata": {"name": "r", "namespace": "shop", "uid": uid}, "spec": spec, "status": status}


def test_a_restore_that_met_damage_has_its_points_looked_at_once() -> None:
    restores = (failed_restore("r1", "DigestMismatch", NOW),)
    [task] = look(asked(), log(point(), runs=DONE), restores=restores)[1].tasks
    assert (task.kind, task.round) == ("heal", "restore-r1/4")
    assert arguments(task)[arguments(task).index("--snapshot") + 1] == A
    seen = log(point(), runs=(*DONE, run(NOW, level=4, chosen=True, round="restore-r1")))
    assert look(asked(), seen, restores=restores)[1].tasks == ()


@pytest.mark.parametrize(("reason", "ago"), [("TargetTooSmall", timedelta(0)), ("DigestMismatch", timedelta(days=2))])
def test_a_restore_that_failed_otherwise_or_long_ago_is_no_reason(reason: str, ago: timedelta) -> None:
    restores = (failed_restore("r1", reason, NOW - ago),)
    assert look(asked(), log(point(), runs=DONE), restores=restores)[1].tasks == ()


def test_verified_says_level_and_time_of_each_location() -> None:
    verified = judged(asked(), log(point(), runs=DONE), log(point(), runs=(run(SLOT + timedelta(minutes=1), level=3),)))
    assert said(verified) == (
        "True",
        "Verified",
        "frankfurt at level 2, 2026-11-23T03:00:00Z; oregon at level 3, 2026-11-23T03:01:00Z",
    )
    assert [(one.location, one.points, one.damaged) for one in verified.results] == [("frankfurt", 1, 0), ("oregon", 1, 0)]
    assert verified.changes_at == SLOT + DAY


def test_a_location_that_was_never_verified_is_named() -> None:
    status, reason, message = said(judged(asked(), log(point(), runs=DONE), log(point())))
    assert (status, reason) == ("Unknown", "NotVerifiedYet")
    assert "oregon" in message
    assert "frankfurt" not in message


def test_damage_names_point_paths_and_location_and_what_happens_next() -> None:
    report = Report(first_paths=(f"{A[:16]}: etc/passwd", f"{B[:16]}: not/mine"))
    states = {("verify", "frankfurt"): TaskState(phase=TaskPhase.FAILED, report=report)}
    broken = log(point(damage=hurt(tried="Tried")), runs=DONE)
    verified = judged(asked(), broken, log(point(), runs=DONE), states=states)
    status, reason, message = said(verified)
    assert (status, reason) == ("False", "Damaged")
    for part in ("frankfurt", "shop-1 (PVC data-0)", "2 files", "etc/passwd", "from oregon is tried again at 2026-11-23T12:10:00Z"):
        assert part in message
    assert "not/mine" not in message
    [line] = verified.damaged
    assert (line.location, line.manifest, line.paths, line.first_paths) == ("frankfurt", A, 2, ("etc/passwd",))


def test_paths_are_remembered_while_the_damage_lasts_and_forgotten_with_it() -> None:
    line = {
        "location": "frankfurt", "manifest": A, "persistentVolumeClaim": "data-0", "since": text(NOW), "firstPaths": ["etc/passwd"],
    }  # fmt: skip
    made = asked()
    made["status"] = {"damaged": [line]}
    assert judged(made, log(point(damage=hurt()), runs=DONE)).damaged[0].first_paths == ("etc/passwd",)
    assert judged(made, None, log(point(), runs=DONE)).damaged[0].first_paths == ("etc/passwd",)
    assert judged(made, log(point(), runs=DONE)).damaged == ()


def test_damage_nowhere_good_says_what_to_do() -> None:
    message = said(judged(asked(), log(point(damage=hurt()), runs=DONE), log(point(damage=hurt()), runs=DONE)))[2]
    assert message.count("no other location of the policy is known to hold it whole") == 2


def test_a_verification_that_cannot_be_made_is_told_with_its_reason() -> None:
    states = {("verify", "frankfurt"): TaskState(phase=TaskPhase.FAILED, reason="KeyUnavailable", message="no key")}
    status, reason, message = said(judged(asked(), log(point(), runs=(run(SLOT - DAY),)), states=states))
    assert (status, reason) == ("False", "KeyUnavailable")
    assert "no key" in message
    states = {("verify", "frankfurt"): TaskState(phase=TaskPhase.DONE)}
    assert said(judged(asked(), log(point()), states=states))[1] == "NotRecorded"


def test_one_slot_that_is_late_changes_nothing_and_two_are_overdue() -> None:
    replica = log(point(), runs=DONE)
    assert said(judged(asked(), log(point(), runs=(run(SLOT - DAY),)), replica))[0] == "True"
    assert said(judged(asked(), log(point(), runs=(run(SLOT - 2 * DAY),)), replica))[1] == "VerificationOverdue"


def test_a_log_in_trouble_is_not_verified() -> None:
    status, reason, _ = said(judged(asked(), log(point(), runs=(run(SLOT, log=("LogForked",)),))))
    assert (status, reason) == ("False", "LogForked")


@pytest.mark.parametrize(
    ("schedule", "slot"),
    [
        ({"cron": "0 3 * * *"}, "20261123t030000z"),
        ({"every": "6h"}, "20261123t120000z"),
        ({"cron": "0 3 * * *", "timeZone": "Asia/Kolkata"}, "20261122t213000z"),
        ({"cron": "0 3 * * *", "jitter": "12h"}, "20261122t030000z"),  # this policy's minute is 12:55: today's is still to come
    ],
)
def test_slots_are_those_of_the_schedule(schedule: Object, slot: str) -> None:
    assert rounds(look(asked(schedule=schedule), log(point()))[1]) == [("verify", "frankfurt", f"{slot}/2")]


def test_a_bad_schedule_is_told() -> None:
    made = asked(schedule={"cron": "0 3 31 2 *"})
    assert said(judged(made, log(point())))[:2] == ("False", "InvalidSchedule")


def test_healed_objects_make_one_event() -> None:
    healed = log(point(), runs=(run(SLOT, healed=3),))
    first = judged(asked(), healed)
    assert [(note.reason, "3 damaged objects" in note.message) for note in first.events] == [("Healed", True)]
    made = asked()
    line = first.results[0]
    made["status"] = {"verifications": [{"location": "frankfurt", "at": text(line.at), "level": 2, "points": 1, "damaged": 0, "healed": 3}]}
    assert judged(made, healed).events == ()
    more = structs.replace(healed, verifications=(*healed.verifications, run(SLOT + timedelta(hours=1), chosen=True, healed=2)))
    assert "2 damaged objects" in judged(made, more).events[0].message


def test_without_the_field_there_is_no_condition_and_no_job() -> None:
    made = policy()
    read, checking = look(made, log(point()))
    assert checking == Checking()
    assert find_condition(judge_verified(read, (), (), checking.due, {}, NOW).conditions, VERIFIED) is None
