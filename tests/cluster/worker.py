"""containerd, kubelet and kube-proxy of a node: configuration and command lines.

Pods get routed veth pairs (CNI `ptp`), not a bridge: every packet passes the node's netfilter, so service addresses work
between pods of one node without the br_netfilter module. NetworkPolicies are accepted and not enforced.
"""

import json

from tests.cluster import cgroups
from tests.cluster.images import PAUSE
from tests.cluster.node import Node
from tests.cluster.programs import program

ZONE = "zone-a"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
"""Inside the node's mount namespace, whose /run is its own."""

CONTAINERD = """\
version = 2
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without it no pod starts where CAP_SYS_RESOURCE is missing.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def start_containerd(node: Node) -> None:
    (node.folder / "cni").mkdir()
    (node.folder / "cni" / "10-pods.conflist").write_text(json.dumps(_pod_network(node)))
    config = node.folder / "containerd.toml"
    config.write_text(CONTAINERD.format(folder=node.folder, socket=CONTAINERD_SOCKET, pause=PAUSE))
    node.start("containerd", ["containerd", "--config", str(config)])


def wait_for_containerd(node: Node) -> None:
    def ready() -> bool:
        try:
            node.run(["ctr", "--address", CONTAINERD_SOCKET, "--timeout", "1s", "version"])
        except Exception:  # noqa: BLE001 - whatever it is, it is not ready; the deadline tells
            return False
        return True

    node.wait("containerd", ready, seconds=30, watch=("containerd",))


def start_kubelet(node: Node) -> None:
    for name in ("kubelet", "kubelet-volume-plugins"):
        (node.folder / name).mkdir()
    (node.folder / "resolv.conf").write_text("")
    config = node.folder / "kubelet.json"
    config.write_text(json.dumps(_kubelet_configuration(node), indent=1))
    command = [str(program("kubelet")), "--config", str(config), "--kubeconfig", str(node.kubeconfig(f"system:node:{node.name}"))]
    command += ["--root-dir", str(node.kubelet_folder), "--cert-dir", str(node.folder / "kubelet-pki")]
    command += ["--hostname-override", node.name, "--node-ip", node.addresses.node]
    command += ["--node-labels", f"topology.kubernetes.io/zone={ZONE},topology.kubernetes.io/region=local"]
    node.start("kubelet", command)


def start_proxy(node: Node) -> None:
    command = [str(program("kube-proxy")), "--kubeconfig", str(node.kubeconfig("system:kube-proxy")), "--hostname-override", node.name]
    command += ["--proxy-mode", "iptables", "--cluster-cidr", node.addresses.pods]
    # These kernel settings are read-only in a network namespace: leave them alone.
    command += ["--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "0s", "--conntrack-tcp-timeout-close-wait", "0s"]
    node.start("kube-proxy", command)


def _pod_network(node: Node) -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "dataDir": str(node.folder / "cni-addresses"),
        "ranges": [[{"subnet": node.addresses.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{"type": "ptp", "ipMasq": False, "ipam": addresses}, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }


def _kubelet_configuration(node: Node) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroups.pods(node.cluster),
        "failCgroupV1": False,
        "failSwapOn": False,
        "maxOpenFiles": 20000,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "clusterDomain": "cluster.local",
        "clusterDNS": [node.addresses.dns_service],
        "resolvConf": str(node.folder / "resolv.conf"),
        "volumePluginDir": str(node.folder / "kubelet-volume-plugins"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(node.folder / "pki" / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "nodeStatusReportFrequency": "1m",
    }
