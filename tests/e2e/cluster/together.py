"""Scenarios that don't disturb each other run at the same time: a cluster mostly waits, and so would its tests.

A module lists its scenarios, plain functions of the product, and has one test with `scenario` as parameter, which asks the fixture
`together` for the outcome. The chosen scenarios of a batch (a module, or all modules with the same BATCH) start with its first test; a
failed one raises in its own test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import pytest

from recoup.controller.resources import SNAPSHOT
from tests.cluster.s3 import network
from tests.cluster.s3.exchange import Exchange
from tests.cluster.s3.proxy import FaultProxy
from tests.e2e.cluster.locations import Place
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.world import Team

AT_ONCE = 10
STILL_THERE = 5
"""Seconds between two signs of life of a place that is slow."""
Scenario = Callable[[Product], None]


class Together:
    """The batches of a session, each started when the first of its outcomes is asked for."""

    def __init__(self, product: Product, items: list[pytest.Item]) -> None:
        self._product = product
        self._chosen = [item for item in items if isinstance(item, pytest.Function) and _scenario(item) is not None]
        self._outcomes: dict[str, Future[None]] = {}
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="scenario")

    def finish(self, scenario: Scenario) -> None:
        """Wait for it; raises what it raised."""
        if scenario.__name__ not in self._outcomes:
            batch = next(_batch(item) for item in self._chosen if _scenario(item) is scenario)
            for other in (_scenario(item) for item in self._chosen if _batch(item) == batch):
                assert other is not None
                self._outcomes[other.__name__] = self._pool.submit(other, self._product)
        self._outcomes[scenario.__name__].result()

    def end(self) -> None:
        """Wait for what runs, start nothing more."""
        self._pool.shutdown(cancel_futures=True)


def _scenario(item: pytest.Function) -> Scenario | None:
    return cast("Scenario | None", item.callspec.params.get("scenario")) if hasattr(item, "callspec") else None


def _batch(item: pytest.Function) -> str:
    return str(getattr(item.module, "BATCH", item.path.name))


def name_of(scenario: Scenario) -> str:
    return scenario.__name__


@dataclass(frozen=True)
class Held:
    """A fault of the proxy: the request waits until the gate is open, however long that takes.

    The place is slow, not away: now and then it says that it is still at work, so the patience of the client does not end.
    """

    gate: threading.Event

    def apply(self, exchange: Exchange) -> None:
        exchange.receive()
        while not self.gate.wait(STILL_THERE):
            exchange.continue_waiting()
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


def assert_honest(team: Team, *places: Place) -> None:
    """What the cluster claims and what the logs in the buckets hold are the same points, each once; and nothing of ours is left behind."""
    team.wait_clean()
    claimed = [
        volume["manifest"]
        for snapshot in team.kube.list(SNAPSHOT, team.name)
        for volume in snapshot.get("status", {}).get("volumes", ())
        if volume["state"] == "Stored"
    ]
    assert sorted(claimed) == sorted(point["id"] for place in places for point in place.points(team.name))
