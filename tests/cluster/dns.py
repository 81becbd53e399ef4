"""Cluster DNS: CoreDNS as a process on the node, reached by pods at the usual service address (kube-system/kube-dns).

It answers for `cluster.local` only: there is nothing else to be found from here, so every other name does not exist.
"""

import json

from tests.cluster.addons import kubectl
from tests.cluster.node import Node
from tests.cluster.programs import program

COREFILE = """\
cluster.local:53 in-addr.arpa:53 {{
    bind {address}
    errors
    kubernetes {{
        kubeconfig {kubeconfig}
        ttl 5
    }}
}}
.:53 {{
    bind {address}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def start(node: Node) -> None:
    config = node.folder / "Corefile"
    config.write_text(COREFILE.format(address=node.addresses.node, kubeconfig=node.kubeconfig("dns")))
    node.start("coredns", [str(program("coredns")), "-conf", str(config)])
    kubectl(node, "create", "--filename=-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": _service(node)}))


def _service(node: Node) -> list[dict[str, object]]:
    """A service without a selector, and the slice that points it to the process."""
    ports = [{"name": name, "port": 53, "protocol": protocol} for name, protocol in (("dns", "UDP"), ("dns-tcp", "TCP"))]
    name, namespace = "kube-dns", "kube-system"
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": node.addresses.dns_service, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-node", "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [node.addresses.node]}],
        },
    ]
