"""What a recovery point says of its retention, the Jobs that pin it, and when its object goes."""

from datetime import timedelta
from typing import Any

import pytest

from recoup.plan.actions import Delete, Plan
from recoup.plan.observed import Catalogue, Point, SnapshotObserved
from recoup.plan.snapshot import plan_snapshot
from tests.unit.plan.examples import AROUND, CREATED, Object, condition, location, policy, snapshot, text
from tests.unit.plan.test_retention import DAILY, NOW, VAULT, jobs, look, point, points, ruled, settled


def rested(number: int, *, status: Object | None = None, **spec: Any) -> Object:
    """A run of one volume that is over."""
    volume = {"persistentVolumeClaim": "data-0", "uid": "data-0-uid", "state": "Stored", "manifest": f"{number:064x}"}
    over = {
        "conditions": [condition(kind, "True") for kind in ("Captured", "Stored", "Ready")],
        "policyUid": "policy-uid", "location": "frankfurt",
        "vault": VAULT, "run": {}, "startedAt": text(CREATED), "completedAt": text(CREATED), "volumes": [volume],
        "copies": [{"location": "frankfurt", "state": "Complete"}],
    }  # fmt: skip
    return snapshot(f"shop-{number}", created=CREATED, spec=spec, status=over | (status or {}))


def rest(thing: Object, held: tuple[Point, ...], subject: Object | None = None, **catalogue: Any) -> Plan:
    found = Catalogue(vault=VAULT, points=held, **catalogue)
    place = {"frankfurt": location()}
    return plan_snapshot(
        SnapshotObserved(snapshot=thing, around=AROUND, policy=subject, locations=place, catalogues={"frankfurt": found}), NOW
    )


def told(plan: Plan, field: str) -> Any:
    assert plan.status is not None
    return plan.status.get(field)


def in_force(**rules: Any) -> Object:
    return ruled(settled(**rules), **rules)


@pytest.mark.parametrize(
    ("number", "subject", "expected"),
    [
        pytest.param(19, in_force(last=2, daily=3), ["last", "daily"], id="two rules"),
        pytest.param(17, in_force(last=2, daily=3), ["daily"], id="one rule"),
        pytest.param(17, in_force(last=2), None, id="about to go"),
        pytest.param(17, policy(), None, id="no rules"),
        pytest.param(17, None, None, id="policy deleted"),
        pytest.param(17, ruled(look(ruled(last=1), points(DAILY)), last=1), ["edit grace"], id="first rules in their grace"),
    ],
)
def test_a_point_says_what_keeps_it(number: int, subject: Object | None, expected: list[str] | None) -> None:
    assert told(rest(rested(number), points(DAILY), subject), "keptBy") == expected


def test_points_of_another_vault_of_the_policy_count() -> None:
    """The home was away: with the two newer points that were stored elsewhere, the newest one here is the third."""
    newer = tuple(point(30 + number, NOW + timedelta(hours=number)) for number in range(2))
    beside: dict[str, tuple[Catalogue, ...]] = {"frankfurt": (Catalogue(vault="cd" * 16, points=newer),)}
    for count, expected in ((2, None), (3, ["last"])):
        subject = in_force(last=count)
        look_at = SnapshotObserved(
            snapshot=rested(19), around=AROUND, policy=subject, locations={"frankfurt": location()},
            catalogues={"frankfurt": Catalogue(vault=VAULT, points=points(DAILY))}, beside=beside,
        )  # fmt: skip
        assert told(plan_snapshot(look_at, NOW), "keptBy") == expected


def test_a_point_that_an_edit_lets_go_of_says_from_when_on() -> None:
    edited = look(ruled(look(in_force(last=20), points(DAILY)), last=18, editGrace="2h"), points(DAILY))
    subject = ruled(edited, last=18, editGrace="2h")
    assert told(rest(rested(1), points(DAILY), subject), "expiresAt") == text(NOW + timedelta(hours=2))
    assert told(rest(rested(2), points(DAILY), subject), "expiresAt") is None


def test_what_is_not_known_of_the_logs_stays_as_it_was_said() -> None:
    said = rested(1, status={"keptBy": ["daily"], "pinned": {"reason": "so"}})
    plan = plan_snapshot(SnapshotObserved(snapshot=said, around=AROUND, policy=in_force(last=1)), NOW)
    assert (told(plan, "keptBy"), told(plan, "pinned")) == (["daily"], {"reason": "so"})
    assert plan.actions == ()
    older = rest(said, points(DAILY[:1]), in_force(last=1))  # read before the point was there
    assert (told(older, "keptBy"), told(older, "pinned")) == (["daily"], {"reason": "so"})


@pytest.mark.parametrize(
    ("spec", "known", "expected"),
    [
        pytest.param({"pin": True}, None, ["pin", "--renew", "--reason", "spec.pin of BackupSnapshot shop/shop-1"], id="pin"),
        pytest.param({"pin": True}, "for a person", None, id="pinned already"),
        pytest.param(
            {"legalHold": {"by": "legal", "reason": "case 4711"}}, "spec.pin of BackupSnapshot shop/shop-1",
            ["pin", "--renew", "--reason", "legal hold by legal: case 4711 (BackupSnapshot shop/shop-1)"], id="who and why",
        ),
        pytest.param({}, "for a person", None, id="somebody else's pin"),
    ],
)  # fmt: skip
def test_pins_are_carried_out_and_those_of_others_left_alone(spec: Object, known: str | None, expected: list[str] | None) -> None:
    held = (point(1, DAILY[1], pinned=known), *points(DAILY[-1:]))
    found = jobs(look(policy(), held, snapshots=(rested(1, **spec),)))
    assert [without_place(one) for one in found] == ([[*expected, f"{1:064x}"]] if expected else [])


def without_place(arguments: list[str]) -> list[str]:
    return [arguments[0], *arguments[arguments.index("--report") + 2 :]]


def test_a_pin_that_is_no_longer_asked_for_is_taken_back_once_the_log_had_it() -> None:
    held = (point(1, DAILY[1], pinned="spec.pin of BackupSnapshot shop/shop-1"),)
    asked = rested(1, pin=True)
    asked["status"]["pinned"] = told(rest(asked, held, policy()), "pinned")
    assert asked["status"]["pinned"] == {"reason": "spec.pin of BackupSnapshot shop/shop-1"}
    asked["spec"].pop("pin")
    (arguments,) = jobs(look(policy(), held, snapshots=(asked,)))
    assert arguments[0] == "unpin"
    assert told(rest(asked, held, policy()), "pinned") is not None
    assert told(rest(asked, (point(1, DAILY[1]),), policy()), "pinned") is None


def test_an_object_made_again_takes_no_pin_back() -> None:
    """As from Git, or by the catalogue: it knows nothing of the pin, which stays until a person says so."""
    held = (point(1, DAILY[1], pinned="spec.pin of BackupSnapshot shop/shop-1"),)
    assert jobs(look(policy(), held, snapshots=(rested(1),))) == []


def test_nothing_is_forgotten_while_the_log_lacks_a_pin_that_is_asked_for() -> None:
    before = settled(last=2)
    held = points(DAILY)
    waiting = look(ruled(before, last=2), held, snapshots=(rested(1, pin=True),))
    assert [one[0] for one in jobs(waiting)] == ["pin"]
    pinned = (held[0], point(1, DAILY[1], pinned="so"), *held[2:])
    assert [one[0] for one in jobs(look(ruled(before, last=2), pinned, snapshots=(rested(1, pin=True),)))] == ["forget"]


@pytest.mark.parametrize(
    ("held", "forgotten", "goes"),
    [
        pytest.param((), {f"{1:064x}"}, True, id="forgotten"),
        pytest.param((), set(), False, id="not seen, which is no proof"),
        pytest.param(points(DAILY), {f"{1:064x}"}, False, id="still there"),
    ],
)
def test_the_object_goes_only_when_the_log_says_that_its_point_was_forgotten(
    held: tuple[Point, ...], forgotten: set[str], goes: bool
) -> None:
    plan = rest(rested(1), held, policy(), forgotten=frozenset(forgotten))
    assert [type(action) for action in plan.actions] == ([Delete] if goes else [])


def test_the_object_stays_while_another_location_is_not_known_to_have_forgotten_its_point() -> None:
    thing = rested(1)
    thing["status"]["copies"].append({"location": "oregon", "state": "Complete"})
    assert rest(thing, (), policy(), forgotten=frozenset({f"{1:064x}"})).actions == ()
