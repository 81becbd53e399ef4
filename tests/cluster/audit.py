"""The API server's audit log as data: who asked for what, how often. For tests that promise few requests or none."""

import json
from collections import Counter
from dataclasses import dataclass

from tests.cluster.node import Node


@dataclass(frozen=True)
class Request:
    """One finished request to the API server."""

    user: str
    agent: str
    """The first word of the user agent, such as `kubelet/v1.36.3`."""
    verb: str
    resource: str
    """With its subresource: `jobs/status`. Empty for paths such as /readyz."""
    namespace: str
    name: str
    code: int


class Audit:
    """Reads what came after it was made, or after the last `restart`."""

    def __init__(self, node: Node) -> None:
        self._path = node.folder / "log" / "audit.jsonl"
        self._offset = 0
        self.restart()

    def restart(self) -> None:
        """Forget everything up to now."""
        self._offset = self._path.stat().st_size

    def requests(self) -> list[Request]:
        """Every request that finished since; a watch appears when it starts and when it ends."""
        with self._path.open("rb") as log:
            log.seek(self._offset)
            lines = log.read().split(b"\n")
        return [_parse(line) for line in lines[:-1]]  # after the last line break there may be half a line

    def count(self, *, user: str = "", agent: str = "") -> Counter[tuple[str, str]]:
        """(verb, resource) → number, of users and agents that begin with what is given."""
        chosen = (request for request in self.requests() if request.user.startswith(user) and request.agent.startswith(agent))
        return Counter((request.verb, request.resource) for request in chosen)


def _parse(line: bytes) -> Request:
    event = json.loads(line)
    target = event.get("objectRef", {})
    resource = "/".join(part for part in (target.get("resource"), target.get("subresource")) if part)
    return Request(
        user=event["user"]["username"],
        agent=event.get("userAgent", "").partition(" ")[0],
        verb=event["verb"],
        resource=resource,
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
    )
