"""Which drill comes next, its Job, and what drills and restores say of objectives.rto."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from recoup.api.backuplocation import BackupLocation
from recoup.api.backuppolicy import DRILLED, RTO_MET, BackupPolicy
from recoup.api.conditions import find_condition
from recoup.api.names import short_hash
from recoup.api.objects import decode
from recoup.plan.access import Refusal
from recoup.plan.drilled import Drilled, judge_drilled
from recoup.plan.drills import Drills, plan_drills
from recoup.plan.observed import Catalogue, ClaimRecord, DrillRun, Point, PointDamage
from recoup.plan.upkeep import TaskPhase, TaskState
from recoup.plan.verification import Place, Vault, places_of, plan_verification
from tests.unit.plan.examples import AROUND, TWO_KEYS, Object, condition, location, policy, text

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SLOT = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
WEEKLY = {"schedule": {"cron": "0 4 * * 0"}}
ROUND = f"20261122t040000z-{short_hash('policy-uid')}"
PAIRS = 4


def asked(*, rto: str | None = None, **drill: Any) -> Object:
    objectives = {"rto": rto} if rto else {}
    verification = {"schedule": {"cron": "0 3 * * *"}, "drill": WEEKLY | drill}
    return policy(locations=[{"name": "frankfurt"}, {"name": "oregon"}], verification=verification, objectives=objectives)


def place(name: str) -> BackupLocation:
    made = location()
    made["metadata"] |= {"name": name, "uid": f"{name}-uid"}
    return decode(BackupLocation, made)


def point(claim: str, day: int, *, mode: str = "Filesystem", damaged: bool = False) -> Point:
    source = ClaimRecord(
        persistent_volume_claim=claim, persistent_volume_claim_uid=f"{claim}-uid", storage_class_name="fast", size="3Gi", volume_mode=mode
    )
    return Point(
        id=f"{claim}-{day}", session="s", manifest=f"{claim}-{day}", taken_at=NOW - timedelta(days=30 - day), policy_uid="policy-uid",
        source=source, damage=PointDamage(since=NOW, at=NOW) if damaged else None,
    )  # fmt: skip


POINTS = tuple(point(claim, day) for claim in ("data-0", "data-1") for day in range(5))
FAST = {"metadata": {"name": "fast"}, "reclaimPolicy": "Delete"}
KEEPS = {"metadata": {"name": "keeps"}, "reclaimPolicy": "Retain"}


def log(*drills: DrillRun, points: tuple[Point, ...] = POINTS) -> Catalogue:
    return Catalogue(vault="ab" * 16, fingerprint="recoup1", points=points, drills=drills)


def ran(id_: str, at: datetime, *, seconds: float = 41.0, turn: str = "", reason: str = "") -> DrillRun:
    return DrillRun(round=turn, point=id_, ended=at, passed=not reason, seconds=seconds, reason=reason)


def look(made: Object, home: Catalogue, replica: Catalogue, *, now: datetime = NOW) -> tuple[BackupPolicy, tuple[Place, ...], Drills]:
    read = decode(BackupPolicy, made)
    keys = decode(BackupLocation, location(spec={"encryption": {"keys": TWO_KEYS}})).spec.encryption.keys
    vault = Vault(id="ab" * 16, namespace="shop", around=AROUND, keys=keys)
    places = places_of(read, {name: place(name) for name in ("frankfurt", "oregon")}, {"frankfurt": home, "oregon": replica}, vault)
    return read, places, plan_drills(read, places, vault, (FAST, KEEPS), now)


def job(drills: Drills) -> Object:
    assert drills.task is not None
    made: Object = drills.task.build("drill", {})["spec"]["template"]["spec"]
    return made


def test_every_volume_at_every_location_has_its_turn_and_points_differ() -> None:
    """Two years of weeks: each pair as often as any other, and not always the same point."""
    drilled: dict[str, list[DrillRun]] = {"frankfurt": [], "oregon": []}
    turns: dict[tuple[str, str], list[str]] = {}
    now = NOW
    for _ in range(104):
        now += timedelta(days=7)
        _, _, drills = look(asked(), log(*drilled["frankfurt"]), log(*drilled["oregon"]), now=now)
        assert drills.task is not None
        args = job(drills)["containers"][0]["args"]
        chosen, where = args[args.index("--snapshot") + 1], drills.task.location.metadata.name
        drilled[where].append(ran(chosen, now, turn=drills.task.round))
        turns.setdefault((where, chosen[:6]), []).append(chosen)
    assert {key: len(found) for key, found in turns.items()} == dict.fromkeys(turns, 104 // PAIRS)
    assert len(turns) == PAIRS
    assert all(len(set(found)) == 5 for found in turns.values())


def test_points_of_another_vault_of_the_policy_have_their_turn_and_its_keys_are_used() -> None:
    """The home was away for a while: what was stored then is in a vault with its home at the other location."""
    read, places, _ = look(asked(), log(), log())
    other_key = [{"name": "daily", "secret": {"secretRef": {"name": "oregon-key"}}}]
    keys = decode(BackupLocation, location(spec={"encryption": {"keys": other_key}})).spec.encryption.keys
    other = Vault(id="cd" * 16, namespace="shop", around=AROUND, keys=keys, home="oregon")
    meanwhile = Catalogue(vault=other.id, fingerprint="recoup2", points=(point("data-0", 7),))
    locations = {one.name: one.location for one in places}
    beside = places_of(read, locations, {"frankfurt": meanwhile, "oregon": meanwhile}, other)
    drilled: dict[tuple[str, str], list[DrillRun]] = {}
    now = NOW
    for _ in range(len(places) * 2 + len(beside)):
        now += timedelta(days=7)
        seen = []
        for one in (*places, *beside):
            assert one.vault is not None
            assert one.catalogue is not None
            runs = tuple(drilled.get((one.vault.id, one.name), ()))
            seen.append(structs.replace(one, catalogue=structs.replace(one.catalogue, drills=runs)))
        drills = plan_drills(read, seen, places[0].vault, (FAST,), now)
        assert drills.task is not None
        args = job(drills)["containers"][0]["args"]
        chosen = args[args.index("--snapshot") + 1]
        assert (chosen == "data-0-7") == (drills.task.vault == other.id)
        assert args[args.index("--vault") + 1] == drills.task.vault
        if drills.task.vault == other.id:
            assert "oregon-key" in str(job(drills)["volumes"])
        drilled.setdefault((drills.task.vault, drills.task.location.metadata.name), []).append(ran(chosen, now, turn=drills.task.round))
    assert {where: len(found) for where, found in drilled.items()} == {
        (vault, name): 1 if vault == other.id else 2 for vault in ("ab" * 16, other.id) for name in ("frankfurt", "oregon")
    }


def test_a_slot_is_done_when_some_log_has_evidence_of_it() -> None:
    assert look(asked(), log(), log())[2].task is not None
    assert look(asked(), log(), log(ran("data-0-1", NOW, turn=ROUND)))[2].task is None
    assert look(asked(), log(), log(ran("data-0-1", NOW, turn="by hand")))[2].task is not None


@pytest.mark.parametrize(
    ("schedule", "slot"),
    [
        ({"cron": "0 4 * * 0"}, "20261122t040000z"),
        ({"every": "6h"}, "20261123t120000z"),
        ({"cron": "0 4 * * 0", "timeZone": "Asia/Kolkata"}, "20261121t223000z"),
        ({"cron": "0 4 * * 0", "jitter": "48h"}, "20261115t040000z"),  # this policy's minute comes a day and a half later
    ],
)
def test_slots_are_those_of_the_schedule(schedule: Object, slot: str) -> None:
    _, _, drills = look(asked(schedule=schedule), log(), log())
    assert drills.task is not None
    assert drills.task.round == f"{slot}-{short_hash('policy-uid')}"


def test_the_job_restores_to_a_volume_that_goes_with_its_pod() -> None:
    _, _, drills = look(asked(), log(), log())
    assert drills.task is not None
    assert drills.task.round == ROUND
    spec = job(drills)
    [scratch] = [volume for volume in spec["volumes"] if volume["name"] == "scratch"]
    claim = scratch["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert claim == {
        "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "storageClassName": "fast",
        "resources": {"requests": {"storage": "3Gi"}},
    }  # fmt: skip
    container = spec["containers"][0]
    assert {"name": "scratch", "mountPath": "/scratch"} in container["volumeMounts"]
    assert container["args"][0] == "drill"
    assert container["args"][container["args"].index("--target") + 1] == "/scratch"
    assert not spec["automountServiceAccountToken"]


def test_a_block_volume_is_drilled_as_a_device() -> None:
    block = (point("disk", 1, mode="Block"),)
    container = job(look(asked(), log(points=block), log(points=()))[2])["containers"][0]
    assert container["volumeDevices"] == [{"name": "scratch", "devicePath": "/dev/scratch"}]
    assert container["args"][container["args"].index("--target") + 1] == "/dev/scratch"


@pytest.mark.parametrize(("name", "reason"), [("keeps", "ScratchWouldStay"), ("gone", "StorageClassNotFound")])
def test_a_scratch_volume_that_would_stay_is_refused(name: str, reason: str) -> None:
    read, places, drills = look(asked(storageClassName=name), log(), log())
    assert drills.task is None
    assert isinstance(drills.due, Refusal)
    assert drills.due.reason == reason
    said = find_condition(judge_drilled(read, (), places, drills, {}, (), NOW).conditions, DRILLED)
    assert said is not None
    assert (said.status, said.reason) == ("False", reason)


def test_what_is_known_to_be_damaged_is_not_drilled() -> None:
    damaged = (point("data-0", 1, damaged=True),)
    assert look(asked(), log(points=damaged), log(points=damaged))[2].task is None


def judged(made: Object, *logs: Catalogue, states: Any = None, restores: tuple[Object, ...] = ()) -> Drilled:
    read, places, drills = look(made, *logs)
    return judge_drilled(read, read.status.conditions, places, drills, states or {}, restores, NOW)


def said(found: Drilled, kind: str) -> tuple[str, str, str]:
    one = find_condition(found.conditions, kind)
    assert one is not None
    return str(one.status), one.reason, one.message


def test_the_newest_drill_is_told_once_as_an_event() -> None:
    found = judged(asked(), log(ran("data-0-1", SLOT)), log(ran("data-1-2", SLOT + timedelta(hours=1), turn=ROUND)))
    assert found.last is not None
    assert (found.last.location, found.last.persistent_volume_claim, found.last.result, found.last.duration) == (
        "oregon", "data-1", "Passed", "41s",
    )  # fmt: skip
    assert said(found, DRILLED)[:2] == ("True", "DrillPassed")
    assert [note.reason for note in found.events] == ["DrillPassed"]
    made = asked()
    made["status"] = {
        "lastDrill": {
            "location": "oregon", "manifest": "data-1-2", "persistentVolumeClaim": "data-1", "result": "Passed",
            "at": text(SLOT + timedelta(hours=1)), "duration": "41s",
        }
    }  # fmt: skip
    again = judged(made, log(ran("data-0-1", SLOT)), log(ran("data-1-2", SLOT + timedelta(hours=1), turn=ROUND)))
    assert again.events == ()


def test_a_drill_that_failed_is_told_and_its_point_is_looked_at() -> None:
    failed = ran("data-0-1", NOW - timedelta(hours=1), turn=ROUND, reason="DigestMismatch")
    found = judged(asked(rto="1h"), log(failed), log())
    assert said(found, DRILLED)[:2] == ("False", "DrillFailed")
    assert said(found, RTO_MET)[:2] == ("False", "DrillFailed")
    read, places, _ = look(asked(), log(failed), log())
    keys = decode(BackupLocation, location(spec={"encryption": {"keys": TWO_KEYS}})).spec.encryption.keys
    vault = Vault(id="ab" * 16, namespace="shop", around=AROUND, keys=keys)
    locations, catalogues = {one.name: one.location for one in places}, {"frankfurt": log(failed), "oregon": log()}
    tasks = plan_verification(read, locations, catalogues, vault, (), NOW).tasks
    heal = next(task for task in tasks if task.kind == "heal")
    assert heal.round == f"drill-{ROUND}/4"


def test_a_drill_that_cannot_be_made_says_why() -> None:
    failed = TaskState(phase=TaskPhase.FAILED, reason="TargetTooSmall", message="no room")
    read, places, drills = look(asked(), log(), log())
    assert drills.task is not None
    states = {("drill", drills.task.location.metadata.name): failed}
    found = judge_drilled(read, (), places, drills, states, (), NOW)
    assert said(found, DRILLED)[:2] == ("False", "TargetTooSmall")


def test_before_the_first_drill_nothing_is_claimed() -> None:
    young = asked(rto="30m")
    young["metadata"]["creationTimestamp"] = text(NOW)
    assert said(judged(young, log(), log()), DRILLED)[:2] == ("Unknown", "NotDrilledYet")
    assert said(judged(young, log(), log()), RTO_MET)[:2] == ("Unknown", "NotMeasured")


@pytest.mark.parametrize(("seconds", "status", "reason"), [(60.0, "True", "WithinObjective"), (61.0, "False", "RestoreTooSlow")])
def test_the_slowest_newest_measurement_decides(seconds: float, status: str, reason: str) -> None:
    """An older drill of the same volume and place does not count any more; another place does."""
    home = log(ran("data-0-0", SLOT - timedelta(days=7), seconds=900.0), ran("data-0-1", SLOT, seconds=5.0))
    found = judged(asked(rto="1m"), home, log(ran("data-0-1", SLOT, seconds=seconds, turn=ROUND)))
    assert said(found, RTO_MET)[:2] == (status, reason)
    assert "PVC data-0 from oregon" in said(found, RTO_MET)[2]


def test_restores_count_by_their_whole_time() -> None:
    plan = {
        "location": "frankfurt", "vault": "ab" * 16, "fingerprint": "f", "namespace": "shop", "namespaceUid": "shop-uid", "policy": "shop",
        "resolvedAt": text(NOW), "takenAt": text(NOW), "volumes": [],
    }  # fmt: skip
    status = {"plan": plan, "completedAt": text(NOW), "conditions": [condition("Restored", "True")]}
    metadata = {"name": "incident", "namespace": "shop", "uid": "r", "creationTimestamp": text(NOW - timedelta(minutes=40))}
    request = {"metadata": metadata, "spec": {"source": {"snapshotRef": {"name": "shop-1"}}}, "status": status}
    made = policy(objectives={"rto": "30m"})
    found = judged(made, log(), log(), restores=(request,))
    assert said(found, RTO_MET)[:2] == ("False", "RestoreTooSlow")
    assert "RestoreRequest incident from frankfurt took 40m" in said(found, RTO_MET)[2]
