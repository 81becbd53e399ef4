"""A location that can't be used, and an API server that is away: told in the words of whoever refuses, and nothing is concluded or made.

As in test_backup_faults.py every case is run twice: as it is, and with the rule that deals with it switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from recoup.api.backuplocation import BackupLocation
from recoup.api.objects import decode
from recoup.controller import failures
from recoup.controller.resources import JOB, LOCATION, NAMESPACE, VOLUME_SNAPSHOT
from recoup.plan.location import LocationObserved, plan_location, settings_hash
from recoup.plan.location_conditions import PASSED, Reading
from tests.faults import backup_rules_off as off
from tests.faults.driver import AROUND, SNAPSHOT_KEY, a_location, shop, start
from tests.faults.test_backup_faults import Patch, ready, volume
from tests.faults.test_backup_flow import assert_nothing_of_ours
from tests.faults.world import World


def place_says(world: World, reason: str, message: str) -> None:
    """The location was probed once, and this is what the controller's own look at it says now; its conditions follow."""
    found = world.get(LOCATION, None, "frankfurt")
    settings = settings_hash(decode(BackupLocation, found))
    probe = {"at": world.stamp(), "result": PASSED, "message": "", "job": "probe", "settings": settings}
    location = found | {"status": found["status"] | {"lastProbe": probe}}
    plan = plan_location(LocationObserved(location=location, around=AROUND, reading=Reading(reason, message)), world.now)
    assert plan.actions == ()
    world.kube.put(LOCATION, location | {"status": plan.status})


def place_refuses(reason: str, message: str) -> None:
    """It is said at the run in the place's own words, nothing is made meanwhile, and the run goes on when it is mended."""
    world = shop("data-0")
    place_says(world, reason, message)
    controller = start(world)
    for _ in range(5):
        controller.look(SNAPSHOT_KEY)
        world.step()
    assert ready(world)[:2] == ("False", reason)
    assert message in ready(world)[2]
    assert "BackupLocation frankfurt" in ready(world)[2]
    assert world.all(JOB) == []
    assert world.all(VOLUME_SNAPSHOT) == []
    place_says(world, "", "")
    controller.run(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("True", "RecoveryPointStored")


def wrong_bucket() -> None:
    place_refuses("BucketNotFound", "bucket acme does not exist; create the bucket, or correct spec.s3.bucket")


def wrong_credentials() -> None:
    place_refuses("CredentialsRejected", "the server does not know the access key")


def namespace_not_allowed() -> None:
    """Until the namespace gets the label that the location asks for."""
    world = shop("data-0")
    world.kube.put(LOCATION, a_location(world.now, allowedNamespaces={"matchLabels": {"zone": "eu"}}))
    controller = start(world)
    for _ in range(5):
        controller.look(SNAPSHOT_KEY)
        world.step()
    assert ready(world)[:2] == ("False", "NamespaceNotAllowed")
    assert "spec.allowedNamespaces" in ready(world)[2]
    assert world.all(JOB) == []
    assert world.all(VOLUME_SNAPSHOT) == []
    found = world.get(NAMESPACE, None, "shop")
    world.kube.put(NAMESPACE, found | {"metadata": found["metadata"] | {"labels": {"zone": "eu"}}})
    controller.run(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("True", "RecoveryPointStored")


def api_server_away() -> None:
    """It is away for a minute between any two looks, from the first answer or from a later one on: nothing is concluded from that."""
    for answers in (0, 1, 3, 6, 10):
        world = shop("data-0")
        controller = start(world)
        for _ in range(40):
            with away_after(world, answers):
                controller.look(SNAPSHOT_KEY)
            controller.look(SNAPSHOT_KEY)
            world.step()
            world.pass_time(minutes=1)
        assert ready(world)[:2] == ("True", "RecoveryPointStored"), ready(world)
        assert len(world.points) == 1
        assert volume(world)["attempts"] == 1
        assert_nothing_of_ours(world, disks=1)


@contextmanager
def away_after(world: World, answers: int) -> Iterator[None]:
    """So many calls are answered yet; then nobody is there."""
    left = [answers]

    def call(real: Callable[..., Any]) -> Callable[..., Any]:
        def answer(*arguments: Any, **named: Any) -> Any:
            if left[0] == 0:
                raise failures.Unavailable("the API server can't be reached")
            left[0] -= 1
            return real(*arguments, **named)

        return answer

    calls = ("get", "list", "list_metadata", "create", "patch", "apply_status", "delete", "log_tail")
    try:
        for name in calls:
            setattr(world.kube, name, call(getattr(world.kube, name)))
        yield
    finally:
        for name in calls:
            delattr(world.kube, name)


CASES: dict[str, tuple[Callable[[], None], Callable[[Patch], None]]] = {
    "wrong bucket": (wrong_bucket, off.every_place_answers),
    "wrong credentials": (wrong_credentials, off.any_home),
    "namespace not allowed": (namespace_not_allowed, off.for_everybody),
    "API server away": (api_server_away, off.away_is_gone),
}


@pytest.mark.parametrize("case", CASES)
def test_trouble_is_told_and_leaves_nothing(case: str) -> None:
    CASES[case][0]()


@pytest.mark.parametrize("case", CASES)
def test_without_its_rule_the_case_fails(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, switch_off = CASES[case]
    switch_off(monkeypatch)
    with pytest.raises(AssertionError):
        check()
