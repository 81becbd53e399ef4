"""BackupLocations for tests: a bucket and prefix of their own, credentials and keys made as the documentation says.

A `Place` is what the platform team holds for one location: its key files too, so that a test can look into the bucket with the command
line, independently of what the cluster claims.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recoup.controller.failures import Gone
from recoup.controller.kube import ApiServer
from recoup.controller.resources import LOCATION, NAMESPACE, SECRET
from tests.cluster.s3.buckets import Bucket
from tests.cluster.s3.credentials import Credentials
from tests.cluster.s3.servers import S3Server
from tests.e2e.cluster.waiting import PATIENCE, wait_until
from tests.e2e.cluster.world import condition_missing

SYSTEM, MOVERS = "recoup-system", "recoup-movers"
Object = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """One BackupLocation and what belongs to it. `key` and `recovery` are its key files."""

    kube: ApiServer
    name: str
    bucket: Bucket
    prefix: str
    key: Path = field(repr=False)
    recovery: Path = field(repr=False)

    @property
    def key_secret(self) -> str:
        return f"key-{self.name}"

    def get(self) -> Object:
        return self.kube.get(LOCATION, None, self.name)

    def wait_ready(self, seconds: float = PATIENCE) -> None:
        wait_until(f"BackupLocation {self.name} is Ready", lambda: condition_missing(self.get(), "Ready"), seconds)

    def wait_refused(self, reason: str, kind: str = "Ready", seconds: float = PATIENCE) -> Object:
        """Wait until the condition is False for this reason; returns it."""
        wait_until(
            f"BackupLocation {self.name}: {kind}=False {reason}",
            lambda: condition_missing(self.get(), kind, status="False", reason=reason),
            seconds,
        )
        return next(condition for condition in self.get()["status"]["conditions"] if condition["type"] == kind)

    def edit(self, **spec: Any) -> None:
        """Merge into spec."""
        self.kube.patch(LOCATION, None, self.name, {"spec": spec})

    def grant(self, source: str, target: str) -> None:
        """Let namespace `target` restore what namespace `source` has here, beside what is granted already."""
        grants = self.get()["spec"].get("grants", [])
        self.edit(grants=[*grants, {"from": {"namespace": source}, "to": {"namespace": target}}])

    def delete(self) -> None:
        for resource, namespace, name in self._parts():
            with suppress(Gone):
                self.kube.delete(resource, namespace, name, uid=self.kube.get(resource, namespace, name)["metadata"]["uid"])

    def points(self, namespace: str, server: S3Server | None = None) -> list[Object]:
        """What the log in the bucket says, read by the command line with the key file; of all vaults that the name ever had."""
        return [point for vault in self.vaults(namespace) for point in self.points_of(vault, server or self.bucket.server)]

    def vaults(self, namespace: str) -> list[str]:
        """Ids of the vaults that the location's status names for a namespace, also for one that is gone."""
        return [vault["id"] for vault in self.get()["status"].get("vaults", ()) if vault["namespace"] == namespace]

    def points_of(self, vault: str, server: S3Server) -> list[Object]:
        """The same of one vault."""
        url = f"s3://{self.bucket.name}/{self.prefix}"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "recoup.cli.main", "snapshots", "--location", url, "--endpoint-url", server.endpoint),
                *("--key-file", str(self.key), "--vault", vault, "--trust-new", "-o", "json"),
            ],
            env={"AWS_SHARED_CREDENTIALS_FILE": str(server.credentials_file), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: list[Object] = json.loads(done.stdout)
        return found

    def _parts(self) -> list[tuple[Any, str | None, str]]:
        secrets = [(SECRET, MOVERS, self.key_secret), (SECRET, MOVERS, f"s3-{self.name}"), (SECRET, SYSTEM, f"s3-{self.name}")]
        return [(LOCATION, None, self.name), *secrets]


def make_place(
    kube: ApiServer,
    folder: Path,
    name: str,
    bucket: Bucket,
    *,
    endpoint: str | None = None,
    credentials: Credentials | None = None,
    bucket_name: str | None = None,
    with_key: bool = True,
    **spec: Any,
) -> Place:
    """Make a location with Secrets and keys of its own. What is given instead of the right thing is a test's fault to make.

    The returned place has not been waited for. `spec` is merged into the BackupLocation's.
    """
    key, recovery = folder / f"{name}.key", folder / f"{name}.recovery"
    recoup("keygen", str(key))
    recipient = recoup("keygen", "--recovery", str(recovery)).split()[-1]
    meant = Bucket(bucket.server, bucket_name or bucket.name)
    place = Place(kube, name, meant, f"e2e/{name}", key, recovery)
    place.delete()  # a kept cluster has the last session's, of a server that is gone
    keys = credentials or bucket.server.credentials
    for namespace in (MOVERS, SYSTEM):
        secret(kube, namespace, f"s3-{name}", accessKeyID=keys.access_key, secretAccessKey=keys.secret_key)
    if with_key:
        secret(kube, MOVERS, place.key_secret, key=key.read_text())
    store = {
        "endpoint": endpoint or bucket.server.endpoint,
        "region": bucket.server.region,
        "bucket": meant.name,
        "prefix": place.prefix,
        "forcePathStyle": True,
        "credentialsSecretRef": {"name": f"s3-{name}"},
    }
    encryption = {
        "keys": [
            {"name": "daily", "secret": {"secretRef": {"name": place.key_secret}}},
            {"name": "safe", "recipient": {"publicKey": recipient}},
        ]
    }
    made = {"provider": bucket.server.provider, "region": "test-1", "s3": store, "encryption": encryption, **spec}
    kube.create(LOCATION, {"apiVersion": "recoup.dev/v1alpha1", "kind": "BackupLocation", "metadata": {"name": name}, "spec": made})
    return place


def secret(kube: ApiServer, namespace: str, name: str, **data: str) -> None:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    assert kube.get(NAMESPACE, None, namespace)
    kube.create(SECRET, {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace, "name": name}, "data": encoded})


def recoup(*arguments: str) -> str:
    """The `recoup` command of this checkout; a failure raises with what it said."""
    done = subprocess.run([sys.executable, "-m", "recoup.cli.main", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
