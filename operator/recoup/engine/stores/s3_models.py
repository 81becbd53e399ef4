"""botocore's descriptions of S3, read without what no request needs: a client takes 12 MiB and 60 ms less.

Responsible for: decoding of the JSON files only the operations that are called, what these refer to, and the endpoints of S3; leaving
out documentation; not looking for services in hundreds of folders. What is read comes as botocore ships it. Used by s3_client.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, Final

import msgspec
from botocore.loaders import JSONFileLoader, Loader

_SERVICES: Final = frozenset({"s3", "sts", "sso", "portal.sso", "oidc"})
"""S3, and what the usual credential chain may ask; as endpoints.json calls them."""
_MODELS: Final = ("s3", "signin", "sso", "sso-oidc", "sts")
"""The same as folders."""
OPERATIONS: Final = frozenset(
    {
        "PutObject",
        "GetObject",
        "HeadObject",
        "DeleteObject",
        "ListObjectsV2",
        "ListObjectVersions",
        "PutObjectRetention",
        "HeadBucket",
        "CreateSession",
    }
)
"""What a client can do. The last two are botocore's own, for buckets of other regions and of S3 Express."""
_PROSE: Final = frozenset({"documentation", "documentationUrl"})

_Raws = dict[str, msgspec.Raw]


class _Files(JSONFileLoader):
    """Reads one description."""

    def _load_file(self, full_path: str, open_method: Any) -> Any:
        try:
            with open_method(full_path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return None
        path = PurePath(full_path)
        if path.name.startswith("service-2.json") and path.parts[-3] == "s3":
            return _read_s3(data)
        return _read_endpoints(data) if path.name == "endpoints.json" else _lean(msgspec.json.decode(data))


class _Services(Loader):
    """Knows which services there are."""

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002  # all of them have all types
        return list(_MODELS)


def loader() -> Loader:
    """For `Session.register_component("data_loader", …)`; a session of its own for each client, so nothing is kept twice."""
    return _Services(file_loader=_Files())


def _read_s3(data: bytes) -> dict[str, Any]:
    """The description of S3 with OPERATIONS and the shapes that they need."""
    model = msgspec.json.decode(data, type=_Raws)
    operations = {
        name: _lean(msgspec.json.decode(raw))
        for name, raw in msgspec.json.decode(model.pop("operations"), type=_Raws).items()
        if name in OPERATIONS
    }
    known = msgspec.json.decode(model.pop("shapes"), type=_Raws)
    shapes: dict[str, Any] = {}
    wanted = set(_shapes_in(operations))
    while wanted:
        name = wanted.pop()
        shapes[name] = _lean(msgspec.json.decode(known[name]))
        wanted.update(each for each in _shapes_in(shapes[name]) if each not in shapes)
    rest = {name: _lean(msgspec.json.decode(raw)) for name, raw in model.items()}
    return {**rest, "operations": operations, "shapes": shapes}


def _read_endpoints(data: bytes) -> dict[str, Any]:
    """The endpoints of every partition, of _SERVICES only."""
    whole = msgspec.json.decode(data, type=_Raws)
    partitions = []
    for raw in msgspec.json.decode(whole.pop("partitions"), type=list[msgspec.Raw]):
        partition = msgspec.json.decode(raw, type=_Raws)
        services = msgspec.json.decode(partition.pop("services"), type=_Raws)
        rest = {name: msgspec.json.decode(value) for name, value in partition.items()}
        partitions.append({**rest, "services": {name: msgspec.json.decode(services[name]) for name in _SERVICES & services.keys()}})
    return {**{name: msgspec.json.decode(value) for name, value in whole.items()}, "partitions": partitions}


def _shapes_in(value: Any) -> Iterator[str]:
    """Names that a description refers to by `{"shape": name}`."""
    if isinstance(value, dict):
        name = value.get("shape")
        if isinstance(name, str):
            yield name
        for each in value.values():
            yield from _shapes_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from _shapes_in(each)


def _lean(value: Any) -> Any:
    """With its prose left empty: a member that is called documentation is described by an object, prose is a string."""
    if isinstance(value, dict):
        return {name: "" if name in _PROSE and isinstance(each, str) else _lean(each) for name, each in value.items()}
    return [_lean(each) for each in value] if isinstance(value, list) else value
