"""`kubectl recoup status`, `snapshots` and `doctor`: what they show, and what they say when something is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from recoup.controller import failures
from recoup.controller.resources import JOB, LEASE, LOCATION, NAMESPACE, VOLUME_SNAPSHOT_CLASS
from tests.faults.driver import backed_up, incident
from tests.faults.world import World
from tests.unit.cli.kubectl.conftest import Plugin

Start = Callable[..., Plugin]


def healthy() -> World:
    world = backed_up("data-0")
    spec = {"holderIdentity": "recoup-0", "renewTime": datetime.now(UTC).isoformat(), "leaseDurationSeconds": 15}
    world.kube.put(LEASE, {"metadata": {"name": "recoup-controller", "namespace": "recoup-system"}, "spec": spec})
    location = world.get(LOCATION, None, "frankfurt")
    location["status"]["keyCount"] = 2
    world.kube.put(LOCATION, location)
    return world


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_snapshots_newest_first(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = plugin(backed_up("data-0"))
    kubectl.world.pass_time(hours=1)
    kubectl("backup", "shop", "--name", "later", "--wait")
    capsys.readouterr()
    assert kubectl("snapshots") == 0
    lines = rows(capsys.readouterr().out)
    assert [line[1] for line in lines] == ["NAME", "later", "before-upgrade"]
    assert lines[1][4:] == ["1/1", "17", "17", "True", "RecoveryPointStored"]


def test_snapshots_by_volume_and_policy(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = plugin(backed_up("data-0", "data-1"))
    assert kubectl("snapshots", "--volumes", "--policy", "shop") == 0
    assert [line[2:4] for line in rows(capsys.readouterr().out)[1:]] == [["data-0", "Stored"], ["data-1", "Stored"]]
    assert kubectl("snapshots", "--policy", "other", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_status_shows_what_is_and_what_is_under_way(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    world = healthy()
    incident(world)
    assert plugin(world)("status", "-A") == 0
    lines = rows(capsys.readouterr().out)
    assert ["frankfurt", "True", "Probed", "2"] in [line[:4] for line in lines]
    assert ["shop", "restorerequest/incident"] in [line[:2] for line in lines]


def test_status_where_nothing_is_protected(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert plugin(healthy())("status", "-n", "elsewhere") == 0
    assert "nothing is protected here" in capsys.readouterr().out


def findings(kubectl: Plugin, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, set[str]], str]:
    code = kubectl("doctor", "-o", "json")
    found = json.loads(capsys.readouterr().out)
    levels: dict[str, set[str]] = {}
    for item in found:
        levels.setdefault(item["check"], set()).add(item["level"])
    return code, levels, " | ".join(item["message"] for item in found)


def test_the_doctor_finds_a_healthy_installation_healthy(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    code, levels, message = findings(plugin(healthy()), capsys)
    assert code == 0, message
    assert levels == {
        "resources": {"ok"}, "namespaces": {"ok"}, "controller": {"ok"}, "volume snapshots": {"ok"}, "locations": {"ok"},
        "policies": {"warning"}, "leftovers": {"ok"},
    }  # fmt: skip


def without_controller(world: World) -> None:
    lease = world.get(LEASE, "recoup-system", "recoup-controller")
    world.kube.put(LEASE, lease | {"spec": lease["spec"] | {"renewTime": "2026-01-01T00:00:00.000000Z"}})


def without_movers(world: World) -> None:
    del world.kube.objects[(NAMESPACE.api_version, NAMESPACE.kind, "", "recoup-movers")]


def without_snapshot_class(world: World) -> None:
    del world.kube.objects[(VOLUME_SNAPSHOT_CLASS.api_version, VOLUME_SNAPSHOT_CLASS.kind, "", "cuts")]


def without_location(world: World) -> None:
    del world.kube.objects[(LOCATION.api_version, LOCATION.kind, "", "frankfurt")]


def with_an_orphan(world: World) -> None:
    labels = {"app.kubernetes.io/managed-by": "recoup", "recoup.dev/owner-uid": "gone"}
    world.kube.put(JOB, {"metadata": {"name": "old", "namespace": "recoup-movers", "labels": labels}, "spec": {}})


@pytest.mark.parametrize(
    ("harm", "check", "level", "code", "words"),
    [
        (without_controller, "controller", "FAILED", 20, "no controller is at work"),
        (without_movers, "namespaces", "FAILED", 20, "recoup-movers, where movers would run, does not exist"),
        (without_snapshot_class, "volume snapshots", "warning", 0, "no VolumeSnapshotClass for disk.example.com"),
        (without_location, "locations", "FAILED", 20, "there is no BackupLocation"),
        (with_an_orphan, "leftovers", "warning", 0, "Job recoup-movers/old belongs to an object that is gone"),
    ],
)
def test_the_doctor_names_what_is_wrong(
    plugin: Start, capsys: pytest.CaptureFixture[str], harm: Callable[[World], None], check: str, level: str, code: int, words: str
) -> None:
    world = healthy()
    harm(world)
    told, levels, message = findings(plugin(world), capsys)
    assert told == code
    assert level in levels[check]
    assert words in message


def test_what_may_not_be_read_is_unknown(plugin: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    world = healthy()
    real = world.kube.get

    def get(resource: object, namespace: str | None, name: str) -> object:
        if resource is LEASE:
            raise failures.Forbidden("leases is forbidden")
        return real(resource, namespace, name)  # type: ignore[arg-type]

    monkeypatch.setattr(world.kube, "get", get)
    code, levels, _ = findings(plugin(world), capsys)
    assert levels["controller"] == {"unknown"}
    assert code == 0


def test_a_cluster_without_recoup(plugin: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def missing(*_: object, **__: object) -> object:
        raise failures.Gone("404 page not found")

    monkeypatch.setattr(world.kube, "list", missing)
    assert plugin(world)("status") == 20
    assert "install Recoup with `helm install" in capsys.readouterr().err
    code, levels, _ = findings(plugin(world), capsys)
    assert (code, levels["resources"]) == (20, {"FAILED"})


def test_without_a_kubeconfig_it_says_so(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    from recoup.cli.kubectl.main import root
    from recoup.cli.main import run

    assert run(["status", "--kubeconfig", f"{tmp_path}/none"], group=root, name="kubectl recoup") == 20
    assert "set KUBECONFIG" in capsys.readouterr().err


def test_coverage_names_every_volume_and_why(plugin: Start, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = plugin(backed_up("data-0"))
    assert kubectl("coverage", "-A") == 0
    (line,) = rows(capsys.readouterr().out)[1:]
    assert line[:3] == ["shop", "data-0", "Unprotected"]
    assert kubectl("coverage", "--state", "Protected", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == []
