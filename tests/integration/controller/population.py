"""A large cluster's worth of objects: namespaces with a volume each, policies, and BackupSnapshots that were made long ago."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import yaml

from recoup.controller.kube import ApiServer
from recoup.controller.resources import (
    LOCATION,
    NAMESPACE,
    POLICY,
    PV,
    PVC,
    SECRET,
    SNAPSHOT,
    STORAGE_CLASS,
    VOLUME_SNAPSHOT_CLASS,
    Resource,
)
from recoup.engine.keys.kek import RecipientKek
from tests.cluster.programs import share
from tests.integration.controller.process import CRD, wait_for
from tests.integration.controller.stand_ins import DRIVER, volume_for
from tests.integration.controller.test_rest import finished_status, make

Object = dict[str, Any]

SERVICE_ACCOUNT = Resource("v1", "ServiceAccount", "serviceaccounts")
POLICIES_PER_NAMESPACE = 10
NEVER = "0 3 1 1 *"
PLACE = "folder"
WRITERS = 8


def storage_kinds(kube: ApiServer) -> None:
    """The CRDs of volume snapshots, a StorageClass `fast` and its VolumeSnapshotClass."""
    paths = sorted((share("kubernetes") / "crd").glob("snapshot.storage*.yaml"))
    names = [kube.create(CRD, yaml.safe_load(path.read_text()))["metadata"]["name"] for path in paths]
    for name in names:
        wait_for(f"CRD {name} is served", lambda name=name: established(kube.get(CRD, None, name)))  # type: ignore[misc]  # bound now
    fast = {"apiVersion": STORAGE_CLASS.api_version, "kind": "StorageClass", "metadata": {"name": "fast"}, "provisioner": DRIVER}
    kube.create(STORAGE_CLASS, fast)
    cuts = {"apiVersion": VOLUME_SNAPSHOT_CLASS.api_version, "kind": "VolumeSnapshotClass", "metadata": {"name": "cuts"}}
    wait_for("the class is taken", lambda: kube.create(VOLUME_SNAPSHOT_CLASS, cuts | {"driver": DRIVER, "deletionPolicy": "Delete"}))


def established(crd: Object) -> bool:
    return any(c["type"] == "Established" and c["status"] == "True" for c in (crd.get("status") or {}).get("conditions") or ())


def a_location(kube: ApiServer) -> None:
    """A BackupLocation for everybody; what it opens is the folder of on_files.py."""
    for namespace in ("recoup-system", "recoup-movers"):
        data = {name: base64.b64encode(b"any").decode() for name in ("accessKeyID", "secretAccessKey")}
        metadata = {"name": "folder-s3", "namespace": namespace}
        kube.create(SECRET, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    for name in ("recoup-mover", "recoup-keys"):
        metadata = {"name": name, "namespace": "recoup-movers"}
        kube.create(SERVICE_ACCOUNT, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    spec = {
        "s3": {"bucket": "folder", "credentialsSecretRef": {"name": "folder-s3"}},
        "encryption": {"keys": [{"name": "k", "secret": {"secretRef": {"name": "key"}}}, recovery_key()]},
        "limits": {"concurrentMovers": 64},
    }
    kube.create(LOCATION, {"apiVersion": LOCATION.api_version, "kind": "BackupLocation", "metadata": {"name": PLACE}, "spec": spec})


def recovery_key() -> Object:
    return {"name": "offline", "recipient": {"publicKey": RecipientKek.generate().recipient.to_text()}}


def populate(kube: ApiServer, policies: int, snapshots: int) -> list[str]:
    """The namespaces. Policy n is in namespace n modulo their number, as are the BackupSnapshots of it."""
    names = [f"team-{number:04d}" for number in range(max(1, policies // POLICIES_PER_NAMESPACE))]

    def namespace(name: str) -> None:
        kube.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}
        body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": name}, "spec": spec}
        kube.create(PV, volume_for(kube.create(PVC, body), f"disk-{name}"))

    def policy(number: int) -> None:
        spec = {"selector": {}, "locations": [{"name": PLACE}], "schedule": {"cron": NEVER}}
        make(kube, POLICY, "BackupPolicy", names[number % len(names)], f"p{number}", spec)

    def snapshot(number: int) -> None:
        spec = {"policyRef": {"name": f"p{number % policies}"}}
        made = make(kube, SNAPSHOT, "BackupSnapshot", names[number % policies % len(names)], f"p{number % policies}-{number}", spec)
        kube.apply_status(SNAPSHOT, made, finished_status(number) | {"location": PLACE})

    in_parallel(namespace, names)
    in_parallel(policy, range(policies))
    in_parallel(snapshot, range(snapshots))
    return names


def in_parallel(work: Callable[[Any], None], items: Iterable[Any]) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(work, items))
