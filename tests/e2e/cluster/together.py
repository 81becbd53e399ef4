"""Scenarios that don't disturb each other run at the same time: a cluster mostly waits, and so would its tests.

A module lists its scenarios, plain functions of the product, and has one test with `scenario` as parameter, which asks the fixture
`together` for the outcome. The chosen scenarios of a module start with its first test; a failed one raises in its own test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from recoup.controller.resources import SNAPSHOT
from tests.cluster.s3 import network
from tests.cluster.s3.exchange import Exchange
from tests.cluster.s3.proxy import FaultProxy
from tests.e2e.cluster.locations import Place
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.world import Team

AT_ONCE = 8
Scenario = Callable[[Product], None]


@dataclass(frozen=True)
class Together:
    """The running scenarios of one module."""

    outcomes: dict[str, Future[None]]

    def finish(self, scenario: Scenario) -> None:
        """Wait for it; raises what it raised."""
        self.outcomes[scenario.__name__].result()


@contextmanager
def running(product: Product, request: pytest.FixtureRequest) -> Iterator[Together]:
    """Start every scenario of the requesting module that was selected; on leaving, all have ended."""
    chosen: dict[str, Scenario] = {}
    for item in request.session.items:
        params: dict[str, Any] = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        if "scenario" in params and item.path == request.path:
            chosen[params["scenario"].__name__] = params["scenario"]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="scenario") as pool:
        yield Together({name: pool.submit(scenario, product) for name, scenario in chosen.items()})


def name_of(scenario: Scenario) -> str:
    return scenario.__name__


@dataclass(frozen=True)
class Held:
    """A fault of the proxy: the request waits until the gate is open."""

    gate: threading.Event

    def apply(self, exchange: Exchange) -> None:
        while not self.gate.is_set():
            exchange.pause(0.1)
        exchange.relay(exchange.forward())


@contextmanager
def slow_place(product: Product, name: str) -> Iterator[tuple[Place, threading.Event]]:
    """A location at which data neither goes in nor comes out while the gate is closed: time to do something to a run."""
    assert product.server.slot.network is not None
    gate = threading.Event()
    with FaultProxy(product.server.endpoint, address=network.host_address(product.server.slot.network)) as proxy:
        try:
            with product.make_place(name, endpoint=proxy.endpoint) as place:
                place.wait_ready()
                for method in ("PUT", "GET"):
                    proxy.on(Held(gate), method=method, key=r"/v/[0-9a-f]{32}/d/", times=None)
                yield place, gate
        finally:
            gate.set()


def assert_honest(team: Team, place: Place) -> None:
    """What the cluster claims and what the bucket's log holds are the same points, each once; and nothing of ours is left behind."""
    team.wait_clean()
    claimed = [
        volume["manifest"]
        for snapshot in team.kube.list(SNAPSHOT, team.name)
        for volume in snapshot.get("status", {}).get("volumes", ())
        if volume["state"] == "Stored"
    ]
    assert sorted(claimed) == sorted(point["id"] for point in place.points(team.name))
