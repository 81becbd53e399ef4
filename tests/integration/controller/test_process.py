"""The controller as a process on a real API server: leading, handing over, dying, and coming back, with nothing lost or doubled."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from recoup.controller import failures
from recoup.controller.kube import ApiServer
from recoup.controller.resources import EVENT, JOB, LEASE, LOCATION, NAMESPACE, POLICY, PVC, RESTORE, SECRET
from tests.integration.controller.conftest import ControlPlane
from tests.integration.controller.process import Controller, install, wait_for

_numbers = count()
Start = Callable[..., Controller]


@pytest.fixture
def kube(control_plane: ControlPlane) -> ApiServer:
    kube = control_plane.kube()
    install(kube, "recoup-system", "recoup-movers")
    return kube


@pytest.fixture
def namespace(kube: ApiServer) -> str:
    name = f"shop-{next(_numbers)}"
    kube.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


@pytest.fixture
def start(kube: ApiServer, control_plane: ControlPlane, tmp_path: Path) -> Iterator[Start]:
    running: list[Controller] = []

    def run(name: str, *arguments: str, **settings: str) -> Controller:
        controller = Controller(control_plane, f"{name}-{next(_numbers)}", *arguments, directory=tmp_path, **settings)
        running.append(controller)
        return controller

    yield run
    for controller in running:
        if controller.process.poll() is None:
            controller.kill()
    try:
        lease = kube.get(LEASE, "recoup-system", "recoup-controller")
        kube.delete(LEASE, "recoup-system", "recoup-controller", uid=lease["metadata"]["uid"])
    except failures.Gone:
        pass


def make_policy(kube: ApiServer, namespace: str, name: str = "p", **spec: Any) -> dict[str, Any]:
    wanted = {"selector": {}, "locations": [{"name": "nowhere"}], **spec}
    return kube.create(
        POLICY,
        {"apiVersion": POLICY.api_version, "kind": "BackupPolicy", "metadata": {"name": name, "namespace": namespace}, "spec": wanted},
    )


def ready_reason(kube: ApiServer, namespace: str, name: str = "p") -> str | None:
    status = kube.get(POLICY, namespace, name).get("status") or {}
    return next((str(c["reason"]) for c in status.get("conditions") or () if c["type"] == "Ready"), None)


def test_a_policy_is_told_what_is_missing_with_one_event_and_then_nothing_is_written(
    kube: ApiServer, namespace: str, start: Start
) -> None:  # fmt: skip
    controller = start("one")
    make_policy(kube, namespace)
    assert wait_for("the policy has a status", lambda: ready_reason(kube, namespace)) == "LocationNotFound"
    before = kube.get(POLICY, namespace, "p")["metadata"]["resourceVersion"]
    seen = controller.page("/metrics")[1]
    policy = kube.get(POLICY, namespace, "p")
    policy["metadata"]["labels"] = {"touched": "yes"}
    kube.patch(POLICY, namespace, "p", {"metadata": {"labels": {"touched": "yes"}}})
    wait_for("it was looked at again", lambda: _reconciles(controller.page("/metrics")[1]) > _reconciles(seen))
    after = kube.get(POLICY, namespace, "p")
    assert {entry["manager"] for entry in after["metadata"]["managedFields"] if entry.get("subresource") == "status"} == {"recoup"}
    assert int(after["metadata"]["resourceVersion"]) - int(before) <= 1 or after["status"] == policy["status"]
    events = [event for event in kube.list(EVENT, namespace) if event["reportingController"] == "recoup.dev/controller"]
    assert [(event["reason"], event["type"]) for event in events] == [("LocationNotFound", "Warning")]
    assert controller.page("/healthz") == (200, "ok\n")
    assert controller.page("/readyz") == (200, "ok\n")
    assert controller.stop() == 0


def _reconciles(metrics: str) -> float:
    rows = [line for line in metrics.splitlines() if line.startswith('recoup_reconciles_total{kind="BackupPolicy"')]
    return sum(float(row.rsplit(" ", 1)[1]) for row in rows)


def test_the_standby_takes_over_when_the_leader_is_killed(kube: ApiServer, namespace: str, start: Start) -> None:
    one = start("one")
    wait_for("one leads", one.leads)
    two = start("two")
    wait_for("two stands by", lambda: two.page("/readyz")[0] == 200)
    assert not two.leads()
    one.kill()
    make_policy(kube, namespace)
    wait_for("two leads", two.leads)
    wait_for("the policy has a status", lambda: ready_reason(kube, namespace))


def test_a_clean_stop_hands_over_without_waiting_for_the_lease_to_run_out(kube: ApiServer, start: Start) -> None:
    one = start("one")
    wait_for("one leads", one.leads)
    two = start("two")
    wait_for("two stands by", lambda: two.page("/readyz")[0] == 200)
    assert one.stop() == 0
    assert kube.get(LEASE, "recoup-system", "recoup-controller")["spec"]["holderIdentity"] in ("", two.name)
    wait_for("two leads", two.leads, 12)  # its next try comes after 4 s; running out would take 20


def test_a_leader_whose_lease_is_taken_ends_with_an_error(kube: ApiServer, start: Start) -> None:
    one = start("one")
    wait_for("one leads", one.leads)
    kube.patch(LEASE, "recoup-system", "recoup-controller", {"spec": {"holderIdentity": "somebody"}})
    assert one.process.wait(60) == 1
    assert any("Lease was lost" in line["message"] for line in one.lines())


def test_without_leases_the_controller_outlives_an_absent_api_server(
    kube: ApiServer, namespace: str, start: Start, control_plane: ControlPlane
) -> None:  # fmt: skip
    one = start("one", "--no-leader-election")
    make_policy(kube, namespace)
    wait_for("the policy has a status", lambda: ready_reason(kube, namespace))
    control_plane.stop_api()
    try:
        wait_for("it says that it is not ready", lambda: one.page("/readyz")[0] == 503)
        assert one.page("/healthz")[0] == 200
    finally:
        control_plane.start_api()
    make_policy(kube, namespace, "later")
    wait_for("the watch is back", lambda: ready_reason(kube, namespace, "later"), 120)
    assert one.page("/readyz")[0] == 200
    assert one.stop() == 0


def test_with_a_lease_an_absent_api_server_ends_the_leader_and_its_successor_goes_on(
    kube: ApiServer, namespace: str, start: Start, control_plane: ControlPlane
) -> None:  # fmt: skip
    one = start("one")
    wait_for("one leads", one.leads)
    control_plane.stop_api()
    try:
        assert one.process.wait(60) == 1
    finally:
        control_plane.start_api()
    again = start("again")
    make_policy(kube, namespace)
    wait_for("the policy has a status", lambda: ready_reason(kube, namespace))
    assert again.stop() == 0


def test_a_location_that_can_not_be_reached_says_so_and_no_secret_shows_in_the_log(kube: ApiServer, start: Start) -> None:
    canary = "canary-4711-secret-access-key"
    data = {"accessKeyID": base64.b64encode(b"AKIA").decode(), "secretAccessKey": base64.b64encode(canary.encode()).decode()}
    metadata = {"name": "away-s3", "namespace": "recoup-system"}
    kube.create(SECRET, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    s3 = {"bucket": "acme", "endpoint": "http://127.0.0.1:1", "credentialsSecretRef": {"name": "away-s3"}}
    keys = [{"name": "k", "secret": {"secretRef": {"name": "key"}}}]
    spec = {"s3": s3, "encryption": {"keys": keys}}
    kube.create(LOCATION, {"apiVersion": LOCATION.api_version, "kind": "BackupLocation", "metadata": {"name": "away"}, "spec": spec})
    one = start("one", "--no-leader-election", log_level="DEBUG")

    def unreachable() -> bool:
        conditions = (kube.get(LOCATION, None, "away").get("status") or {}).get("conditions") or ()
        return any(c["type"] == "Reachable" and c["status"] == "False" and "127.0.0.1:1" in c["message"] for c in conditions)

    try:
        wait_for("the location is said to be out of reach, and where it was looked for", unreachable)
        assert one.stop() == 0
        assert canary not in one.log.read_text()
        assert canary not in str(kube.get(LOCATION, None, "away"))
    finally:
        kube.delete(LOCATION, None, "away", uid=kube.get(LOCATION, None, "away")["metadata"]["uid"])


def labelled(namespace: str, name: str, owner: dict[str, Any]) -> dict[str, Any]:
    metadata = owner["metadata"]
    labels = {
        "app.kubernetes.io/managed-by": "recoup",
        "recoup.dev/owner-kind": owner["kind"],
        "recoup.dev/owner-namespace": metadata["namespace"],
        "recoup.dev/owner-name": metadata["name"],
        "recoup.dev/owner-uid": metadata["uid"],
    }
    template = {"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"template": template},
    }


def make_restore(kube: ApiServer, namespace: str, name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    spec = {"source": {"snapshotRef": {"name": "none"}}}
    return kube.create(RESTORE, {"apiVersion": RESTORE.api_version, "kind": "RestoreRequest", "metadata": metadata, "spec": spec})


def _gone(kube: ApiServer, name: str) -> bool:
    try:
        return bool(kube.get(JOB, "recoup-movers", name)["metadata"].get("deletionTimestamp"))
    except failures.Gone:
        return True


def test_children_of_owners_that_went_while_no_controller_was_there_are_swept_and_others_are_not(
    kube: ApiServer, namespace: str, start: Start
) -> None:  # fmt: skip
    dead, alive = make_restore(kube, namespace, "dead"), make_restore(kube, namespace, "alive")
    kube.create(JOB, labelled("recoup-movers", "of-the-dead", dead))
    kube.create(JOB, labelled("recoup-movers", "of-the-living", alive))
    stranger = labelled("recoup-movers", "of-a-stranger", dead)
    stranger["metadata"]["labels"] = {"recoup.dev/owner-uid": dead["metadata"]["uid"]}
    kube.create(JOB, stranger)
    kube.delete(RESTORE, namespace, "dead", uid=dead["metadata"]["uid"])
    start("one", "--no-leader-election")
    wait_for("the orphan goes", lambda: _gone(kube, "of-the-dead"))
    assert not _gone(kube, "of-the-living")
    assert not _gone(kube, "of-a-stranger")
    kube.delete(RESTORE, namespace, "alive", uid=alive["metadata"]["uid"])
    wait_for("a deletion is noticed at once", lambda: _gone(kube, "of-the-living"), 30)


def test_two_at_once_without_leases_write_the_same(kube: ApiServer, namespace: str, start: Start) -> None:
    start("one", "--no-leader-election")
    start("two", "--no-leader-election")
    for number in range(10):
        make_policy(kube, namespace, f"p{number}")
    for number in range(10):
        wait_for("every policy has a status", lambda number=number: ready_reason(kube, namespace, f"p{number}"))  # type: ignore[misc]
    events = [event["regarding"]["name"] for event in kube.list(EVENT, namespace)]
    assert sorted(events) == sorted(set(events)), "one Event per transition, whoever writes it"


def test_labels_on_pvcs_of_applications_are_never_touched(kube: ApiServer, namespace: str, start: Start) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    made = kube.create(
        PVC, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": namespace}, "spec": spec}
    )
    make_policy(kube, namespace)
    start("one", "--no-leader-election")
    wait_for("the policy has a status", lambda: ready_reason(kube, namespace))
    assert kube.get(PVC, namespace, "data")["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
