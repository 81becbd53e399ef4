"""botocore's descriptions of S3, read without what no request needs: a client takes several MiB less.

Responsible for: leaving out documentation and the endpoints of other services while the JSON files are read. They come as
botocore ships them, nothing of what a request looks like is changed. Used by s3_client.py.
"""

from __future__ import annotations

import json
from typing import Any, Final

from botocore.loaders import JSONFileLoader, Loader

_SERVICES: Final = frozenset({"s3", "sts", "sso", "portal.sso", "oidc"})
"""S3, and what the usual credential chain may ask."""
_PROSE: Final = frozenset({"documentation", "documentationUrl"})


class _Files(JSONFileLoader):
    """Reads one description."""

    def _load_file(self, full_path: str, open_method: Any) -> Any:
        try:
            with open_method(full_path, "rb") as file:
                return json.loads(file.read(), object_pairs_hook=_lean)
        except FileNotFoundError:
            return None


def loader() -> Loader:
    """For `Session.register_component("data_loader", …)`; a session of its own for each client, so nothing is kept twice."""
    return Loader(file_loader=_Files())


def _lean(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object with its prose left empty: a member that is called documentation is described by an object, prose is a string."""
    found = {name: "" if name in _PROSE and isinstance(value, str) else value for name, value in pairs}
    services = found.get("services")
    if isinstance(services, dict) and "partition" in found:  # a partition of endpoints.json
        found["services"] = {name: value for name, value in services.items() if name in _SERVICES}
    return found
