"""One team's namespace, and what a team does in it: claims, pods, policies, recovery points, restores, and waiting for their conditions.

Everything is said in the words of the custom resources; each helper is one object or one question. What the whole cluster shares is in
product.py.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pytest_kind import KindCluster

from recoup.controller.failures import AlreadyExists, Gone
from recoup.controller.kube import ApiServer
from recoup.controller.resources import (
    JOB,
    NAMESPACE,
    POD,
    POLICY,
    PV,
    PVC,
    RESTORE,
    SNAPSHOT,
    VOLUME_SNAPSHOT,
    VOLUME_SNAPSHOT_CONTENT,
    Resource,
)
from tests.e2e.cluster.waiting import PATIENCE, wait_until
from tests.integration.cluster import conftest as manifests

Object = dict[str, Any]
GROUP = "recoup.dev/v1alpha1"
CHILDREN = (VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT, PVC, PV, JOB, POD)


@dataclass(frozen=True)
class Team:
    """A namespace; `location` is where its policies have their home unless told otherwise."""

    kube: ApiServer
    cluster: KindCluster
    name: str
    location: str

    def begin(self) -> None:
        """Make the namespace anew; one of that name is what a session that was killed left in a kept cluster."""
        self.end(wait=True)
        self.kube.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}})

    def end(self, *, wait: bool = False) -> None:
        """Delete the namespace, whatever it holds."""
        with suppress(Gone):
            self.kube.delete(NAMESPACE, None, self.name, uid=self.uid)
        if wait:
            wait_until(f"namespace {self.name} is gone", lambda: None if self.find(NAMESPACE, self.name) is None else "still there")

    @property
    def uid(self) -> str:
        return str(self.kube.get(NAMESPACE, None, self.name)["metadata"]["uid"])

    # Objects of a team

    def claim(self, name: str, *, storage_class: str = "recoup-wffc", mode: str = "Filesystem", size: str = "256Mi", **labels: str) -> None:
        made = manifests.claim(name, storage_class, mode=mode, size=size)
        made["metadata"]["labels"] = {"app": "shop", **labels}
        self.create(made)

    def job(self, name: str, script: str, **volumes: str) -> None:
        """Start a shell script in the workload image; `data="/data"` mounts claim `data` there, below /dev as a device."""
        self.create(manifests.job(name, script, volumes={path: claim for claim, path in volumes.items()}))

    def finish(self, name: str, seconds: float = PATIENCE) -> str:
        """Wait for a Job's success; returns what it printed."""
        wait_until(f"Job {self.name}/{name}", lambda: self._unfinished(name), seconds)
        return self.kubectl("logs", f"job/{name}", "--tail=-1")

    def run(self, name: str, script: str, **volumes: str) -> str:
        self.job(name, script, **volumes)
        return self.finish(name)

    def policy(self, name: str = "policy", *, location: str | None = None, **spec: Any) -> None:
        """A policy that selects app=shop and never comes due by itself, unless `spec` says otherwise."""
        usual = {
            "schedule": {"cron": "0 0 1 1 *"},
            "selector": {"matchLabels": {"app": "shop"}},
            "capture": {"method": "Snapshot"},
            "locations": [{"name": location or self.location}],
        }
        self.create({"apiVersion": GROUP, "kind": "BackupPolicy", "metadata": {"name": name}, "spec": usual | spec})

    def snapshot(self, name: str, policy: str = "policy") -> None:
        """A recovery point on demand."""
        self.create({"apiVersion": GROUP, "kind": "BackupSnapshot", "metadata": {"name": name}, "spec": {"policyRef": {"name": policy}}})

    def restore(self, name: str, source: Object, **targets: str | Object) -> None:
        """A RestoreRequest; `data="copy"` restores volume `data` as PVC `copy`, a dict is the whole target."""
        volumes = [{"source": key, "target": {"name": to} if isinstance(to, str) else to} for key, to in targets.items()]
        spec: Object = {"source": source} | ({"volumes": volumes} if volumes else {})
        self.create({"apiVersion": GROUP, "kind": "RestoreRequest", "metadata": {"name": name}, "spec": spec})

    def create(self, made: Object) -> None:
        made["metadata"]["namespace"] = self.name
        resource = next(resource for resource in _CREATED if resource.kind == made["kind"])
        with suppress(AlreadyExists):
            self.kube.create(resource, made)

    def delete(self, resource: Resource, name: str) -> None:
        with suppress(Gone):
            self.kube.delete(resource, self.name, name, uid=self.get(resource, name)["metadata"]["uid"])

    def edit(self, resource: Resource, name: str, **spec: Any) -> None:
        self.kube.patch(resource, self.name, name, {"spec": spec})

    # Questions

    def get(self, resource: Resource, name: str) -> Object:
        return self.kube.get(resource, self.name, name)

    def find(self, resource: Resource, name: str) -> Object | None:
        with suppress(Gone):
            return self.get(resource, name)
        return None

    def claims(self) -> list[Object]:
        return self.kube.list(PVC, self.name)

    def condition(self, resource: Resource, name: str, kind: str = "Ready") -> Object:
        """The condition as it is now; an empty one if there is none."""
        return condition_of(self.find(resource, name), kind)

    def wait_ready(self, resource: Resource, name: str, seconds: float = PATIENCE) -> Object:
        """Wait for Ready=True of a snapshot, restore or policy; gives up at once on a run that has ended otherwise. Returns the object."""

        def missing() -> str | None:
            found = self.find(resource, name)
            text = condition_missing(found, "Ready")
            if text and (found or {}).get("status", {}).get("completedAt") and condition_of(found, "Reconciling").get("status") != "True":
                raise AssertionError(f"{resource.kind} {self.name}/{name} ended: {text}\n{json.dumps(found, indent=1)[:8000]}")
            return text

        wait_until(f"{resource.kind} {self.name}/{name} is Ready", missing, seconds)
        return self.get(resource, name)

    def wait_reason(self, resource: Resource, name: str, reason: str, kind: str = "Ready", seconds: float = PATIENCE) -> Object:
        """Wait until the condition is False for this reason; returns the condition."""
        wait_until(
            f"{resource.kind} {self.name}/{name}: {kind}=False {reason}",
            lambda: condition_missing(self.find(resource, name), kind, status="False", reason=reason),
            seconds,
        )
        return self.condition(resource, name, kind)

    def wait_over(self, resource: Resource, name: str, seconds: float = PATIENCE) -> Object:
        """Wait until a run has ended, well or not, and nothing of it is left; returns the object."""
        wait_until(
            f"{resource.kind} {self.name}/{name} is over",
            lambda: None if (self.find(resource, name) or {}).get("status", {}).get("completedAt") else _summary(self.find(resource, name)),
            seconds,
        )
        self.wait_clean()
        return self.get(resource, name)

    def volume(self, snapshot: str, claim: str) -> Object:
        """The line of one volume in a BackupSnapshot's status."""
        volumes: list[Object] = self.get(SNAPSHOT, snapshot)["status"]["volumes"]
        return next(volume for volume in volumes if volume["persistentVolumeClaim"] == claim)

    def children(self, *resources: Resource) -> list[Object]:
        """Everything that Recoup made for objects of this namespace, wherever it is."""
        labels = f"app.kubernetes.io/managed-by=recoup,recoup.dev/owner-namespace={self.name}"
        return [child for resource in resources or CHILDREN for child in self.kube.list(resource, labels=labels)]

    def wait_child(self, resource: Resource, what: str = "", seconds: float = PATIENCE) -> Object:
        """Wait until Recoup made such an object for this namespace; returns it."""
        wait_until(what or f"a {resource.kind} of namespace {self.name}", lambda: None if self.children(resource) else "none", seconds)
        return self.children(resource)[0]

    def wait_clean(self, seconds: float = PATIENCE) -> None:
        """Wait until no child of this namespace's objects is left in the cluster."""
        wait_until(f"nothing is left of what was made for namespace {self.name}", lambda: _names(self.children()), seconds)

    # Commands

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        try:
            return str(self.cluster.kubectl("--namespace", self.name, *arguments, input=text, stderr=subprocess.STDOUT))
        except subprocess.CalledProcessError as error:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {error.output}") from error

    def _unfinished(self, name: str) -> str | None:
        status = self.get(JOB, name).get("status", {})
        done = {condition["type"] for condition in status.get("conditions", ()) if condition["status"] == "True"}
        if "Failed" in done:
            raise AssertionError(f"Job {self.name}/{name} failed: {self.kubectl('logs', f'job/{name}', '--tail=40')}\n{status}")
        return None if "Complete" in done else json.dumps(status)


_CREATED = (PVC, POD, JOB, POLICY, SNAPSHOT, RESTORE, VOLUME_SNAPSHOT)


def condition_of(found: Object | None, kind: str) -> Object:
    conditions: list[Object] = ((found or {}).get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), {})


def condition_missing(found: Object | None, kind: str, *, status: str = "True", reason: str | None = None) -> str | None:
    """Why the condition is not (yet) as wanted for the object's present generation, or None when it is."""
    if found is None:
        return "the object does not exist"
    condition = condition_of(found, kind)
    if not condition:
        return f"no condition {kind} yet"
    if condition.get("observedGeneration", 0) < found["metadata"].get("generation", 0):
        return f"{kind} is about generation {condition.get('observedGeneration')}"
    if condition["status"] == status and reason in (None, condition["reason"]):
        return None
    return f"{kind}={condition['status']} {condition['reason']}: {condition['message']}"


def _names(objects: Iterable[Object]) -> str | None:
    return ", ".join(f"{each['kind']} {each['metadata'].get('namespace', '')}/{each['metadata']['name']}" for each in objects) or None


def _summary(found: Object | None) -> str:
    return json.dumps((found or {}).get("status", "no object"))[:3000]
