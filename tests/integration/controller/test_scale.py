"""Many policies and BackupSnapshots: how long the start takes, what it costs, and that the controller keeps up when many are due at once.

Real are the API server, Kubernetes' own controllers and scheduler, and the engine's log; nodes are kwok's; storage and containers are
stand-ins (stand_ins.py). The run counts only if every recovery point ends as Stored. Times are printed and not checked: they say as much of
the machine as of the controller. docs/performance.md has them.
"""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from recoup.controller.kube import ApiServer
from recoup.controller.resources import JOB, LOCATION, POLICY, PVC, SECRET, SNAPSHOT, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT
from recoup.engine.keys.kek import SecretKek
from tests.integration.controller.conftest import OTHERS, ControlPlane
from tests.integration.controller.population import a_location, populate, storage_kinds
from tests.integration.controller.process import Controller, install, wait_for
from tests.integration.controller.stand_ins import StandIns, is_ready, start_the_rest
from tests.integration.controller.test_rest import WRITES, audit, make

Object = dict[str, Any]

NODES = 20
MEMORY_LIMIT = 300
REQUESTS_LIMIT = 40
"""Of one backup, with everything that the policy's own look costs."""
MANY = 50


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    made = ControlPlane(tmp_path_factory.mktemp("large"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize(
    ("policies", "snapshots", "due", "rest"),
    [
        pytest.param(20, 200, 4, 3, id="few"),
        pytest.param(1000, 10_000, 100, 60, id="as-promised", marks=[pytest.mark.long, pytest.mark.timeout(1500)]),
    ],
)
def test_a_large_cluster(tmp_path: Path, plane: ControlPlane, policies: int, snapshots: int, due: int, rest: int) -> None:
    kube = plane.kube_of_others()
    install(kube, "recoup-system", "recoup-movers")
    storage_kinds(kube)
    start_the_rest(plane, NODES)
    a_location(kube)
    names = populate(kube, policies, snapshots)
    (tmp_path / "store").mkdir()
    others = StandIns(plane, str(tmp_path / "store"), SecretKek.generate(), movers="recoup-movers", system="recoup-system")
    with others.at_work():
        make_vaults(plane, tmp_path, kube, len(names), policies)
        leader, took = start(plane, tmp_path, "leader", snapshots + policies)
        standby = replica(plane, tmp_path, "standby")
        try:
            wait_for("the other replica stands by", lambda: standby.page("/readyz")[0] == 200)
            at_rest = resting(plane, rest)
            figures = fire(plane, kube, leader, due)
            memory = {one.name: round(max(one.resident_mib(), 0)) for one in (leader, standby)}
            print(
                f"\n{policies} policies, {snapshots} snapshots in {len(names)} namespaces: {took:.1f} s from start to rest, MiB {memory};"
                f" {due} at one minute: {figures.told()}"
            )
            assert at_rest == [], "writes at rest"
            assert figures.stored == due == len(others.commits)
            assert max(memory.values()) <= MEMORY_LIMIT
            assert sum(figures.requests.values()) <= REQUESTS_LIMIT * due, figures.requests.most_common(12)
        finally:
            leader.kill()
            standby.kill()


def replica(plane: ControlPlane, folder: Path, name: str) -> Controller:
    return Controller(plane, name, directory=folder, entry="tests.integration.controller.on_files", test_store=str(folder / "store"))


def make_vaults(plane: ControlPlane, folder: Path, kube: ApiServer, namespaces: int, policies: int) -> None:
    """What was there before the start that is measured: a probed location, a vault for each namespace, a status of each policy."""
    first = replica(plane, folder, "first")
    try:
        wait_for("the location is probed", lambda: any(is_ready(item) for item in kube.list(LOCATION)), 600)
        wait_for("every namespace has its vault", lambda: len(vaults(kube)) >= namespaces, 600)
        wait_for("every policy is ready", lambda: all(item.get("status") for item in kube.list(POLICY)), 600)
        wait_for("the first start is over", lambda: has_seen(first, policies), 600)
        assert len(kube.list(POLICY)) == policies
    finally:
        first.stop()


def vaults(kube: ApiServer) -> list[Object]:
    return [item for item in kube.list_metadata(SECRET, "recoup-system") if item["metadata"]["name"].startswith("catalogue-")]


def start(plane: ControlPlane, folder: Path, name: str, objects: int) -> tuple[Controller, float]:
    """A replica that leads and has come to rest, and the seconds from its start until then."""
    began = time.monotonic()
    one = replica(plane, folder, name)
    wait_for("everything was looked at", lambda: has_seen(one, objects), 600)
    return one, time.monotonic() - began


def has_seen(one: Controller, objects: int) -> bool:
    """Whether all were looked at and nothing is due. Asked once a second: with many objects each scrape costs what it measures."""
    time.sleep(1)
    page = one.page("/metrics")[1]
    kinds = r'recoup_reconciles_total\{kind="Backup(?:Snapshot|Policy)",[^}]*\} (\S+)'
    return sum(float(count) for count in re.findall(kinds, page)) >= objects and "recoup_queue_depth 0.0" in page


def resting(plane: ControlPlane, seconds: int) -> list[Object]:
    """What Recoup writes in this time, but for its Lease."""
    begin = plane.audit_log.stat().st_size
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.5)  # rest is what is measured
    return [each for each in audit(plane.audit_log, begin) if each["verb"] in WRITES and each["objectRef"]["resource"] != "leases"]


class Figures:
    """What was seen while policies were due."""

    def __init__(
        self, stored: int, seconds: float, requests: Counter[tuple[str, str]], before: dict[float, float], after: dict[float, float]
    ) -> None:
        self.stored, self.seconds, self.requests = stored, seconds, requests
        self._took = {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
        self.looks = self._took[float("inf")]

    def told(self) -> str:
        p99 = next(bound for bound, count in sorted(self._took.items()) if count >= 0.99 * self.looks)
        each = sum(self.requests.values()) / max(1, self.stored)
        return f"{self.stored} stored in {self.seconds:.0f} s, {each:.1f} requests each, {self.looks:.0f} looks, 99 % within {p99} s"


def fire(plane: ControlPlane, kube: ApiServer, leader: Controller, due: int) -> Figures:
    """Make `due` policies due at the same time, and wait until all is over. Few at once by hand, many at a minute of the clock."""
    every = kube.list(POLICY)
    chosen = every[:: max(1, len(every) // due)][:due]
    slot = at_once(kube, chosen) if due < MANY else at_a_minute(kube, chosen)
    begin, before, began = plane.audit_log.stat().st_size, buckets(leader), time.monotonic()

    def runs() -> list[Object]:
        return [item for item in kube.list(SNAPSHOT) if item["metadata"]["name"].endswith(slot)]

    wait_for("every run is over", lambda: sum((item.get("status") or {}).get("completedAt") is not None for item in runs()) == due, 600)
    took = time.monotonic() - began
    wait_for("nothing is left of them", lambda: not left_over(kube), 120)
    seen = [each for each in audit(plane.audit_log, begin) if each["user"]["username"] != OTHERS and each["verb"] != "watch"]
    requests = Counter((each["verb"], (each.get("objectRef") or {}).get("resource", "")) for each in seen)
    for background in ("leases", ""):
        for verb in ("get", "update", "patch"):
            requests.pop((verb, background), None)
    stored = [item for item in runs() if is_ready(item) and is_stored(item)]
    return Figures(len(stored), took, requests, before, buckets(leader))


def at_once(kube: ApiServer, chosen: list[Object]) -> str:
    for policy in chosen:
        metadata = policy["metadata"]
        make(kube, SNAPSHOT, "BackupSnapshot", metadata["namespace"], f"{metadata['name']}-now", {"policyRef": {"name": metadata["name"]}})
    return "-now"


def at_a_minute(kube: ApiServer, chosen: list[Object]) -> str:
    now = datetime.now(UTC)
    minute = now.replace(second=0, microsecond=0) + timedelta(minutes=1 if now.second < 30 else 2)
    for policy in chosen:
        patch = {"spec": {"schedule": {"cron": f"{minute.minute} {minute.hour} {minute.day} {minute.month} *"}}}
        kube.patch(POLICY, policy["metadata"]["namespace"], policy["metadata"]["name"], patch)
    wait_for("the minute", lambda: datetime.now(UTC) >= minute, 120)
    return f"-{minute:%Y%m%dt%H%M%Sz}"


def is_stored(item: Object) -> bool:
    return any(each["type"] == "Stored" and each["status"] == "True" for each in item["status"]["conditions"])


def left_over(kube: ApiServer) -> bool:
    backups = [
        job
        for job in kube.list(JOB, "recoup-movers")
        if "recoup.dev/attempt" in job["metadata"]["labels"] and "recoup.dev/location" in job["metadata"]["labels"]
    ]
    return bool(backups or kube.list(VOLUME_SNAPSHOT) or kube.list(VOLUME_SNAPSHOT_CONTENT) or kube.list(PVC, "recoup-movers"))


def buckets(one: Controller) -> dict[float, float]:
    """Looks by the upper bound of the seconds they took."""
    found: defaultdict[float, float] = defaultdict(float)
    for bound, count in re.findall(r'recoup_reconcile_seconds_bucket\{kind="\w+",le="([^"]+)"\} (\S+)', one.page("/metrics")[1]):
        found[float(bound.replace("+Inf", "inf"))] += float(count)
    return dict(found)
