"""The way to the cluster: kubeconfig, context and namespace as kubectl takes them, and the API as plain JSON.

`@cluster_options` and its neighbours hand a command `cluster: Cluster`. Kinds that are not there are told as what that means:
Recoup is not installed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click
from msgspec import structs

from recoup.controller import failures
from recoup.controller.kube import ApiServer, Kube
from recoup.controller.resources import Resource
from recoup.errors import Invalid, NotFound
from recoup.value import Value

Object = dict[str, Any]
Function = Callable[..., Any]


class Cluster(Value, frozen=True):
    """Who is talked to, and about which namespace; None means all of them."""

    kube: Kube
    namespace: str | None

    @property
    def place(self) -> str:
        """The one namespace of a command that needs one."""
        assert self.namespace is not None
        return self.namespace

    def get(self, resource: Resource, name: str) -> Object:
        """One object of the namespace. Raises NotFound naming it."""
        namespace = self.place if resource.namespaced else None
        try:
            return self.kube.get(resource, namespace, name)
        except failures.Gone:
            where = f" in namespace {namespace}" if namespace else ""
            raise NotFound(f"{resource.kind} {name} does not exist{where}") from None

    def list(self, resource: Resource) -> list[Object]:
        """All objects of a kind of ours. Raises Invalid if the kind itself is not there."""
        try:
            return self.kube.list(resource, self.namespace if resource.namespaced else None)
        except failures.Gone:
            message = f"this cluster does not know {resource.plural}: install Recoup with `helm install recoup charts/recoup`"
            raise Invalid(message, reason="NotInstalled") from None

    def create(self, resource: Resource, thing: Object) -> Object:
        try:
            return self.kube.create(resource, thing)
        except failures.AlreadyExists:
            metadata = thing["metadata"]
            raise Invalid(f"{resource.kind} {metadata['name']} exists already; give another --name", reason="AlreadyExists") from None

    def patch(self, resource: Resource, thing: Object, change: Object) -> Object:
        """Change one object that was seen, by a JSON merge patch: refused if somebody else changed it meanwhile."""
        metadata = thing["metadata"]
        seen = {"metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}}
        return self.kube.patch(resource, metadata.get("namespace"), metadata["name"], seen | change)


def cluster_options(function: Function) -> Function:
    """--namespace, --context, --kubeconfig."""
    return _options(function)


def clusterwide_options(function: Function) -> Function:
    """The same with --all-namespaces."""
    return click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")(_options(function))


def whole_cluster_options(function: Function) -> Function:
    """--context and --kubeconfig: for a command that looks at everything."""

    def everything(*, cluster: Cluster, **values: Any) -> Any:
        return function(cluster=structs.replace(cluster, namespace=None), **values)

    return _options(functools.wraps(function)(everything), choose=False)


def _options(function: Function, *, choose: bool = True) -> Function:
    @functools.wraps(function)
    def call(
        *, context: str | None, kubeconfig: str | None, namespace: str | None = None, all_namespaces: bool = False, **values: Any
    ) -> Any:  # fmt: skip
        cluster = connect(kubeconfig=kubeconfig, context=context, namespace=namespace, everywhere=all_namespaces)
        return function(cluster=cluster, **values)

    decorated = click.option("--kubeconfig", metavar="FILE", help="[default: $KUBECONFIG, ~/.kube/config]")(call)
    decorated = click.option("--context", metavar="NAME", help="Context of the kubeconfig. [default: the current one]")(decorated)
    if not choose:
        return decorated
    return click.option("-n", "--namespace", metavar="NAME", help="[default: the context's]")(decorated)


def connect(*, kubeconfig: str | None, context: str | None, namespace: str | None, everywhere: bool) -> Cluster:
    """Read the kubeconfig; nothing is asked of the server yet. Raises Invalid if there is none."""
    from kubernetes import config
    from kubernetes.client import Configuration

    configuration = Configuration()
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]  # the client has no types
            config_file=kubeconfig, context=context, client_configuration=configuration
        )
        contexts, active = config.list_kube_config_contexts(config_file=kubeconfig)  # type: ignore[no-untyped-call]  # the client has no types
    except (config.ConfigException, OSError) as error:
        message = f"no cluster: {error}; set KUBECONFIG, or give --kubeconfig and --context"
        raise Invalid(message, reason="NoCluster") from None
    chosen = next((item for item in contexts if item["name"] == context), active)
    own = namespace or chosen["context"].get("namespace") or "default"
    return Cluster(kube=ApiServer(configuration), namespace=None if everywhere else own)
