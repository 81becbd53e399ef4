"""etcd, API server, controller manager and scheduler of a node: their command lines, and when they are ready.

Everything is audited to `log/audit.jsonl`, so that tests can count requests by user agent and verb.
"""

import json
import ssl
import urllib.error
import urllib.request

from tests.cluster.node import Node
from tests.cluster.programs import program

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


def start_etcd(node: Node) -> None:
    command = [str(program("etcd")), "--data-dir", str(node.folder / "etcd"), "--unsafe-no-fsync", "--log-level=warn"]
    command += ["--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379"]
    command += ["--listen-peer-urls=http://127.0.0.1:2380"]
    node.start("etcd", command)


def start_api_server(node: Node) -> None:
    pki, addresses = node.folder / "pki", node.addresses
    policy = node.folder / "audit-policy.json"
    policy.write_text(json.dumps(AUDIT_POLICY))
    flags = {
        "etcd-servers": "http://127.0.0.1:2379",
        "advertise-address": addresses.node,
        "secure-port": "6443",
        "tls-cert-file": f"{pki}/apiserver.crt",
        "tls-private-key-file": f"{pki}/apiserver.key",
        "client-ca-file": f"{pki}/ca.crt",
        "token-auth-file": f"{pki}/tokens.csv",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "kubelet-client-certificate": f"{pki}/kubelet-client.crt",
        "kubelet-client-key": f"{pki}/kubelet-client.key",
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": f"{pki}/sa.pub",
        "service-account-signing-key-file": f"{pki}/sa.key",
        "service-cluster-ip-range": addresses.services,
        "audit-policy-file": str(policy),
        "audit-log-path": str(node.folder / "log" / "audit.jsonl"),
        "audit-log-maxsize": "1000",
        "profiling": "false",
    }
    node.start("kube-apiserver", [str(program("kube-apiserver")), *_flags(flags)])


def start_controllers(node: Node) -> None:
    """The controller manager, each controller under its own service account as in a real cluster, and the scheduler."""
    pki = node.folder / "pki"
    config = str(node.kubeconfig("system:kube-controller-manager"))
    flags = {
        "kubeconfig": config,
        "authentication-kubeconfig": config,
        "authorization-kubeconfig": config,
        "leader-elect": "false",
        "use-service-account-credentials": "true",
        "service-account-private-key-file": f"{pki}/sa.key",
        "root-ca-file": f"{pki}/ca.crt",
        "cluster-cidr": node.addresses.pods,
        "profiling": "false",
    }
    node.start("kube-controller-manager", [str(program("kube-controller-manager")), *_flags(flags)])
    config = str(node.kubeconfig("system:kube-scheduler"))
    flags = {
        "kubeconfig": config,
        "authentication-kubeconfig": config,
        "authorization-kubeconfig": config,
        "leader-elect": "false",
        "profiling": "false",
    }
    node.start("kube-scheduler", [str(program("kube-scheduler")), *_flags(flags)])


def wait_for_api(node: Node) -> None:
    """Wait until the API server says it is ready, start-up hooks (RBAC's built-in roles) included."""
    trust = ssl.create_default_context(cafile=str(node.folder / "pki" / "ca.crt"))

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"{node.addresses.server}/readyz", context=trust, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False

    node.wait("the API server", ready, watch=("etcd", "kube-apiserver"))


def _flags(flags: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]
