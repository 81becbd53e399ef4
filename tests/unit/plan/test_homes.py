"""Which location is home for the next run, by how long the first one has been away and by what the others can do."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from recoup.api.backuplocation import BackupLocation
from recoup.api.backuppolicy import AT_HOME, BackupPolicy
from recoup.api.conditions import find_condition
from recoup.api.objects import decode
from recoup.plan.homes import Home, choose_home, is_used, judge_home, own_vault
from recoup.plan.observed import Catalogue, Point
from tests.unit.plan.examples import CREATED, Object, condition, location, namespace, policy

NAMES = ("frankfurt", "basement", "oregon")
AWAY_SINCE = CREATED + timedelta(hours=10)
GOOD = (condition("Reachable", "True"), condition("Conformant", "True"))
NOT_ATOMIC = (condition("Reachable", "True"), condition("Conformant", "False", "NotAtomic", "two writers won"))
AWAY = (condition("Reachable", "False", "LocationUnreachable", "connection refused", since=AWAY_SINCE), condition("Conformant", "True"))


def place(name: str, *conditions: Object, **spec: Any) -> BackupLocation:
    made = location(spec=spec, status={"conditions": list(conditions)})
    made["metadata"] |= {"name": name, "uid": f"{name}-uid"}
    return decode(BackupLocation, made)


def subject(*names: str, **failover: str) -> BackupPolicy:
    return decode(BackupPolicy, policy(locations=[{"name": name} for name in names or NAMES], failover=failover))


def home(
    *, basement: BackupLocation | None = None, oregon: BackupLocation | None = None, after: timedelta = timedelta(hours=2), **failover: str
) -> Home:
    known = {
        "frankfurt": place("frankfurt", *AWAY),
        "basement": basement or place("basement", *NOT_ATOMIC),
        "oregon": oregon or place("oregon", *GOOD),
    }
    return choose_home(subject(**failover), known, namespace(), AWAY_SINCE + after)


def told(found: Home, said: BackupPolicy | None = None) -> tuple[str, str, str]:
    judged = find_condition(judge_home(said or subject(), (), found, AWAY_SINCE + timedelta(hours=2)), AT_HOME)
    assert judged is not None
    return str(judged.status), judged.reason, judged.message


@pytest.mark.parametrize(
    ("after", "name", "due"),
    [("59m59s", "frankfurt", True), ("1h", "oregon", False), ("400d", "oregon", False)],
)
def test_the_policy_goes_on_elsewhere_when_the_stated_time_is_over_and_not_before(after: str, name: str, due: bool) -> None:
    lengths = {"59m59s": timedelta(seconds=3599), "1h": timedelta(hours=1), "400d": timedelta(days=400)}
    found = home(after=lengths[after])
    assert (found.name, found.changes_at) == (name, AWAY_SINCE + timedelta(hours=1) if due else None)


@pytest.mark.parametrize(("after", "name"), [("119m", "oregon"), ("2h", "oregon"), ("2h1s", "frankfurt"), ("52w", "frankfurt")])
def test_the_time_is_the_policy_s_own(after: str, name: str) -> None:
    known = {"frankfurt": place("frankfurt", *AWAY), "oregon": place("oregon", *GOOD)}
    assert choose_home(subject(after=after), known, namespace(), AWAY_SINCE + timedelta(hours=2)).name == name


OTHERS: list[tuple[str, BackupLocation, str]] = [
    ("atomic", place("basement", *GOOD), "basement"),
    ("not atomic", place("basement", *NOT_ATOMIC), "oregon"),
    ("away as well", place("basement", *AWAY), "oregon"),
    ("not probed yet", place("basement"), "oregon"),
    ("only read", place("basement", *GOOD, accessMode="ReadOnly"), "oregon"),
    ("not for this namespace", place("basement", *GOOD, allowedNamespaces={"matchLabels": {"zone": "us"}}), "oregon"),
]


@pytest.mark.parametrize(("basement", "name"), [each[1:] for each in OTHERS], ids=[each[0] for each in OTHERS])
def test_the_next_one_that_can_be_a_home_takes_its_place(basement: BackupLocation, name: str) -> None:
    assert home(basement=basement).name == name


def test_what_is_home_and_why_is_told() -> None:
    status, reason, message = told(home())
    assert (status, reason) == ("False", "HomeAway")
    assert "frankfurt" in message
    assert "oregon" in message
    assert f"{AWAY_SINCE:%Y-%m-%dT%H:%M:%SZ}" in message
    status, reason, message = told(home(after=timedelta(minutes=5)))
    assert (status, reason) == ("True", "HomeUnreachable")
    assert f"{AWAY_SINCE + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}" in message
    status, reason, message = told(home(oregon=place("oregon", *AWAY)))
    assert (status, reason) == ("True", "NoOtherHome")
    assert "basement: two writers won" in message
    assert "oregon: connection refused" in message
    never = subject(mode="Never")
    status, reason, message = told(home(mode="Never"), never)
    assert (status, reason) == ("True", "HomeUnreachable")
    assert "Never" in message


def test_a_home_that_answers_is_home_at_once_and_a_missing_one_is_nobody_s_outage() -> None:
    known = {"frankfurt": place("frankfurt", *GOOD), "oregon": place("oregon", *GOOD)}
    back = choose_home(subject(), known, namespace(), AWAY_SINCE + timedelta(days=9))
    assert (back.name, told(back)[:2]) == ("frankfurt", ("True", "AtHome"))
    del known["frankfurt"]
    assert choose_home(subject(), known, namespace(), AWAY_SINCE + timedelta(days=9)).name == "frankfurt"


def test_a_policy_with_one_location_has_nowhere_to_go_and_no_condition() -> None:
    alone = subject("frankfurt")
    found = choose_home(alone, {"frankfurt": place("frankfurt", *AWAY)}, namespace(), AWAY_SINCE + timedelta(days=9))
    assert found.name == "frankfurt"
    assert judge_home(alone, (), found, AWAY_SINCE) == ()


def a_point(owner: str) -> Point:
    return Point(id="p", session="", manifest="p", taken_at=datetime.fromisoformat("2026-11-01T13:00:00Z"), owner_uid=owner)


def test_a_vault_that_only_another_policy_uses_is_left_to_it() -> None:
    mine: Object = policy()
    run: Object = {"metadata": {}, "status": {"vault": "v"}}
    assert is_used("v", mine, [run], [])
    assert is_used("v", mine, [], [Catalogue(vault="v", points=(a_point("policy-uid"),))])
    assert not is_used("v", mine, [{"metadata": {}, "status": {"vault": "w"}}], [Catalogue(vault="v", points=(a_point("another"),))])


def test_a_vault_is_known_when_its_location_lists_it_and_a_copy_is_no_vault_of_its_own() -> None:
    def vault(**more: object) -> Object:
        return {"id": "a" * 32, "namespace": "shop", "namespaceUid": "shop-uid", "fingerprint": "f", **more}

    assert own_vault(location(status={"vaults": [vault()]}), namespace()) == "a" * 32
    assert own_vault(location(status={"vaults": [vault(replica=True)]}), namespace()) is None
    assert own_vault(location(status={"vaults": [vault(namespaceUid="another")]}), namespace()) is None
    assert own_vault(location(status={}), namespace()) is None
    assert own_vault(None, namespace()) is None
