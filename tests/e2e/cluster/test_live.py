"""Live capture on the cluster: of a volume that a pod has, in an ordinary namespace and in one that enforces the level `restricted`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from recoup.controller.failures import AlreadyExists
from recoup.controller.resources import JOB, POD, POLICY, PVC, RESTORE, SECRET, SNAPSHOT
from tests.e2e.cluster.locations import MOVERS, secret
from tests.e2e.cluster.product import LIVE_OPEN, LIVE_RESTRICTED, Product
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import Team
from tests.integration.cluster import conftest as manifests

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
Object = dict[str, Any]
USER = 4711


@contextmanager
def live_team(product: Product, name: str, location: str) -> Iterator[Team]:
    """A namespace that the chart was told of: it stays, and what a test makes there goes."""
    team = Team(product.kube, product.cluster, name, location)
    try:
        yield team
    finally:
        for resource in (RESTORE, SNAPSHOT, POLICY, POD, JOB, PVC):
            team.kubectl("delete", resource.plural, "--all", "--wait=false")


def start_workload(team: Team, script: str, **security: Any) -> None:
    spec = manifests.pod_spec(f"{script}; touch /tmp/ready; sleep 3600 & wait", volumes={"/data": "data"}, securityContext=security or None)
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    spec["containers"][0]["readinessProbe"] = probe
    team.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app-0"}, "spec": spec})

    def missing() -> str | None:
        conditions = (team.get(POD, "app-0").get("status") or {}).get("conditions") or ()
        return None if any(item["type"] == "Ready" and item["status"] == "True" for item in conditions) else "not ready"

    wait_until("the workload has written", missing)


HASHES = "cd /data && find . -type f ! -path './lost+found/*' | sort | xargs sha256sum"
WRITE = "umask 022; mkdir -p /data/sub; for n in 1 2 3 4; do dd if=/dev/urandom of=/data/sub/$n bs=64k count=$n 2>/dev/null; done; sync"


def test_a_volume_is_read_beside_the_pod_that_uses_it(product: Product) -> None:
    keys = product.place.bucket.server.credentials
    with suppress(AlreadyExists):
        secret(product.kube, MOVERS, "s3-live", accessKeyID=keys.access_key, secretAccessKey=keys.secret_key)
    with (
        product.make_place("live") as place,
        live_team(product, LIVE_OPEN, place.name) as team,
        live_team(product, LIVE_RESTRICTED, place.name) as strict,
    ):
        place.wait_ready()
        for each in (team, strict):
            each.claim("data")
            each.policy(capture={"method": "Live"})
        start_workload(team, WRITE)
        team.snapshot("too-early")
        refused = team.wait_over(SNAPSHOT, "too-early")["status"]["volumes"][0]
        assert refused["reason"] == "LiveCredentialsMissing"
        place.edit(s3={"liveCredentialsSecretRef": {"name": "s3-live"}})
        place.wait_ready()

        team.snapshot("now")
        prepare_restricted(product, strict)
        strict.snapshot("now")
        volume = team.wait_ready(SNAPSHOT, "now")["status"]["volumes"][0]
        assert (volume["method"], volume["guarantee"], volume.get("warnings")) == ("Live", "NotPointInTime", None)
        team.restore("back", {"snapshotRef": {"name": "now"}}, data="copy")
        told = strict.wait_ready(SNAPSHOT, "now")["status"]["volumes"][0]
        assert told["guarantee"] == "NotPointInTime"
        assert told["warnings"] == 1, told
        assert any("secret" in path for path in told["firstPaths"]), told
        team.wait_ready(RESTORE, "back")
        wanted = team.kubectl("exec", "app-0", "--", "sh", "-c", HASHES)
        assert wanted.count("\n") == 4
        assert team.run("read", HASHES, copy="/data").strip() == wanted.strip()
        for each in (team, strict):
            each.wait_clean()
            assert [item["metadata"]["name"] for item in product.kube.list(SECRET, each.name)] == []


def prepare_restricted(product: Product, team: Team) -> None:
    """Root puts a file there that nobody else may read; then the namespace is closed to root, and the workload runs as a user."""
    level = "pod-security.kubernetes.io/enforce"
    product.kubectl("label", "--overwrite", "namespace", team.name, f"{level}=privileged")
    prepare = (
        f"{WRITE}; echo x > /data/secret; chmod 600 /data/secret; chown -R {USER} /data/sub; rmdir /data/lost+found 2>/dev/null || true"
    )
    team.run("prepare", prepare, data="/data")
    team.delete(JOB, "prepare")
    product.kubectl("label", "--overwrite", "namespace", team.name, f"{level}=restricted")
    start_workload(
        team, "true", runAsUser=USER, runAsNonRoot=True, allowPrivilegeEscalation=False, capabilities={"drop": ["ALL"]},
        seccompProfile={"type": "RuntimeDefault"},
    )  # fmt: skip
