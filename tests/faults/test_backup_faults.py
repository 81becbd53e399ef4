"""Trouble during a backup: each ends in a condition that says what is wrong, claims nothing that is not so, and leaves nothing behind.

Every case is run twice: as it is, and with the rule that deals with it switched off, where it must be seen to fail.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from recoup.controller import failures
from recoup.controller.resources import (
    CORE_EVENT,
    JOB,
    LOCATION,
    POD,
    POLICY,
    PVC,
    SECRET,
    SNAPSHOT,
    VOLUME_SNAPSHOT,
    VOLUME_SNAPSHOT_CONTENT,
)
from recoup.errors import Retryable
from tests.faults import backup_rules_off as off
from tests.faults.driver import SNAPSHOT_KEY, SWEEP, Controller, a_location, condition, shop, start
from tests.faults.driver import snapshot_status as status_of
from tests.faults.test_backup_flow import assert_nothing_of_ours
from tests.faults.world import Object, World, commit, work

Patch = pytest.MonkeyPatch


def ready(world: World) -> tuple[str, str, str]:
    found = condition(status_of(world), "Ready")
    return str(found.get("status")), str(found.get("reason")), str(found.get("message"))


def volume(world: World, name: str = "data-0") -> Object:
    return next(item for item in status_of(world)["volumes"] if item["persistentVolumeClaim"] == name)


def backups_end(ended: Object, *, after_commit: bool = False) -> Callable[[World, Object, Object], Object | None]:
    """Backup movers end like this; the keys Job does its work."""

    def mover(world: World, job: Object, pod: Object) -> Object | None:
        if pod["spec"]["containers"][0]["args"][0] != "backup":
            return work(world, job, pod)
        if after_commit:
            commit(world, pod)
        return ended

    return mover


def backups_hang(world: World, job: Object, pod: Object) -> Object | None:
    return work(world, job, pod) if pod["spec"]["containers"][0]["args"][0] != "backup" else None


def until_mover_runs(world: World) -> Controller:
    """Up to the moment at which a backup mover's pod is running."""
    world.mover = backups_hang
    controller = start(world)
    controller.run(SNAPSHOT_KEY, until=lambda: any(is_running_backup(pod) for pod in world.all(POD)))
    return controller


def is_running_backup(pod: Object) -> bool:
    return bool(pod["spec"]["containers"][0]["args"][0] == "backup" and pod["status"]["phase"] == "Running")


# the cases: what happens, and what must come of it


def no_snapshot_class() -> None:
    world = shop("data-0")
    world.add_volume("shop", "legacy", "old", driver="nfs.example.com")
    start(world).run(SNAPSHOT_KEY)
    state, reason, message = ready(world)
    assert (state, reason) == ("False", "VolumeNotCaptured")
    assert "no VolumeSnapshotClass for driver nfs.example.com" in message
    assert "spec.selector.exclude" in message
    assert volume(world, "legacy").get("reason") == "NoVolumeSnapshotClass"
    assert volume(world, "data-0")["state"] == "Stored"
    assert status_of(world)["summary"]["volumes"] == "1/2"
    assert_nothing_of_ours(world, disks=2)


def snapshot_never_ready() -> None:
    world = shop("data-0")
    world.snapshots_work, world.snapshot_error = False, "quota of snapshots reached on array 7"
    start(world).run(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("False", "VolumeNotCaptured")
    assert volume(world).get("reason") == "VolumeSnapshotNotReady"
    assert "quota of snapshots reached on array 7" in volume(world)["message"]
    assert_nothing_of_ours(world, disks=1)


def claim_replaced_before_capture() -> None:
    """The PVC is deleted and made anew under its name between the choice and the snapshot: the new one is not what was chosen."""
    world = shop("data-0")
    controller = start(world)
    controller.run(SNAPSHOT_KEY, until=lambda: bool(status_of(world).get("run")))
    world.delete(world.get(PVC, "shop", "data-0"))
    world.settle()
    world.add_volume("shop", "data-0", "something else")
    controller.run(SNAPSHOT_KEY)
    assert volume(world).get("reason") == "VolumeClaimDeleted"
    assert world.points == []
    assert_nothing_of_ours(world, disks=1)


def claim_deleted_after_capture() -> None:
    """Once the snapshot is handed over, the PVC is no longer needed."""
    world = shop("data-0")
    controller = start(world)
    controller.run(SNAPSHOT_KEY, until=lambda: len(world.all(VOLUME_SNAPSHOT)) == 2)
    world.delete(world.get(PVC, "shop", "data-0"))
    world.settle()
    controller.run(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("True", "RecoveryPointStored")
    assert [point.source.size for point in world.points] == ["1Gi"]
    assert_nothing_of_ours(world, disks=0)


def snapshot_deleted_by_its_tenant() -> None:
    """The moment our own content stands, nothing that happens on the workload's side takes the snapshot away."""
    world = shop("data-0")
    controller = start(world)
    controller.run(SNAPSHOT_KEY, until=lambda: len(world.all(VOLUME_SNAPSHOT)) == 2)
    theirs = [item for item in world.all(VOLUME_SNAPSHOT) if item["metadata"]["namespace"] == "shop"]
    for item in theirs:
        world.delete(item)
    world.settle()
    controller.run(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("True", "RecoveryPointStored")
    assert_nothing_of_ours(world, disks=1)


def quota_refuses_the_claim() -> None:
    """It says so while it lasts, and goes on when it is lifted."""
    world = shop("data-0")
    full = [True]

    def admission(verb: str, kind: str, _name: str) -> None:
        if full[0] and (verb, kind) == ("create", "PersistentVolumeClaim"):
            raise failures.QuotaExceeded("persistentvolumeclaims is forbidden: exceeded quota: team, requested: 1, used: 4, limited: 4")

    world.kube.before_write = admission
    controller = start(world)
    controller.run(SNAPSHOT_KEY, until=lambda: ready(world)[1] == "QuotaExceeded")
    assert "used: 4, limited: 4" in ready(world)[2]
    full[0] = False
    controller.run(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("True", "RecoveryPointStored")


def keys_job_refused() -> None:
    """Even before the run has begun a refusal is told, and what was refused is tried again."""
    world = shop("data-0")
    full = [True]

    def admission(verb: str, kind: str, _name: str) -> None:
        if full[0] and (verb, kind) == ("create", "Job"):
            raise failures.Forbidden("jobs.batch is forbidden: denied by policy no-jobs")

    world.kube.before_write = admission
    controller = start(world)
    for _ in range(4):
        controller.look(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("False", "Forbidden")
    assert "no-jobs" in ready(world)[2]
    full[0] = False
    controller.run(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("True", "RecoveryPointStored")


def pods_refused() -> None:
    """The Job is there and its pod is not let in: the Event about the Job says why."""
    world = shop("data-0")
    world.pods_start = False
    controller = start(world)
    controller.run(SNAPSHOT_KEY, until=lambda: bool(world.all(JOB)))
    job = world.all(JOB)[0]["metadata"]
    event = {
        "metadata": {"name": "refused", "namespace": job["namespace"]},
        "involvedObject": {"uid": job["uid"]},
        "type": "Warning",
        "reason": "FailedCreate",
        "message": "exceeded quota: pods",
    }
    world.kube.put(CORE_EVENT, event)
    world.pass_time(minutes=1)
    controller.look(SNAPSHOT_KEY)
    assert ready(world)[1] == "MoverPodNotCreated"
    assert "exceeded quota: pods" in ready(world)[2]


def retaining_class() -> None:
    """A VolumeSnapshotClass that retains: its content is found and removed though the namespace went before it was handed over."""
    world = shop("data-0")
    world.snapshots_work = False
    world.retain_snapshots = True
    controller = start(world)
    controller.run(SNAPSHOT_KEY, until=lambda: bool(world.all(VOLUME_SNAPSHOT_CONTENT)))
    controller.look(SNAPSHOT_KEY)
    world.delete_namespace("shop")
    for _ in range(10):
        world.step()
        controller.look(SWEEP)
    assert_nothing_of_ours(world, disks=0)


def out_of_memory() -> None:
    world = shop("data-0")
    world.mover = backups_end({"exitCode": 137, "reason": "OOMKilled"})
    start(world).run(SNAPSHOT_KEY)
    assert volume(world).get("reason") == "MoverOutOfMemory"
    assert "spec.mover.resources" in volume(world)["message"]
    assert volume(world)["attempts"] == 3
    assert_nothing_of_ours(world, disks=1)


def success_without_commit() -> None:
    """A mover's word is not enough."""
    world = shop("data-0")
    world.mover = backups_end({"exitCode": 0, "message": json.dumps({"outcome": "Succeeded", "manifest": "abc"})})
    start(world).run(SNAPSHOT_KEY)
    assert ready(world)[0] == "False"
    assert volume(world).get("reason") == "CommitNotFound"
    assert "manifest" not in volume(world)


def commit_though_the_job_failed() -> None:
    """The node died after the COMMIT: the recovery point is there, once, and is not made again."""
    world = shop("data-0")
    world.mover = backups_end({"exitCode": 137}, after_commit=True)
    start(world).run(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("True", "RecoveryPointStored")
    assert len(world.points) == 1
    assert volume(world)["attempts"] == 1
    assert_nothing_of_ours(world, disks=1)


def pod_deleted() -> None:
    world = shop("data-0")
    controller = until_mover_runs(world)
    world.delete(next(pod for pod in world.all(POD) if is_running_backup(pod)))
    world.mover = work
    controller.run(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("True", "RecoveryPointStored")
    assert volume(world)["attempts"] == 2


def job_deleted() -> None:
    world = shop("data-0")
    controller = until_mover_runs(world)
    controller.look(SNAPSHOT_KEY)
    world.delete(next(job for job in world.all(JOB) if job["metadata"]["labels"].get("app.kubernetes.io/component") == "mover"))
    world.mover = work
    controller.run(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("True", "RecoveryPointStored")
    assert volume(world)["attempts"] == 2


def no_progress() -> None:
    world = shop("data-0")
    controller = until_mover_runs(world)
    pod = next(pod for pod in world.all(POD) if is_running_backup(pod))["metadata"]
    line = json.dumps({"progress": {"phase": "backup", "bytesDone": 5, "bytesTotal": 100, "filesDone": 1, "rate": 0}})
    world.kube.logs[(pod["namespace"], pod["name"])] = line
    controller.run(SNAPSHOT_KEY)
    assert volume(world).get("reason") == "NoProgress"
    assert_nothing_of_ours(world, disks=1)


def silent_mover() -> None:
    """A mover that never says anything: its log can be read, and is empty."""
    world = shop("data-0")
    controller = until_mover_runs(world)
    pod = next(pod for pod in world.all(POD) if is_running_backup(pod))["metadata"]
    world.kube.logs[(pod["namespace"], pod["name"])] = "nothing that tells\n"
    controller.run(SNAPSHOT_KEY)
    assert volume(world).get("reason") == "NoProgress"
    assert_nothing_of_ours(world, disks=1)


def slow_but_alive() -> None:
    """An hour of slow progress is progress."""
    world = shop("data-0")
    controller = until_mover_runs(world)
    pod = next(pod for pod in world.all(POD) if is_running_backup(pod))["metadata"]
    for minute in range(60):
        line = json.dumps({"progress": {"phase": "backup", "bytesDone": minute, "bytesTotal": 10_000, "filesDone": 0, "rate": 0.01}})
        world.kube.logs[(pod["namespace"], pod["name"])] = line
        world.pass_time(minutes=1)
        controller.look(SNAPSHOT_KEY)
    assert volume(world)["state"] == "Uploading"
    assert volume(world)["progress"]["bytesDone"] == 59


def cancelled() -> None:
    world = shop("data-0")
    controller = until_mover_runs(world)
    found = world.get(SNAPSHOT, "shop", "before-upgrade")
    world.kube.put(SNAPSHOT, found | {"spec": found["spec"] | {"cancel": True}})
    controller.run(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("False", "Cancelled")
    assert volume(world)["state"] == "Cancelled"
    assert_nothing_of_ours(world, disks=1)


def policy_edited_meanwhile() -> None:
    """A second attempt runs by what was settled at the beginning."""
    world = shop("data-0", policy={"files": {"exclude": ["cache/**"]}})
    controller = until_mover_runs(world)
    found = world.get(POLICY, "shop", "shop")
    edited: Any = {"selector": {"matchLabels": {"app": "nothing"}}, "suspend": True, "files": {"exclude": []}}
    world.kube.put(POLICY, found | {"spec": found["spec"] | edited})
    world.delete(next(pod for pod in world.all(POD) if is_running_backup(pod)))
    world.mover = work
    seen: list[str] = []
    controller.run(SNAPSHOT_KEY, until=lambda: any(collect_arguments(world, seen, attempt="2")))
    controller.run(SNAPSHOT_KEY)
    assert "cache/**" in seen
    assert ready(world)[:2] == ("True", "RecoveryPointStored")


def collect_arguments(world: World, seen: list[str], *, attempt: str) -> list[str]:
    for job in world.all(JOB):
        if job["metadata"]["labels"].get("recoup.dev/attempt") == attempt:
            seen += job["spec"]["template"]["spec"]["containers"][0]["args"]
    return seen


def policy_deleted_meanwhile() -> None:
    world = shop("data-0")
    controller = until_mover_runs(world)
    world.delete(world.get(POLICY, "shop", "shop"))
    world.mover = work
    controller.run(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("True", "RecoveryPointStored")


def forged_vault() -> None:
    """Somebody who may write statuses puts another namespace's vault there: no mover gets its keys."""
    world = shop("data-0")
    controller = start(world)
    controller.run(SNAPSHOT_KEY, until=lambda: bool(status_of(world).get("run")))
    found = world.get(SNAPSHOT, "shop", "before-upgrade")
    world.kube.put(SECRET, {"metadata": {"name": f"catalogue-{'ee' * 16}", "namespace": "recoup-system"}})
    world.kube.put(SNAPSHOT, found | {"status": found["status"] | {"vault": "ee" * 16}})
    controller.run(SNAPSHOT_KEY)
    assert volume(world).get("reason") == "VaultMismatch"
    assert world.points == []
    world.pass_time(minutes=11)  # the keys Job of the real vault goes by itself
    world.settle()
    assert_nothing_of_ours(world, disks=1)


def location_away_at_the_end() -> None:
    """The mover ended while the bucket can't be read: nothing is claimed, nothing is started again, and it heals."""
    world = shop("data-0")
    controller = until_mover_runs(world)
    controller.bucket.outage = Retryable("the endpoint does not answer")
    world.mover = work
    world.settle()
    for _ in range(20):
        controller.look(SNAPSHOT_KEY)
        world.pass_time(minutes=1)
    assert ready(world)[:2] == ("False", "Unavailable")
    assert "does not answer" in ready(world)[2]
    assert len(world.all(JOB)) == 1
    controller.bucket.outage = None
    controller.run(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("True", "RecoveryPointStored")
    assert volume(world)["attempts"] == 1


def nothing_selected() -> None:
    world = shop("data-0", policy={"selector": {"matchLabels": {"app": "nobody"}}})
    start(world).run(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("False", "NoVolumesSelected")
    assert condition(status_of(world), "Stored")["status"] == "False"


def named_claim_missing() -> None:
    world = shop("data-0", policy={"selector": {"persistentVolumeClaims": ["data-0", "data-9"]}})
    start(world).run(SNAPSHOT_KEY)
    assert ready(world)[:2] == ("False", "VolumeNotCaptured")
    assert volume(world, "data-9").get("reason") == "VolumeClaimNotFound"
    assert volume(world, "data-0")["state"] == "Stored"


def home_not_atomic() -> None:
    world = shop("data-0")
    location = a_location(world.now)
    location["status"]["conditions"][1] |= {"status": "False", "reason": "NotAtomic", "message": "2 of 4 writers were told 200"}
    world.kube.put(LOCATION, location)
    controller = start(world)
    for _ in range(5):
        controller.look(SNAPSHOT_KEY)
        world.step()
    assert ready(world)[:2] == ("False", "NotAtomic")
    assert "2 of 4 writers" in ready(world)[2]
    assert world.all(JOB) == []
    assert world.all(VOLUME_SNAPSHOT) == []


CASES: dict[str, tuple[Callable[[], None], Callable[[Patch], None]]] = {
    "no VolumeSnapshotClass": (no_snapshot_class, off.any_class),
    "snapshot never ready": (snapshot_never_ready, off.no_limit),
    "PVC replaced before capture": (claim_replaced_before_capture, off.find_claims_by_name),
    "PVC deleted after capture": (claim_deleted_after_capture, off.need_the_claim),
    "tenant deletes the VolumeSnapshot": (snapshot_deleted_by_its_tenant, off.delete_unretained),
    "quota refuses the PVC": (quota_refuses_the_claim, off.hide_refusals),
    "keys Job refused": (keys_job_refused, off.hide_early_refusals),
    "pods refused": (pods_refused, off.no_warnings),
    "retaining class": (retaining_class, off.unmarked),
    "mover OOM-killed": (out_of_memory, off.forget_memory),
    "success without COMMIT": (success_without_commit, off.believe_movers),
    "COMMIT though the Job failed": (commit_though_the_job_failed, off.believe_only_jobs),
    "pod deleted": (pod_deleted, off.no_retries),
    "Job deleted": (job_deleted, off.no_retries),
    "no progress": (no_progress, off.never_stalled),
    "silent mover": (silent_mover, off.silence_is_no_proof),
    "slow but alive": (slow_but_alive, off.stalled_by_the_clock),
    "cancelled": (cancelled, off.ignore_cancel),
    "policy edited": (policy_edited_meanwhile, off.follow_the_policy),
    "policy deleted": (policy_deleted_meanwhile, off.need_the_policy),
    "forged vault": (forged_vault, off.any_vault),
    "location away at the end": (location_away_at_the_end, off.give_up_unread),
    "nothing selected": (nothing_selected, off.empty_is_fine),
    "a named PVC is missing": (named_claim_missing, off.ignore_missing),
    "home is not atomic": (home_not_atomic, off.any_home),
}


@pytest.mark.parametrize("case", CASES)
def test_trouble_is_told_and_leaves_nothing(case: str) -> None:
    CASES[case][0]()


@pytest.mark.parametrize("case", CASES)
def test_without_its_rule_the_case_fails(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, switch_off = CASES[case]
    switch_off(monkeypatch)
    with pytest.raises((AssertionError, ZeroDivisionError)):
        check()
