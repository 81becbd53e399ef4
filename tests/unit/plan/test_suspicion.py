"""What a policy and its recovery points make of a suspicious change: what is said, what is not forgotten, and who ends it."""

from typing import Any

import pytest

from recoup.api.backupsnapshot import BackupSnapshot
from recoup.api.objects import decode
from recoup.plan.actions import Plan
from recoup.plan.observed import Catalogue, Point
from recoup.plan.suspicion import accepted_manifests, figures_of
from recoup.suspicion import Earlier, Figures
from tests.unit.plan.examples import Object, location, policy
from tests.unit.plan.test_keeping import rest, rested
from tests.unit.plan.test_retention import DAILY, applied, jobs, look, point, points, ruled, settled

MIB = 1 << 20
BEFORE = {"filesTotal": 100, "bytesTotal": 50 * MIB, "bytesNew": 60 * MIB, "bytesStored": 20 * MIB}
LAST = Earlier(100, 50 * MIB, 60 * MIB, 20 * MIB)
EMPTY = Figures(0, 0, 0, 0, LAST)
FINE = Figures(100, 50 * MIB, 0, 0, LAST)
VOLUME = {"persistentVolumeClaim": "data-0", "uid": "data-0-uid", "state": "Stored", "filesTotal": 0, "bytesTotal": 0}


def emptied(number: int, **spec: Any) -> Object:
    """The BackupSnapshot of the run that found its volume empty."""
    return rested(number, status={"volumes": [VOLUME | {"manifest": f"{number:064x}", "before": BEFORE}]}, **spec)


def held(number: int, **more: Any) -> tuple[Point, ...]:
    """A point a day; one of them found its volume empty."""
    return tuple(point(each, at, figures=EMPTY if each == number else FINE, **more) for each, at in enumerate(DAILY))


def said(plan: Plan, kind: str = "Suspicious") -> tuple[str, str, str] | None:
    assert plan.status is not None
    return next(((one["status"], one["reason"], one["message"]) for one in plan.status["conditions"] if one["type"] == kind), None)


def test_the_recovery_point_says_so_with_the_figures_and_what_to_do() -> None:
    assert said(rest(rested(3), points(DAILY), policy())) is None
    found = said(rest(emptied(3), points(DAILY), policy()))
    assert found is not None
    assert found[:2] == ("True", "SourceEmpty")
    assert found[2].startswith("PVC data-0: the source is empty: 100 files of 52428800 bytes before, 0 files of 0 bytes now")
    assert "spec.accept {by, reason}" in found[2]


def test_who_accepted_it_stands_there() -> None:
    found = said(rest(emptied(3, accept={"by": "ann", "reason": "moved to data-1"}), points(DAILY), policy()))
    assert found is not None
    assert found[:2] == ("False", "Accepted")
    assert found[2].startswith("accepted by ann: moved to data-1; PVC data-0: the source is empty")


@pytest.mark.parametrize(
    ("subject", "run", "expected"),
    [
        pytest.param(policy(suspiciousChange={"action": "Ignore"}), {}, False, id="ignored"),
        pytest.param(None, {}, True, id="policy gone: by its words when the run began"),
        pytest.param(None, {"suspiciousChange": {"action": "Ignore"}}, False, id="policy gone, and it ignored"),
        pytest.param(policy(suspiciousChange={"lostBytes": 90}), {"suspiciousChange": {"action": "Ignore"}}, True, id="as it is now"),
    ],
)
def test_the_policy_as_it_is_now_decides(subject: Object | None, run: Object, expected: bool) -> None:
    thing = emptied(3)
    thing["status"]["run"] = run
    assert (said(rest(thing, points(DAILY), subject)) is not None) is expected


def test_nothing_of_the_volume_is_forgotten_while_it_is_held() -> None:
    """Shown to fail without `held=` in forgetting._at_location: then a forget Job is made, which the log alone would have to stop."""
    before = settled(last=2)
    plan = look(ruled(before, last=2), held(18), snapshots=(emptied(18),))
    assert jobs(plan) == []
    assert applied(plan)[:2] == ("False", "SuspiciousChange")
    found = said(plan)
    assert found is not None
    assert found[:2] == ("True", "SourceEmpty")
    assert found[2].startswith("BackupSnapshot shop-18, PVC data-0: the source is empty")
    assert plan.status is not None
    (line,) = plan.status["suspicious"]
    assert (line["snapshot"], line["manifest"], line["uid"], line["reason"]) == ("shop-18", f"{18:064x}", "data-0-uid", "SourceEmpty")
    assert plan.status["retention"][0]["keeps"] == 20


def test_an_older_point_of_a_held_volume_says_what_keeps_it() -> None:
    subject = ruled(look(ruled(settled(last=2), last=2), held(18), snapshots=(emptied(18),)), last=2)
    kept = {number: rest(rested(number), held(18), subject).status for number in (1, 19)}
    assert {number: status and status.get("keptBy") for number, status in kept.items()} == {1: ["suspicious-change"], 19: ["last"]}


def test_without_its_object_the_log_alone_holds_the_volume() -> None:
    plan = look(ruled(settled(last=2), last=2), held(18))
    found = said(plan)
    assert (jobs(plan), found is not None and found[2].startswith(f"recovery point {18:064x}"[:31])) == ([], True)


def test_before_any_log_has_it_the_object_alone_holds_the_volume_and_others_go_on() -> None:
    others = tuple(point(100 + number, at, volume="data-1-uid", figures=FINE) for number, at in enumerate(DAILY))
    late = emptied(19)
    plan = look(ruled(settled(last=2), last=2), (*held(-1)[:19], *others), snapshots=(late,))
    (arguments,) = jobs(plan)
    assert arguments[-2:] == ["--volume", "data-1-uid"]
    assert "--hold-suspicious" in arguments


def test_when_it_is_accepted_the_job_is_told_and_all_goes_by_the_rules() -> None:
    accepted = emptied(18, accept={"by": "ann", "reason": "moved"})
    plan = look(ruled(settled(last=2), last=2), held(18), snapshots=(accepted,), accepted=accepted_manifests((accepted,)))
    (arguments,) = jobs(plan)
    assert " ".join(arguments).endswith(
        f"--hold-suspicious --lost-bytes 50 --lost-files 50 --rewritten 25 --stored-share 95 --accept {18:064x}"
    )
    assert (said(plan), applied(plan)[0]) == (None, "True")


def test_of_two_each_has_to_be_accepted() -> None:
    two = tuple(
        point(number, at, figures=EMPTY if number in (10, 18) else FINE) for number, at in enumerate(DAILY)
    )  # fmt: skip
    accepted = emptied(18, accept={"by": "ann", "reason": "moved"})
    plan = look(ruled(settled(last=2), last=2), two, snapshots=(accepted, emptied(10)), accepted=accepted_manifests((accepted,)))
    assert jobs(plan) == []
    assert plan.status is not None
    assert [line["snapshot"] for line in plan.status["suspicious"]] == ["shop-10"]


@pytest.mark.parametrize("change", [{"action": "Ignore"}, {"lostBytes": 100, "lostFiles": 100}], ids=["ignored", "higher thresholds"])
def test_thresholds_are_the_policys(change: Object) -> None:
    shrunk = tuple(point(number, at, figures=Figures(30, 20 * MIB, 0, 0, LAST)) for number, at in enumerate(DAILY))
    assert jobs(look(ruled(settled(last=2), last=2), shrunk)) == []
    subject = policy(retention={"last": 2}, suspiciousChange=change, status=settled(last=2).status)
    assert len(jobs(look(subject, shrunk))) == 1


def test_what_was_forgotten_by_a_person_holds_nothing() -> None:
    known = Catalogue(vault="ab" * 16, points=held(-1)[:18], forgotten=frozenset({f"{18:064x}"}))
    plan = look(ruled(settled(last=2), last=2), (), snapshots=(emptied(18),), catalogues={"frankfurt": known})
    assert (said(plan), len(jobs(plan))) == (None, 1)


def test_a_copy_that_has_it_holds_the_home_too() -> None:
    places = {
        "frankfurt": location(),
        "oregon": location() | {"metadata": location()["metadata"] | {"name": "oregon", "uid": "oregon-uid"}},
    }
    subject = policy(retention={"last": 2}, locations=[{"name": "frankfurt"}, {"name": "oregon"}], status=settled(last=2).status)
    home, copy = (Catalogue(vault="ab" * 16, points=found) for found in (held(-1)[:18], held(18)))
    plan = look(subject, (), locations=places, catalogues={"frankfurt": home, "oregon": copy})
    assert [arguments[0] for arguments in jobs(plan) if arguments[0] == "forget"] == []


def test_figures_of_a_volume_are_there_once_it_is_stored() -> None:
    stored = decode(BackupSnapshot, emptied(3)).status.volumes[0]
    assert figures_of(stored) == Figures(0, 0, 0, None, LAST)
    waiting = emptied(3)
    del waiting["status"]["volumes"][0]["manifest"]
    assert figures_of(decode(BackupSnapshot, waiting).status.volumes[0]) is None
