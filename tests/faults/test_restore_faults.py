"""Trouble during a restore: each ends in a condition that says what is wrong and what to do, and nothing half-written looks complete.

Every case is run twice: as it is, and with the rule that deals with it switched off, where it must be seen to fail.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from recoup.controller import failures
from recoup.controller.resources import JOB, LOCATION, POD, PVC, RESTORE, STORAGE_CLASS
from tests.faults import restore_rules_off as off
from tests.faults.backup_rules_off import silence_is_no_proof
from tests.faults.driver import RESTORE_KEY, a_location, backed_up, condition, content_of, incident, start
from tests.faults.driver import restore_status as status_of
from tests.faults.test_restore_flow import add_node, assert_only_the_users, in_zone_a
from tests.faults.world import DRIVER, Object, World, work

Patch = pytest.MonkeyPatch
ELSEWHERE = {"location": "frankfurt", "namespace": {"name": "shop"}, "policy": "shop"}


def ready(world: World, namespace: str = "shop") -> tuple[str, str, str]:
    found = condition(status_of(world, namespace), "Ready")
    return str(found.get("status")), str(found.get("reason")), str(found.get("message"))


def look(world: World, *, times: int = 4, namespace: str = "shop") -> int:
    """A few looks at the request with the world acting in between; how often the location was read."""
    controller = start(world)
    for _ in range(times):
        controller.look(RESTORE_KEY._replace(namespace=namespace))
        world.step()
    return controller.bucket.reads


def refused(world: World, reason: str, *words: str, namespace: str = "shop") -> None:
    """The request says why, and nothing at all was made."""
    look(world, namespace=namespace)
    state, why, message = ready(world, namespace)
    assert (state, why) == ("False", reason), message
    assert condition(status_of(world, namespace), "Stalled").get("status") == "True"
    for word in words:
        assert word in message
    assert world.all(JOB) == []
    assert [claim for claim in world.all(PVC) if claim["metadata"]["namespace"] == "recoup-movers"] == []


def restorers_end(ended: Object) -> Callable[[World, Object, Object], Object | None]:
    def mover(world: World, job: Object, pod: Object) -> Object | None:
        return ended if pod["spec"]["containers"][0]["args"][0] == "restore" else work(world, job, pod)

    return mover


def in_another_namespace() -> World:
    world = backed_up("data-0")
    world.add_namespace("shop-recovered", "uid-of-recovered")
    incident(world, source=ELSEWHERE, volumes=[], namespace="shop-recovered")
    return world


def grant(world: World, **to: str) -> None:
    location = world.get(LOCATION, None, "frankfurt")
    location["spec"]["grants"] = [{"from": {"namespace": "shop"}, "to": {"namespace": "shop-recovered"} | to}]
    world.kube.put(LOCATION, location)


# the cases


def ungranted() -> None:
    world = in_another_namespace()
    refused(world, "NotGranted", "{from: {namespace: shop}, to: {namespace: shop-recovered", namespace="shop-recovered")
    assert look(world, namespace="shop-recovered") == 0, "an ungranted request reads nothing"


def granted_later() -> None:
    """The line that the message names is added, and it goes on by itself."""
    world = in_another_namespace()
    look(world, namespace="shop-recovered")
    grant(world)
    start(world).run(RESTORE_KEY._replace(namespace="shop-recovered"))
    assert content_of(world, "data-0", "shop-recovered") == "content of data-0"
    assert_only_the_users(world, disks=2)


def grant_taken_back() -> None:
    """Between two attempts the platform team takes the grant back: there is no second one."""
    world = in_another_namespace()
    grant(world)
    world.mover = restorers_end({"exitCode": 10})
    key = RESTORE_KEY._replace(namespace="shop-recovered")
    controller = start(world)
    controller.run(key, until=lambda: any((job.get("status") or {}).get("conditions") for job in world.all(JOB)))
    location = world.get(LOCATION, None, "frankfurt")
    world.kube.put(LOCATION, location | {"spec": {**location["spec"], "grants": []}})
    world.mover = work
    controller.run(key)
    assert ready(world, "shop-recovered")[:2] == ("False", "NotGranted")


def forged_status() -> None:
    """Somebody who may write statuses puts another namespace's vault into the plan."""
    world = backed_up("data-0")
    world.add_namespace("thief", "uid-of-thief")
    incident(world, source={"policyRef": {"name": "shop"}}, namespace="thief")
    vault = world.get(LOCATION, None, "frankfurt")["status"]["vaults"][0]["id"]
    volume = {"source": "data-0", "target": "loot", "manifest": world.points[0].manifest, "bytes": 1, "size": "1Gi"}
    stamp = world.stamp()
    plan = {
        "location": "frankfurt", "vault": vault, "fingerprint": "f" * 64, "namespace": "thief", "namespaceUid": "uid-of-thief",
        "resolvedAt": stamp, "takenAt": stamp,
        "volumes": [volume | {"storageClassName": "fast", "accessModes": ["ReadWriteOnce"]}],
    }  # fmt: skip
    request = world.get(RESTORE, "thief", "incident")
    world.kube.put(RESTORE, request | {"status": {"plan": plan}})
    start(world).run(RESTORE_KEY._replace(namespace="thief"))
    assert ready(world, "thief")[:2] == ("False", "NotGranted")
    assert world.all(JOB) == []


def namespace_made_anew() -> None:
    """A new namespace under the old name inherits nothing by itself."""
    world = backed_up("data-0")
    world.delete_namespace("shop")
    world.settle()
    world.add_namespace("shop", "uid-of-another-shop")
    incident(world, source=ELSEWHERE)
    refused(world, "NotGranted", "spec.grants")


def target_exists() -> None:
    world = backed_up("data-0", "data-1")
    key = incident(world, volumes=[])
    refused(world, "TargetExists", "PVC shop/data-0 exists", "target.name")
    world.delete(world.get(PVC, "shop", "data-0"))
    world.delete(world.get(PVC, "shop", "data-1"))
    start(world).run(key)
    assert world.all(PVC) == [], "an old request does not take a name that became free"


def target_too_small() -> None:
    world = backed_up("data-0")
    incident(world, volumes=[{"source": "data-0", "target": {"name": "small", "size": "100Mi"}}])
    refused(world, "TargetTooSmall", "100Mi", "1Gi")


def unknown_snapshot() -> None:
    world = backed_up("data-0")
    incident(world, source={"snapshotRef": {"name": "never-was"}})
    refused(world, "SnapshotNotFound", "shop/never-was")


def unknown_volume() -> None:
    world = backed_up("data-0")
    incident(world, volumes=[{"source": "data-7"}])
    refused(world, "VolumeNotFound", "data-7", "it has data-0")


def nothing_so_old() -> None:
    world = backed_up("data-0")
    incident(world, source={"policyRef": {"name": "shop"}, "asOf": "2025-01-01T00:00:00Z"})
    refused(world, "NoRecoveryPoint", "2025-01-01")


def class_missing() -> None:
    world = backed_up("data-0")
    world.delete(world.get(STORAGE_CLASS, None, "fast"))
    world.kube.put(STORAGE_CLASS, {"metadata": {"name": "slow"}, "provisioner": DRIVER, "volumeBindingMode": "Immediate"})
    incident(world)
    refused(world, "StorageClassNotFound", "fast", "there are: slow")


def secrets_per_namespace() -> None:
    world = backed_up("data-0")
    fast = world.get(STORAGE_CLASS, None, "fast")
    secret = {"csi.storage.k8s.io/node-stage-secret-namespace": "${pvc.namespace}"}
    world.kube.put(STORAGE_CLASS, fast | {"parameters": secret})
    incident(world)
    refused(world, "SecretsPerNamespace", "node-stage-secret-namespace")


def no_such_place() -> None:
    world = backed_up("data-0", binding="WaitForFirstConsumer")
    in_zone_a(world)
    add_node(world, "node-b", "b")
    incident(world)
    refused(world, "TopologyConflict", "topology.kubernetes.io/zone in (a)", "target.topology")


def false_vault() -> None:
    """What stands in the bucket has another root key than the one that was pinned."""
    world = backed_up("data-0")
    location = world.get(LOCATION, None, "frankfurt")
    location["status"]["vaults"][0]["fingerprint"] = "e" * 64
    world.kube.put(LOCATION, location)
    incident(world)
    refused(world, "FingerprintMismatch", "planted")


def keys_all_offline() -> None:
    """Nothing in the cluster opens the vault: that is said before a mover finds out."""
    world = backed_up("data-0")
    location = world.get(LOCATION, None, "frankfurt")
    location["spec"]["encryption"] = {"keys": [{"name": "safe", "recipient": {"publicKey": "recouprecipient1x"}}]}
    world.kube.put(LOCATION, location)
    incident(world)
    refused(world, "NoKeyInCluster", "recoup restore")


def damaged_object() -> None:
    """The mover refuses a damaged object: nothing half-written is handed over, and the reason names the path."""
    world = backed_up("data-0")
    incident(world)
    report = {"outcome": "Failed", "reason": "IntegrityError", "message": "orders/1.txt: object d/aa/1f is damaged", "bytesWritten": 9}
    world.mover = restorers_end({"exitCode": 30, "message": json.dumps(report)})
    start(world).run(RESTORE_KEY)
    assert ready(world)[:2] == ("False", "IntegrityError")
    assert "orders/1.txt" in ready(world)[2]
    assert condition(status_of(world), "Restored")["status"] == "False"
    assert status_of(world)["volumes"][0]["attempts"] == 1, "no repetition mends it"
    assert_only_the_users(world, disks=1)


def another_key() -> None:
    """The key in the cluster is not the vault's: no repetition mends it, and the empty volume is not handed over."""
    world = backed_up("data-0")
    incident(world)
    report = {"outcome": "Failed", "reason": "KeyUnavailable", "message": "none of the keys opens vault ab; it can be opened with daily"}
    world.mover = restorers_end({"exitCode": 40, "message": json.dumps(report)})
    start(world).run(RESTORE_KEY)
    assert ready(world)[:2] == ("False", "KeyUnavailable")
    assert "daily" in ready(world)[2]
    assert status_of(world)["volumes"][0]["attempts"] == 1
    assert_only_the_users(world, disks=1)


def silent_mover() -> None:
    """A mover that never says anything is ended after a quarter of an hour, like one that stopped saying it."""
    world = backed_up("data-0")
    incident(world)
    world.mover = restorers_hang
    controller = start(world)
    controller.run(RESTORE_KEY, until=lambda: any(is_running(pod) for pod in world.all(POD)))
    pod = next(pod for pod in world.all(POD) if is_running(pod))["metadata"]
    world.kube.logs[(pod["namespace"], pod["name"])] = ""
    controller.run(RESTORE_KEY)
    assert ready(world)[:2] == ("False", "NoProgress")
    assert_only_the_users(world, disks=1)


def restorers_hang(world: World, job: Object, pod: Object) -> Object | None:
    return None if pod["spec"]["containers"][0]["args"][0] == "restore" else work(world, job, pod)


def is_running(pod: Object) -> bool:
    return bool(pod["spec"]["containers"][0]["args"][0] == "restore" and pod["status"]["phase"] == "Running")


def attributes_not_kept() -> None:
    """All content is back, but the file system can't keep ACLs: the user gets the volume, and is told."""
    world = backed_up("data-0")
    incident(world)
    report = {"outcome": "Partial", "reason": "MetadataNotPreserved", "message": "2 attributes were not kept", "firstPaths": ["orders"]}

    def mover(world: World, job: Object, pod: Object) -> Object | None:
        ended = work(world, job, pod)
        return ended and {"exitCode": 3, "message": json.dumps(report)}

    world.mover = mover
    start(world).run(RESTORE_KEY)
    assert ready(world)[:2] == ("False", "MetadataNotPreserved")
    assert "orders" in ready(world)[2]
    assert condition(status_of(world), "Restored")["status"] == "False"
    assert status_of(world)["volumes"][0]["state"] == "Restored"
    assert content_of(world, "data-0-restored") == "content of data-0"
    assert_only_the_users(world, disks=2)


def quota_refuses_the_target() -> None:
    """The volume is filled and waits, held by us, until the quota lets its claim in."""
    world = backed_up("data-0")
    incident(world)
    full = [True]

    def admission(verb: str, kind: str, name: str) -> None:
        if full[0] and (verb, kind, name) == ("create", "PersistentVolumeClaim", "data-0-restored"):
            raise failures.QuotaExceeded("exceeded quota: team, requested: 1, used: 4, limited: 4")

    world.kube.before_write = admission
    controller = start(world)
    controller.run(RESTORE_KEY, until=lambda: ready(world)[1] == "QuotaExceeded")
    world.pass_time(hours=3)
    controller.look(RESTORE_KEY)
    assert sorted(world.disks.values()) == ["content of data-0"] * 2
    full[0] = False
    controller.run(RESTORE_KEY)
    assert content_of(world, "data-0-restored") == "content of data-0"
    assert_only_the_users(world, disks=2)


def taken_in_between() -> None:
    """Somebody makes a PVC of the target's name after the mover ended: theirs is left alone."""
    world = backed_up("data-0")
    incident(world)
    controller = start(world)
    controller.run(RESTORE_KEY, until=lambda: [item["state"] for item in status_of(world).get("volumes", [])] == ["HandingOver"])
    world.add_volume("shop", "data-0-restored", "somebody's")
    controller.run(RESTORE_KEY)
    assert ready(world)[:2] == ("False", "TargetExists")
    assert content_of(world, "data-0-restored") == "somebody's"
    assert_only_the_users(world, disks=2)


def handed_over_whole() -> None:
    world = backed_up("data-0")
    incident(world)
    start(world).run(RESTORE_KEY)
    assert ready(world)[:2] == ("True", "Restored")
    assert content_of(world, "data-0-restored") == "content of data-0"


def wrong_location() -> None:
    world = backed_up("data-0")
    world.kube.put(LOCATION, a_location(world.now) | {"metadata": {"name": "other", "uid": "uid-of-other"}})
    incident(world, source={"location": "nowhere", "namespace": {"name": "shop"}, "policy": "shop"})
    refused(world, "LocationNotFound", "nowhere")


CASES: dict[str, tuple[Callable[[], None], Callable[[Patch], None]]] = {
    "ungranted source": (ungranted, off.grant_everything),
    "grant taken back": (grant_taken_back, off.trust_the_status),
    "forged status": (forged_status, off.trust_the_status),
    "namespace made anew": (namespace_made_anew, off.vault_by_name),
    "target exists": (target_exists, off.overlook_claims),
    "target too small": (target_too_small, off.any_size),
    "StorageClass missing": (class_missing, off.any_class),
    "secrets per namespace": (secrets_per_namespace, off.per_namespace_secrets_are_fine),
    "no such place": (no_such_place, off.any_place),
    "false vault": (false_vault, off.any_root_key),
    "damaged object": (damaged_object, off.every_end_is_good),
    "another key": (another_key, off.every_end_is_good),
    "silent mover": (silent_mover, silence_is_no_proof),
    "attributes not kept": (attributes_not_kept, off.every_end_is_good),
    "quota refuses the target": (quota_refuses_the_target, off.hide_refusals),
    "target taken in between": (taken_in_between, off.take_what_is_there),
    "handed over whole": (handed_over_whole, off.hold_nothing),
}

PLAIN = (granted_later, keys_all_offline, unknown_snapshot, unknown_volume, nothing_so_old, wrong_location)
"""Cases without a rule of their own: there is nothing to be found, or all is well."""


@pytest.mark.parametrize("case", CASES)
def test_trouble_is_told_and_leaves_nothing(case: str) -> None:
    CASES[case][0]()


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.__name__)
def test_plain(case: Callable[[], None]) -> None:
    case()


@pytest.mark.parametrize("case", CASES)
def test_without_its_rule_the_case_fails(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, switch_off = CASES[case]
    switch_off(monkeypatch)
    with pytest.raises(AssertionError):
        check()
