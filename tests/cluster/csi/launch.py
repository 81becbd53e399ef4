"""Start the driver and its sidecars on a cluster's node and install its storage classes: what a cluster needs of CSI.

The sidecars are the real ones of Kubernetes CSI. lifecycle.py calls `start`; the driver itself is driver.py.
"""

import subprocess
import sys
from pathlib import Path

from tests.cluster import places
from tests.cluster.csi import stubs
from tests.cluster.node import Node
from tests.cluster.programs import program
from tests.cluster.trouble import Trouble

DRIVER = "csi.recoup.test"
DRIVER_WITHOUT_SNAPSHOTS = "nosnap.csi.recoup.test"
ZONE, OTHER_ZONE = "zone-a", "zone-b"
"""The node is in the first; volumes can be made for both, so that placement can be tested with a node that isn't real."""
MANIFESTS = Path(__file__).with_name("manifests.yaml")
RETRIES = ("--retry-interval-max=10s",)
"""After a fault is healed a test should see it healed: the default backs off to five minutes. The first retry is as usual."""


def start(node: Node) -> None:
    """Start everything on the node and install the classes; return when the driver answers. Provisioning follows by itself."""
    state = node.folder / "csi"
    state.mkdir(exist_ok=True)
    node.start(
        "csi-driver",
        driver_command(state, node=node.name, registry=node.kubelet_folder / "plugins_registry"),
        environment=driver_environment(),
    )
    sockets = [socket_of(state, driver) for driver in (DRIVER, DRIVER_WITHOUT_SNAPSHOTS)]
    node.wait("the CSI driver", lambda: all(socket.exists() for socket in sockets), watch=("csi-driver",))
    for name, command in sidecar_commands(state, node.kubeconfig("csi")).items():
        node.start(name, command)
    apply = [str(program("kubectl")), f"--kubeconfig={node.kubeconfig()}", "create", f"--filename={MANIFESTS}"]
    done = subprocess.run(apply, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"the storage classes can't be installed: {done.stderr.strip()}")


def driver_command(state: Path, *, node: str, registry: Path | None = None) -> list[str]:
    """The driver's process; `registry` is the kubelet's plugins_registry."""
    command = [sys.executable, "-m", "tests.cluster.csi.driver", f"--state={state}", f"--node={node}", f"--zones={ZONE},{OTHER_ZONE}"]
    command += [f"--name={DRIVER}", f"--without-snapshots={DRIVER_WITHOUT_SNAPSHOTS}"]
    return [*command, f"--registry={registry}"] if registry else command


def driver_environment() -> dict[str, str]:
    """What the driver's process needs to find its code and the generated stubs, in any working directory."""
    return {"PYTHONPATH": f"{places.CHECKOUT}:{stubs.folder()}", "PYTHONDONTWRITEBYTECODE": "1"}


def sidecar_commands(state: Path, kubeconfig: Path) -> dict[str, list[str]]:
    """The real CSI controllers by process name. A driver without snapshots gets a provisioner only."""
    made = {}
    for name, driver, sidecar, options in (
        ("csi-provisioner", DRIVER, "csi-provisioner", ["--feature-gates=Topology=true", "--extra-create-metadata"]),
        ("csi-provisioner-nosnap", DRIVER_WITHOUT_SNAPSHOTS, "csi-provisioner", ["--feature-gates=Topology=true"]),
        ("csi-snapshotter", DRIVER, "csi-snapshotter", ["--extra-create-metadata"]),
        ("csi-resizer", DRIVER, "csi-resizer", ["--handle-volume-inuse-error=false"]),
    ):
        common = [f"--csi-address={socket_of(state, driver)}", f"--kubeconfig={kubeconfig}"]
        made[name] = [str(program(sidecar)), *common, *RETRIES, *options]
    return made


def socket_of(state: Path, driver: str) -> Path:
    """Where a driver answers CSI calls (the same rule as in driver.py, which can't be imported without its stubs)."""
    return state / f"{driver}.sock"
