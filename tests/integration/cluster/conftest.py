"""A namespace per test on the session's cluster, and kubectl in it."""

import json
import re
import subprocess
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pytest_kind import KindCluster

from tests.cluster.s3.fixtures import minio_on_network

__all__ = ["minio_on_network", "namespace"]


@dataclass(frozen=True)
class Namespace:
    """kubectl, bound to one namespace of the cluster."""

    cluster: KindCluster
    name: str

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        try:
            return str(self.cluster.kubectl("--namespace", self.name, *arguments, input=text, stderr=subprocess.STDOUT))
        except subprocess.CalledProcessError as error:
            pytest.fail(f"kubectl {' '.join(arguments)}: {error.output}")

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "--filename=-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "--output=json"))
        return found

    def wait(self, target: str, condition: str, seconds: int = 60) -> None:
        """`condition` as kubectl wait has it: `condition=Ready`, `jsonpath={.status.phase}=Bound`, `delete`."""
        self.kubectl("wait", target, f"--for={condition}", f"--timeout={seconds}s")

    def run_job(self, name: str, script: str, **pod: Any) -> str:
        """Run a shell script in a Job to its end; return what it printed."""
        self.apply(job(name, script, **pod))
        self.wait(f"job/{name}", "condition=Complete")
        return self.kubectl("logs", f"job/{name}")


@pytest.fixture
def namespace(kind_cluster: KindCluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    words = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-")
    name = f"{words}-{zlib.crc32(request.node.nodeid.encode()):08x}"
    kind_cluster.kubectl("create", "namespace", name)
    yield Namespace(kind_cluster, name)
    kind_cluster.kubectl("delete", "namespace", name, "--wait=false")


def container(script: str, **more: Any) -> dict[str, Any]:
    """A container of the workload image that runs a shell script and ends at once when told to."""
    command = ["sh", "-ec", f"trap 'exit 0' TERM; {script}"]
    return {"name": "main", "image": "localhost/workload:dev", "imagePullPolicy": "Never", "command": command, **more}


def job(name: str, script: str, *, volumes: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """A Job; `volumes` maps mount paths to claims, paths below /dev to block claims."""
    pod = {"restartPolicy": "Never", **pod_spec(script, volumes=volumes, **more)}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": {"spec": pod}}}


def pod_spec(script: str, *, volumes: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    given = volumes or {}
    mounts = [{"name": claim, "mountPath": path} for path, claim in given.items() if not path.startswith("/dev/")]
    devices = [{"name": claim, "devicePath": path} for path, claim in given.items() if path.startswith("/dev/")]
    return {
        "containers": [container(script, volumeMounts=mounts, volumeDevices=devices, **more)],
        "volumes": [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in given.values()],
    }


def claim(name: str, storage_class: str, *, mode: str = "Filesystem", size: str = "64Mi", source: str = "") -> dict[str, Any]:
    """A PersistentVolumeClaim, filled from the VolumeSnapshot `source` if given."""
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "volumeMode": mode,
        "resources": {"requests": {"storage": size}},
    }
    if source:
        spec["dataSource"] = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": source}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def volume_snapshot(name: str, claim_name: str) -> dict[str, Any]:
    return {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshot",
        "metadata": {"name": name},
        "spec": {"volumeSnapshotClassName": "recoup-snap", "source": {"persistentVolumeClaimName": claim_name}},
    }
