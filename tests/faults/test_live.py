"""Live capture in memory: a mover in the workload's namespace, its keys, and nothing left of either, wherever the controller stops."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recoup.controller.resources import JOB, LOCATION, NAMESPACE, POD, PVC, SECRET, SNAPSHOT
from tests.faults.driver import SNAPSHOT_KEY, SWEEP, a_location, condition, killed_at, shop, snapshot_status, start
from tests.faults.outcome import difference, outcome
from tests.faults.world import Object, World, work

LIVE = {"capture": {"method": "Live"}}
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def live_shop(*claims: str, policy: Object | None = None, credentials: bool = True) -> World:
    """Volumes of a driver without snapshots, and a location that gives credentials to movers beside workloads."""
    world = shop(policy=LIVE | (policy or {}))
    for claim in claims or ("data-0",):
        world.add_volume("shop", claim, f"content of {claim}", driver="nfs.example.com")
    if credentials:
        location = a_location(world.now)
        location["spec"]["s3"]["liveCredentialsSecretRef"] = {"name": "frankfurt-s3-live"}
        world.kube.put(LOCATION, location)
    return world


def use(world: World, claim: str, *, node: str = "node-1", **spec: Any) -> None:
    """A pod of the workload that has the claim."""
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    containers = [{"name": "db", "volumeMounts": [{"name": "data", "mountPath": "/data"}], **spec.pop("container", {})}]
    body = {"nodeName": node, "volumes": volumes, "containers": containers, **spec}
    world.kube.put(POD, {"metadata": {"name": f"uses-{claim}", "namespace": "shop"}, "spec": body, "status": {"phase": "Running"}})


def in_use() -> World:
    world = live_shop("data-0", "data-1")
    use(world, "data-0")
    return world


def retried() -> World:
    world = live_shop()
    use(world, "data-0")

    def flaky(world: World, job: Object, pod: Object) -> Object | None:
        if job["metadata"]["labels"]["recoup.dev/attempt"] == "1" and "backup" in pod["spec"]["containers"][0]["args"]:
            return {"exitCode": 10, "message": json.dumps({"reason": "Unavailable", "message": "the bucket does not answer"})}
        return work(world, job, pod)

    world.mover = flaky
    return world


def without_keys() -> World:
    """The handout fails for ever: the mover never starts."""
    world = live_shop()

    def refuse(world: World, job: Object, pod: Object) -> Object | None:
        if "handout-job" in pod["spec"]["containers"][0]["args"]:
            return {"exitCode": 20, "message": json.dumps({"reason": "Forbidden", "message": "no right to create Secrets"})}
        return work(world, job, pod)

    world.mover = refuse
    return world


STORIES = {"in use": in_use, "retried": retried}


@pytest.mark.parametrize("story", STORIES)
def test_stopped_after_any_write_it_ends_the_same(story: str) -> None:
    """With the handouts left out of what is released, both stories end otherwise."""
    make = STORIES[story]
    calm = make()
    start(calm).run(SNAPSHOT_KEY)
    assert condition(snapshot_status(calm), "Ready")["reason"] == "RecoveryPointStored"
    assert calm.all(JOB) == []
    assert [secret["metadata"]["name"] for secret in calm.all(SECRET) if secret["metadata"]["namespace"] == "shop"] == []
    write = 0
    while True:
        world = make()
        stopped = killed_at(world, write, lambda world=world: start(world).run(SNAPSHOT_KEY))  # type: ignore[misc]
        start(world).run(SNAPSHOT_KEY)
        assert difference(outcome(world), outcome(calm)) == [], f"{story}, stopped before write {write}"
        if not stopped:
            break
        write += 1
    assert write > 8, "every write of the story was a place to stop"


def test_a_mover_without_keys_says_why_and_is_given_up() -> None:
    world = without_keys()
    said: set[str] = set()

    def listen() -> bool:
        said.update(volume.get("message") or "" for volume in snapshot_status(world).get("volumes", ()))
        return bool(snapshot_status(world).get("completedAt"))

    controller = start(world)
    controller.run(SNAPSHOT_KEY, until=listen)
    controller.run(SNAPSHOT_KEY)
    assert "the mover could not be given its keys: no right to create Secrets" in said
    assert condition(snapshot_status(world), "Ready")["reason"] == "VolumeNotStored"
    assert world.all(JOB) == []


def movers(world: World) -> list[Object]:
    return [job for job in world.all(JOB) if job["metadata"]["namespace"] == "shop"]


def test_the_mover_runs_beside_the_pod_that_uses_the_volume_and_says_what_its_point_is_worth() -> None:
    world = in_use()
    seen: dict[str, Object] = {}

    def remember(world: World, job: Object, pod: Object) -> Object | None:
        if job["metadata"]["namespace"] == "shop":
            seen[job["metadata"]["name"]] = job
        return work(world, job, pod)

    world.mover = remember
    start(world).run(SNAPSHOT_KEY)
    status = snapshot_status(world)
    assert [volume["guarantee"] for volume in status["volumes"]] == ["NotPointInTime", "NotPointInTime"]
    assert [volume["method"] for volume in status["volumes"]] == ["Live", "Live"]
    jobs = sorted(seen.values(), key=lambda job: str(job["spec"]["template"]["spec"]["volumes"]))
    specs = [job["spec"]["template"]["spec"] for job in jobs]
    placed = [spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution") for spec in specs]
    assert placed[0] == {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}]}
    assert placed[1] is None, "no pod uses it: any node"
    for job, spec in zip(jobs, specs, strict=True):
        source = next(mount for mount in spec["containers"][0]["volumeMounts"] if mount["mountPath"] == "/source")
        assert source["readOnly"] is True
        assert spec["automountServiceAccountToken"] is False
        assert {volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume} == {job["metadata"]["name"]}
        assert job["metadata"]["ownerReferences"][0]["kind"] == "BackupSnapshot"


CONTAINER_USER = {"container": {"securityContext": {"runAsUser": 1001, "runAsGroup": 1002}}, "securityContext": {"fsGroup": 2000}}


@pytest.mark.parametrize(
    ("asked", "labels", "pod", "context"),
    [
        (None, {}, CONTAINER_USER, {"runAsUser": 0, "runAsGroup": 0}),
        (None, RESTRICTED, CONTAINER_USER, {"runAsUser": 1001, "runAsGroup": 1002, "runAsNonRoot": True, "supplementalGroups": [2000]}),
        (None, RESTRICTED, {"securityContext": {"runAsUser": 999}}, {"runAsUser": 999, "runAsGroup": 999, "runAsNonRoot": True}),
        (1234, {}, None, {"runAsUser": 1234, "runAsGroup": 1234, "runAsNonRoot": True}),
        (None, RESTRICTED, None, None),
        (None, RESTRICTED, {}, None),
    ],
)
def test_as_whom_it_reads(asked: int | None, labels: dict[str, str], pod: Object | None, context: Object | None) -> None:
    world = live_shop(policy={"capture": {"method": "Live"} | ({"runAsUser": asked} if asked else {})})
    world.add_namespace("shop", "uid-of-shop", labels)
    if pod is not None:
        use(world, "data-0", **json.loads(json.dumps(pod)))
    controller = start(world)
    controller.run(SNAPSHOT_KEY, until=lambda: bool(movers(world)) or bool(snapshot_status(world).get("completedAt")))
    if context is None:
        line = snapshot_status(world)["volumes"][0]
        assert line["reason"] == "WorkloadUserUnknown"
        assert "spec.capture.runAsUser" in line["message"]
        return
    spec = movers(world)[0]["spec"]["template"]["spec"]
    assert spec["securityContext"] == {**context, "seccompProfile": {"type": "RuntimeDefault"}}
    added = spec["containers"][0]["securityContext"]["capabilities"].get("add")
    assert added == (["DAC_OVERRIDE"] if context["runAsUser"] == 0 else None)


def exclusive(world: World) -> None:
    claim = world.get(PVC, "shop", "data-0")
    claim["spec"]["accessModes"] = ["ReadWriteOncePod"]
    world.kube.put(PVC, claim)
    use(world, "data-0")


def block(world: World) -> None:
    claim = world.get(PVC, "shop", "data-0")
    claim["spec"]["volumeMode"] = "Block"
    world.kube.put(PVC, claim)


def no_credentials(world: World) -> None:
    world.kube.put(LOCATION, a_location(world.now))


@pytest.mark.parametrize(
    ("arrange", "reason", "said"),
    [
        (exclusive, "VolumeInUseExclusively", "pod uses-data-0 uses it"),
        (block, "LiveNeedsFilesystem", "block device"),
        (no_credentials, "LiveCredentialsMissing", "spec.s3.liveCredentialsSecretRef"),
    ],
)
def test_what_is_refused(arrange: Any, reason: str, said: str) -> None:
    world = live_shop()
    arrange(world)
    start(world).run(SNAPSHOT_KEY)
    line = snapshot_status(world)["volumes"][0]
    assert (line["state"], line["reason"]) == ("Failed", reason)
    assert said in line["message"]
    assert ("create", "Job") not in {(verb, kind) for verb, kind, name in world.kube.writes if "data-0" in name}


def test_no_key_leaves_for_a_namespace_that_the_location_is_not_for_any_more() -> None:
    """The mover's Job is there when the location is closed to the namespace. With the second check off, the Secret is made."""
    world = live_shop()
    controller = start(world)
    controller.run(SNAPSHOT_KEY, until=lambda: bool(movers(world)))
    location = world.get(LOCATION, None, "frankfurt")
    location["spec"]["allowedNamespaces"] = {"matchLabels": {"zone": "other"}}
    world.kube.put(LOCATION, location)
    start(world).run(SNAPSHOT_KEY)
    assert snapshot_status(world)["volumes"][0]["state"] == "Failed"
    assert not [
        kind for verb, kind, name in world.kube.writes if verb == "create" and kind == "Job" and "keys" in name and "data-0" in name
    ]
    assert movers(world) == []


@pytest.mark.parametrize("moment", ["made", "at work"])
def test_nothing_is_left_when_the_owner_goes(moment: str) -> None:
    """The controller is away: what belongs to the BackupSnapshot goes with it. Then it comes back and removes what is its own.

    Without the Job's owner reference the mover stays.
    """
    world = live_shop()
    world.mover = lambda world, job, pod: None if "backup" in pod["spec"]["containers"][0]["args"] else work(world, job, pod)

    def reached() -> bool:
        running = [pod for pod in world.all(POD) if pod["metadata"]["namespace"] == "shop" and pod["status"]["phase"] == "Running"]
        return bool(movers(world)) if moment == "made" else bool(running)

    start(world).run(SNAPSHOT_KEY, until=reached)
    world.delete(world.get(SNAPSHOT, "shop", "before-upgrade"))
    world.settle()
    assert movers(world) == []
    assert [secret for secret in world.all(SECRET) if secret["metadata"]["namespace"] == "shop"] == []
    controller = start(world)
    for _ in range(5):
        controller.look(SWEEP)
        world.settle()
        world.pass_time(seconds=700)
    assert world.all(JOB) == []


def test_nothing_is_left_when_the_namespace_goes() -> None:
    world = live_shop()
    start(world).run(SNAPSHOT_KEY, until=lambda: bool(movers(world)))
    world.delete_namespace("shop")
    controller = start(world)
    for _ in range(8):
        controller.look(SNAPSHOT_KEY)
        controller.look(SWEEP)
        world.settle()
        world.pass_time(seconds=700)
    assert world.all(JOB) == []
    assert "shop" not in {namespace["metadata"]["name"] for namespace in world.all(NAMESPACE)}
