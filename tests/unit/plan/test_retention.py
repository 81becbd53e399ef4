"""Retention as a policy plans it: which Jobs its rules ask for, what an edit shows before it counts, and that nothing else goes."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoup.plan.actions import Create, Plan
from recoup.plan.forgetting import needs_points
from recoup.plan.observed import ApiFailure, Catalogue, ClaimRecord, Garbage, Point
from recoup.plan.policy import plan_policy
from recoup.plan.policy_observed import PolicyObserved, VaultElsewhere
from recoup.plan.policy_upkeep import wants_catalogues
from recoup.retention import Candidate, Rules, decide
from tests.unit.plan.examples import AROUND, CREATED, Object, claim, location, namespace, policy, snapshot, text

VAULT = "ab" * 16
NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
DAILY = tuple(NOW - timedelta(days=back) for back in range(20, 0, -1))


def point(number: int, at: datetime, *, owner: str = "policy-uid", volume: str = "data-0-uid", **more: Any) -> Point:
    manifest = f"{number:064x}"
    run = f"run-{owner}-{number}"
    return Point(
        id=manifest, session=manifest[:32], manifest=manifest, taken_at=at, policy_uid=owner, owner_uid=owner, order=number,
        snapshot=f"shop-{number}", snapshot_uid=run, source=ClaimRecord(persistent_volume_claim_uid=volume), **more,
    )  # fmt: skip


def points(times: tuple[datetime, ...], **more: Any) -> tuple[Point, ...]:
    return tuple(point(number, at, **more) for number, at in enumerate(times))


def look(subject: Object, held: tuple[Point, ...], now: datetime = NOW, *, garbage: Garbage | None = None, **more: Any) -> Plan:
    catalogue = Catalogue(vault=VAULT, points=held, garbage=garbage or Garbage())
    defaults: dict[str, Any] = {
        "namespace": namespace(), "location": location(), "locations": {"frankfurt": location()}, "claims": (claim("data-0"),),
        "vault": VAULT, "vault_ready": True, "catalogues": {"frankfurt": catalogue},
    }  # fmt: skip
    return plan_policy(PolicyObserved(around=AROUND, policy=subject, **defaults | more), now)


def ruled(before: Plan | None = None, generation: int = 1, **rules: Any) -> Object:
    return policy(retention=rules, generation=generation, status=before.status if before else None)


def jobs(plan: Plan) -> list[list[str]]:
    made = [action.object for action in plan.actions if isinstance(action, Create) and action.kind == "Job"]
    return [job["spec"]["template"]["spec"]["containers"][0]["args"] for job in made]


def told(plan: Plan) -> Object:
    assert plan.status is not None
    (line,) = plan.status["retention"]
    found: Object = line
    return found


def applied(plan: Plan) -> tuple[str, str, str]:
    assert plan.status is not None
    found = next(one for one in plan.status["conditions"] if one["type"] == "RetentionApplied")
    return found["status"], found["reason"], found["message"]


def settled(**rules: Any) -> Plan:
    """The rules were given before there was anything to let go of."""
    return look(ruled(**rules), points(DAILY[-1:]))


def test_without_rules_nothing_is_ever_forgotten() -> None:
    plan = look(policy(), points(DAILY), garbage=Garbage(fresh=True))
    assert (jobs(plan), plan.status and "retention" in plan.status) == ([], False)
    assert not needs_points(policy(), ())


def test_a_forget_job_carries_the_rules_and_the_generation_and_no_list_of_points() -> None:
    before = settled(last=2, daily=3, within="36h", minVerified=2)
    (arguments,) = jobs(look(ruled(before, last=2, daily=3, within="36h", minVerified=2), points(DAILY)))
    assert arguments[0] == "forget"
    assert " ".join(arguments).endswith(
        "--maintenance-keys /recoup/maintenance --report /dev/termination-log --policy policy-uid --policy-generation 1"
        " --last 2 --daily 3 --within 129600s --min-verified 2 --time-zone UTC"
        " --hold-suspicious --lost-bytes 50 --lost-files 50 --rewritten 25 --stored-share 95"
    )
    assert not any(one.manifest in arguments for one in points(DAILY))


OTHER = "cd" * 16
NOTHING = ApiFailure(reason="NoVault", message="nothing of it is there", at=NOW)


def both_vaults(subject: Object, first: tuple[Point, ...], second: tuple[Point, ...], **more: Any) -> Plan:
    """The home was away once: the policy has another vault, whose home is oregon; frankfurt holds both."""
    oregon = location()
    oregon["metadata"] |= {"name": "oregon", "uid": "oregon-uid"}
    locations = {"frankfurt": location(), "oregon": oregon}
    held = {name: Catalogue(vault=VAULT, points=first) for name in locations}
    other = Catalogue(vault=OTHER, points=second, garbage=Garbage(fresh=True))
    defaults: dict[str, Any] = {"catalogues": dict.fromkeys(locations, other)}
    elsewhere = VaultElsewhere(home="oregon", vault=OTHER, **defaults | more)
    subject["spec"]["locations"] = [{"name": name} for name in locations]
    return look(subject, (), locations=locations, catalogues=held, elsewhere=(elsewhere,))


def forgets(plan: Plan) -> list[tuple[str, str, list[str]]]:
    """Location and vault of each forget Job, and the other vaults that count."""
    made = [action.object for action in plan.actions if isinstance(action, Create) and action.kind == "Job"]
    found = []
    for job in made:
        labels, pod = job["metadata"]["labels"], job["spec"]["template"]["spec"]
        if labels["recoup.dev/upkeep"] == "forget":
            secrets = {volume["name"]: volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
            arguments = pod["containers"][0]["args"]
            besides = [one for number, one in enumerate(arguments) if arguments[number - 1] == "--beside"]
            mounted = {
                mount["mountPath"]: secrets[mount["name"]] for mount in pod["containers"][0]["volumeMounts"] if mount["name"] in secrets
            }
            assert secrets["maintenance"] == f"maintenance-{labels['recoup.dev/upkeep-vault']}"
            found.append((labels["recoup.dev/owner-name"], labels["recoup.dev/upkeep-vault"], [mounted[path] for path in besides]))
    return found


def test_the_points_of_both_vaults_are_one_policys() -> None:
    """`last 3` of eight days, of which three were stored elsewhere: not three of each vault, but three in all."""
    times = DAILY[-8:]
    first = tuple(point(number, at) for number, at in enumerate(times) if number not in {3, 4, 6})
    second = tuple(point(number, at) for number, at in enumerate(times) if number in {3, 4, 6})
    settled_here = both_vaults(ruled(last=3), first[-1:], ())
    plan = both_vaults(ruled(settled_here, last=3), first, second)
    assert plan.status is not None
    assert {line["location"]: line["keeps"] for line in plan.status["retention"]} == {"frankfurt": 3, "oregon": 3}
    assert sorted(forgets(plan)) == [
        (name, vault, [f"maintenance-{other}"]) for name in ("frankfurt", "oregon") for vault, other in ((VAULT, OTHER), (OTHER, VAULT))
    ]
    alone = both_vaults(ruled(settled_here, last=3), first[-3:], second)
    assert forgets(alone)[0][1:] == (VAULT, [f"maintenance-{OTHER}"]), "what went elsewhere takes the place of one that is here"
    kept = both_vaults(ruled(settled_here, last=3), (first[-2], first[-1]), (second[-1],))
    assert forgets(kept) == []
    assert [arguments[0] for arguments in jobs(kept)] == ["prune", "prune"], "the other vault is tidied up as well"


@pytest.mark.parametrize(
    "missing",
    [
        pytest.param({"maintenance_ready": False}, id="its keys are not handed out"),
        pytest.param({"catalogues": {}, "catalogue_failures": {"frankfurt": NOTHING}}, id="not copied there yet"),
    ],
)  # fmt: skip
def test_a_vault_that_cannot_be_counted_makes_more_stay(missing: dict[str, Any]) -> None:
    first, second = points(DAILY[:3]), tuple(point(10 + number, at) for number, at in enumerate(DAILY[-3:]))
    settled_here = both_vaults(ruled(last=3), first[-1:], ())
    plan = both_vaults(ruled(settled_here, last=3), first, second, **missing)
    assert forgets(plan) == []
    assert applied(plan)[0] == "True"


def test_no_job_where_nothing_would_go_and_none_for_other_policies_points() -> None:
    before = settled(last=2)
    assert jobs(look(ruled(before, last=2), points(DAILY[-2:]))) == []
    assert jobs(look(ruled(before, last=2), (*points(DAILY, owner="another-uid"), *points(DAILY[-2:])))) == []


def test_another_policys_job_is_waited_for_and_not_removed() -> None:
    before = settled(last=2)
    first = look(ruled(before, last=2), points(DAILY))
    (job,) = [action.object for action in first.actions if isinstance(action, Create)]
    job["metadata"] |= {"uid": "j", "creationTimestamp": text(NOW)}
    job["metadata"]["labels"]["recoup.dev/upkeep-policy"] = "another-uid"
    done = job | {"status": {"conditions": [{"type": "Failed", "status": "True", "lastTransitionTime": text(NOW)}]}}
    plan = look(ruled(before, last=2), points(DAILY[-2:]), upkeep_jobs=(done,))
    assert plan.actions == ()
    assert applied(plan)[0] == "True"


@pytest.mark.parametrize("status", [None, "kept"], ids=["rules for the first time", "narrower than before"])
def test_an_edit_shows_what_goes_and_counts_only_when_its_grace_is_over(status: str | None) -> None:
    before = look(ruled(settled(last=20), last=20), points(DAILY)) if status else None
    edited = ruled(before, last=18, editGrace="2h", generation=2)
    pending = look(edited, points(DAILY), snapshots=(stored("shop-0", 0), stored("shop-1", 1)))
    assert jobs(pending) == []
    line = told(pending)
    assert (line["expiring"], line["expiringTotal"], line["keeps"]) == (["shop-1", "shop-0"], 2, 20)
    assert (line["since"], line["effectiveAt"]) == (text(NOW), text(NOW + timedelta(hours=2)))
    assert applied(pending)[:2] == ("False", "EditGrace")
    assert text(NOW + timedelta(hours=2)) in applied(pending)[2]
    still = look(edited | {"status": pending.status}, points(DAILY), NOW + timedelta(minutes=119))
    assert (jobs(still), told(still)["since"]) == ([], text(NOW))
    assert still.requeue_after is not None
    assert still.requeue_after <= 60
    after = look(edited | {"status": still.status}, points(DAILY), NOW + timedelta(hours=2))
    assert len(jobs(after)) == 1
    assert "effectiveAt" not in told(after)
    assert applied(after)[0] == "True"


def stored(name: str, number: int, **spec: Any) -> Object:
    volume = {"persistentVolumeClaim": "data-0", "uid": "data-0-uid", "state": "Stored", "manifest": f"{number:064x}"}
    status = {"completedAt": text(NOW), "takenAt": text(NOW), "volumes": [volume]}
    return snapshot(name, created=CREATED, spec=spec, status=status)


def test_an_edit_that_is_undone_costs_nothing_and_flaps_never_get_through() -> None:
    wide: dict[str, Any] = {"last": 20, "editGrace": "1h"}
    narrow: dict[str, Any] = {"last": 2, "editGrace": "1h"}
    plan, now = look(ruled(settled(**wide), **wide), points(DAILY)), NOW
    for flap in range(40):  # every six minutes for four hours: the narrow rules never stand for an hour
        now = NOW + timedelta(minutes=6 * flap)
        plan = look(ruled(plan, generation=2 + flap, **(wide if flap % 2 else narrow)), points(DAILY), now)
        assert jobs(plan) == []
    plan = look(ruled(plan, generation=99, **wide), points(DAILY), now)
    assert (applied(plan)[0], told(plan)["keeps"], "expiring" in told(plan)) == ("True", 20, False)


def test_a_status_that_was_lost_lets_go_of_nothing_at_once() -> None:
    """As after a restored etcd, or a policy made again from Git: the rules are new to this object."""
    assert jobs(look(ruled(last=2), points(DAILY))) == []


def test_wider_rules_and_another_grace_count_at_once() -> None:
    before = settled(last=2)
    assert told(look(ruled(before, last=5, editGrace="1h"), points(DAILY[-3:])))["inForce"]["last"] == 5


def test_a_location_may_keep_by_rules_of_its_own() -> None:
    places = [{"name": "frankfurt", "retention": {"monthly": 60}}]
    plan = look(policy(retention={"last": 1}, locations=places), points(DAILY))
    assert told(plan)["edited"] == {"monthly": 60}


@pytest.mark.parametrize(
    "observed",
    [
        pytest.param({"catalogues": {}, "catalogue_failures": {"frankfurt": ApiFailure(reason="Gone", message="away", at=NOW)}}, id="away"),
        pytest.param({"maintenance_ready": False}, id="no keys"),
    ],
)
def test_what_cannot_be_seen_or_opened_lets_go_of_nothing_and_is_told(observed: dict[str, Any]) -> None:
    before = settled(last=2)
    plan = look(ruled(before, last=2), points(DAILY), **observed)
    assert [one for one in jobs(plan) if one[0] != "keys-job"] == []
    assert applied(plan)[0] == "False"
    assert told(plan) == told(before)


def test_a_vault_of_an_earlier_release_has_its_keys_handed_out_again_and_its_backups_go_on() -> None:
    plan = look(ruled(settled(last=2), last=2), points(DAILY), maintenance_ready=False)
    assert [arguments[0] for arguments in jobs(plan)] == ["keys-job"]
    assert plan.status is not None
    assert next(one for one in plan.status["conditions"] if one["type"] == "Ready")["reason"] != "MakingKeys"


def test_a_suspended_policy_asks_for_nothing() -> None:
    before = settled(last=2)
    subject = ruled(before, last=2)
    subject["spec"]["suspend"] = True
    plan = look(subject, points(DAILY), garbage=Garbage(fresh=True))
    assert (jobs(plan), applied(plan)[:2], told(plan)) == ([], ("False", "Suspended"), told(before))
    assert not wants_catalogues(PolicyObserved(around=AROUND, policy=subject, vault_ready=True, locations={"frankfurt": location()}))


def test_verified_points_stay() -> None:
    held = tuple(point(number, at, verified=number in {3, 5}) for number, at in enumerate(DAILY))
    before = settled(last=2, minVerified=2)
    plan = look(ruled(before, last=2, minVerified=2), held)
    assert told(plan)["keeps"] == 4


@pytest.mark.parametrize(
    ("garbage", "pruned", "expected"),
    [
        pytest.param(Garbage(), None, False, id="nothing to find"),
        pytest.param(Garbage(fresh=True), None, True, id="something was forgotten"),
        pytest.param(Garbage(fresh=True), NOW - timedelta(hours=23), False, id="not twice a day"),
        pytest.param(Garbage(fresh=True), NOW - timedelta(hours=24), True, id="the next day"),
        pytest.param(Garbage(condemned_at=NOW - timedelta(days=6)), None, False, id="in its grace"),
        pytest.param(Garbage(condemned_at=NOW - timedelta(days=7)), NOW - timedelta(days=6), True, id="grace over"),
        pytest.param(Garbage(unfinished=True), None, True, id="deletes left over"),
    ],
)
def test_prune_runs_once_a_day_and_only_if_it_finds_something(garbage: Garbage, pruned: datetime | None, expected: bool) -> None:
    before = settled(last=2)
    assert before.status is not None
    if pruned is not None:
        before.status["retention"][0]["prune"] = {"at": text(pruned)}
    plan = look(ruled(before, last=2), points(DAILY[-2:]), garbage=garbage)
    assert [arguments[0] for arguments in jobs(plan)] == (["prune"] if expected else [])


def test_only_prune_gets_the_credentials_that_delete() -> None:
    s3 = location()["spec"]["s3"] | {"maintenanceCredentialsSecretRef": {"name": "may-delete"}}
    place = location(spec={"s3": s3})
    before = settled(last=2)
    secrets = []
    for held, garbage in ((points(DAILY), None), (points(DAILY[-2:]), Garbage(fresh=True))):
        plan = look(ruled(before, last=2), held, garbage=garbage, location=place, locations={"frankfurt": place})
        (job,) = [action.object for action in plan.actions if isinstance(action, Create)]
        volumes = job["spec"]["template"]["spec"]["volumes"]
        secrets.append(sorted(volume["secret"]["secretName"] for volume in volumes if "secret" in volume))
    assert secrets == [["frankfurt-s3", f"maintenance-{VAULT}"], [f"maintenance-{VAULT}", "may-delete"]]


def test_years_of_slots_over_clock_changes_end_with_what_the_rules_say() -> None:
    """Four slots a day for three years, retention after each day: what is left is exact to the slot, as if all were judged at once."""
    berlin = ZoneInfo("Europe/Berlin")
    rules = {"last": 3, "daily": 7, "weekly": 4, "monthly": 12, "yearly": 5}
    schedule = {"cron": "0 */6 * * *", "timeZone": "Europe/Berlin"}
    held: tuple[Point, ...] = ()
    status: Object | None = None
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(3 * 365 * 4):
        at += timedelta(hours=6)
        held = (*held, point(number, at))
        if number % 4 == 3:
            plan = look(policy(schedule=schedule, retention=rules, status=status), held, at)
            status = plan.status
            gone = [one for one in jobs(plan) if one[0] == "forget"]
            if gone:
                held = kept_of(held, rules, berlin)
    local = [(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=6 * (1 + number))).astimezone(berlin) for number in range(3 * 365 * 4)]
    expected = set(local[-3:])
    for name, period in PERIODS.items():
        newest = {period(slot): slot for slot in local}  # the last of each period, in order
        expected |= set(list(newest.values())[-rules[name] :])
    assert {one.taken_at.astimezone(berlin) for one in held} == expected


PERIODS: dict[str, Callable[[datetime], object]] = {
    "daily": lambda slot: slot.date(),
    "weekly": lambda slot: slot.isocalendar()[:2],
    "monthly": lambda slot: (slot.year, slot.month),
    "yearly": lambda slot: slot.year,
}


def kept_of(held: tuple[Point, ...], rules: dict[str, int], zone: ZoneInfo) -> tuple[Point, ...]:
    decisions = decide([Candidate(one.manifest, one.taken_at, one.order) for one in held], Rules(**rules), zone)  # type: ignore[arg-type]
    stays = {one.id for one in decisions if one.keep}
    return tuple(one for one in held if one.manifest in stays)


@settings(max_examples=60, deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(1, 25), st.integers(0, 300)), min_size=1, max_size=12),
    lost=st.sets(st.integers(0, 11)),
)
def test_whatever_is_edited_nothing_goes_that_was_not_shown_for_its_grace(edits: list[tuple[int, int]], lost: set[int]) -> None:
    """Edits at any times, statuses lost in between: a Job starts only by rules that stood for an hour, or that keep more than such."""
    status: Object | None = None
    now, since, asked = NOW, NOW, 0
    counts: int | None = None
    for step, (last, minutes) in enumerate(edits):
        now += timedelta(minutes=minutes)
        for _look in range(2):
            now += timedelta(minutes=5)
            since, asked = (since if asked == last else now), last
            wider = counts is not None and last >= counts
            counts = last if wider or now - since >= timedelta(hours=1) else counts
            plan = look(policy(retention={"last": last, "editGrace": "1h"}, generation=step + 1, status=status), points(DAILY), now)
            assert not jobs(plan) or counts == last
            status, counts = (None, None) if step in lost else (plan.status, counts)


EACH_RULE = [("last", 3), ("hourly", 5), ("daily", 7), ("weekly", 4), ("monthly", 12), ("yearly", 2), ("within", "36h"), ("minVerified", 3)]
EVERY_ELEVEN_HOURS = tuple(NOW - timedelta(hours=11 * back) for back in range(1600, 0, -1))


@pytest.mark.parametrize("own", [False, True], ids=["of the policy", "of the location"])
@pytest.mark.parametrize(("rule", "value"), EACH_RULE)
def test_each_rule_is_shown_as_an_edit_and_then_in_force_and_in_the_jobs_arguments(rule: str, value: Any, *, own: bool) -> None:
    held = points(EVERY_ELEVEN_HOURS, verified=True)
    rules = ({"last": 1} if rule == "minVerified" else {}) | {rule: value}
    zoned = rules | {"timeZone": "Asia/Kolkata"}

    def asked(given: Object, before: Plan | None) -> Object:
        where = {"locations": [{"name": "frankfurt", "retention": given}]} if own else {"retention": given}
        return policy(schedule={"every": "11h", "timeZone": "Asia/Kolkata"}, status=before.status if before else None, **where)

    before = look(asked({"last": 1600}, None), held)
    pending = look(asked(rules, before), held)
    assert (told(pending)["inForce"], told(pending)["edited"]) == ({"last": 1600, "timeZone": "Asia/Kolkata"}, zoned)
    after = look(asked(rules, pending), held, NOW + timedelta(hours=25))
    assert (told(after)["inForce"], "edited" in told(after)) == (zoned, False)
    in_words = {"within": "within 1 day, 12:00:00, min-verified 1", "minVerified": "last 1, min-verified 3"}
    assert told(after)["rules"] == in_words.get(rule, f"{rule} {value}, min-verified 1")
    (forget,) = [arguments for arguments in jobs(after) if arguments[0] == "forget"]
    flag = {"minVerified": "--min-verified"}.get(rule, f"--{rule}")
    assert forget[forget.index(flag) + 1] == ("129600s" if rule == "within" else str(value))
    assert forget[forget.index("--time-zone") + 1] == "Asia/Kolkata"
