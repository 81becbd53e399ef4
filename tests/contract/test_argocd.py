"""What Argo CD makes of our objects.

The health check of docs/examples, run by the Lua that Argo CD runs, on objects as they really are; and nothing of ours is pruned by it.
"""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec import structs

from recoup.plan.actions import Create
from recoup.plan.objects.claims import ClaimShape, build_target_claim
from recoup.plan.objects.identity import Owner
from recoup.plan.policy import plan_policy
from recoup.plan.policy_observed import PolicyObserved
from tests.cluster.programs import program
from tests.unit.plan.examples import AROUND, CREATED, claim, condition, ended, location, namespace, policy, snapshot

Object = dict[str, Any]
EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "argocd-health.yaml"
STATUSES = {"Healthy", "Progressing", "Degraded", "Suspended"}
TRACKING = {"app.kubernetes.io/instance": "shop", "argocd.argoproj.io/instance": "shop"}


def script() -> str:
    config = yaml.safe_load(EXAMPLE.read_text())
    return str(yaml.safe_load(config["data"]["resource.customizations"])["recoup.dev/*"]["health.lua"])


def literal(value: Any) -> str:
    """JSON as a Lua expression, the way Argo CD hands an object to a script: null is nil, lists begin at 1."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{literal(key)}] = {literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "{" + ", ".join(literal(each) for each in value) + "}"
    if value is None:
        return "nil"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return '"' + "".join(f"\\{byte:03d}" for byte in str(value).encode()) + '"'


def health(obj: Object) -> tuple[str, str]:
    """The status and the message that the script returns."""
    text = f'obj = {literal(obj)}\nlocal answer = (function()\n{script()}\nend)()\nprint(answer.status .. "\\n" .. answer.message)\n'
    ran = subprocess.run([program("glua"), "-e", text], capture_output=True, text=True, check=True, timeout=60)
    status, message = ran.stdout.split("\n", 1)
    assert status in STATUSES
    return status, message.strip()


def judged(kind: str, *conditions: Object, generation: int = 1, observed: int = 1, **spec: Any) -> tuple[str, str]:
    status = {"observedGeneration": observed, "conditions": list(conditions)}
    return health({"kind": kind, "metadata": {"name": "x", "generation": generation}, "spec": spec, "status": status})


READY = condition("Ready", "True", "Protected", "all is kept")
NOT_READY = condition("Ready", "False", "VolumeNotStored", "PVC shop/data: the bucket is full")


@pytest.mark.parametrize(
    ("kind", "conditions", "more", "expected"),
    [
        ("BackupPolicy", (READY,), {}, ("Healthy", "Protected: all is kept")),
        ("BackupPolicy", (NOT_READY,), {}, ("Degraded", "VolumeNotStored: PVC shop/data: the bucket is full")),
        ("BackupPolicy", (NOT_READY,), {"suspend": True}, ("Suspended", "VolumeNotStored: PVC shop/data: the bucket is full")),
        ("BackupPolicy", (NOT_READY, condition("Stalled", "True", "NotAtomic", "move")), {}, ("Degraded", "NotAtomic: move")),
        ("BackupPolicy", (READY, condition("RPOMet", "False", "NewestPointTooOld", "3d")), {}, ("Degraded", "NewestPointTooOld: 3d")),
        ("BackupPolicy", (READY, condition("RPOMet", "True")), {}, ("Healthy", "Protected: all is kept")),
        ("BackupSnapshot", (NOT_READY, condition("Reconciling", "True", "Uploading", "1 of 2")), {}, ("Progressing", "Uploading: 1 of 2")),
        ("BackupSnapshot", (READY, condition("Reconciling", "True", "CleaningUp", "x")), {}, ("Healthy", "Protected: all is kept")),
        ("RestoreRequest", (NOT_READY, condition("Stalled", "True", "TargetExists", "x")), {}, ("Degraded", "TargetExists: x")),
        ("BackupLocation", (), {}, ("Progressing", "waiting for the controller of Recoup")),
        ("BackupLocation", (READY,), {"generation": 2}, ("Progressing", "waiting for the controller of Recoup")),
    ],
)  # fmt: skip
def test_the_health_check_reads_the_conditions(kind: str, conditions: tuple[Object, ...], more: Object, expected: tuple[str, str]) -> None:
    assert judged(kind, *conditions, **more) == expected


def test_an_object_that_was_just_applied_is_progressing() -> None:
    assert health({"kind": "BackupPolicy", "metadata": {"name": "x", "generation": 1}, "spec": {}})[0] == "Progressing"


def test_a_message_of_any_characters_survives() -> None:
    assert judged("BackupSnapshot", condition("Ready", "True", "R", 'é "quoted" \\ 64 %'))[1] == 'R: é "quoted" \\ 64 %'


def test_statuses_as_the_planner_writes_them() -> None:
    now = CREATED + timedelta(hours=2)
    subject = policy(schedule={"every": "1h"}, objectives={"rpo": "4h"})
    observed = PolicyObserved(around=AROUND, policy=subject, namespace=namespace(), location=location(), claims=(claim("data-0"),))
    assert health(subject | {"status": plan_policy(observed, CREATED).status})[0] == "Healthy"
    broken = plan_policy(PolicyObserved(around=AROUND, policy=subject, namespace=namespace(), claims=(claim("data-0"),)), now)
    assert health(subject | {"status": broken.status})[0] == "Degraded"
    point = snapshot("shop", created=CREATED, status=ended(CREATED))
    late = plan_policy(structs.replace(observed, snapshots=(point,)), now + timedelta(hours=9))
    assert health(subject | {"status": late.status})[0] == "Degraded"


def test_what_a_policy_makes_does_not_look_like_argo_cds_own() -> None:
    subject = policy(schedule={"every": "1h"})
    subject["metadata"] |= {
        "labels": dict(TRACKING),
        "annotations": {"argocd.argoproj.io/tracking-id": "shop:recoup.dev/BackupPolicy:shop/shop"},
    }
    observed = PolicyObserved(around=AROUND, policy=subject, namespace=namespace(), location=location(), claims=(claim("data-0"),))
    plan = plan_policy(observed, CREATED + timedelta(hours=1))
    [made] = [action.object["metadata"] for action in plan.actions if isinstance(action, Create)]
    assert not TRACKING.keys() & made["labels"].keys()
    assert not made.get("annotations")
    assert "ownerReferences" not in made


def test_a_restored_claim_is_not_pruned_although_it_has_the_labels_back() -> None:
    owner = Owner(kind="RestoreRequest", namespace="shop", name="back", uid="restore-uid")
    shape = ClaimShape(storage_class_name="fast", access_modes=("ReadWriteOnce",), volume_mode="Filesystem", size="1Gi")
    made = build_target_claim(owner, name="data-0", shape=shape, labels=dict(TRACKING), volume="pv")["metadata"]
    assert TRACKING.items() <= made["labels"].items()
    assert made["annotations"]["argocd.argoproj.io/sync-options"] == "Prune=false"
