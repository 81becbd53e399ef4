"""The chart on a cluster: what an upgrade changes, what an uninstall leaves, and what each account really may do."""

from __future__ import annotations

import json
import subprocess

import pytest

from recoup.controller.kube import ApiServer
from recoup.controller.resources import LOCATION, NAMESPACE, POD, SECRET, SNAPSHOT, Resource
from tests.cluster import programs
from tests.e2e.cluster.product import MOVERS, SYSTEM, Product, install
from tests.e2e.cluster.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

CRD = Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)
NAME = "backuppolicies.recoup.dev"
ACCOUNTS = {
    "controller": f"system:serviceaccount:{SYSTEM}:recoup-controller",
    "keys": f"system:serviceaccount:{MOVERS}:recoup-keys",
    "mover": f"system:serviceaccount:{MOVERS}:recoup-mover",
}


def helm(product: Product, *arguments: str) -> str:
    command = [str(programs.program("helm")), *arguments, "--namespace", SYSTEM, "--kubeconfig", str(product.cluster.kubeconfig_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def columns(kube: ApiServer) -> list[str]:
    return [column["name"] for column in kube.get(CRD, None, NAME)["spec"]["versions"][0]["additionalPrinterColumns"]]


def test_an_upgrade_brings_the_crds_along(product: Product) -> None:
    wanted = columns(product.kube)
    patch = [{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns/0"}]
    product.kubectl("patch", "crd", NAME, "--type=json", "-p", json.dumps(patch))
    assert columns(product.kube) == wanted[1:]
    install(product.cluster, product.image)
    assert columns(product.kube) == wanted


def test_an_uninstall_touches_no_data_and_installing_again_goes_on(product: Product) -> None:
    with product.team("lifetime") as team:
        team.claim("data")
        team.policy()
        team.run("write", "echo kept > /data/file", data="/data")
        team.snapshot("before")
        team.wait_ready(SNAPSHOT, "before")
        vault = product.kube.get(SNAPSHOT, team.name, "before")["status"]["vault"]
        secrets = secrets_of(product, vault)
        assert f"writer-{vault}" in secrets
        helm(product, "uninstall", "recoup", "--wait")
        try:
            wait_until("the controller ends", lambda: "pods are there" if product.kube.list(POD, SYSTEM) else None, 60)
            assert team.condition(SNAPSHOT, "before")["status"] == "True"
            assert product.kube.get(LOCATION, None, product.place.name)
            assert not product.kube.get(NAMESPACE, None, MOVERS)["metadata"].get("deletionTimestamp")
            assert secrets_of(product, vault) == secrets
            team.snapshot("away")
            product.kubectl("-n", team.name, "delete", "backupsnapshot", "before", "--timeout=20s")  # no finalizer holds it up
        finally:
            install(product.cluster, product.image)
        team.wait_ready(SNAPSHOT, "away")
        team.wait_clean()


def secrets_of(product: Product, vault: str) -> set[str]:
    """The movers' Secrets, without those of other vaults: of a namespace that is gone they go at any moment."""
    names = (str(secret["metadata"]["name"]) for secret in product.kube.list(SECRET, MOVERS))
    return {name for name in names if name.endswith(vault) or not name.startswith(("writer-", "maintenance-"))}


def test_the_controllers_namespace_can_be_held_to_the_restricted_level(product: Product) -> None:
    level = "pod-security.kubernetes.io/enforce=restricted"
    said = product.kubectl("label", "--dry-run=server", "--overwrite", "namespace", SYSTEM, level)
    assert "Warning" not in said


@pytest.mark.parametrize(
    ("account", "verb", "resource", "namespace", "allowed"),
    [
        ("controller", "get", "secrets", SYSTEM, True),
        ("controller", "get", "secrets", MOVERS, False),
        ("controller", "list", "secrets", MOVERS, False),
        ("controller", "get", "secrets", "default", False),
        ("controller", "create", "secrets", MOVERS, False),
        ("controller", "create", "jobs", MOVERS, True),
        ("controller", "create", "jobs", "default", False),
        ("controller", "create", "pods", MOVERS, False),
        ("controller", "create", "pods/exec", MOVERS, False),
        ("controller", "list", "pods", "default", False),
        ("controller", "delete", "backupsnapshots", "default", True),  # objects whose point was forgotten everywhere; no data goes
        ("controller", "delete", "backuppolicies", "default", False),
        ("controller", "delete", "restorerequests", "default", False),
        ("controller", "update", "backuppolicies", "default", False),
        ("controller", "delete", "namespaces", "default", False),
        ("keys", "get", "secrets", MOVERS, False),
        ("keys", "create", "secrets", MOVERS, True),
        ("keys", "patch", "secrets", SYSTEM, True),
        ("keys", "create", "secrets", "default", False),
        ("keys", "list", "backuplocations", "default", False),
        ("mover", "get", "secrets", MOVERS, False),
        ("mover", "list", "pods", MOVERS, False),
        ("mover", "create", "jobs", MOVERS, False),
    ],
)
def test_what_each_account_may_do(product: Product, account: str, verb: str, resource: str, namespace: str, allowed: bool) -> None:
    spec = {
        "user": ACCOUNTS[account],
        "groups": ["system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{ACCOUNTS[account].split(':')[2]}"],
        "resourceAttributes": {"verb": verb, "namespace": namespace, **_named(resource)},
    }
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {"name": ""}, "spec": spec}
    reviews = Resource("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews", namespaced=False)
    assert bool(product.kube.create(reviews, review)["status"]["allowed"]) is allowed


def _named(resource: str) -> dict[str, str]:
    name, _, subresource = resource.partition("/")
    group = "recoup.dev" if name.startswith("backup") else "batch" if name == "jobs" else ""
    return {"group": group, "resource": name} | ({"subresource": subresource} if subresource else {})


def test_a_mover_has_no_token(product: Product) -> None:
    """The write-only promise rests on it: what runs beside the data can't ask the API server for anything."""
    with product.team("tokenless") as team:
        team.claim("data")
        team.policy()
        team.run("write", "echo x > /data/file", data="/data")
        team.snapshot("now")

        def missing() -> str | None:
            movers = product.kube.list(POD, MOVERS, labels=f"recoup.dev/owner-namespace={team.name}")
            if not movers:
                return "no mover pod yet"
            for pod in movers:
                sources = [source for volume in pod["spec"]["volumes"] for source in (volume.get("projected") or {}).get("sources", [])]
                assert not [source for source in sources if "serviceAccountToken" in source]
                assert pod["spec"]["automountServiceAccountToken"] is False
            return None

        wait_until("a mover pod", missing)
        team.wait_ready(SNAPSHOT, "now")
