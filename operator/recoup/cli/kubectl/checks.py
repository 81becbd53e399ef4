"""The checks of `kubectl recoup doctor`, each a question to the cluster whose answer is good, doubtful, bad or unknown.

Reads only. A new check is a function in CHECKS that yields findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from recoup.api.labels import MANAGED_BY, MANAGER, OWNER_UID
from recoup.cli.kubectl.cluster import Cluster, Object
from recoup.cli.kubectl.facts import condition
from recoup.controller import failures
from recoup.controller.resources import (
    JOB,
    LEASE,
    LOCATION,
    NAMESPACE,
    OWNERS,
    POLICY,
    PVC,
    STORAGE_CLASS,
    VOLUME_SNAPSHOT,
    VOLUME_SNAPSHOT_CLASS,
    VOLUME_SNAPSHOT_CONTENT,
    Resource,
)
from recoup.errors import Denied, Invalid
from recoup.value import Value

LEASE_NAME = "recoup-controller"


class Level(StrEnum):
    GOOD = "ok"
    DOUBT = "warning"
    FAIL = "FAILED"
    UNKNOWN = "unknown"


class Finding(Value, frozen=True):
    check: str
    level: Level
    message: str


class Ward(Value, frozen=True):
    """What is examined."""

    cluster: Cluster
    system_namespace: str
    movers_namespace: str


Check = Callable[[Ward], Iterator[Finding]]


def examine(cluster: Cluster, *, system_namespace: str, movers_namespace: str) -> list[Finding]:
    """All checks in order. What may not be read is unknown; Invalid (not installed) ends the examination with its own finding."""
    ward = Ward(cluster, system_namespace, movers_namespace)
    found: list[Finding] = []
    for name, check in CHECKS.items():
        try:
            found += check(ward)
        except Denied as error:
            found.append(Finding(name, Level.UNKNOWN, f"you may not read this: {error}"))
        except Invalid as error:
            found.append(Finding(name, Level.FAIL, str(error)))
            break
    return found


def _resources(ward: Ward) -> Iterator[Finding]:
    for resource in OWNERS.values():
        ward.cluster.list(resource)
    yield Finding("resources", Level.GOOD, f"all {len(OWNERS)} kinds are installed")


def _namespaces(ward: Ward) -> Iterator[Finding]:
    for name, what in ((ward.system_namespace, "the controller"), (ward.movers_namespace, "movers")):
        try:
            ward.cluster.kube.get(NAMESPACE, None, name)
        except failures.Gone:
            yield Finding("namespaces", Level.FAIL, f"namespace {name}, where {what} would run, does not exist; install the chart")
        else:
            yield Finding("namespaces", Level.GOOD, f"{name} exists")


def _controller(ward: Ward) -> Iterator[Finding]:
    hint = f"look at `kubectl -n {ward.system_namespace} get pods` and their logs"
    try:
        lease = ward.cluster.kube.get(LEASE, ward.system_namespace, LEASE_NAME)
    except failures.Gone:
        yield Finding("controller", Level.FAIL, f"no controller has ever worked here (no Lease {LEASE_NAME}); {hint}")
        return
    spec = lease["spec"]
    holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
    late = datetime.now(UTC) - datetime.fromisoformat(renewed) if renewed else timedelta.max
    if not holder or late > 2 * timedelta(seconds=spec.get("leaseDurationSeconds") or 15):
        yield Finding("controller", Level.FAIL, f"no controller is at work (the Lease was last renewed {renewed or 'never'}); {hint}")
    else:
        yield Finding("controller", Level.GOOD, f"{holder} is at work")


def _snapshots(ward: Ward) -> Iterator[Finding]:
    try:
        classes = ward.cluster.kube.list(VOLUME_SNAPSHOT_CLASS)
    except failures.Gone:
        message = "the volume snapshot API is not installed; install the snapshot CRDs and the snapshot controller"
        yield Finding("volume snapshots", Level.FAIL, message)
        return
    drivers = {item.get("driver") for item in classes}
    for storage in ward.cluster.kube.list(STORAGE_CLASS):
        name, driver = storage["metadata"]["name"], storage.get("provisioner")
        if driver in drivers:
            yield Finding("volume snapshots", Level.GOOD, f"StorageClass {name}: {driver} has a VolumeSnapshotClass")
        else:
            message = f"StorageClass {name}: no VolumeSnapshotClass for {driver}, so its volumes can't be backed up; create one if it can"
            yield Finding("volume snapshots", Level.DOUBT, message)


def _locations(ward: Ward) -> Iterator[Finding]:
    locations = ward.cluster.list(LOCATION)
    if not locations:
        yield Finding("locations", Level.FAIL, "there is no BackupLocation, so nothing can be stored; see docs/examples/location.yaml")
    for location in locations:
        yield _by_ready("locations", location, location["metadata"]["name"])
        redundant = condition(location, "KeyRedundant")
        if redundant.get("status") == "False":
            yield Finding("locations", Level.DOUBT, f"{location['metadata']['name']}: {redundant.get('message')}")


def _policies(ward: Ward) -> Iterator[Finding]:
    policies = ward.cluster.list(POLICY)
    if not policies:
        yield Finding("policies", Level.DOUBT, "there is no BackupPolicy: nothing is protected")
    for policy in policies:
        yield _by_ready("policies", policy, f"{policy['metadata']['namespace']}/{policy['metadata']['name']}")


def _leftovers(ward: Ward) -> Iterator[Finding]:
    """Children without an owner; the controller's sweep takes them away within minutes."""
    owners = {item["metadata"]["uid"] for resource in OWNERS.values() for item in ward.cluster.kube.list(resource)}
    orphans = [item for resource in (VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT, PVC, JOB) for item in _children(ward, resource)]
    orphans = [item for item in orphans if item["metadata"]["labels"][OWNER_UID] not in owners]
    for item in orphans[:20]:
        metadata = item["metadata"]
        place = f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else metadata["name"]
        message = f"{item['kind']} {place} belongs to an object that is gone; the controller removes it, or lets a backup finish first"
        yield Finding("leftovers", Level.DOUBT, message)
    if not orphans:
        yield Finding("leftovers", Level.GOOD, "none")


def _children(ward: Ward, resource: Resource) -> list[Object]:
    namespace = ward.movers_namespace if resource is JOB else None
    try:
        return ward.cluster.kube.list(resource, namespace, labels=f"{MANAGED_BY}={MANAGER},{OWNER_UID}")
    except failures.Gone:
        return []


def _by_ready(check: str, thing: Object, name: str) -> Finding:
    ready = condition(thing, "Ready")
    if ready.get("status") == "True":
        return Finding(check, Level.GOOD, f"{name}: {ready.get('message') or 'ready'}")
    if not ready:
        return Finding(check, Level.DOUBT, f"{name}: the controller has not looked at it yet")
    level = Level.FAIL if condition(thing, "Stalled").get("status") == "True" else Level.DOUBT
    return Finding(check, level, f"{name}: {ready.get('reason')}: {ready.get('message')}")


CHECKS: dict[str, Check] = {
    "resources": _resources,
    "namespaces": _namespaces,
    "controller": _controller,
    "volume snapshots": _snapshots,
    "locations": _locations,
    "policies": _policies,
    "leftovers": _leftovers,
}
