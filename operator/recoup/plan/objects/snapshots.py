"""VolumeSnapshots and VolumeSnapshotContents of the hand-over from a tenant's namespace to the movers'.

The tenant's pair is made by the CSI machinery from `build_volume_snapshot`; the movers' pair is bound statically to the same snapshot
handle, so that the tenant's objects can go while a mover reads.
"""

from recoup.plan.actions import Object
from recoup.plan.objects.identity import Owner

API_VERSION = "snapshot.storage.k8s.io/v1"
SNAPSHOT = "VolumeSnapshot"
CONTENT = "VolumeSnapshotContent"

_SECRET_ANNOTATIONS = (
    "snapshot.storage.kubernetes.io/deletion-secret-name",
    "snapshot.storage.kubernetes.io/deletion-secret-namespace",
    "snapshot.storage.kubernetes.io/allow-volume-mode-change",
)
"""What the CSI sidecar needs on a content to delete its snapshot: copied, because ours is the one that is deleted in the end."""


def build_volume_snapshot(owner: Owner, *, name: str, claim: str, claim_uid: str, snapshot_class: str) -> Object:
    """The VolumeSnapshot of a PVC, in the PVC's namespace."""
    return {
        "apiVersion": API_VERSION,
        "kind": SNAPSHOT,
        "metadata": {"name": name, "namespace": owner.namespace, "labels": owner.labels(claim_uid)},
        "spec": {"volumeSnapshotClassName": snapshot_class, "source": {"persistentVolumeClaimName": claim}},
    }


def build_static_content(owner: Owner, *, name: str, claim_uid: str, movers_namespace: str, tenant_content: Object) -> Object:
    """Our own content for the handle of `tenant_content` (which is ready), bound to the VolumeSnapshot `name` of the movers."""
    spec = tenant_content["spec"]
    annotations = tenant_content["metadata"].get("annotations") or {}
    content: Object = {
        "apiVersion": API_VERSION,
        "kind": CONTENT,
        "metadata": {
            "name": name,
            "labels": owner.labels(claim_uid),
            "annotations": {key: annotations[key] for key in _SECRET_ANNOTATIONS if key in annotations},
        },
        "spec": {
            "deletionPolicy": "Delete",
            "driver": spec["driver"],
            "source": {"snapshotHandle": tenant_content["status"]["snapshotHandle"]},
            "volumeSnapshotRef": {"apiVersion": API_VERSION, "kind": SNAPSHOT, "namespace": movers_namespace, "name": name},
        },
    }
    for field in ("sourceVolumeMode", "volumeSnapshotClassName"):
        if spec.get(field):
            content["spec"][field] = spec[field]
    return content


def build_bound_snapshot(owner: Owner, *, name: str, claim_uid: str, movers_namespace: str, content: Object) -> Object:
    """The movers' VolumeSnapshot that `content` (built above) names."""
    spec: Object = {"source": {"volumeSnapshotContentName": content["metadata"]["name"]}}
    if content["spec"].get("volumeSnapshotClassName"):
        spec["volumeSnapshotClassName"] = content["spec"]["volumeSnapshotClassName"]
    return {
        "apiVersion": API_VERSION,
        "kind": SNAPSHOT,
        "metadata": {"name": name, "namespace": movers_namespace, "labels": owner.labels(claim_uid)},
        "spec": spec,
    }
