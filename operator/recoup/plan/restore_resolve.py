"""The beginning of a restore: source, right, recovery point, targets. Settled once, written into the status, and never chosen anew.

Everything that can be seen to be wrong is said here, before anything is written: no right, no such point, a target that exists or is too
small, a class that is missing, a place that there is not.
"""

from datetime import datetime

from msgspec import Struct

from recoup.api.backuplocation import BackupLocation
from recoup.api.objects import GROUP, decode
from recoup.api.quantities import parse_bytes
from recoup.api.restorerequest import PlannedVolume, RestorePlan, RestoreRequest, RestoreTarget, RestoreVolume
from recoup.plan.access import Refusal
from recoup.plan.actions import Object
from recoup.plan.observed import Point, RestoreObserved
from recoup.plan.restore_plan import measure_pace, seal_plan
from recoup.plan.restore_source import SourceVault, choose_points, reader_of, source_vault
from recoup.plan.snapshot_class import per_namespace_secrets
from recoup.plan.standby import is_standby
from recoup.plan.topology import describe, has_place, required_by

_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
FINAL_REASONS = frozenset(
    {"TargetExists", "TargetTooSmall", "VolumeNotFound", "DuplicateTarget", "PathsOfBlockVolume", "Cancelled", "NamespaceTerminating"}
)
"""What is wrong with the request itself: fixed at creation, so another one is needed. The rest may be mended, and then it goes on."""


class Resolution(Struct, frozen=True):
    """The plan, or why there is none. by_itself: what is missing may come without anybody's help."""

    plan: RestorePlan | None = None
    refusal: Refusal | None = None
    by_itself: bool = False


def resolve_restore(observed: RestoreObserved, now: datetime) -> Resolution:
    """Settle the restore, or say what is in its way."""
    request = decode(RestoreRequest, observed.request)
    found = _source(observed, request)
    if isinstance(found, Refusal):
        return Resolution(refusal=found)
    location, vault = found
    if not any(key.secret for key in location.spec.encryption.keys):
        message = f"BackupLocation {location.metadata.name} has no key of kind secret: all that open it are kept offline"
        return Resolution(
            refusal=Refusal("NoKeyInCluster", f"{message}; use `recoup restore` where such a key is, or add one that is a Secret")
        )
    if observed.catalogue is None:
        failure = observed.catalogue_failure
        if failure is None:
            return Resolution(
                refusal=Refusal("ReadingLocation", f"BackupLocation {location.metadata.name} has not been read yet"), by_itself=True
            )
        message = f"BackupLocation {location.metadata.name} can't be read: {failure.message}"
        return Resolution(refusal=Refusal(failure.reason, message), by_itself=True)
    if vault.fingerprint and observed.catalogue.fingerprint != vault.fingerprint:
        message = (
            f"vault {vault.id} at BackupLocation {location.metadata.name} has another root key than the one first seen there; "
            "somebody may have planted a false vault: have the platform team compare the location's status.vaults with the bucket"
        )
        return Resolution(refusal=Refusal("FingerprintMismatch", message))
    chosen = choose_points(request, observed.snapshot, observed.catalogue, vault)
    if isinstance(chosen, Refusal):
        return _not_in_the_copy(observed, chosen) or Resolution(refusal=chosen)
    volumes = _plan_volumes(observed, request, chosen.points)
    if isinstance(volumes, Refusal):
        return Resolution(refusal=volumes)
    plan = RestorePlan(
        location=location.metadata.name,
        read_from=observed.read_from or location.metadata.name,
        vault=vault.id,
        fingerprint=observed.catalogue.fingerprint,
        namespace=vault.namespace,
        namespace_uid=vault.namespace_uid,
        resolved_at=now.replace(microsecond=0),
        taken_at=chosen.taken_at,
        snapshot=chosen.snapshot or None,
        policy=chosen.policy or None,
        bytes=sum(volume.bytes for volume in volumes),
        volumes=volumes,
    )
    return Resolution(plan=seal_plan(plan, request.spec.paths, measure_pace(observed.earlier, plan.read_from or plan.location)))


def _not_in_the_copy(observed: RestoreObserved, chosen: Refusal) -> Resolution | None:
    """The place that was to be asked first is away, and what is asked for is not where was looked instead."""
    failure = observed.catalogue_failure
    if failure is None:
        return None
    first = next(iter(observed.places), "")
    message = (
        f"BackupLocation {first} can't be read: {failure.message}; looked in the copy at {observed.read_from} instead: {chosen.message}"
    )
    return Resolution(refusal=Refusal(failure.reason, message), by_itself=True)


def _source(observed: RestoreObserved, request: RestoreRequest) -> tuple[BackupLocation, SourceVault] | Refusal:
    source, place = request.spec.source, request.metadata.namespace
    if request.spec.cancel:
        return Refusal("Cancelled", "spec.cancel was set before the restore began")
    if observed.namespace is None or observed.namespace["metadata"].get("deletionTimestamp"):
        return Refusal("NamespaceTerminating", f"namespace {place} is being deleted")
    if source.snapshot_ref is not None and observed.snapshot is None:
        message = f"BackupSnapshot {place}/{source.snapshot_ref.name} does not exist"
        hint = "`kubectl recoup snapshots` lists those there are; one whose object is gone is found by location, namespace and policy"
        return Refusal("SnapshotNotFound", f"{message}; {hint}")
    if source.policy_ref is not None and observed.policy is None:
        message = f"BackupPolicy {place}/{source.policy_ref.name} does not exist"
        return Refusal("PolicyNotFound", f"{message}; name the source by location, namespace and policy instead")
    if observed.location is None:
        name = source.location or "of the source"
        return Refusal("LocationNotFound", f"BackupLocation {name} does not exist, or the source has not been stored anywhere yet")
    location = decode(BackupLocation, observed.location)
    vault = source_vault(request, reader_of(request, observed.namespace), location, observed.snapshot)
    return vault if isinstance(vault, Refusal) else (location, vault)


def _plan_volumes(observed: RestoreObserved, request: RestoreRequest, points: tuple[Point, ...]) -> tuple[PlannedVolume, ...] | Refusal:
    by_name = {point.source.persistent_volume_claim: point for point in points}
    asked = request.spec.volumes or tuple(RestoreVolume(source=name) for name in sorted(by_name))
    planned: list[PlannedVolume] = []
    for volume in asked:
        point = by_name.get(volume.source)
        if point is None:
            message = f"the recovery point has no volume {volume.source}; it has {', '.join(sorted(by_name))}"
            return Refusal("VolumeNotFound", message)
        one = _plan_volume(observed, request, volume, point)
        if isinstance(one, Refusal):
            return one
        planned.append(one)
    targets = [volume.target for volume in planned]
    double = next((name for name in targets if targets.count(name) > 1), None)
    if double is not None:
        return Refusal("DuplicateTarget", f"two volumes would become PVC {double}; give each its own target.name")
    return tuple(planned)


def _plan_volume(observed: RestoreObserved, request: RestoreRequest, volume: RestoreVolume, point: Point) -> PlannedVolume | Refusal:
    target, source = volume.target, point.source
    name, place = target.name or volume.source, request.metadata.namespace
    if not is_standby(request) and any(claim["metadata"]["name"] == name for claim in observed.claims):
        message = f"PVC {place}/{name} exists already, and a restore never writes into an existing volume"
        return Refusal("TargetExists", f"{message}; create a RestoreRequest with another volumes[].target.name, or delete the PVC first")
    paths = request.spec.paths
    if source.volume_mode == "Block" and (paths.is_selection or paths.into):
        message = f"volume {volume.source} is a block device, of which spec.paths can't choose a part"
        return Refusal(
            "PathsOfBlockVolume", f"{message}; name the other volumes in spec.volumes, or restore it whole in a request of its own"
        )
    size = str(target.size) if target.size is not None else source.size
    if parse_bytes(size) < parse_bytes(source.size) and not paths.is_selection:
        message = f"target.size {size} of {volume.source} is smaller than the {source.size} of the volume that was backed up"
        return Refusal("TargetTooSmall", message)
    storage_class = _storage_class(observed, target, source.storage_class_name, volume.source)
    if isinstance(storage_class, Refusal):
        return storage_class
    refusal = per_namespace_secrets(storage_class) or _check_place(observed, target, storage_class, point, volume.source)
    if refusal is not None:
        return refusal
    return PlannedVolume(
        source=volume.source,
        target=name,
        manifest=point.manifest,
        bytes=point.bytes_total,
        size=size,
        files=point.files_total,
        storage_class_name=storage_class["metadata"]["name"],
        access_modes=tuple(str(mode.value) for mode in target.access_modes) or source.access_modes or ("ReadWriteOnce",),
        volume_mode=source.volume_mode or "Filesystem",
        labels={key: value for key, value in source.labels.items() if not key.startswith(f"{GROUP}/")},
    )


def _storage_class(observed: RestoreObserved, target: RestoreTarget, recorded: str | None, source: str) -> Object | Refusal:
    """As asked for, else as recorded, else (for a volume that had none) the cluster's default."""
    wanted = target.storage_class_name or recorded
    present = {item["metadata"]["name"]: item for item in observed.storage_classes}
    if not wanted:
        defaults = [item for item in present.values() if (item["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"]
        if len(defaults) == 1:
            return defaults[0]
        message = f"volume {source} had no StorageClass, and this cluster has no single default one"
    elif wanted in present:
        return present[wanted]
    else:
        message = f"StorageClass {wanted} of volume {source} does not exist in this cluster"
    shown = ", ".join(sorted(present)) or "none"
    return Refusal("StorageClassNotFound", f"{message}; name one in volumes[].target.storageClassName (there are: {shown})")


def _check_place(
    observed: RestoreObserved, target: RestoreTarget, storage_class: Object, point: Point, source: str
) -> Refusal | None:  # fmt: skip
    """Where the first consumer decides, the mover is the first consumer: it needs a node in the right place."""
    affinity = wanted_place(target, storage_class, point.source.node_affinity)
    if has_place(affinity, observed.nodes):
        return None
    message = f"no node that takes pods fits {describe(affinity)}, where volume {source} is to be"
    return Refusal("TopologyConflict", f"{message}; name another place in volumes[].target.topology, or {{}} for anywhere")


def needs_record(target: RestoreTarget, storage_class: Object | None) -> bool:
    """The mover is to run where the source was."""
    return target.topology is None and storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def wanted_place(target: RestoreTarget, storage_class: Object | None, recorded: Object | None) -> Object | None:
    """The node affinity of the mover; a class that binds at once chooses the place itself."""
    if target.topology is not None:
        return required_by(target.topology)
    return recorded if needs_record(target, storage_class) else None


def target_of(request: RestoreRequest, source: str) -> RestoreTarget:
    """What the request says about a volume's target."""
    return next((volume.target for volume in request.spec.volumes if volume.source == source), RestoreTarget())


def is_final(refusal: Refusal) -> bool:
    return refusal.reason in FINAL_REASONS
