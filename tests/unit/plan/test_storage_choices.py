"""Snapshot classes, node affinities and sizes: the small choices about storage, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from recoup.plan.access import Refusal
from recoup.plan.snapshot_class import choose_snapshot_class, per_namespace_secrets
from recoup.plan.topology import describe, has_place, required_by

Object = dict[str, Any]

CLAIM: Object = {"metadata": {"namespace": "shop", "name": "data"}, "spec": {"volumeName": "pv-1"}}
VOLUME: Object = {"spec": {"csi": {"driver": "disk"}}}


def snapshot_class(name: str, driver: str = "disk", *, default: bool = False) -> Object:
    annotations = {"snapshot.storage.kubernetes.io/is-default-class": "true"} if default else {}
    return {"metadata": {"name": name, "annotations": annotations}, "driver": driver}


A, B, OTHER = snapshot_class("a"), snapshot_class("b"), snapshot_class("o", "nfs", default=True)
DEFAULT = snapshot_class("d", default=True)


@pytest.mark.parametrize(
    ("classes", "wanted", "chosen"),
    [
        pytest.param((A,), None, "a", id="the only one"),
        pytest.param((A, OTHER), None, "a", id="the only one of the driver"),
        pytest.param((A, DEFAULT), None, "d", id="the default"),
        pytest.param((A, DEFAULT), "a", "a", id="as asked for"),
        pytest.param((A, B), None, "AmbiguousVolumeSnapshotClass", id="several"),
        pytest.param((DEFAULT, snapshot_class("e", default=True)), None, "AmbiguousVolumeSnapshotClass", id="several defaults"),
        pytest.param((OTHER,), None, "NoVolumeSnapshotClass", id="none of the driver"),
        pytest.param((), None, "NoVolumeSnapshotClass", id="none"),
        pytest.param((A,), "z", "NoVolumeSnapshotClass", id="one that does not exist"),
        pytest.param((A, OTHER), "o", "NoVolumeSnapshotClass", id="one of another driver"),
        pytest.param(None, None, "VolumeSnapshotsNotInstalled", id="no snapshot API"),
    ],
)
def test_the_class_of_a_volume(classes: tuple[Object, ...] | None, wanted: str | None, chosen: str) -> None:
    found = choose_snapshot_class(CLAIM, VOLUME, classes, wanted)
    assert (found.reason if isinstance(found, Refusal) else found) == chosen
    if isinstance(found, Refusal):
        assert found.message.startswith("PVC shop/data: ")


@pytest.mark.parametrize("volume", [None, {"spec": {}}, {"spec": {"nfs": {"server": "x"}}}])
def test_a_volume_that_is_not_of_csi(volume: Object | None) -> None:
    found = choose_snapshot_class(CLAIM, volume, (A,), None)
    assert isinstance(found, Refusal)
    assert "not a CSI volume" in found.message


@pytest.mark.parametrize(
    ("parameters", "refused"),
    [
        ({}, False),
        ({"csi.storage.k8s.io/node-stage-secret-namespace": "storage"}, False),
        ({"csi.storage.k8s.io/provisioner-secret-namespace": "${pvc.namespace}"}, False),
        ({"csi.storage.k8s.io/node-stage-secret-namespace": "${pvc.namespace}"}, True),
        ({"csi.storage.k8s.io/node-publish-secret-name": "${pvc.name}"}, True),
    ],
)
def test_secrets_of_the_claims_own_namespace(parameters: dict[str, str], refused: bool) -> None:
    assert (per_namespace_secrets({"metadata": {"name": "c"}, "parameters": parameters}) is not None) is refused


def node(name: str, labels: dict[str, str], *, ready: str = "True", cordoned: bool = False) -> Object:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"unschedulable": cordoned},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def affinity(*terms: list[Object], fields: list[Object] | None = None) -> Object:
    made = [{"matchExpressions": list(term)} | ({"matchFields": fields} if fields else {}) for term in terms]
    return {"required": {"nodeSelectorTerms": made}}


def wants(key: str, operator: str, *values: str) -> Object:
    return {"key": key, "operator": operator, "values": list(values)}


IN_A = node("n1", {"zone": "a", "cores": "8"})


@pytest.mark.parametrize(
    ("required", "nodes", "fits"),
    [
        pytest.param(None, (), True, id="no affinity"),
        pytest.param(affinity([wants("zone", "In", "a", "b")]), (IN_A,), True, id="in"),
        pytest.param(affinity([wants("zone", "In", "b")]), (IN_A,), False, id="elsewhere"),
        pytest.param(affinity([wants("zone", "In", "b")], [wants("zone", "In", "a")]), (IN_A,), True, id="either term"),
        pytest.param(affinity([wants("zone", "In", "a"), wants("disk", "Exists")]), (IN_A,), False, id="every expression"),
        pytest.param(affinity([wants("zone", "NotIn", "a")]), (IN_A,), False, id="not in"),
        pytest.param(affinity([wants("disk", "DoesNotExist")]), (IN_A,), True, id="does not exist"),
        pytest.param(affinity([wants("cores", "Gt", "4")]), (IN_A,), True, id="greater"),
        pytest.param(affinity([wants("cores", "Lt", "4")]), (IN_A,), False, id="less"),
        pytest.param(affinity([], fields=[wants("metadata.name", "In", "n2")]), (IN_A,), False, id="by name"),
        pytest.param(affinity([wants("zone", "In", "a")]), (node("n", {"zone": "a"}, cordoned=True),), False, id="cordoned"),
        pytest.param(affinity([wants("zone", "In", "a")]), (node("n", {"zone": "a"}, ready="Unknown"),), False, id="not ready"),
        pytest.param(required_by({"zone": "a"}), (IN_A,), True, id="asked for"),
        pytest.param(required_by({}), (), True, id="anywhere"),
    ],
)
def test_whether_a_node_fits(required: Object | None, nodes: tuple[Object, ...], fits: bool) -> None:
    assert has_place(required, nodes) is fits


def test_an_affinity_in_words() -> None:
    assert describe(affinity([wants("zone", "In", "a", "b"), wants("disk", "Exists")])) == "zone in (a, b) and disk exists"
