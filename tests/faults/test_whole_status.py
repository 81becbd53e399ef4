"""One backup and one restore that use most of what can be asked for: the pods that come of it, and every word of their statuses.

What a user sees of a run at work and when it is over is compared as a whole, so that no field is written by nobody, or unnoticed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from recoup.controller.resources import LOCATION, POD, PVC, RESTORE, Key
from tests.faults.driver import (
    NAMESPACE_UID,
    RESTORE_KEY,
    SNAPSHOT_KEY,
    BucketView,
    Controller,
    incident,
    restore_status,
    shop,
    snapshot_status,
    start,
)
from tests.faults.frozen_pod import FrozenPod
from tests.faults.world import Object, World, work

TOLERATION = {"key": "dedicated", "operator": "Exists", "value": "", "effect": "NoExecute", "tolerationSeconds": 60}
MOVER = {
    "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}, "nodeSelector": {"disk": "ssd"}, "priorityClassName": "low",
    "tolerations": [TOLERATION],
}  # fmt: skip
PROGRESS = {"bytesDone": 5, "bytesTotal": 100, "filesDone": 1, "filesTotal": 9, "rate": 2.0, "eta": 47.5}


def hook(name: str) -> Object:
    expressions = [{"key": "tier", "operator": "In", "values": ["db", "cache"]}]
    selector = {"matchLabels": {"app": "db"}, "matchExpressions": expressions}
    return {"name": name, "podSelector": selector, "container": "db", "command": [name], "timeout": "20s", "onError": "Continue"}


HOOKS = {"pre": [hook("lock")], "post": [hook("unlock")], "freezeLimit": "30s"}
ASKED = {
    "selector": {"matchLabels": {"app": "shop"}}, "capture": {"method": "Snapshot", "volumeSnapshotClassName": "cuts"},
    "files": {"exclude": ["*.tmp"]}, "hooks": HOOKS, "mover": MOVER,
}  # fmt: skip


TIME, WHILE, DIGEST = "a time", "a while", "a digest"


def timeless(status: Object) -> Object:
    """With words for what depends on how many looks the hooks' threads took."""
    text = json.dumps(status).replace((status.get("plan") or {}).get("digest", DIGEST), DIGEST)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+(Z|\+00:00)", TIME, text)
    changed: Object = json.loads(re.sub(r'("duration"|"eta"): "[0-9hms]+"', rf'\1: "{WHILE}"', text))
    return changed


def movers(world: World) -> list[Object]:
    return [pod for pod in world.all(POD) if pod["metadata"]["namespace"] == "recoup-movers"]


def held(what: str) -> Callable[[World, Object, Object], Object | None]:
    """A mover that is at work without end."""
    return lambda world, job, pod: None if pod["spec"]["containers"][0]["args"][0] == what else work(world, job, pod)


def tell_progress(world: World, controller: Controller, key: Key) -> None:
    """The movers run, say how far they are, and a look after that reads it."""
    for _ in range(3):
        world.pass_time(seconds=5)
        controller.look(key)
        world.step()
    for pod in movers(world):
        place = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        world.kube.logs[place] = json.dumps({"progress": {"phase": "any", **PROGRESS}})
    world.pass_time(seconds=70)
    controller.look(key)


def asked_for_much() -> tuple[World, FrozenPod, Controller]:
    """A run whose movers are at work."""
    world = shop("data-0", "data-1", policy=ASKED, cuts=False, others=True)
    world.add_volume("shop", "data-2", "not selected", labels={"app": "another"})
    pod = FrozenPod(world)
    found = world.get(POD, "shop", "db-0")
    found["metadata"]["labels"]["tier"] = "db"
    world.kube.put(POD, found)
    world.mover = held("backup")
    controller = Controller(world, BucketView(world), pods=pod.connection())
    controller.run(SNAPSHOT_KEY, until=lambda: [one["state"] for one in snapshot_status(world).get("volumes") or []] == ["Uploading"] * 2)
    return world, pod, controller


def test_a_run_at_work_does_what_its_policy_says_and_tells_all_of_it() -> None:
    world, pod, controller = asked_for_much()
    mover, _ = movers(world)
    assert {name: mover["spec"][name] for name in ("nodeSelector", "priorityClassName", "tolerations")} == {
        name: MOVER[name] for name in ("nodeSelector", "priorityClassName", "tolerations")
    }
    container = mover["spec"]["containers"][0]
    assert container["resources"] == {"requests": {"cpu": "1", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}
    assert container["args"][container["args"].index("--exclude") + 1] == "*.tmp"
    tell_progress(world, controller, SNAPSHOT_KEY)
    assert pod.ran == ["lock", "unlock"]
    status = timeless(snapshot_status(world))
    settings = {"volumeSnapshotClassName": "cuts", "exclude": ["*.tmp"], "hooks": HOOKS, "mover": MOVER, "suspiciousChange": {}}
    assert status["run"] == settings
    assert status["volumes"][0] == UPLOADING


def test_a_run_that_is_over_tells_all_of_it() -> None:
    world, _, controller = asked_for_much()
    world.mover = work
    controller.run(SNAPSHOT_KEY)
    status = timeless(snapshot_status(world))
    assert status["hooks"].pop("holder").startswith("test")
    assert status["volumes"] == [STORED, STORED | {"persistentVolumeClaim": "data-1", "uid": "uid-9", "manifest": SECOND}]
    assert {name: status[name] for name in status if name not in ("conditions", "run", "volumes")} == OVER
    assert [tuple(one.values()) for one in status["conditions"]] == CONDITIONS


def approved() -> tuple[World, Controller]:
    """A restore of the run whose plan was made, and has been approved."""
    world, _, controller = asked_for_much()
    world.mover = work
    controller.run(SNAPSHOT_KEY)
    location = world.get(LOCATION, None, "frankfurt")
    vault = {"id": snapshot_status(world)["vault"], "namespace": "shop", "namespaceUid": NAMESPACE_UID, "fingerprint": "f" * 64}
    world.kube.put(LOCATION, location | {"status": location["status"] | {"vaults": [vault]}})
    controller = start(world)
    volumes = [
        {"source": "data-0", "target": {"name": "back", "storageClassName": "fast", "size": "5Gi", "accessModes": ["ReadWriteMany"]}}
    ]
    source = {"policyRef": {"name": "shop"}, "asOf": "2026-11-24T00:00:00Z"}
    key = incident(world, source=source, volumes=volumes, plan="ApprovalRequired")
    controller.run(key, until=lambda: "digest" in (restore_status(world).get("plan") or {}))
    request = world.get(RESTORE, "shop", "incident")
    request["spec"]["approve"] = request["status"]["plan"]["digest"]
    world.kube.put(RESTORE, request)
    return world, controller


def test_a_restore_at_work_tells_all_of_it() -> None:
    world, controller = approved()
    world.mover = held("restore")
    controller.run(RESTORE_KEY, until=lambda: [one["state"] for one in restore_status(world).get("volumes") or []] == ["Restoring"])
    tell_progress(world, controller, RESTORE_KEY)
    status = timeless(restore_status(world))
    assert status["plan"] == PLAN
    assert status["volumes"] == [RESTORING]
    assert status["summary"] == {"source": "before-upgrade", "volumes": "0/1", "progress": "5 %", "rate": "2/s", "eta": WHILE}


def test_a_restore_that_is_over_tells_all_of_it() -> None:
    world, controller = approved()
    controller.run(RESTORE_KEY)
    status = timeless(restore_status(world))
    claim = world.get(PVC, "shop", "back")
    assert status["volumes"][0].pop("persistentVolume") == claim["spec"]["volumeName"]
    assert {name: status[name] for name in status if name not in ("conditions", "plan")} == RESTORED
    assert [tuple(one.values()) for one in status["conditions"]] == RESTORE_CONDITIONS
    assert (claim["spec"]["resources"], claim["spec"]["accessModes"]) == ({"requests": {"storage": "5Gi"}}, ["ReadWriteMany"])
    assert claim["metadata"]["labels"]["app"] == "shop"


UPLOADING = {
    "persistentVolumeClaim": "data-0", "uid": "uid-7", "state": "Uploading", "method": "Snapshot", "capturedAt": TIME, "attempts": 1,
    "progress": {"at": TIME, "bytesDone": 5, "bytesTotal": 100, "filesDone": 1, "filesTotal": 9, "rate": 2, "eta": WHILE},
}  # fmt: skip
FIRST, SECOND = "manifest-of-5980125607332ee5fc666e40e746ad36", "manifest-of-791e8ef50acf41ffb16278d712007bc7"
STORED = {
    "persistentVolumeClaim": "data-0", "uid": "uid-7", "state": "Stored", "method": "Snapshot", "guarantee": "ApplicationConsistent",
    "capturedAt": TIME, "attempts": 1, "manifest": FIRST, "filesTotal": 3, "bytesTotal": 5, "bytesRead": 5, "bytesStored": 5,
    "duration": WHILE,
}  # fmt: skip
OVER = {
    "observedGeneration": 1, "policyUid": "uid-of-policy", "location": "frankfurt", "vault": "80b9c00946112b2034654681492b5b63",
    "startedAt": TIME, "takenAt": TIME, "completedAt": TIME, "duration": WHILE, "skew": "0ms",
    "hooks": {
        "startedAt": TIME, "endedAt": TIME, "guarantee": "ApplicationConsistent", "reason": "HooksSucceeded",
        "message": "all 2 hooks succeeded",
        "results": [
            {"name": "lock", "stage": "Pre", "outcome": "Succeeded", "pod": "db-0"},
            {"name": "unlock", "stage": "Post", "outcome": "Succeeded", "pod": "db-0"},
        ],
    },
    "copies": [{"location": "frankfurt", "provider": "acme", "region": "eu", "state": "Complete", "at": TIME}],
    "summary": {"volumes": "2/2", "size": "10", "stored": "10", "copies": "1/1"},
}  # fmt: skip
CONDITIONS = [
    ("Captured", "True", "Captured", "2 of 2 volumes are captured", TIME, 1),
    ("HooksSucceeded", "True", "HooksSucceeded", "all 2 hooks succeeded", TIME, 1),
    ("Ready", "True", "RecoveryPointStored", "2 of 2 volumes are stored and committed", TIME, 1),
    ("Stored", "True", "Committed", "2 of 2 volumes are stored", TIME, 1),
]
PLAN = {
    "snapshot": "before-upgrade", "policy": "shop", "location": "frankfurt", "readFrom": "frankfurt", "fingerprint": "f" * 64,
    "vault": "80b9c00946112b2034654681492b5b63", "namespace": "shop", "namespaceUid": "uid-of-shop", "resolvedAt": TIME, "takenAt": TIME,
    "bytes": 5, "digest": DIGEST,
    "volumes": [
        {
            "source": "data-0", "target": "back", "manifest": FIRST, "bytes": 5, "files": 3,
            "size": "5Gi", "storageClassName": "fast", "accessModes": ["ReadWriteMany"], "volumeMode": "Filesystem",
            "labels": {"app": "shop"},
        },
    ],
}  # fmt: skip
RESTORING = {
    "source": "data-0", "target": "back", "state": "Restoring", "attempts": 1, "bytesDone": 5, "bytesTotal": 100, "filesDone": 1,
    "progressAt": TIME, "rate": 2, "eta": WHILE,
}  # fmt: skip
RESTORED = {
    "observedGeneration": 1, "startedAt": TIME, "completedAt": TIME, "duration": WHILE,
    "summary": {"source": "before-upgrade", "volumes": "1/1", "progress": "100 %"},
    "volumes": [
        {
            "source": "data-0", "target": "back", "state": "Restored", "attempts": 1, "bytesDone": 5, "bytesTotal": 5, "bytesWritten": 7,
            "filesRestored": 3, "duration": WHILE,
        },
    ],
}  # fmt: skip
RESTORE_CONDITIONS = [
    ("Planned", "True", "Planned", f"1 volume, 3 files and 5 bytes, into new claims; digest {DIGEST}", TIME, 1),
    ("Ready", "True", "Restored", "1 of 1 volumes are restored, compared and handed over", TIME, 1),
    ("Resolved", "True", "Resolved", f"before-upgrade of {TIME} from BackupLocation frankfurt", TIME, 1),
    ("Restored", "True", "Restored", "1 of 1 volumes are restored, compared and handed over", TIME, 1),
]
