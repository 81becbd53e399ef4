"""Recoup installed on the session's cluster as a user installs it, with an S3 server beside it; the entrance of every test here.

`Product` is what all tests share: the API server, the bucket, the locations (locations.py) and `team()`, which makes a namespace to
work in (world.py). Nothing here is specific to one scenario.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_kind import KindCluster

from recoup.controller.failures import Gone
from recoup.controller.kube import ApiServer, load_configuration
from recoup.controller.resources import PV, VOLUME_SNAPSHOT_CONTENT, Resource
from tests.cluster import places, programs
from tests.cluster.node import Node
from tests.cluster.s3.servers import S3Server
from tests.e2e.cluster.locations import Place, make_place
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import Team

SYSTEM, MOVERS = "recoup-system", "recoup-movers"
DEPLOYMENT = Resource("apps/v1", "Deployment", "deployments")
CONTROLLER = "system:serviceaccount:recoup-system:recoup-controller"
"""The controller's user, as the audit log names it."""

ONE_NODE = ("movers.limits.perNode=48", "movers.limits.perNamespace=48")
"""Many tests at once share the only node, and some hold many movers of one namespace."""

LIVE_OPEN, LIVE_RESTRICTED = "live-open", "live-restricted"
"""Namespaces for capture.method Live: the chart makes Roles in them, so they are there before it and stay."""
LIVE = (f"live.namespaces={{{LIVE_OPEN},{LIVE_RESTRICTED}}}",)

Object = dict[str, Any]


@dataclass(frozen=True)
class Product:
    """`place` is the location that is there from the start, Ready, for every namespace; its grants begin empty."""

    cluster: KindCluster
    node: Node
    kube: ApiServer
    server: S3Server
    place: Place
    image: str
    folder: Path = field(repr=False)

    @contextmanager
    def team(self, name: str) -> Iterator[Team]:
        """A namespace for the duration; removed afterwards without waiting for it."""
        made = Team(self.kube, self.cluster, name, self.place.name)
        made.begin()
        try:
            yield made
        finally:
            made.end()

    @contextmanager
    def make_place(self, name: str, **given: Any) -> Iterator[Place]:
        """Another location for the duration, as `locations.make_place` makes it; not waited for."""
        made = make_place(self.kube, self.folder, name, given.pop("bucket", self.place.bucket), **given)
        try:
            yield made
        finally:
            made.delete()

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return kubectl(self.cluster, *arguments, text=text)

    def volumes_left(self, namespace: str) -> list[str]:
        """PersistentVolumes and VolumeSnapshotContents that belong to nobody's claim of the namespace any more, whatever their labels."""
        claims = {claim["metadata"]["uid"] for claim in Team(self.kube, self.cluster, namespace, "").claims()}
        volumes = [
            f"PersistentVolume {volume['metadata']['name']}"
            for volume in self.kube.list(PV)
            if (volume["spec"].get("claimRef") or {}).get("namespace") == namespace and volume["spec"]["claimRef"].get("uid") not in claims
        ]
        contents = [
            f"VolumeSnapshotContent {content['metadata']['name']}"
            for content in self.kube.list(VOLUME_SNAPSHOT_CONTENT)
            if content["spec"]["volumeSnapshotRef"].get("namespace") == namespace
        ]
        return volumes + contents


def api_server(cluster: KindCluster) -> ApiServer:
    """The API server as the administrator, for use by many threads.

    The client library would read the kubeconfig, and with it the environment, again at every call: needless for a certificate, and
    not safe while pytest changes the environment between tests.
    """
    configuration = load_configuration(str(cluster.kubeconfig_path))
    configuration.refresh_api_key_hook = None
    return ApiServer(configuration)


def kubectl(cluster: KindCluster, *arguments: str, text: str | None = None) -> str:
    """Run kubectl; a failure raises with what it said."""
    try:
        return str(cluster.kubectl(*arguments, input=text, stderr=subprocess.STDOUT))
    except subprocess.CalledProcessError as error:
        raise AssertionError(f"kubectl {' '.join(arguments)}: {error.output}") from error


def install(cluster: KindCluster, image: str, *settings: str) -> None:
    """`helm upgrade --install` of the chart, two replicas; returns when both are up."""
    names = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in (LIVE_OPEN, LIVE_RESTRICTED)]
    kubectl(cluster, "apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": names}))
    repository, _, tag = image.rpartition(":")
    values = (f"image.repository={repository}", f"image.tag={tag}", "image.pullPolicy=IfNotPresent", *ONE_NODE, *LIVE, *settings)
    command = [str(programs.program("helm")), "upgrade", "--install", "recoup", str(places.CHECKOUT / "charts" / "recoup")]
    command += ["--namespace", SYSTEM, "--create-namespace", "--kubeconfig", str(cluster.kubeconfig_path)]
    done = subprocess.run([*command, *(part for value in values for part in ("--set", value))], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kubectl(cluster, "-n", SYSTEM, "rollout", "status", "deployment/recoup-controller", "--timeout=240s")


def replicas_missing(kube: ApiServer, wanted: int = 2) -> str | None:
    """Why the controller is not complete, or None."""
    try:
        status = kube.get(DEPLOYMENT, SYSTEM, "recoup-controller").get("status", {})
    except Gone:
        return "no Deployment recoup-controller"
    ready = status.get("readyReplicas", 0)
    return None if ready == wanted else f"{ready} of {wanted} replicas are ready"


def await_controller(kube: ApiServer, wanted: int = 2) -> None:
    wait_until("the controller's replicas", lambda: replicas_missing(kube, wanted))


def show(thing: Object) -> str:
    """An object's status, short enough for an assertion's message."""
    return json.dumps(thing.get("status", {}), indent=1)[:6000]
