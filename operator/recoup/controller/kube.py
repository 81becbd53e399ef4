"""The controller's only way to the API server: plain JSON in and out over the official client's connection pool.

The official client brings authentication (service account with token rotation, kubeconfig) and TLS; its generated models are
not used (they cost tenfold the time and memory). Every call has a time limit. Nothing is cached and nothing retried here: the
queue repeats a reconcile. Failures are those of failures.py.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

import msgspec
import urllib3

from recoup.controller import failures
from recoup.controller.resources import POD, Resource
from recoup.errors import RecoupError

if TYPE_CHECKING:
    from kubernetes.client import Configuration

Object = dict[str, Any]

FIELD_MANAGER = "recoup"
USER_AGENT = "recoup-controller"
LIST_CHUNK = 500
JSON = "application/json"
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0


class Kube(Protocol):
    """What the controller asks of an API server. Contract: tests/integration/controller/test_kube_contract.py."""

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """Read one object fresh; Gone if absent."""

    def list(self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = "") -> list[Object]:
        """Read all objects that match, each with apiVersion and kind; Gone if the kind itself is not installed."""

    def pages(self, resource: Resource, namespace: str | None = None, *, labels: str = "") -> Iterator[builtins.list[Object]]:
        """The same, some hundred objects at a time."""

    def list_metadata(self, resource: Resource, namespace: str | None = None, *, labels: str = "") -> builtins.list[Object]:
        """The same without spec, status and data: what a Secret holds does not leave the server."""

    def create(self, resource: Resource, obj: Object) -> Object:
        """POST; AlreadyExists if the name is taken. Unknown fields are refused."""

    def patch(self, resource: Resource, namespace: str | None, name: str, patch: Object) -> Object:
        """Merge patch; metadata.uid and metadata.resourceVersion inside are preconditions (Conflict)."""

    def apply_status(self, resource: Resource, seen: Object, status: Object) -> Object:
        """Server-side apply of our full set of status fields to the object as it was `seen`; Conflict if it changed since.

        The resource version is what keeps a status off an object that was made anew under the name: a uid in the patch would not,
        the server ignores it on the status of custom resources.
        """

    def delete(self, resource: Resource, namespace: str | None, name: str, *, uid: str) -> Object | None:
        """DELETE of exactly this object in the background; Gone if absent, Conflict if another has its name.

        Returns the object if it stays for a while, marked as being deleted; None if it is gone.
        """

    def log_tail(self, namespace: str, pod: str, *, lines: int = 1, limit_bytes: int = 4096) -> str:
        """Read the last lines of a pod's log; Gone if there is none (yet)."""


class ApiServer:
    """Kube over HTTP. Thread-safe; one per process."""

    def __init__(self, configuration: Configuration, *, on_call: Callable[[str, str, int], None] | None = None) -> None:
        from kubernetes.client import ApiClient  # noqa: PLC0415  # slow to import: only where a server is really used

        configuration.connection_pool_maxsize = 32
        self._configuration = configuration
        self._pool: urllib3.PoolManager = ApiClient(configuration).rest_client.pool_manager
        self._on_call = on_call or (lambda _verb, _kind, _code: None)

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        return self._json("GET", resource, resource.path(namespace, name))

    def list(self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = "") -> list[Object]:
        return self._collect(resource, namespace, labels=labels, fields=fields, accept=JSON)

    def pages(self, resource: Resource, namespace: str | None = None, *, labels: str = "") -> Iterator[builtins.list[Object]]:
        for page in self._pages(resource, namespace, labels=labels, fields="", accept=JSON):
            yield _items(resource, page)

    def list_metadata(self, resource: Resource, namespace: str | None = None, *, labels: str = "") -> builtins.list[Object]:
        return self._collect(resource, namespace, labels=labels, fields="", accept=METADATA)

    def _collect(self, resource: Resource, namespace: str | None, *, labels: str, fields: str, accept: str) -> builtins.list[Object]:
        found: list[Object] = []
        for page in self._pages(resource, namespace, labels=labels, fields=fields, accept=accept):
            found += _items(resource, page)
        return found

    def create(self, resource: Resource, obj: Object) -> Object:
        path = resource.path(obj["metadata"].get("namespace"))
        return self._json("POST", resource, path, obj, query={"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"})

    def patch(self, resource: Resource, namespace: str | None, name: str, patch: Object) -> Object:
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        try:
            return self._json("PATCH", resource, resource.path(namespace, name), patch, query=query, media="application/merge-patch+json")
        except failures.Rejected as error:
            if "metadata.uid" in str(error):  # how the server says that the object is another one by now
                raise failures.Conflict(str(error)) from error
            raise

    def apply_status(self, resource: Resource, seen: Object, status: Object) -> Object:
        metadata = {key: seen["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion") if key in seen["metadata"]}
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "status": status}
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", "force": "true"}
        path = resource.path(metadata.get("namespace"), metadata["name"], "status")
        return self._json("PATCH", resource, path, body, query=query, media="application/apply-patch+yaml")

    def delete(self, resource: Resource, namespace: str | None, name: str, *, uid: str) -> Object | None:
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        left = self._json("DELETE", resource, resource.path(namespace, name), options)
        return left if (left.get("metadata") or {}).get("deletionTimestamp") else None  # else a Status, or the object as it was

    def log_tail(self, namespace: str, pod: str, *, lines: int = 1, limit_bytes: int = 4096) -> str:
        query = {"tailLines": str(lines), "limitBytes": str(limit_bytes)}
        raw = self._call("GET", POD, POD.path(namespace, pod, "log"), None, query=query, media="", accept="*/*")
        return raw.decode("utf-8", "replace")

    def ready(self) -> bool:
        """Say whether the API server answers at all; never raises."""
        try:
            self._call("GET", None, "/readyz", None, query={}, media="", accept="*/*")
        except RecoupError:
            return False
        return True

    def _pages(self, resource: Resource, namespace: str | None, *, labels: str, fields: str, accept: str) -> Iterator[Object]:
        query = {"limit": str(LIST_CHUNK)}
        query |= {"labelSelector": labels} if labels else {}
        query |= {"fieldSelector": fields} if fields else {}
        while True:
            try:
                page = self._json("GET", resource, resource.path(namespace), query=query, accept=accept)
            except failures.Gone as error:
                if "continue" in query:  # the token expired half-way: what was read is of an old state, so it is no answer
                    raise failures.Conflict(str(error)) from error
                raise
            yield page
            token = page.get("metadata", {}).get("continue")
            if not token:
                return
            query["continue"] = token

    def _json(
        self, verb: str, resource: Resource, path: str, body: Object | None = None, *, query: Mapping[str, str] | None = None,
        media: str = JSON, accept: str = JSON,
    ) -> Object:  # fmt: skip
        raw = self._call(verb, resource, path, body, query=query or {}, media=media, accept=accept)
        try:
            answer: Object = msgspec.json.decode(raw, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise failures.Unavailable(f"{verb} {path}: the answer is not JSON ({error})") from error
        return answer

    def _call(
        self, verb: str, resource: Resource | None, path: str, body: Object | None, *, query: Mapping[str, str], media: str, accept: str
    ) -> bytes:
        url = f"{self._configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": accept, "User-Agent": USER_AGENT}
        token = self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")  # reads its file again when due
        if token:
            headers["Authorization"] = token
        if body is not None:
            headers["Content-Type"] = media
        payload = msgspec.json.encode(body) if body is not None else None
        kind = resource.kind if resource else path
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
        try:
            answer = self._pool.request(verb, url, body=payload, headers=headers, timeout=timeout, retries=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self._on_call(verb, kind, 0)
            raise failures.Unavailable(f"{verb} {path}: API server can't be reached: {error}") from error
        self._on_call(verb, kind, answer.status)
        if answer.status >= 300:
            raise failures.from_answer(f"{verb} {path}", answer.status, _status(answer.data), answer.headers.get("Retry-After"))
        return bytes(answer.data)


def _items(resource: Resource, page: Object) -> list[Object]:
    """What a page of a list holds, each with apiVersion and kind, which lists leave out."""
    kind = {"apiVersion": resource.api_version, "kind": resource.kind}
    return [item | kind for item in page.get("items") or ()]


def _status(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {"message": raw[:500].decode("utf-8", "replace")} if raw else None


def load_configuration(kubeconfig: str | None = None) -> Configuration:
    """Find the API server: the pod's service account, else a kubeconfig (the one named, $KUBECONFIG, ~/.kube/config)."""
    from kubernetes import config  # noqa: PLC0415  # takes long, and tests of what uses Kube need none
    from kubernetes.client import Configuration  # noqa: PLC0415  # takes long, and tests of what uses Kube need none

    configuration = Configuration()
    try:
        if kubeconfig is None:
            try:
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # the client has no types
            except config.ConfigException:
                config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # the client has no types
        else:
            config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)  # type: ignore[no-untyped-call]  # the client has no types
    except config.ConfigException as error:
        raise failures.Rejected(f"no API server configured: {error}; run inside a pod or name a kubeconfig in KUBECONFIG") from error
    return configuration
