"""At rest: no write but the Lease, by the API server's own audit log, and a bounded memory, with many objects."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from recoup.controller.kube import ApiServer
from recoup.controller.resources import POLICY, SNAPSHOT
from tests.integration.controller.conftest import ControlPlane
from tests.integration.controller.process import Controller, install, wait_for

LIMIT_MIB = 200
NAMESPACES = 20
WRITES = {"create", "update", "patch", "delete", "deletecollection"}


@pytest.mark.parametrize(
    ("policies", "snapshots", "resync", "seconds"),
    [
        pytest.param(20, 200, 5, 15, id="few-often"),
        pytest.param(200, 2000, 600, 600, id="as-promised", marks=[pytest.mark.long, pytest.mark.timeout(1500)]),
    ],
)
def test_nothing_is_written_at_rest_and_memory_is_bounded(
    control_plane: ControlPlane, tmp_path: Path, policies: int, snapshots: int, resync: int, seconds: int
) -> None:
    kube = control_plane.kube()
    names = [f"rest-{policies}-{number}" for number in range(NAMESPACES)]
    install(kube, "recoup-system", "recoup-movers", *names)
    populate(kube, names, policies, snapshots)
    leader = Controller(control_plane, "leader", directory=tmp_path, resync=str(resync))
    standby = Controller(control_plane, "standby", directory=tmp_path, resync=str(resync))
    try:
        wait_for("somebody leads", lambda: leader.leads() or standby.leads())
        if standby.leads():
            leader, standby = standby, leader
        wait_for("every object was looked at", lambda: looks(leader, "BackupSnapshot") >= snapshots, 300)
        wait_for("every policy has a status", lambda: len([p for p in kube.list(POLICY) if p.get("status")]) >= policies, 120)
        wait_for("nothing is due", lambda: "recoup_queue_depth 0.0" in leader.page("/metrics")[1], 120)
        start, looked = control_plane.audit_log.stat().st_size, looks(leader, "BackupSnapshot")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(1)  # rest is what is measured
        written = [entry for entry in audit(control_plane.audit_log, start) if entry["verb"] in WRITES]
        again = looks(leader, "BackupSnapshot") - looked
        memory = {"leader": leader.resident_mib(), "standby": standby.resident_mib()}
        print(f"\n{policies} policies, {snapshots} snapshots, {seconds} s: {again:.0f} looks, MiB {memory}, other writes {len(written)}")
        assert [entry for entry in written if entry["objectRef"]["resource"] != "leases"] == []
        assert written, "the Lease is renewed: the audit log does see this client"
        assert again > 0 or resync >= seconds
        assert max(memory.values()) < LIMIT_MIB
    finally:
        leader.kill()
        standby.kill()


def populate(kube: ApiServer, namespaces: list[str], policies: int, snapshots: int) -> None:
    def policy(number: int) -> None:
        spec = {"selector": {}, "locations": [{"name": "nowhere"}], "schedule": {"cron": "0 3 1 1 *"}}
        make(kube, POLICY, "BackupPolicy", namespaces[number % len(namespaces)], f"p{number}", spec)

    def snapshot(number: int) -> None:
        place = namespaces[number % len(namespaces)]
        made = make(kube, SNAPSHOT, "BackupSnapshot", place, f"s{number}", {"policyRef": {"name": f"p{number % policies}"}})
        kube.apply_status(SNAPSHOT, made, finished_status(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(policy, range(policies)))
        list(pool.map(snapshot, range(snapshots)))


def make(kube: ApiServer, resource: Any, kind: str, namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return kube.create(resource, {"apiVersion": resource.api_version, "kind": kind, "metadata": metadata, "spec": spec})


def finished_status(number: int) -> dict[str, Any]:
    """As a run of three volumes leaves it."""
    at = "2026-11-23T04:15:30Z"
    condition = {"reason": "RecoveryPointStored", "message": "3 of 3 volumes are stored and committed", "lastTransitionTime": at}
    volumes = [
        {"persistentVolumeClaim": f"data-{v}", "uid": f"uid-{number}-{v}", "state": "Stored", "method": "Snapshot", "manifest": "ab" * 32,
         "filesTotal": 81234, "bytesRead": 12_400_000_000, "bytesStored": 310_000_000, "duration": "41s", "guarantee": "CrashConsistent"}
        for v in range(3)
    ]  # fmt: skip
    return {
        "conditions": [{"type": kind, "status": "True", "observedGeneration": 1, **condition} for kind in ("Captured", "Ready", "Stored")],
        "volumes": volumes, "completedAt": at, "startedAt": at, "takenAt": at, "observedGeneration": 1, "location": "nowhere",
        "vault": "cd" * 16, "run": {"mover": {}}, "summary": {"volumes": "3/3", "size": "31Gi", "stored": "930Mi"},
    }  # fmt: skip


def looks(controller: Controller, kind: str) -> float:
    rows = [line for line in controller.page("/metrics")[1].splitlines() if line.startswith(f'recoup_reconciles_total{{kind="{kind}"')]
    return sum(float(row.rsplit(" ", 1)[1]) for row in rows)


def audit(log: Path, start: int) -> list[dict[str, Any]]:
    """Finished calls of the controller since that place in the log."""
    with log.open("rb") as lines:
        lines.seek(start, os.SEEK_SET)
        entries = [msgspec.json.decode(line) for line in lines if line.endswith(b"\n")]
    ours = ("recoup-controller", "kopf/")
    return [entry for entry in entries if entry["stage"] == "ResponseComplete" and str(entry.get("userAgent", "")).startswith(ours)]
