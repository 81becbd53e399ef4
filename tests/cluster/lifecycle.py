"""Create and remove whole clusters. Nothing of a cluster survives `remove`, whatever state a crash left it in."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.cluster import (
    addons,
    cgroups,
    control_plane,
    credentials,
    dns,
    images,
    loops,
    network,
    processes,
    programs,
    record,
    system,
    worker,
)
from tests.cluster.csi import launch
from tests.cluster.node import Node
from tests.cluster.trouble import Trouble


def prepare() -> None:
    """Install and build everything a cluster needs, so that `create` takes seconds. Idempotent."""
    system.check()
    for name in ("kubernetes", "coredns"):
        programs.build(name)
    for tag in (images.PAUSE, images.WORKLOAD):
        images.archive(tag)


def create(name: str, *, retain: bool = False) -> Node:
    """Bring up a cluster; return when its node is Ready and its storage answers.

    First removes what crashed or abandoned runs left. Raises Trouble if the name is in use, or with the last words of
    what failed; then the half-made cluster is removed, unless `retain`.
    """
    record.check_name(name)
    prepare()
    with record.changing():
        sweep()
        if existing := record.load(name):
            state = "exists already" if existing.ready else f"is being made by process {existing.maker[0]}"
            raise Trouble(f"cluster {name!r} {state}", step=f"kind delete cluster --name {name}")
        remove(name)
        claimed = record.claim(name)
    node = Node(claimed)
    try:
        _bring_up(node)
    except BaseException:
        if retain:
            print(f"kept for inspection: {node.folder}", file=sys.stderr)
        else:
            delete(name)
        raise
    ready = replace(claimed, ready=True)
    record.save(ready)
    return Node(ready)


def delete(name: str) -> None:
    """Remove a cluster by name. Idempotent."""
    record.check_name(name)
    with record.changing():
        remove(name)


def sweep() -> list[str]:
    """Remove every cluster that nobody wants any more, and rests without a record. The caller holds `record.changing()`."""
    removed = []
    for name in record.every_name():
        known = record.load(name)
        if known is None or known.is_stale():
            print(f"removing what an earlier run left of cluster {name!r}", file=sys.stderr, flush=True)
            remove(name)
            removed.append(name)
    return removed


def remove(name: str) -> None:
    """End all processes of a cluster and take away what they held. Needs no record: a crash may have left none."""
    known = record.load(name)
    devices = loops.backed_by(record.folder_of(name))
    cgroups.kill(name)
    loops.detach(record.folder_of(name), devices)
    if known:
        network.disconnect(known.addresses)
    cgroups.remove(name)
    record.forget(name)
    folder = record.folder_of(name)
    if folder.exists():
        shutil.rmtree(folder)


def find(name: str) -> Node:
    """The running cluster of that name. Raises Trouble naming those there are."""
    known = record.load(name)
    if not known or not known.ready:
        raise Trouble(f"no cluster {name!r}; there are: {', '.join(running()) or 'none'}", step=f"kind create cluster --name {name}")
    return Node(known)


def running() -> list[str]:
    """The clusters that are up and wanted; a stale or broken one is not among them, so that nobody re-uses it."""
    records = [record.load(name) for name in record.every_name()]
    return [known.name for known in records if known and known.ready and not known.is_stale() and _is_whole(known)]


def _is_whole(known: record.Record) -> bool:
    try:
        return processes.load(known.folder, "holder").is_alive()
    except Trouble:  # it is being removed this moment
        return False


def load_image(name: str, archive: Path) -> None:
    """Load an image archive into a running cluster."""
    addons.load_archive(find(name), archive)


def _bring_up(node: Node) -> None:
    """The order matters only where one needs another; whatever can start early does."""
    with _step(f"namespaces, network {node.addresses.node}"):
        node.make_namespaces()
        credentials.write_all(node.folder, node.cluster, node.name, node.addresses)
    with _step("etcd, API server, containerd"):
        control_plane.start_etcd(node)
        control_plane.start_api_server(node)
        worker.start_containerd(node)
        worker.wait_for_containerd(node)
        addons.load_base_images(node)
        control_plane.wait_for_api(node)
    with _step("controllers, kubelet, kube-proxy"):
        control_plane.start_controllers(node)
        worker.start_kubelet(node)
        worker.start_proxy(node)
    with _step("DNS, volume snapshots, storage"):
        dns.start(node)
        addons.start_snapshots(node)
        launch.start(node)
    with _step("node Ready"):
        node.wait("the node to be Ready", lambda: addons.can_run_pods(node), watch=("kubelet", "containerd", "kube-apiserver"))


@contextmanager
def _step(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"  {what}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
