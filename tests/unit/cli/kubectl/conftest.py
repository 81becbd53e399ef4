"""The plugin's commands against the cluster in memory (tests/faults/world.py), where the real controller works between two looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from recoup.cli.kubectl import cluster as cluster_module
from recoup.cli.kubectl.cluster import Cluster
from recoup.cli.kubectl.main import root
from recoup.cli.main import run
from recoup.controller.kube import Kube
from recoup.controller.resources import Key
from tests.faults.driver import Controller, start
from tests.faults.world import World


class Plugin:
    """`kubectl recoup …` in namespace shop of a world. While a command waits, the controller and the world go on."""

    def __init__(self, world: World, patch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.controller: Controller = start(world)
        patch.setattr(cluster_module, "connect", self._connect)
        patch.setattr("recoup.cli.kubectl.follow.time.sleep", lambda _seconds: self.go_on())

    def __call__(self, *arguments: str) -> int:
        return run(list(arguments), group=root, name="kubectl recoup")

    def go_on(self) -> None:
        for kind in ("BackupSnapshot", "RestoreRequest"):
            for thing in [item for item in self.world.kube.objects.values() if item["kind"] == kind]:
                self.controller.look(Key(kind, thing["metadata"]["namespace"], thing["metadata"]["name"]))
        self.world.step()
        self.world.pass_time(seconds=1)

    def _connect(self, *, namespace: str | None, everywhere: bool, **_: Any) -> Cluster:
        kube: Kube = self.world.kube
        return Cluster(kube=kube, namespace=None if everywhere else namespace or "shop")


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Callable[[World], Plugin]:
    return lambda world: Plugin(world, monkeypatch)
