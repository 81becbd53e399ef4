"""The chart: renders for every kind of installation, says what it must, and its copies are those of crds/."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.programs import program
from tools import chart

Object = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program("helm")), *arguments], capture_output=True, text=True, check=False)


def render(*settings: str, namespace: str = "recoup-system") -> list[Object]:
    flags = [part for setting in settings for part in ("--set", setting)]
    done = helm("template", "recoup", str(chart.CHART), "--namespace", namespace, "--kube-version", "1.36.3", *flags)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def find(objects: list[Object], kind: str, name: str, namespace: str | None = None) -> Object:
    found = [
        obj
        for obj in objects
        if (obj["kind"], obj["metadata"]["name"]) == (kind, name) and namespace in (None, obj["metadata"].get("namespace"))
    ]
    assert len(found) == 1, f"{kind} {name}: {len(found)}"
    return found[0]


def container(objects: list[Object]) -> Object:
    deployment = find(objects, "Deployment", "recoup-controller")
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def environment(objects: list[Object]) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container(objects)["env"]}


def test_what_is_derived_is_up_to_date() -> None:
    assert chart.stale_files() == []


def test_a_rule_without_a_reason_is_refused() -> None:
    text = "kind: Role\nmetadata:\n  name: x\nrules:\n  - apiGroups: [a]\n    resources: [b]\n    verbs: [c]\n"
    with pytest.raises(SystemExit, match="has no comment with its reason"):
        chart.read_roles(text, "x.yaml")


def test_lint() -> None:
    done = helm("lint", "--strict", str(chart.CHART))
    assert done.returncode == 0, done.stdout


def test_the_crds_are_those_of_the_project_and_outlive_the_release() -> None:
    crds = {obj["metadata"]["name"]: obj for obj in render() if obj["kind"] == "CustomResourceDefinition"}
    originals = {
        document["metadata"]["name"]: document
        for path in (chart.ROOT / "crds").glob("*.yaml")
        for document in yaml.safe_load_all(path.read_text())
    }
    assert len(originals) == 4
    for name, crd in crds.items():
        assert crd["metadata"].pop("annotations")["helm.sh/resource-policy"] == "keep"
        assert crd == {**originals[name], "metadata": {k: v for k, v in originals[name]["metadata"].items() if k != "annotations"}}
    assert set(crds) == set(originals)


def test_the_namespace_with_the_keys_outlives_the_release() -> None:
    namespace = find(render(), "Namespace", "recoup-movers")
    assert namespace["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"


def test_the_controller_pod_meets_the_restricted_level() -> None:
    objects = render()
    pod = find(objects, "Deployment", "recoup-controller")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = container(objects)["securityContext"]
    assert security == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert not any("hostPath" in volume for volume in pod["volumes"])


def rights(objects: list[Object], account: str) -> set[tuple[str, str, str]]:
    """(namespace or *, resource, verb) of a ServiceAccount."""
    found: set[tuple[str, str, str]] = set()
    for binding in objects:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        if not any(subject["name"] == account for subject in binding["subjects"]):
            continue
        where = binding["metadata"].get("namespace", "*")
        role = find(objects, binding["roleRef"]["kind"], binding["roleRef"]["name"], None if where == "*" else where)
        found |= {(where, resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    return found


def test_the_controller_reads_secrets_of_its_own_namespace_only() -> None:
    secrets = {right for right in rights(render(), "recoup-controller") if right[1] == "secrets"}
    assert secrets == {("recoup-system", "secrets", "get"), ("recoup-system", "secrets", "list")}


@pytest.mark.parametrize("resource", ["pods/exec", "serviceaccounts", "roles", "clusterroles", "rolebindings", "configmaps", "pods/attach"])
def test_the_controller_has_no_right_on(resource: str) -> None:
    assert not [right for right in rights(render(), "recoup-controller") if right[1] == resource or "*" in right[1:]]


def test_the_controller_sees_pods_and_jobs_of_the_movers_only() -> None:
    assert {right[0] for right in rights(render(), "recoup-controller") if right[1] in ("pods", "jobs", "pods/log")} == {"recoup-movers"}


def test_hooks_give_the_right_to_exec_in_the_named_namespaces_only() -> None:
    objects = render("hooks.namespaces={shop,blog}")
    more = rights(objects, "recoup-controller") - rights(render(), "recoup-controller")
    wanted = {("pods", "list"), ("pods/exec", "get"), ("pods/exec", "create")}
    assert more == {(namespace, *right) for namespace in ("shop", "blog") for right in wanted}


def test_live_gives_the_right_to_run_movers_in_the_named_namespaces_only() -> None:
    """And to none of them the right to read a Secret there."""
    objects = render("live.namespaces={shop,blog}")
    more = rights(objects, "recoup-controller") - rights(render(), "recoup-controller")
    jobs = {("jobs", verb) for verb in ("get", "list", "create", "delete")}
    assert more == {(namespace, *right) for namespace in ("shop", "blog") for right in {*jobs, ("pods", "list"), ("pods/log", "get")}}
    assert rights(objects, "recoup-handout") == {(namespace, "secrets", "create") for namespace in ("shop", "blog")}
    assert rights(render(), "recoup-handout") == set()


def test_the_controller_deletes_no_workload_and_no_wish() -> None:
    """Of its own kinds only BackupSnapshots, whose recovery points were forgotten: they hold no data (docs/retention.md)."""
    deletable = {resource for _, resource, verb in rights(render(), "recoup-controller") if verb in ("delete", "deletecollection")}
    assert deletable == {
        "persistentvolumeclaims",
        "persistentvolumes",
        "volumesnapshots",
        "volumesnapshotcontents",
        "jobs",
        "backupsnapshots",
    }


def test_the_keys_job_reads_nothing_and_the_mover_may_nothing() -> None:
    objects = render()
    assert rights(objects, "recoup-keys") == {
        (namespace, "secrets", verb) for namespace in ("recoup-system", "recoup-movers") for verb in ("create", "patch")
    }
    assert rights(objects, "recoup-mover") == set()
    assert find(objects, "ServiceAccount", "recoup-mover")["automountServiceAccountToken"] is False


def test_only_the_viewer_is_part_of_a_role_of_kubernetes_own() -> None:
    aggregated = {
        (obj["metadata"]["name"], label)
        for obj in render()
        if obj["kind"] == "ClusterRole"
        for label in obj["metadata"]["labels"]
        if label.startswith("rbac.authorization.k8s.io/aggregate-to-")
    }
    assert aggregated == {("recoup-backup-viewer", "rbac.authorization.k8s.io/aggregate-to-view")}
    assert not [obj for obj in render("rbac.createUserRoles=false") if obj["metadata"]["name"].startswith("recoup-backup")]


def test_every_value_is_honoured() -> None:
    objects = render(
        "image.repository=registry/x", "image.tag=t", "image.pullPolicy=Never", "image.pullSecrets={a,b}",
        "controller.replicas=3", "controller.leaderElection=false", "controller.workers=2", "controller.resyncSeconds=60",
        "controller.logLevel=DEBUG", "controller.nodeSelector.a=b", "controller.tolerations[0].key=k", "controller.priorityClassName=p",
        "controller.podLabels.l=m", "controller.podAnnotations.n=o", "controller.resources.limits.memory=1Gi",
        "movers.namespace=other", "movers.createNamespace=false", "crds.install=false", "movers.limits.total=9",
        "movers.limits.perNode=5", "movers.limits.perNamespace=6", "movers.limits.waitingSnapshotsPerNamespace=7",
        "live.namespaces={c,d}",
    )  # fmt: skip
    deployment = find(objects, "Deployment", "recoup-controller")
    pod = deployment["spec"]["template"]
    assert deployment["spec"]["replicas"] == 3
    assert container(objects)["image"] == "registry/x:t"
    assert container(objects)["imagePullPolicy"] == "Never"
    assert environment(objects) | {"RECOUP_IDENTITY": "", "RECOUP_SYSTEM_NAMESPACE": ""} == {
        "RECOUP_IDENTITY": "",
        "RECOUP_SYSTEM_NAMESPACE": "",
        "RECOUP_MOVERS_NAMESPACE": "other",
        "RECOUP_IMAGE": "registry/x:t",
        "RECOUP_IMAGE_PULL_POLICY": "Never",
        "RECOUP_IMAGE_PULL_SECRETS": "a,b",
        "RECOUP_LEADER_ELECTION": "false",
        "RECOUP_WORKERS": "2",
        "RECOUP_RESYNC": "60",
        "RECOUP_MOVERS_TOTAL": "9",
        "RECOUP_LIVE_NAMESPACES": "c,d",
        "RECOUP_MOVERS_PER_NODE": "5",
        "RECOUP_MOVERS_PER_NAMESPACE": "6",
        "RECOUP_WAITING_SNAPSHOTS": "7",
        "RECOUP_LOG_LEVEL": "DEBUG",
    }
    assert pod["spec"]["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]
    assert (pod["spec"]["nodeSelector"], pod["spec"]["tolerations"]) == ({"a": "b"}, [{"key": "k"}])
    assert pod["spec"]["priorityClassName"] == "p"
    assert pod["metadata"]["labels"]["l"] == "m"
    assert pod["metadata"]["annotations"] == {"n": "o"}
    assert container(objects)["resources"]["limits"]["memory"] == "1Gi"
    assert not [obj for obj in objects if obj["kind"] in ("CustomResourceDefinition", "Namespace")]
    assert {obj["metadata"].get("namespace") for obj in objects} == {None, "recoup-system", "other", "c", "d"}


def test_every_variable_of_the_chart_is_one_that_the_controller_reads() -> None:
    from recoup.settings import PREFIX, Settings

    known = {PREFIX + name.upper() for name in Settings.__annotations__}
    assert set(environment(render())) <= known


def test_a_digest_wins_over_the_tag() -> None:
    digest = "sha256:" + "a" * 64
    assert container(render(f"image.digest={digest}", "image.tag=t"))["image"].endswith(f"/recoup@{digest}")


def test_network_policies() -> None:
    def egress(*settings: str) -> list[Object]:
        found = find(render(*settings), "NetworkPolicy", "recoup-movers-egress")["spec"]["egress"]
        assert isinstance(found, list)
        return found

    assert not [obj for obj in render("networkPolicies.enabled=false") if obj["kind"] == "NetworkPolicy"]
    assert egress("networkPolicies.egressCIDRs={10.1.0.0/16}")[1] == {"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}
    assert "169.254.0.0/16" in egress()[1]["to"][0]["ipBlock"]["except"]
    allowed = find(render("networkPolicies.metricsFromNamespaces.team=sre"), "NetworkPolicy", "recoup-controller")["spec"]["ingress"]
    assert allowed[0]["from"] == [{"namespaceSelector": {"matchLabels": {"team": "sre"}}}]


def test_one_replica_has_no_disruption_budget() -> None:
    assert find(render(), "PodDisruptionBudget", "recoup-controller")["spec"]["maxUnavailable"] == 1
    assert not [obj for obj in render("controller.replicas=1") if obj["kind"] == "PodDisruptionBudget"]


@pytest.mark.parametrize(
    "setting",
    [
        "controller.replicas=0", "controller.workers=99", "image.pullPolicy=Sometimes", "controller.logLevel=loud", "typo=1",
        "movers.typo=1", "image.digest=abc", "networkPolicies.egressCIDRs={everywhere}", "movers.namespace=UPPER",
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_name(setting: str) -> None:
    done = helm("template", "recoup", str(chart.CHART), "--kube-version", "1.36.3", "--set", setting)
    assert done.returncode != 0
    assert setting.split("=", maxsplit=1)[0].rsplit(".", maxsplit=1)[-1] in done.stderr


def test_one_namespace_for_both_is_refused() -> None:
    done = helm("template", "recoup", str(chart.CHART), "--namespace", "recoup-movers", "--kube-version", "1.36.3")
    assert done.returncode != 0
    assert "movers.namespace must not be the release's namespace" in done.stderr


def test_the_chart_and_the_package_have_one_version() -> None:
    from recoup import __version__

    meta = yaml.safe_load((Path(chart.CHART) / "Chart.yaml").read_text())
    assert meta["appVersion"] == meta["version"] == __version__
