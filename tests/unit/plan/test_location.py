"""The location planner: probes, pinned vaults, and conditions that are never better than what was seen."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recoup.api.backuplocation import BackupLocation, EncryptionKey, RecipientKey, SecretKey, Vault
from recoup.api.objects import Reference, decode
from recoup.plan.actions import Create, Delete, EventType, Plan
from recoup.plan.location import LocationObserved, pin_vaults, plan_location, settings_hash
from recoup.plan.location_conditions import Reading, count_keys
from recoup.plan.observed import ApiFailure
from tests.unit.plan.examples import AROUND, TWO_KEYS, Object, location, text

NOW = datetime(2026, 11, 1, 13, tzinfo=UTC)
ANSWERS = Reading(repository_id="ab" * 16)
AWAY = Reading("LocationUnreachable", "bucket acme-backups at minio cannot be reached")
VAULT = Vault(id="a" * 32, namespace="shop", namespace_uid="shop-uid", fingerprint="recoupvault1a")


def look(subject: Object, now: datetime = NOW, **observed: Any) -> Plan:
    return plan_location(LocationObserved(location=subject, around=AROUND, **{"reading": ANSWERS} | observed), now)


def status(plan: Plan) -> Object:
    assert plan.status is not None
    return plan.status


def said(plan: Plan, kind: str) -> tuple[str, str]:
    found = next(entry for entry in status(plan)["conditions"] if entry["type"] == kind)
    return found["status"], found["reason"]


def started(plan: Plan) -> Object:
    jobs = [action.object for action in plan.actions if isinstance(action, Create)]
    assert len(jobs) == 1
    made: Object = jobs[0] | {"metadata": jobs[0]["metadata"] | {"uid": "job-uid", "creationTimestamp": text(NOW)}}
    return made


def pod_of(job: Object, *, code: int | None, report: Object | None = None) -> Object:
    name = job["metadata"]["name"]
    ended: Object = {"exitCode": code, "finishedAt": text(NOW), "message": json.dumps(report or {})}
    state = {"running": {"startedAt": text(NOW)}} if code is None else {"terminated": ended}
    labels = job["metadata"]["labels"] | {"batch.kubernetes.io/job-name": name}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-x", "uid": "pod-uid", "labels": labels, "creationTimestamp": text(NOW)},
        "status": {"containerStatuses": [{"name": "mover", "state": state}]},
    }


def probed(code: int, report: Object | None = None, *, subject: Object | None = None, **observed: Any) -> tuple[Plan, Object]:
    """A location whose probe ended like that, after its result was noted; and the location as it is then."""
    subject = subject or location(status={})
    job = started(look(subject))
    plan = look(subject, NOW + timedelta(seconds=20), children=(job, pod_of(job, code=code, report=report)), **observed)
    return plan, subject | {"status": status(plan)}


def test_a_new_location_is_probed_before_anything_is_said_of_it() -> None:
    plan = look(location(status={}))
    job = started(plan)
    assert job["metadata"]["namespace"] == "recoup-movers"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"][0] == "doctor"
    assert said(plan, "Conformant") == ("Unknown", "NotProbed")
    assert said(plan, "Ready") == ("False", "Probing")
    assert said(plan, "Reachable") == ("True", "Answers")


def test_a_probe_in_progress_is_awaited_and_none_is_started_beside_it() -> None:
    subject = location(status={})
    job = started(look(subject))
    plan = look(subject, children=(job, pod_of(job, code=None)))
    assert plan.actions == ()
    assert said(plan, "Ready")[0] == "False"
    assert plan.requeue_after


def test_a_place_that_passes_is_ready_and_its_job_goes_once_the_result_is_written() -> None:
    plan, subject = probed(0, {"outcome": "Succeeded", "message": "200 races, one winner each"})
    assert plan.actions == ()
    assert said(plan, "Conformant") == ("True", "Atomic")
    assert said(plan, "Ready") == ("True", "Usable")
    assert status(plan)["repositoryId"] == "ab" * 16
    assert {note.reason for note in plan.events if note.type is EventType.NORMAL} >= {"Usable", "Atomic"}
    job = started(look(location(status={})))
    after = look(subject, NOW + timedelta(seconds=30), children=(job,))
    assert [action.name for action in after.actions if isinstance(action, Delete)] == [job["metadata"]["name"]]
    assert after.status == plan.status
    assert after.events == ()


def test_a_place_that_is_not_atomic_is_refused() -> None:
    plan, subject = probed(20, {"outcome": "Failed", "reason": "NotAtomic", "message": "two writers were told to have created one object"})
    assert said(plan, "Conformant") == ("False", "NotAtomic")
    assert said(plan, "Reachable") == ("True", "Answers")
    assert said(plan, "Ready") == ("True", "CopiesOnly"), "a place for copies, which says that it is no home"
    soon = look(subject, NOW + timedelta(minutes=5))
    assert soon.actions == ()
    later = look(subject, NOW + timedelta(minutes=20))
    assert started(later)["metadata"]["name"] != started(look(location(status={})))["metadata"]["name"]


@pytest.mark.parametrize(
    ("code", "reason", "stalled"),
    [(20, "BucketNotFound", True), (20, "CredentialsRejected", True), (10, "LocationUnreachable", False), (20, "AccessDenied", True)],
)
def test_what_the_movers_cannot_reach_is_not_reachable(code: int, reason: str, stalled: bool) -> None:
    plan, subject = probed(code, {"outcome": "Failed", "reason": reason, "message": "as the server said"})
    assert said(plan, "Reachable") == ("False", reason)
    assert said(plan, "Conformant") == ("Unknown", reason)
    assert said(plan, "Ready") == ("False", reason)
    assert any(entry["type"] == "Stalled" for entry in status(plan)["conditions"]) is stalled
    assert started(look(subject, NOW + timedelta(minutes=3)))


@pytest.mark.parametrize("reading", [AWAY, Reading("CredentialsRejected", "rejected"), Reading("BucketNotFound", "no such bucket")])
def test_a_place_that_was_good_and_is_away_stays_conformant(reading: Reading) -> None:
    _, subject = probed(0)
    plan = look(subject, NOW + timedelta(hours=1), reading=reading)
    assert said(plan, "Reachable") == ("False", reading.reason)
    assert said(plan, "Conformant") == ("True", "Atomic")
    assert said(plan, "Ready") == ("False", reading.reason)
    assert [note.type for note in plan.events] == [EventType.WARNING]
    assert plan.requeue_after == 60
    back = look(subject | {"status": status(plan)}, NOW + timedelta(hours=2))
    assert said(back, "Ready") == ("True", "Usable")


def test_the_same_trouble_in_other_words_is_no_news() -> None:
    _, subject = probed(0)
    first = look(subject, NOW + timedelta(hours=1), reading=AWAY)
    again = look(subject | {"status": status(first)}, NOW + timedelta(hours=2), reading=Reading(AWAY.reason, "connection 0x7f12 refused"))
    assert again.status == first.status
    assert again.events == ()


def test_a_probe_that_could_not_be_made_does_not_unmake_an_earlier_verdict() -> None:
    _, subject = probed(0)
    week_later = NOW + timedelta(days=7, minutes=1)
    job = started(look(subject, week_later))
    plan = look(subject, week_later, children=(job, pod_of(job, code=137)))
    assert said(plan, "Conformant") == ("True", "Atomic")
    assert status(plan)["lastProbe"]["result"] == "MoverKilled"


def test_other_settings_are_another_place() -> None:
    _, subject = probed(0)
    edited = subject | {"spec": subject["spec"] | {"s3": subject["spec"]["s3"] | {"endpoint": "https://elsewhere.example"}}}
    plan = look(edited, NOW + timedelta(minutes=5))
    assert started(plan)
    assert said(plan, "Conformant") == ("Unknown", "NotProbed")
    assert said(plan, "Ready")[0] == "False"


def test_a_result_for_settings_that_were_edited_meanwhile_does_not_count() -> None:
    subject = location(status={})
    job = started(look(subject))
    edited = subject | {"spec": subject["spec"] | {"s3": subject["spec"]["s3"] | {"forcePathStyle": True}}}
    plan = look(edited, children=(job, pod_of(job, code=0)))
    assert said(plan, "Conformant") == ("Unknown", "NotProbed")
    assert started(look(edited | {"status": status(plan)}))


def test_a_grant_needs_no_new_probe() -> None:
    _, subject = probed(0)
    granted = subject | {"spec": subject["spec"] | {"grants": [{"from": {"namespace": "a"}, "to": {"namespace": "b"}}]}}
    assert look(granted).actions == ()


def test_a_probe_that_is_refused_by_the_cluster_is_told() -> None:
    name = started(look(location(status={})))["metadata"]["name"]
    refused = {("Job", "recoup-movers", name): ApiFailure(reason="QuotaExceeded", message="too many Jobs", at=NOW)}
    plan = look(location(status={}), failures=refused)
    assert plan.actions == ()
    assert said(plan, "Ready") == ("False", "QuotaExceeded")


def secret(name: str) -> EncryptionKey:
    return EncryptionKey(name=name, secret=SecretKey(secret_ref=Reference(name=name)))


def recipient(text: str) -> EncryptionKey:
    return EncryptionKey(name=f"r{text[-1]}", recipient=RecipientKey(public_key=text))


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ([secret("a")], 1),
        ([secret("a"), secret("b")], 1),
        ([secret("a"), recipient("x1")], 2),
        ([recipient("x1"), recipient("x2")], 2),
        ([recipient("x1"), recipient("x1")], 1),
        ([secret("a"), secret("b"), recipient("x1"), recipient("x2")], 3),
    ],
)
def test_keys_count_that_cannot_be_lost_together(keys: list[EncryptionKey], count: int) -> None:
    assert count_keys(keys) == count


def test_one_key_is_not_redundant_and_the_message_says_what_to_add() -> None:
    plan = look(location(spec={"encryption": {"keys": TWO_KEYS[:1]}}, status={}))
    assert said(plan, "KeyRedundant") == ("False", "LostWithCluster")
    assert "recipient" in next(entry["message"] for entry in status(plan)["conditions"] if entry["type"] == "KeyRedundant")
    assert status(plan)["keyCount"] == 1
    plan = look(location(status={}))
    assert said(plan, "KeyRedundant") == ("True", "IndependentKeys")
    assert status(plan)["keyCount"] == 2


def test_the_first_word_about_a_vault_stands() -> None:
    planted = Vault(id=VAULT.id, namespace="shop", namespace_uid="shop-uid", fingerprint="recoupvault1evil")
    vaults, disputed = pin_vaults((VAULT,), (planted,))
    assert vaults == (VAULT,)
    assert disputed == planted
    _, subject = probed(0, vaults=(VAULT,))
    plan = look(subject, vaults=(planted,))
    assert status(plan)["vaults"][0]["fingerprint"] == VAULT.fingerprint
    assert said(plan, "Ready") == ("False", "VaultChanged")


def test_vaults_stay_known_when_their_secrets_are_gone() -> None:
    _, subject = probed(0, vaults=(VAULT,))
    plan = look(subject, vaults=())
    assert [vault["id"] for vault in status(plan)["vaults"]] == [VAULT.id]
    assert status(plan)["vaultCount"] == 1


def test_the_same_settings_have_one_hash() -> None:
    plain = decode(BackupLocation, location())
    spelled = location()
    spelled["spec"]["s3"] = spelled["spec"]["s3"] | {"region": "us-east-1", "forcePathStyle": False}
    assert settings_hash(plain) == settings_hash(decode(BackupLocation, spelled))


def test_a_location_that_goes_is_left_alone() -> None:
    subject = location()
    subject["metadata"]["deletionTimestamp"] = text(NOW)
    assert look(subject) == Plan()
