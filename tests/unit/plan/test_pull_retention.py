"""What a location lets go of among pulled copies: when rules count, which Jobs, how often, and what whoever feeds it can do about that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from recoup.api.backuplocation import BackupLocation, PullRetentionStatus, Vault
from recoup.api.conditions import find_condition
from recoup.api.objects import decode
from recoup.plan.actions import Create
from recoup.plan.observed import ApiFailure, Catalogue, ClaimRecord, Garbage, Point
from recoup.plan.pull_retention import describe, find_going, judge_pull_retention, settle
from recoup.plan.pulling import PulledVault, Pulling, PullObserved, PullSource, plan_pulls
from tests.unit.plan.examples import AROUND, CREATED, TWO_KEYS, Object, condition, location, text

NOW = CREATED + timedelta(days=60)
DAY = timedelta(days=1)
GOOD = [condition("Reachable", "True"), condition("Conformant", "True")]
RULES: Object = {"daily": 3, "guard": "7d"}
IN_FORCE = "daily 3, guard 7d"
NOTED = {"id": "v", "namespace": "shop", "namespaceUid": "u", "fingerprint": "fp", "cluster": "theirs"}


def point(day: int, *, here: datetime | None = None, policy: str = "policy-a", volume: str = "data-0") -> Point:
    """Taken and copied on that day after CREATED."""
    taken = CREATED + day * DAY
    return Point(
        id=f"{policy}-{volume}-{day}", session="", manifest=f"{policy}-{volume}-{day}", taken_at=taken, here_at=here or taken, order=day,
        policy_uid=policy, snapshot_uid=f"{policy}-{day}", source=ClaimRecord(persistent_volume_claim_uid=volume),
        volumes_expected=(volume,),
    )  # fmt: skip


def log(*points: Point, garbage: Garbage | None = None) -> Catalogue:
    return Catalogue(vault="v", fingerprint="fp", points=points, revision="keys", garbage=garbage or Garbage())


def bunker(rules: Object | None = RULES, *, in_force: str | None = IN_FORCE, pruned: datetime | None = None, **spec: Any) -> BackupLocation:
    made = location(spec={"pull": [{"from": "theirs"}], **({"pullRetention": rules} if rules else {}), **spec})
    made["metadata"] |= {"name": "bunker", "uid": "bunker-uid"}
    vault = NOTED | ({"prunedAt": text(pruned)} if pruned else {})
    made["status"] = {"conditions": GOOD, "vaults": [vault], **({"pullRetention": {"rules": in_force}} if in_force else {})}
    return decode(BackupLocation, made)


def look(
    held: Catalogue, target: BackupLocation, *, offered: Catalogue | None = None, readable: bool = True,
    children: Sequence[Object] = (), now: datetime = NOW,
) -> Pulling:  # fmt: skip
    theirs = location(spec={"accessMode": "ReadOnly"}, status={"conditions": GOOD})
    theirs["metadata"] |= {"name": "theirs", "uid": "theirs-uid"}
    away = ApiFailure(reason="LocationUnreachable", message="no answer", at=now)
    pulled = PulledVault(
        vault=Vault(id="v", namespace="shop", namespace_uid="u", fingerprint="fp", cluster="theirs"),
        offered=(offered or held) if readable else None, offered_failure=None if readable else away, held=held,
    )  # fmt: skip
    source = PullSource(name="theirs", location=decode(BackupLocation, theirs), vaults=(pulled,))
    return plan_pulls(PullObserved(target=target, around=AROUND, sources=(source,), children=tuple(children)), now)


def jobs(pulling: Pulling) -> list[list[str]]:
    made = [action.object for action in pulling.actions if isinstance(action, Create)]
    return [job["spec"]["template"]["spec"]["containers"][0]["args"] for job in made]


MONTH = tuple(point(day) for day in range(20, 30))
"""Ten days of one volume, the newest of which has been here for a month."""


def test_a_forget_job_carries_the_rules_the_guard_and_a_key_and_no_list_of_points() -> None:
    [arguments] = jobs(look(log(*MONTH), bunker()))
    told = " ".join(arguments)
    assert arguments[0] == "forget"
    assert "--vault v --fingerprint fp" in told
    assert "--policy policy-a --daily 3 --guard 604800s" in told
    assert "--key-file /recoup/keys/daily/key" in told
    assert not any(one.manifest in arguments for one in MONTH)


def test_what_came_within_the_guard_neither_goes_nor_counts() -> None:
    flood = tuple(point(day, here=NOW - 6 * DAY) for day in range(100, 200))
    asked = bunker().spec.pull_retention
    assert asked is not None
    wanted = find_going(log(*MONTH), asked, NOW)
    assert [one.rpartition("-")[2] for one in wanted.manifests] == [str(day) for day in range(20, 27)]
    assert find_going(log(*MONTH, *flood), asked, NOW) == wanted
    later = find_going(log(*MONTH, *flood), asked, NOW + 2 * DAY)
    assert set(later.manifests) > set(wanted.manifests), "and a week later it does count"


def test_each_volume_of_each_policy_is_judged_by_itself_and_what_has_no_policy_stays() -> None:
    others = [point(day, policy="policy-b") for day in range(20, 23)] + [point(day, volume="data-1") for day in range(20, 23)]
    by_hand = [point(day, policy="") for day in range(20, 30)]
    asked = bunker().spec.pull_retention
    assert asked is not None
    going = find_going(log(*MONTH, *others, *by_hand), asked, NOW)
    assert going.policies == ("policy-a",)
    assert all(manifest.startswith("policy-a-data-0") for manifest in going.manifests)


def test_new_rules_are_shown_first_and_nothing_goes_meanwhile() -> None:
    first = look(log(*MONTH), bunker(in_force=None))
    assert jobs(first) == []
    assert first.retention == PullRetentionStatus(edited=IN_FORCE, effective_at=NOW + DAY, goes=7)
    waiting = structs.replace(bunker(), status=structs.replace(bunker().status, pull_retention=first.retention))
    assert look(log(*MONTH), waiting, now=NOW + timedelta(hours=23)).retention == first.retention
    over = look(log(*MONTH), waiting, now=NOW + DAY)
    assert over.retention == PullRetentionStatus(rules=IN_FORCE)
    assert jobs(over) != []
    edited = look(log(*MONTH), bunker({"daily": 1, "guard": "7d"}))
    assert edited.retention == PullRetentionStatus(rules=IN_FORCE, edited="daily 1, guard 7d", effective_at=NOW + DAY, goes=9)
    assert jobs(edited) == [], "not even what the former rules let go of"
    assert first.again is not None
    assert first.again <= DAY.total_seconds()


def test_a_shorter_guard_is_an_edit_as_well() -> None:
    assert jobs(look(log(*MONTH), bunker({"daily": 3, "guard": "1d"}))) == []


@pytest.mark.parametrize(
    ("pruned", "held", "expected"),
    [
        pytest.param(None, log(*MONTH[-3:], garbage=Garbage(fresh=True)), ["prune"], id="after-a-forget"),
        pytest.param(NOW - 2 * DAY, log(*MONTH, garbage=Garbage(fresh=True)), ["forget"], id="forget-first"),
        pytest.param(NOW - timedelta(hours=23), log(*MONTH, garbage=Garbage(fresh=True)), [], id="once-a-day"),
        pytest.param(NOW - 2 * DAY, log(*MONTH[-3:]), [], id="nothing-to-do"),
        pytest.param(NOW - 2 * DAY, log(*MONTH[-3:], garbage=Garbage(condemned_at=NOW - 6 * DAY)), [], id="grace-of-prune"),
        pytest.param(NOW - 2 * DAY, log(*MONTH[-3:], garbage=Garbage(condemned_at=NOW - 8 * DAY)), ["prune"], id="grace-over"),
        pytest.param(NOW - 2 * DAY, log(*MONTH[-3:], garbage=Garbage(unfinished=True)), ["prune"], id="deletes-begun"),
    ],
)
def test_forgetting_and_pruning_take_turns_once_a_day(pruned: datetime | None, held: Catalogue, expected: list[str]) -> None:
    assert [arguments[0] for arguments in jobs(look(held, bunker(pruned=pruned)))] == expected


def test_only_prune_gets_the_credentials_that_may_delete() -> None:
    s3 = {"bucket": "bunker", "credentialsSecretRef": {"name": "writes"}, "maintenanceCredentialsSecretRef": {"name": "deletes"}}
    for held, secret in ((log(*MONTH), "writes"), (log(*MONTH[-3:], garbage=Garbage(fresh=True)), "deletes")):
        [job] = [one.object for one in look(held, bunker(s3=s3)).actions if isinstance(one, Create)]
        assert {"writes", "deletes"} & {
            one["secret"]["secretName"] for one in job["spec"]["template"]["spec"]["volumes"] if "secret" in one
        } == {secret}


def test_while_the_source_cannot_be_read_nothing_goes() -> None:
    """What is here may be all that there is."""
    assert jobs(look(log(*MONTH), bunker(), readable=False)) == []


def test_a_vault_that_leads_to_another_root_key_there_loses_nothing_here() -> None:
    assert jobs(look(log(*MONTH), bunker(), offered=structs.replace(log(*MONTH), fingerprint="planted"))) == []


def test_without_rules_nothing_goes_and_nothing_is_said() -> None:
    found = look(log(*MONTH), bunker(None))
    assert (jobs(found), found.retention) == ([], None)
    assert find_condition(judge_pull_retention((), found.retention, found.refused, 1, NOW), "RetentionApplied") is None


def test_a_location_whose_keys_are_offline_says_so() -> None:
    keys = [{"name": "safe", "recipient": {"publicKey": "recouprecipient1" + "a" * 58}}]
    found = look(log(*MONTH), bunker(encryption={"keys": keys}))
    assert jobs(found) == []
    assert found.refused is not None
    assert found.refused.reason == "NoKeyInCluster"
    assert look(log(*MONTH[-3:]), bunker(encryption={"keys": TWO_KEYS})).refused is None


def test_a_job_that_failed_is_told_and_a_prune_that_ended_is_noted() -> None:
    held = log(*MONTH)
    [job] = [action.object for action in look(held, bunker()).actions if isinstance(action, Create)]
    found = look(held, bunker(), children=[ended(job, "Failed")])
    told = find_condition(judge_pull_retention((), found.retention, found.refused, 1, NOW), "RetentionApplied")
    assert told is not None
    assert told.status == "False"
    assert told.message.startswith("forget of vault v of namespace shop")
    tidy = log(*MONTH[-3:], garbage=Garbage(fresh=True))
    [job] = [action.object for action in look(tidy, bunker()).actions if isinstance(action, Create)]
    assert look(tidy, bunker(), children=[ended(job, "Complete")]).pruned == {"v": NOW}


def ended(job: Object, kind: str) -> Object:
    status = {"conditions": [{"type": kind, "status": "True", "lastTransitionTime": text(NOW), "reason": "BackoffLimitExceeded"}]}
    return job | {"metadata": job["metadata"] | {"uid": "job-uid", "creationTimestamp": text(NOW)}, "status": status}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (PullRetentionStatus(rules=IN_FORCE), ("True", "Applied", IN_FORCE)),
        (PullRetentionStatus(edited="daily 1", effective_at=NOW, goes=4), ("False", "EditGrace", "4 recovery points of volumes go")),
    ],
)
def test_the_condition_says_which_rules_count(status: PullRetentionStatus, expected: tuple[str, str, str]) -> None:
    told = find_condition(judge_pull_retention((), status, None, 1, NOW), "RetentionApplied")
    assert told is not None
    assert (told.status, told.reason) == expected[:2]
    assert expected[2] in told.message


def test_rules_in_words() -> None:
    asked = bunker({"last": 2, "weekly": 4, "within": "48h"}).spec.pull_retention
    assert asked is not None
    assert describe(asked) == "last 2, weekly 4, within 48h, guard 14d"
    assert settle(bunker(None), 0, NOW) is None
