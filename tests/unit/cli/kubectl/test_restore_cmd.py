"""`kubectl recoup restore` and `backup`: from the command line to the object, the plan, the progress and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import yaml

from recoup.api.objects import decode
from recoup.api.restorerequest import RestoreRequest
from recoup.controller.resources import LOCATION, RESTORE, SNAPSHOT
from tests.faults.driver import backed_up, condition, content_of, shop
from tests.faults.test_restore_faults import restorers_end
from tests.unit.cli.kubectl.conftest import Plugin

Start = Callable[..., Plugin]


def test_a_restore_is_planned_followed_and_done(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = plugin(backed_up("data-0", "data-1"))
    code = kubectl("restore", "--from", "before-upgrade", "--volume", "data-0=copy", "--name", "incident", "--wait")
    out, err = capsys.readouterr()
    assert code == 0, err
    assert "before-upgrade of 2026-11-23T12:00:00Z, namespace shop, from BackupLocation frankfurt" in out
    assert ["data-0", "copy", "1Gi", "17", "B", "3", "fast"] in [line.split() for line in out.splitlines()]
    assert "restorerequest/incident restored and compared in" in out
    assert "0/1 volumes restored" in err
    assert content_of(kubectl.world, "copy") == "content of data-0"


def test_json_is_the_object_at_the_end(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = plugin(backed_up("data-0"))
    arguments = ("restore", "--policy", "shop", "--volume", "data-0=copy", "--storage-class", "fast", "--wait", "-o", "json")
    assert kubectl(*arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert condition(told["status"], "Restored")["status"] == "True"


@pytest.mark.parametrize(
    ("arguments", "source"),
    [
        (("--from", "x"), {"snapshotRef": {"name": "x"}}),
        (("--policy", "shop"), {"policyRef": {"name": "shop"}}),
        (("--policy", "shop", "--as-of", "2026-11-22T23:00:00+01:00"), {"policyRef": {"name": "shop"}, "asOf": "2026-11-22T22:00:00Z"}),
        (
            ("--location", "oregon", "--source-namespace", "blog", "--policy", "b"),
            {"location": "oregon", "namespace": {"name": "blog"}, "policy": "b"},
        ),
        (
            ("--location", "oregon", "--source-uid", "u", "--id", "6f1c"),
            {"location": "oregon", "namespace": {"name": "shop", "uid": "u"}, "id": "6f1c"},
        ),
    ],
)
def test_a_dry_run_prints_what_would_be_created(
    plugin: Start, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], source: object
) -> None:
    kubectl = plugin(shop("data-0"))
    assert kubectl("restore", *arguments, "--volume", "a=b", "--volume", "c", "--name", "r", "--dry-run") == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["spec"]["source"] == source
    assert printed["spec"]["volumes"] == [{"source": "a", "target": {"name": "b"}}, {"source": "c", "target": {}}]
    decode(RestoreRequest, printed)
    assert kubectl.world.all(RESTORE) == []


def test_a_part_is_asked_for_and_shown_as_at_most(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = plugin(backed_up("data-0"))
    part = ("--include", "orders/*.csv", "--include", "etc", "--exclude", "*.tmp", "--into", "found", "--size", "100Mi")
    assert kubectl("restore", "--policy", "shop", "--volume", "data-0=copy", *part, "--name", "r", "--wait") == 0
    [request] = kubectl.world.all(RESTORE)
    assert request["spec"]["paths"] == {"include": ["orders/*.csv", "etc"], "exclude": ["*.tmp"], "into": "found"}
    assert request["spec"]["volumes"] == [{"source": "data-0", "target": {"name": "copy", "size": "100Mi"}}]
    out = capsys.readouterr().out
    assert ["data-0", "copy", "100Mi", "≤", "17", "B", "≤", "3", "fast"] in [line.split() for line in out.splitlines()]


def test_a_plan_alone_restores_nothing(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = plugin(backed_up("data-0"))
    assert kubectl("restore", "--policy", "shop", "--volume", "data-0=copy", "--name", "r", "--plan") == 0
    out = capsys.readouterr().out
    [request] = kubectl.world.all(RESTORE)
    assert f"digest {request['status']['plan']['digest']}" in out.splitlines()
    assert "restorerequest/r planned, and nothing restored" in out
    assert len(kubectl.world.disks) == 1


def test_a_plan_waits_for_approval_and_gets_it(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = plugin(backed_up("data-0"))
    assert kubectl("restore", "--policy", "shop", "--volume", "data-0=copy", "--name", "r", "--approval") == 0
    assert "restorerequest/r waits for approval: kubectl recoup restore --approve r" in capsys.readouterr().out
    assert len(kubectl.world.disks) == 1
    assert kubectl("restore", "--approve", "r", "--wait") == 0
    assert "restorerequest/r restored and compared in" in capsys.readouterr().out
    assert content_of(kubectl.world, "copy") == "content of data-0"


def test_only_what_waits_for_approval_is_approved(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = plugin(backed_up("data-0"))
    assert kubectl("restore", "--policy", "shop", "--volume", "data-0=copy", "--name", "r") == 0
    assert kubectl("restore", "--approve", "r") == 20
    assert "does not wait for approval: its spec.plan is Auto" in capsys.readouterr().err
    assert kubectl("restore", "--approve", "nobody") == 20
    assert "RestoreRequest nobody does not exist" in capsys.readouterr().err


def test_a_standby_is_filled_and_handed_over(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = plugin(backed_up("data-0"))
    assert kubectl("restore", "--policy", "shop", "--volume", "data-0=copy", "--name", "s", "--standby", "--wait") == 0
    assert "restorerequest/s stands by; hand it over with: kubectl recoup restore --promote s" in capsys.readouterr().out
    assert kubectl("restore", "--promote", "s", "--wait") == 0
    assert "restorerequest/s restored and compared in" in capsys.readouterr().out
    assert content_of(kubectl.world, "copy") == "content of data-0"
    assert kubectl("restore", "--policy", "shop", "--volume", "data-0=other", "--name", "r", "--wait") == 0
    assert kubectl("restore", "--promote", "r") == 20
    assert "RestoreRequest r is no standby" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--policy", "x", "--standby", "--as-of", "2h"), "--standby follows a policy"),
        (("--policy", "x", "--standby", "--plan"), "--standby follows a policy"),
        (("--promote", "x", "--approve", "x"), "what it restores is settled"),
        (("--policy", "x", "--plan", "--wait"), "--plan stops when the plan is made"),
        (("--approve", "x", "--policy", "y"), "what it restores is settled already"),
        (("--policy", "x", "--size", "1Gi"), "--storage-class and --size go with --volume"),
        ((), "say what to restore"),
        (("--from", "x", "--policy", "y"), "say what to restore"),
        (("--from", "x", "--as-of", "2h"), "--as-of goes with --policy"),
        (("--policy", "x", "--as-of", "yesterday"), "2026-11-22T23:00:00Z, or a length of time"),
        (("--policy", "x", "--as-of", "2026-11-22T23:00:00"), "give the time zone"),
        (("--location", "l"), "exactly one of --policy and --id"),
        (("--location", "l", "--from", "x"), "with --location give --policy or --id"),
        (("--policy", "x", "--source-uid", "u"), "go with --location"),
        (("--policy", "x", "--volume", "a="), "SOURCE=TARGET"),
        (("--policy", "x", "--storage-class", "c"), "--storage-class and --size go with --volume"),
    ],
)
def test_a_wrong_command_line_says_how_it_goes(
    plugin: Start, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    kubectl = plugin(shop("data-0"))
    assert kubectl("restore", *arguments) == 2
    assert words in capsys.readouterr().err
    assert kubectl.world.all(RESTORE) == []


def test_a_refusal_is_the_controllers_own_words(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = plugin(backed_up("data-0"))
    assert kubectl("restore", "--from", "before-upgrade", "--wait") == 20
    assert "PVC shop/data-0 exists already" in (err := capsys.readouterr().err)
    assert "[TargetExists]" in err


def test_a_failed_restore_fails(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    world = backed_up("data-0")
    world.mover = restorers_end({"exitCode": 30, "message": json.dumps({"reason": "IntegrityError", "message": "orders/1.txt is damaged"})})
    assert plugin(world)("restore", "--policy", "shop", "--volume", "data-0=copy", "--wait") == 20
    assert "orders/1.txt is damaged" in capsys.readouterr().err


def test_waiting_has_an_end(plugin: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    world = shop("data-0")
    world.kube.objects.pop((LOCATION.api_version, LOCATION.kind, "", "frankfurt"))
    ticks = iter(range(0, 10_000, 20))
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    assert plugin(world)("backup", "shop", "--wait", "--timeout", "60") == 20
    assert "BackupLocation frankfurt does not exist" in capsys.readouterr().err


def test_a_backup_now(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = plugin(shop("data-0", "data-1"))
    assert kubectl("backup", "shop", "--name", "now", "--wait") == 0
    out, err = capsys.readouterr()
    assert "backupsnapshot/now  2/2 volumes" in out
    assert "2/2 volumes stored" in err
    assert sorted(point.id for point in kubectl.world.points if point.snapshot == "now") == ["content of data-0", "content of data-1"]


def test_a_backup_of_no_policy_creates_nothing(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = plugin(shop("data-0"))
    assert kubectl("backup", "shpo") == 20
    assert "BackupPolicy shpo does not exist in namespace shop" in capsys.readouterr().err
    assert len(kubectl.world.all(SNAPSHOT)) == 1


def test_a_name_that_is_taken(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert plugin(shop("data-0"))("backup", "shop", "--name", "before-upgrade") == 20
    assert "give another --name" in capsys.readouterr().err
