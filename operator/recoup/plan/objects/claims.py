"""PersistentVolumeClaims: the movers' one made from a volume snapshot, the empty one that a restore fills, the one handed over."""

from collections.abc import Sequence

from msgspec import Struct

from recoup.plan.actions import Object
from recoup.plan.objects.identity import RESTORED_BY, Owner
from recoup.plan.objects.snapshots import SNAPSHOT


class ClaimShape(Struct, frozen=True, kw_only=True):
    """What a claim asks for. No storage class name means a volume without a class, not the cluster's default."""

    storage_class_name: str | None
    access_modes: Sequence[str]
    volume_mode: str
    size: str


def build_mover_claim(
    owner: Owner, *, name: str, volume_uid: str, movers_namespace: str, shape: ClaimShape, snapshot: str | None
) -> Object:
    """A PVC in the movers' namespace, filled from the VolumeSnapshot `snapshot`, or empty."""
    claim = _claim(name, movers_namespace, shape)
    claim["metadata"]["labels"] = owner.labels(volume_uid)
    if snapshot is not None:
        claim["spec"]["dataSource"] = {"apiGroup": "snapshot.storage.k8s.io", "kind": SNAPSHOT, "name": snapshot}
    return claim


NEVER_PRUNED = {"argocd.argoproj.io/sync-options": "Prune=false", "argocd.argoproj.io/compare-options": "IgnoreExtraneous"}
"""The recorded labels may be the ones by which Argo CD knows what it manages; what it does not find in Git it would delete."""


def build_target_claim(owner: Owner, *, name: str, shape: ClaimShape, labels: dict[str, str], volume: str) -> Object:
    """The claim that the user gets, in the request's namespace, for exactly the PersistentVolume `volume`."""
    claim = _claim(name, owner.namespace, shape)
    claim["metadata"]["annotations"] = dict(NEVER_PRUNED)
    claim["metadata"]["labels"] = labels | {RESTORED_BY: owner.uid}
    claim["spec"]["volumeName"] = volume
    return claim


def _claim(name: str, namespace: str, shape: ClaimShape) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": list(shape.access_modes),
            "volumeMode": shape.volume_mode,
            "storageClassName": shape.storage_class_name or "",
            "resources": {"requests": {"storage": shape.size}},
        },
    }
