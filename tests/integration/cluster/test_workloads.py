"""The cluster is a real one: jobs end, limits bind, logs and exec work, services and names are found, rights are checked."""

import subprocess
import urllib.request
from pathlib import Path

import pytest

import recoup
from tests.cluster import control_plane
from tests.cluster.audit import Audit
from tests.cluster.node import KERNEL_SETTINGS, Node
from tests.cluster.s3.servers import S3Server
from tests.integration.cluster.conftest import Namespace, pod_spec

pytestmark = pytest.mark.cluster


def test_a_job_completes_and_its_output_is_in_the_logs(namespace: Namespace) -> None:
    assert namespace.run_job("hello", "echo from the job; id -u") == "from the job\n0\n"


def test_a_memory_limit_kills(namespace: Namespace) -> None:
    limits = {"limits": {"memory": "24Mi"}}
    spec = {"restartPolicy": "Never", **pod_spec("exec python3 -c 'x = bytearray(64 << 20)'", resources=limits)}
    namespace.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hog"}, "spec": spec})
    namespace.wait("pod/hog", "jsonpath={.status.phase}=Failed")
    state = namespace.get("pod", "hog")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert state["reason"] == "OOMKilled"


def test_a_service_is_reached_by_name_from_pods_and_by_address_from_the_host(namespace: Namespace, cluster_node: Node) -> None:
    spec = pod_spec("exec python3 -m http.server 8080", readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1})
    namespace.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "server", "labels": {"app": "web"}}, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    )
    namespace.wait("pod/server", "condition=Ready")
    fetch = "import urllib.request as r; print(r.urlopen('http://web/', timeout=5).status)"
    assert namespace.run_job("client", f'python3 -c "{fetch}"') == "200\n"
    assert namespace.kubectl("exec", "server", "--", "python3", "-c", fetch) == "200\n", "a pod must reach itself through its service"
    address = namespace.get("service", "web")["spec"]["clusterIP"]
    with urllib.request.urlopen(f"http://{address}/", timeout=5) as answer:
        assert answer.status == 200
    assert address.startswith(cluster_node.addresses.services.rpartition(".")[0])


def test_pods_reach_an_s3_server_by_its_address(namespace: Namespace, minio_on_network: S3Server) -> None:
    fetch = f"import urllib.request as r; print(r.urlopen('{minio_on_network.endpoint}/minio/health/live', timeout=5).status)"
    assert namespace.run_job("client", f'python3 -c "{fetch}"') == "200\n"


def test_the_products_image_runs_without_root_and_with_a_read_only_root(namespace: Namespace, product_image: str) -> None:
    spec = {
        "restartPolicy": "Never",
        "securityContext": {"runAsUser": 65532, "runAsNonRoot": True},
        "containers": [
            {
                "name": "main",
                "image": product_image,
                "imagePullPolicy": "Never",
                "args": ["--version"],
                "securityContext": {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }
    namespace.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "version"}, "spec": spec})
    namespace.wait("pod/version", "jsonpath={.status.phase}=Succeeded")
    assert recoup.__version__ in namespace.kubectl("logs", "version")


def test_service_accounts_have_no_rights_until_given_some(namespace: Namespace) -> None:
    account = f"--as=system:serviceaccount:{namespace.name}:default"
    namespace.kubectl("create", "role", "reader", "--verb=list", "--resource=configmaps")
    namespace.kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace.name}:default")
    may = {resource: namespace.kubectl("auth", "can-i", "--list", account).count(resource) for resource in ("configmaps", "secrets")}
    assert may == {"configmaps": 1, "secrets": 0}


def test_the_audit_log_counts_requests_by_agent_and_verb(namespace: Namespace, cluster_node: Node) -> None:
    audit = Audit(cluster_node)
    for _ in range(3):
        namespace.kubectl("get", "configmap", "kube-root-ca.crt")
    assert audit.count(agent="kubectl/")["get", "configmaps"] == 3
    audit.restart()
    assert audit.count(agent="kubectl/") == {}


def test_the_cluster_goes_on_after_its_api_server_was_away(namespace: Namespace, cluster_node: Node) -> None:
    cluster_node.stop("kube-apiserver", force=True)
    with pytest.raises(subprocess.CalledProcessError):
        namespace.cluster.kubectl("get", "namespaces", stderr=subprocess.DEVNULL)
    cluster_node.restart("kube-apiserver")
    control_plane.wait_for_api(cluster_node)
    assert namespace.run_job("after", "echo still here") == "still here\n"


def test_the_machines_kernel_settings_stay_as_they_were(cluster_node: Node) -> None:
    """A kubelet sets these machine-wide; inside the node they are covered by files that already say what it wants."""
    covers = cluster_node.run(["grep", "--count", " /proc/sys/", "/proc/self/mountinfo"])
    assert int(covers.stdout) == len(KERNEL_SETTINGS)
    assert cluster_node.run(["cat", "/proc/sys/kernel/panic"]).stdout.strip() == KERNEL_SETTINGS["kernel/panic"]
    assert "/proc/sys/" not in Path("/proc/self/mountinfo").read_text()
