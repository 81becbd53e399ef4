"""Objects as the API server would return them, for the tables of the planners."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from recoup.plan.observed import Surroundings

Object = dict[str, Any]
AROUND = Surroundings(image="recoup:test")

CREATED = datetime(2026, 11, 1, 12, 0, 30, tzinfo=UTC)
S3 = {"bucket": "acme-backups", "prefix": "prod", "credentialsSecretRef": {"name": "frankfurt-s3"}}
TWO_KEYS = [
    {"name": "daily", "secret": {"secretRef": {"name": "recoup-key"}}},
    {"name": "safe", "recipient": {"publicKey": "recouprecipient1" + "a" * 58}},
]
GOOD = ("Reachable", "Conformant", "KeyRedundant", "Ready")


def text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def condition(kind: str, status: str, reason: str = "Fine", message: str = "it is fine", since: datetime = CREATED) -> Object:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": text(since),
        "observedGeneration": 1,
    }


def location(*, spec: Mapping[str, Any] | None = None, status: Object | None = None) -> Object:
    return {
        "apiVersion": "recoup.dev/v1alpha1",
        "kind": "BackupLocation",
        "metadata": {"name": "frankfurt", "uid": "location-uid", "generation": 1, "creationTimestamp": text(CREATED)},
        "spec": {"s3": S3, "encryption": {"keys": TWO_KEYS}, "allowedNamespaces": {}, **(spec or {})},
        "status": {"conditions": [condition(kind, "True") for kind in GOOD]} if status is None else status,
    }


def namespace(name: str = "shop", uid: str = "shop-uid", labels: dict[str, str] | None = None) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "uid": uid, "labels": labels or {}}}


def policy(*, schedule: Object | None = None, generation: int = 1, status: Object | None = None, **spec: Any) -> Object:
    return {
        "apiVersion": "recoup.dev/v1alpha1",
        "kind": "BackupPolicy",
        "metadata": {
            "name": "shop",
            "namespace": "shop",
            "uid": "policy-uid",
            "generation": generation,
            "creationTimestamp": text(CREATED),
        },
        "spec": {
            "selector": {},
            "locations": [{"name": "frankfurt"}],
            **({"schedule": schedule} if schedule is not None else {}),
            **spec,
        },
        "status": status or {},
    }


def claim(name: str, **labels: str) -> Object:
    metadata = {"name": name, "namespace": "shop", "uid": f"{name}-uid", "labels": labels}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": {}}


def snapshot(name: str, *, created: datetime, spec: Object | None = None, status: Object | None = None) -> Object:
    return {
        "apiVersion": "recoup.dev/v1alpha1",
        "kind": "BackupSnapshot",
        "metadata": {"name": name, "namespace": "shop", "uid": f"{name}-uid", "generation": 1, "creationTimestamp": text(created)},
        "spec": {"policyRef": {"name": "shop"}, **(spec or {})},
        "status": status or {},
    }


def ended(at: datetime, *, ready: str = "True", reason: str = "Stored", volumes: Mapping[str, str] | None = None) -> Object:
    """The status of a run that is over; `volumes` gives the state of each PVC."""
    return {
        "conditions": [
            condition("Ready", ready, reason, "as it went"),
            condition("Stored", ready, reason, "as it went"),
        ],
        "takenAt": text(at),
        "completedAt": text(at),
        "volumes": [
            {"persistentVolumeClaim": name, "uid": f"{name}-uid", "state": state}
            for name, state in (volumes or {"data-0": "Stored"}).items()
        ],
    }
