"""Copies at other locations: what is copied where and when, what stands in the way, and how well the objectives are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from recoup.api.backuplocation import BackupLocation
from recoup.api.backuppolicy import COPIES_MET, REPLICATED, BackupPolicy
from recoup.api.backupsnapshot import BackupSnapshot
from recoup.api.conditions import Condition, find_condition
from recoup.api.objects import decode
from recoup.plan.observed import ApiFailure, Catalogue, Point
from recoup.plan.replicas import COPYING_FOR, Standing, VaultCopies, judge_replicas
from recoup.plan.replication import Places, find_lack, replication_tasks
from recoup.plan.upkeep import TaskPhase, TaskState
from tests.unit.plan.examples import AROUND, CREATED, Object, condition, location, policy, snapshot, text

NOW = CREATED + timedelta(hours=3)
NAMES = ("frankfurt", "oregon", "basement")
REGIONS = {"frankfurt": ("eu", "acme"), "oregon": ("us", "acme"), "basement": ("", "nas")}
NOT_ATOMIC = [condition("Reachable", "True"), condition("Conformant", "False", "NotAtomic", "two writers won")]
AWAY = [condition("Reachable", "False", "LocationUnreachable", "connection refused"), condition("Conformant", "True")]
NO_VAULT = ApiFailure(reason="NoVault", message="the log is empty", at=NOW)


def point(manifest: str, hours: float = 1, revision: str = "") -> Point:
    taken = CREATED + timedelta(hours=hours)
    return Point(id=manifest, session="", manifest=manifest, taken_at=taken, here_at=taken, revision=revision)


def log(*points: Point, forgotten: tuple[str, ...] = (), revision: str = "keys") -> Catalogue:
    return Catalogue(vault="v", fingerprint="fp", points=points, forgotten=frozenset(forgotten), revision=revision)


def place(name: str, conditions: list[Object] | None = None, **spec: Any) -> BackupLocation:
    region, provider = REGIONS[name]
    made = location(
        spec={"region": region or None, "provider": provider, **spec}, status={"conditions": conditions} if conditions else None
    )
    made["metadata"] |= {"name": name, "uid": f"{name}-uid"}
    return decode(BackupLocation, made)


def places(
    logs: dict[str, Catalogue], *, locations: dict[str, BackupLocation] | None = None, failures: dict[str, ApiFailure] | None = None
) -> Places:
    return Places(
        names=NAMES,
        vault="v",
        namespace="shop",
        namespace_labels={},
        locations={name: place(name) for name in NAMES} | (locations or {}),
        catalogues=logs,
        failures=failures or {},
    )


def jobs(found: Places) -> dict[str, list[str]]:
    """The arguments of each Job by the location that it writes to."""
    made = {task.location.metadata.name: task.build(task.job_name, task.labels) for task in replication_tasks(found, AROUND)}
    return {name: job["spec"]["template"]["spec"]["containers"][0]["args"] for name, job in made.items()}


A, B = point("a", 1), point("b", 2)
HOME = log(A, B)


def test_each_location_gets_a_job_for_what_it_lacks() -> None:
    found = jobs(places({"frankfurt": HOME, "oregon": log(A), "basement": HOME}))
    assert list(found) == ["oregon"]
    arguments = found["oregon"]
    assert arguments[0] == "replicate"
    assert arguments[arguments.index("--vault") + 1] == "v"
    assert arguments[arguments.index("--fingerprint") + 1] == "fp"
    assert not any("key" in argument for argument in arguments), "copying takes no key"


def test_a_location_that_holds_nothing_yet_gets_everything_and_one_that_was_not_read_gets_nothing() -> None:
    found = places({"frankfurt": HOME}, failures={"oregon": NO_VAULT})
    assert list(jobs(found)) == ["oregon"]
    lack = find_lack(found, "oregon")
    assert lack is not None
    assert (sorted(lack.manifests), lack.oldest) == (["a", "b"], A.taken_at)
    assert find_lack(found, "basement") is None


def test_the_same_lack_is_the_same_job_and_another_one_is_another() -> None:
    [first] = replication_tasks(places({"frankfurt": HOME, "oregon": log(A)}), AROUND)
    [again] = replication_tasks(places({"frankfurt": log(B, A), "oregon": log(A)}), AROUND)
    [other] = replication_tasks(places({"frankfurt": HOME, "oregon": log()}), AROUND)
    assert first.job_name == again.job_name != other.job_name


@pytest.mark.parametrize(
    ("target", "due"),
    [
        (log(A, B), False),
        (log(A, forgotten=("b",)), False),
        (log(A, B, point("c")), False),
        (log(A, point("b", 2, revision="pinned")), True),
        (log(A, B, revision="older keys"), True),
    ],
    ids=["all", "forgotten there", "more than the home", "changed since", "keys changed since"],
)
def test_what_was_forgotten_is_not_brought_back_and_what_changed_is_carried(target: Catalogue, due: bool) -> None:
    assert bool(jobs(places({"frankfurt": HOME, "oregon": target}))) is due


def test_with_the_home_away_another_location_is_the_source() -> None:
    away = {"frankfurt": place("frankfurt", AWAY)}
    found = jobs(places({"frankfurt": HOME, "oregon": HOME, "basement": log(A)}, locations=away))
    assert list(found) == ["basement"]
    assert found["basement"][found["basement"].index("--from") + 1].startswith("s3://")
    [task] = replication_tasks(places({"frankfurt": HOME, "oregon": HOME, "basement": log(A)}, locations=away), AROUND)
    assert task.round.startswith("oregon ")


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        (place("oregon", AWAY), "LocationUnreachable"),
        (place("oregon", [condition("Reachable", "False", "CredentialsNotFound", "no Secret")]), "CredentialsNotFound"),
        (place("oregon", [condition("Reachable", "True"), condition("Conformant", "Unknown", "NotProbed", "soon")]), "NotProbed"),
        (place("oregon", [condition("Reachable", "True"), condition("Conformant", "False", "StaleReads", "no")]), "StaleReads"),
        (place("oregon", allowedNamespaces={"matchLabels": {"zone": "us"}}), "NamespaceNotAllowed"),
        (place("oregon", accessMode="ReadOnly"), "LocationReadOnly"),
    ],
    ids=["away", "no Secret", "not probed", "unfit", "not for this namespace", "only read"],
)
def test_a_location_in_trouble_gets_no_job_and_says_why_and_the_other_one_gets_its_own(there: BackupLocation, reason: str) -> None:
    found = places({"frankfurt": HOME, "oregon": log(A), "basement": log(A)}, locations={"oregon": there})
    assert list(jobs(found)) == ["basement"]
    standing = judge(found)
    [oregon] = [line for line in standing.replication if line.location == "oregon"]
    assert (str(oregon.state), oregon.reason, oregon.lacking) == ("Blocked", reason, 1)
    replicated = find_condition(standing.conditions, REPLICATED)
    assert replicated is not None
    assert (str(replicated.status), replicated.reason) == ("False", reason)
    assert "oregon" in replicated.message


def test_with_only_the_home_away_what_a_copy_lacks_is_not_known_and_says_why() -> None:
    found = places({"oregon": HOME, "basement": HOME}, locations={"frankfurt": place("frankfurt", AWAY)})
    alone = Places(**{name: getattr(found, name) for name in found.__struct_fields__} | {"names": NAMES[:2]})
    standing = judge(alone)
    assert [(str(line.state), line.reason) for line in standing.replication] == [("Unknown", "LocationUnreachable")]
    told = find_condition(standing.conditions, REPLICATED)
    assert told is not None
    assert "BackupLocation frankfurt can't be reached" in told.message


def test_a_location_that_is_not_atomic_takes_copies() -> None:
    racy = {"basement": place("basement", NOT_ATOMIC)}
    assert list(jobs(places({"frankfurt": HOME, "oregon": HOME, "basement": log()}, locations=racy))) == ["basement"]


def test_a_location_that_does_not_exist_says_so() -> None:
    found = places({"frankfurt": HOME, "basement": HOME})
    gone = Places(**{name: getattr(found, name) for name in found.__struct_fields__} | {"locations": {"frankfurt": place("frankfurt")}})
    assert [line.reason for line in judge(gone).replication] == ["LocationNotFound", "LocationNotFound"]
    assert replication_tasks(gone, AROUND) == []


def test_bandwidths_are_those_of_source_and_target() -> None:
    limited = {
        "frankfurt": place("frankfurt", limits={"downloadBandwidth": "50Mi", "uploadBandwidth": "1Mi"}),
        "oregon": place("oregon", limits={"uploadBandwidth": "2Mi", "downloadBandwidth": "9Mi"}),
    }
    arguments = jobs(places({"frankfurt": HOME, "oregon": log()}, locations=limited))["oregon"]
    assert arguments[arguments.index("--upload-limit") + 1] == str(2 << 20)
    assert arguments[arguments.index("--download-limit") + 1] == str(50 << 20)


def judge(
    found: Places,
    *,
    states: dict[tuple[str, str], TaskState] | None = None,
    runs: tuple[Object, ...] = (),
    objectives: dict[str, int] | None = None,
) -> Standing:
    said = decode(BackupPolicy, policy(locations=[{"name": name} for name in NAMES], objectives=objectives or {}))
    return judge_replicas(said, (), [VaultCopies(found, states or {})], tuple(decode(BackupSnapshot, run) for run in runs), NOW)


def run(manifest: str, ago: timedelta) -> Object:
    """A run of one volume that is whole; its ledger knows the home."""
    done = text(NOW - ago)
    status = {
        "completedAt": done,
        "volumes": [{"persistentVolumeClaim": "data", "uid": "u", "state": "Stored", "manifest": manifest}],
        "copies": [
            {"location": "frankfurt", "state": "Complete", "at": done, "region": "eu", "provider": "acme"},
            {"location": "oregon", "state": "Pending", "region": "us", "provider": "acme"},
            {"location": "basement", "state": "Pending", "provider": "nas"},
        ],
    }
    return snapshot(f"run-{manifest}", created=NOW - ago, status=status)


LATE, FRESH = COPYING_FOR + timedelta(minutes=1), timedelta(minutes=5)


def met(standing: Standing) -> Condition:
    found = find_condition(standing.conditions, COPIES_MET)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("logs", "asked", "status", "reason", "words"),
    [
        (
            {"oregon": HOME, "basement": HOME},
            {"minCopies": 3, "minRegions": 2, "minProviders": 2},
            "True",
            "CopiesMet",
            "run-b is at frankfurt",
        ),
        ({"oregon": HOME, "basement": log(A)}, {"minCopies": 3}, "False", "TooFewCopies", "2 copies (frankfurt, oregon), objective 3"),
        ({"oregon": log(A), "basement": HOME}, {"minRegions": 2}, "False", "TooFewRegions", "1 regions (eu), objective 2"),
        ({"oregon": HOME, "basement": log(A)}, {"minProviders": 2}, "False", "TooFewProviders", "1 providers (acme), objective 2"),
    ],
)
def test_copies_met_names_the_rule_that_fails_and_the_location(
    logs: dict[str, Catalogue], asked: dict[str, int], status: str, reason: str, words: str
) -> None:
    found = met(judge(places({"frankfurt": HOME} | logs), runs=(run("a", LATE * 2), run("b", LATE)), objectives=asked))
    assert (str(found.status), found.reason) == (status, reason)
    assert words in found.message
    if status == "False":
        assert "Pending" in found.message


def test_copies_met_says_since_when_a_location_is_away() -> None:
    found = places({"frankfurt": HOME, "oregon": log(A), "basement": HOME}, locations={"oregon": place("oregon", AWAY)})
    message = met(judge(found, runs=(run("b", LATE),), objectives={"minCopies": 3})).message
    assert f"can't be reached since {text(CREATED)}: connection refused" in message


def test_a_new_point_on_its_way_does_not_break_what_the_one_before_it_keeps() -> None:
    logs = places({"frankfurt": HOME, "oregon": log(A), "basement": log(A)})
    standing = judge(logs, runs=(run("a", LATE), run("b", FRESH)), objectives={"minCopies": 3})
    assert met(standing).reason == "CopiesMet"
    assert standing.copies == "3/3"
    alone = judge(logs, runs=(run("b", FRESH),), objectives={"minCopies": 3})
    assert (met(alone).reason, alone.copies) == ("TooFewCopies", "1/3")
    assert str(met(judge(logs, objectives={"minCopies": 3})).status) == "Unknown"


def test_a_failed_copy_says_why_and_one_under_way_says_how_much() -> None:
    logs = places({"frankfurt": HOME, "oregon": log(A), "basement": log()})
    states = {
        ("replicate", "oregon"): TaskState(phase=TaskPhase.FAILED, reason="SourceForked", message="two histories"),
        ("replicate", "basement"): TaskState(phase=TaskPhase.RUNNING),
    }
    standing = judge(logs, states=states)
    assert [(str(line.state), line.lacking, line.behind_since) for line in standing.replication] == [
        ("Failed", 1, B.taken_at), ("Copying", 2, A.taken_at),
    ]  # fmt: skip
    replicated = find_condition(standing.conditions, REPLICATED)
    assert replicated is not None
    assert (replicated.reason, replicated.message) == ("SourceForked", "oregon: two histories")
