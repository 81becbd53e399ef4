"""Which kinds the controller talks about, and their REST paths.

A closed table instead of API discovery: no calls at start, and a kind that is missing here is a programming error, not a surprise
at run time. docs/rbac.md lists the verbs on each.
"""

from typing import Final, NamedTuple
from urllib.parse import quote

from msgspec import Struct

GROUP: Final = "recoup.dev/v1alpha1"
SNAPSHOT_GROUP: Final = "snapshot.storage.k8s.io/v1"


class Resource(Struct, frozen=True):
    """One kind of object: where it lives in the API."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Build the path below the server's address; without a namespace a namespaced kind means all namespaces."""
        prefix = "/api/" if "/" not in self.api_version else "/apis/"
        parts = [prefix + self.api_version]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name is not None:
            if self.namespaced and namespace is None:
                raise ValueError(f"{self.kind} {name} needs a namespace")
            parts.append(quote(name, safe=""))
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


LOCATION: Final = Resource(GROUP, "BackupLocation", "backuplocations", namespaced=False)
POLICY: Final = Resource(GROUP, "BackupPolicy", "backuppolicies")
SNAPSHOT: Final = Resource(GROUP, "BackupSnapshot", "backupsnapshots")
RESTORE: Final = Resource(GROUP, "RestoreRequest", "restorerequests")
NAMESPACE: Final = Resource("v1", "Namespace", "namespaces", namespaced=False)
NODE: Final = Resource("v1", "Node", "nodes", namespaced=False)
POD: Final = Resource("v1", "Pod", "pods")
SECRET: Final = Resource("v1", "Secret", "secrets")
PVC: Final = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
PV: Final = Resource("v1", "PersistentVolume", "persistentvolumes", namespaced=False)
CORE_EVENT: Final = Resource("v1", "Event", "events")
JOB: Final = Resource("batch/v1", "Job", "jobs")
STORAGE_CLASS: Final = Resource("storage.k8s.io/v1", "StorageClass", "storageclasses", namespaced=False)
VOLUME_SNAPSHOT: Final = Resource(SNAPSHOT_GROUP, "VolumeSnapshot", "volumesnapshots")
VOLUME_SNAPSHOT_CONTENT: Final = Resource(SNAPSHOT_GROUP, "VolumeSnapshotContent", "volumesnapshotcontents", namespaced=False)
VOLUME_SNAPSHOT_CLASS: Final = Resource(SNAPSHOT_GROUP, "VolumeSnapshotClass", "volumesnapshotclasses", namespaced=False)
LEASE: Final = Resource("coordination.k8s.io/v1", "Lease", "leases")
EVENT: Final = Resource("events.k8s.io/v1", "Event", "events")

ALL: Final = (
    LOCATION, POLICY, SNAPSHOT, RESTORE, NAMESPACE, NODE, POD, SECRET, PVC, PV, CORE_EVENT, JOB, STORAGE_CLASS,
    VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT, VOLUME_SNAPSHOT_CLASS, LEASE, EVENT,
)  # fmt: skip

_BY_KIND: Final = {(resource.api_version, resource.kind): resource for resource in ALL}
OWNERS: Final = {resource.kind: resource for resource in (LOCATION, POLICY, SNAPSHOT, RESTORE)}


def resource_of(api_version: str, kind: str) -> Resource:
    """Find the table row of an object; a KeyError here means that a planner builds a kind that the controller doesn't know."""
    return _BY_KIND[(api_version, kind)]


class Key(NamedTuple):
    """What is reconciled: one custom resource. Cluster-scoped ones have an empty namespace."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


SWEEP: Final = Key("Sweep", "", "")
"""Not an object: the look for children whose owner is gone, periodic and after deletions."""
