"""A pod whose hooks freeze it: what is captured meanwhile is quiet. Its guard thaws it by itself, when nobody else did."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from recoup.controller.exec import Ended, Stream
from recoup.controller.hooks import ARMED
from recoup.controller.resources import POD
from tests.faults.world import World

POLICY = {
    "hooks": {
        "pre": [{"name": "lock", "podSelector": {"matchLabels": {"app": "db"}}, "command": ["lock"]}],
        "post": [{"name": "unlock", "podSelector": {"matchLabels": {"app": "db"}}, "command": ["unlock"]}],
    }
}


@dataclass
class FrozenPod:
    """What the hooks do to the world, for all controllers that there are. `fails`: hooks that end with an error."""

    world: World
    fails: frozenset[str] = frozenset()
    frozen: bool = False
    ran: list[str] = field(default_factory=list)
    guards: list[FrozenStream] = field(default_factory=list)

    def __post_init__(self) -> None:
        metadata = {"name": "db-0", "namespace": "shop", "labels": {"app": "db"}}
        self.world.kube.put(POD, {"metadata": metadata, "spec": {"containers": [{"name": "db"}]}, "status": {"phase": "Running"}})

    def connection(self) -> Connection:
        """What one controller has of it."""
        return Connection(self)

    def work(self, hook: str) -> int:
        self.ran.append(hook)
        if hook in self.fails:
            return 1
        self.frozen = hook == "lock"
        for handle in self.world.disks:
            self.world.disks[handle] = "quiet" if self.frozen else "in motion"
        return 0

    def reach_freeze_limit(self) -> None:
        """All guards that were never told anything do what they are there for."""
        for guard in self.guards:
            if not guard.done.is_set():
                self.work("unlock")


@dataclass
class Connection:
    pod: FrozenPod
    dead: bool = False

    def start(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> Stream:
        assert (namespace, pod, container) == ("shop", "db-0", "db")
        stream = FrozenStream(self, command[-1], guards=ARMED in command[2])
        if stream.guards:
            self.pod.guards.append(stream)
        return stream


@dataclass
class FrozenStream:
    connection: Connection
    hook: str
    guards: bool
    done: threading.Event = field(default_factory=threading.Event)

    def await_line(self, line: str, seconds: float) -> bool:  # noqa: ARG002  # at once
        return line == ARMED and self.guards

    def send(self, text: str) -> None:
        if self.guards and text == "go\n" and not self.connection.dead:
            self.done.set()

    def finish(self, seconds: float) -> Ended | None:  # noqa: ARG002  # at once
        if self.connection.dead or (self.guards and not self.done.is_set()):
            return Ended(None, "the connection broke")
        return Ended(self.connection.pod.work(self.hook), "")
