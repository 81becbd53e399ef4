"""Can this volume be snapshot, and with which VolumeSnapshotClass? Answers with a class or with a reason a person can act on."""

from recoup.plan.access import Refusal
from recoup.plan.actions import Object

LIVE_INSTEAD = "set capture.method: Live in a policy for it"
_DEFAULT = "snapshot.storage.kubernetes.io/is-default-class"
_NAMESPACE_TEMPLATES = ("${pvc.namespace}", "${pvc.name}", "${pvc.annotations", "${volumesnapshot.namespace}")


def choose_snapshot_class(claim: Object, volume: Object | None, classes: tuple[Object, ...] | None, wanted: str | None) -> str | Refusal:
    """The class named by the policy, else the driver's default one, else its only one."""
    place = f"PVC {claim['metadata']['namespace']}/{claim['metadata']['name']}"
    if classes is None:
        message = (
            f"{place}: the volume snapshot API is not installed in this cluster; install the snapshot CRDs and the snapshot controller"
        )
        return Refusal("VolumeSnapshotsNotInstalled", message)
    driver = ((volume or {}).get("spec") or {}).get("csi", {}).get("driver")
    if not driver:
        message = f"{place}: its PersistentVolume {claim['spec'].get('volumeName')} is not a CSI volume, so no snapshot can be taken of it"
        return Refusal("NoVolumeSnapshotClass", f"{message}; {LIVE_INSTEAD}, or exclude this PVC in spec.selector.exclude")
    mine: dict[str, Object] = {item["metadata"]["name"]: item for item in classes if item.get("driver") == driver}
    if wanted is not None:
        return wanted if wanted in mine else _unusable(place, driver, wanted, classes)
    if not mine:
        message = f"{place}: no VolumeSnapshotClass for driver {driver}; create one, {LIVE_INSTEAD}, or exclude it in spec.selector.exclude"
        return Refusal("NoVolumeSnapshotClass", message)
    defaults = [name for name, item in mine.items() if (item["metadata"].get("annotations") or {}).get(_DEFAULT) == "true"]
    candidates = defaults or list(mine)
    if len(candidates) == 1:
        return candidates[0]
    message = f"{place}: several VolumeSnapshotClasses for driver {driver} ({', '.join(sorted(candidates))})"
    return Refusal("AmbiguousVolumeSnapshotClass", f"{message}; name one in spec.capture.volumeSnapshotClassName of the policy")


def per_namespace_secrets(storage_class: Object | None) -> Refusal | None:
    """Volumes whose node secrets are looked up by the claim's own namespace or name work under no other claim: no hand-over."""
    for key, value in ((storage_class or {}).get("parameters") or {}).items():
        if key.startswith("csi.storage.k8s.io/node-") and any(template in str(value) for template in _NAMESPACE_TEMPLATES):
            assert storage_class is not None
            message = (
                f"StorageClass {storage_class['metadata']['name']} takes its node secrets from the claim's own namespace ({key}: {value}), "
                "so its volumes can't be handed from one namespace to another; use a class whose secrets are in a fixed namespace"
            )
            return Refusal("SecretsPerNamespace", message)
    return None


def _unusable(place: str, driver: str, wanted: str, classes: tuple[Object, ...]) -> Refusal:
    other = next((item.get("driver") for item in classes if item["metadata"]["name"] == wanted), None)
    why = f"is for driver {other}, not {driver}" if other else "does not exist"
    fitting = ", ".join(sorted(item["metadata"]["name"] for item in classes if item.get("driver") == driver)) or "none"
    message = (
        f"{place}: VolumeSnapshotClass {wanted} {why}; correct spec.capture.volumeSnapshotClassName of the policy (fitting: {fitting})"
    )
    return Refusal("NoVolumeSnapshotClass", message)
