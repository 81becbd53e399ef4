"""Ten thousand recovery points of another cluster appear in a namespace that adopts them: how long that takes, and what it costs.

Everything is real but the bucket, which is a folder. The figures are printed; what is checked is that all are there and right, that they
fit the memory, and that nothing is written afterwards.
"""

from __future__ import annotations

import base64
import os
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from recoup.cli.adopt_job import adopt
from recoup.controller.kube import ApiServer
from recoup.controller.resources import LOCATION, SECRET, SNAPSHOT
from recoup.engine.keys.kek import SecretKek
from recoup.engine.keys.tickets import Ticket, issue_ticket
from recoup.engine.log.bodies import Commit, Open
from recoup.engine.log.follow import Log
from recoup.engine.log.points import PointRecord, seal_point
from recoup.engine.maintenance.checkpoints import extend
from recoup.engine.vault import Unlocked, open_vault, provision
from recoup.report import Report
from tests.faults.memory import MemoryStore
from tests.integration.controller.conftest import ControlPlane
from tests.integration.controller.process import Controller, install, wait_for
from tests.integration.controller.test_rest import WRITES, audit

VAULT = bytes.fromhex("ab" * 16)
LIMIT_MIB = 200
"""What ten thousand recovery points may cost; docs/second-cluster.md says what they do, and what they should."""
SLOT = "2026-11-23T04:15:00Z"


@pytest.mark.parametrize(
    "points",
    [pytest.param(200, id="few"), pytest.param(10_000, id="as-promised", marks=[pytest.mark.long, pytest.mark.timeout(900)])],
)
def test_many_recovery_points_appear_and_cost_little(control_plane: ControlPlane, tmp_path: Path, points: int) -> None:
    kube, place = control_plane.kube(), f"adopted-{points}"
    install(kube, "recoup-system", "recoup-movers", place)
    kek, store = SecretKek.generate(), MemoryStore()
    fill(store, kek, points)
    write(store, tmp_path / "store")
    controller = Controller(
        control_plane, f"lists-{points}", "--no-leader-election", directory=tmp_path, entry="tests.integration.controller.on_files",
        test_store=str(tmp_path / "store"),
    )  # fmt: skip
    try:
        wait_for("it is ready", lambda: controller.page("/readyz")[0] == 200)
        before = controller.resident_mib()
        credentials(kube)
        adopt(store, kube, [kek], (VAULT.hex(),), (), "recoup-system", Report())
        began = time.monotonic()
        location(kube, place)
        wait_for("every recovery point is shown", lambda: shown(controller, kube, place, points), 400)
        took = time.monotonic() - began
        wait_for("nothing is due", lambda: "recoup_queue_depth 0.0" in controller.page("/metrics")[1], 120)
        cost = controller.resident_mib() - before
        print(f"\n{points} recovery points: {took:.1f} s until all are Ready, {cost:.0f} MiB more than the {before:.0f} MiB before")
        found = kube.list(SNAPSHOT, place)
        assert len([item for item in found if is_ready(item)]) == points
        (one,) = [item for item in found if item["spec"]["origin"]["run"] == "run-7"]
        assert one["metadata"]["name"].startswith("shop-7-")
        assert (one["status"]["summary"]["volumes"], one["status"]["takenAt"]) == ("1/1", SLOT)
        if points >= 10_000:
            assert cost < LIMIT_MIB
            start = control_plane.audit_log.stat().st_size
            rest(controller)  # some minutes, so only here; tests/faults/test_views.py says the same of few
            assert [entry for entry in audit(control_plane.audit_log, start) if entry["verb"] in WRITES] == []
    finally:
        controller.kill()
        kube.delete(LOCATION, None, "theirs", uid=kube.get(LOCATION, None, "theirs")["metadata"]["uid"])


def fill(store: MemoryStore, kek: SecretKek, points: int) -> None:
    """A vault of a namespace of another cluster, with one run after the other, as its movers leave it after a while of retention."""
    labels = {"namespace": "shop", "namespaceUid": "uid-of-shop", "clusterUid": "uid-of-cluster"}
    made = provision(store, [kek], [], vault_id=VAULT, labels=labels)
    log = Log(store, VAULT, root_public=made.writer.identity.root_public)
    log.follow()
    vault = open_vault(log, [kek], pinned=True)
    for number in range(points):
        session = os.urandom(16)
        ticket = issue_ticket(Ticket(VAULT, session, "uid-of-policy", SLOT, "uid-of-data"), vault.catalogue.run_signer)
        opened = log.append(Open(session, ticket, 16 << 20), vault.writer.signer).head.seq
        body = Commit(session, opened, ticket, os.urandom(32), os.urandom(32), (os.urandom(32),), b"", sealed(vault, session, number))
        log.append(body, vault.writer.signer)
    extend(Log(store, VAULT, root_public=vault.identity.root_public), vault.maintenance.signer)


def sealed(vault: Unlocked, session: bytes, number: int) -> bytes:
    source = {
        "clusterUid": "uid-of-cluster", "namespace": "shop", "namespaceUid": "uid-of-shop", "persistentVolumeClaim": "data",
        "persistentVolumeClaimUid": "uid-of-data", "storageClassName": "fast", "accessModes": ["ReadWriteOnce"], "size": "10Gi",
        "labels": {"app": "shop"},
    }  # fmt: skip
    record = PointRecord(
        point=f"run-{number}", snapshot=f"shop-{number}", policy="shop", consistency="CrashConsistent",
        volumes_expected=("uid-of-data",), source=msgspec.json.encode(source).decode(), kind="directory", started=1_700_000_000_000,
        finished=1_700_000_060_000, files=81_234, bytes_total=12 << 30, bytes_read=3 << 30, bytes_stored=300 << 20, errors=0, tool="test",
    )  # fmt: skip
    return seal_point(vault.writer.meta_key, vault.identity, 1, session, record)


def write(store: MemoryStore, folder: Path) -> None:
    for name, data in store.objects.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def credentials(kube: ApiServer) -> None:
    data = {name: base64.b64encode(b"any").decode() for name in ("accessKeyID", "secretAccessKey")}
    metadata = {"name": f"theirs-{os.getpid()}-s3", "namespace": "recoup-system"}
    if not any(item["metadata"]["name"] == metadata["name"] for item in kube.list_metadata(SECRET, "recoup-system")):
        kube.create(SECRET, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})


def location(kube: ApiServer, namespace: str) -> None:
    spec: dict[str, Any] = {
        "accessMode": "ReadOnly",
        "s3": {"bucket": "theirs", "credentialsSecretRef": {"name": f"theirs-{os.getpid()}-s3"}},
        "encryption": {"keys": [{"name": "k", "secret": {"secretRef": {"name": "key"}}}]},
        "catalogue": {"adopt": [{"from": {"namespace": "shop"}, "to": {"namespace": namespace}}]},
    }
    kube.create(LOCATION, {"apiVersion": LOCATION.api_version, "kind": "BackupLocation", "metadata": {"name": "theirs"}, "spec": spec})


def shown(controller: Controller, kube: ApiServer, place: str, wanted: int) -> bool:
    """Whether all are Ready. They are listed only when there may be so many: listing each time would load the server that is measured."""
    ready = re.search(r'recoup_objects\{kind="BackupSnapshot",state="ready"\} (\S+)', controller.page("/metrics")[1])
    return ready is not None and float(ready[1]) >= wanted and sum(is_ready(item) for item in kube.list(SNAPSHOT, place)) == wanted


def is_ready(item: dict[str, Any]) -> bool:
    conditions = (item.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def rest(controller: Controller) -> None:
    """Two looks of the location's own at what it has listed."""
    seen = reads(controller)
    wait_for("the location was read twice more", lambda: reads(controller) >= seen + 2, 240)


def reads(controller: Controller) -> float:
    rows = [line for line in controller.page("/metrics")[1].splitlines() if line.startswith("recoup_catalogue_reads_total")]
    return sum(float(row.rsplit(" ", 1)[1]) for row in rows)
