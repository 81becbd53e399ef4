"""A proxy in front of one S3 server that forwards, counts, and makes faults where its rules say so.

It listens on loopback, or on any address of the host: `network.host_address(N)` is reachable from clusters. The Host
field passes unchanged, so clients' signatures (made for the proxy's address) stay valid. Plain HTTP on both sides.
faults.py lists the faults.
"""

import re
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.cluster.s3.exchange import Exchange
from tests.cluster.s3.faults import Fault, Forward
from tests.cluster.s3.request import Kind, Record, Request, parse_request
from tests.cluster.s3.wire import Broken, Wire
from tests.cluster.trouble import Trouble

CONNECT_SECONDS = 10
STOP_SECONDS = 5
RECORDS = 10_000


@dataclass
class Count:
    """Sums over the requests of one kind; bytes of bodies only, in bytes."""

    requests: int = 0
    uploaded: int = 0
    downloaded: int = 0


@dataclass
class Rule:
    """A fault, the requests it is for, and which of those: `skip` pass first, then `times` of them get it (None: all)."""

    fault: Fault
    kinds: frozenset[Kind] | None
    method: str | None
    key: re.Pattern[str] | None
    when: Callable[[Request], bool] | None
    skip: int
    times: int | None
    seen: int = 0
    """Matching requests so far, unless an earlier rule took them."""
    made: int = 0
    """Faults made so far: a test asserts on it that its fault really happened."""

    def takes(self, request: Request) -> bool:
        """Count the request if it matches; whether it gets the fault."""
        if (
            (self.kinds is not None and request.kind not in self.kinds)
            or (self.method is not None and request.method != self.method)
            or (self.key is not None and not self.key.search(request.key))
            or (self.when is not None and not self.when(request))
        ):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.made >= self.times):
            return False
        self.made += 1
        return True


class FaultProxy:
    """A context manager: listens while entered, in threads of its own. All methods may be called from any thread."""

    def __init__(self, server: str, *, address: str = "127.0.0.1", port: int = 0) -> None:
        parts = urlsplit(server)
        if parts.scheme != "http":
            raise Trouble(f"the proxy speaks plain HTTP, not {parts.scheme}", step="put it in front of a server without TLS")
        self._upstream = (parts.hostname or "", parts.port or 80)
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._counts = {kind: Count() for kind in Kind}
        self._records: deque[Record] = deque(maxlen=RECORDS)
        self._sockets: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._stopping = threading.Event()
        self._listener = socket.create_server((address, port), backlog=512)
        self.endpoint = f"http://{address}:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping.set()
        with self._lock:
            for each in (self._listener, *self._sockets):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            threads = tuple(self._threads)
        for thread in threads:
            thread.join(STOP_SECONDS)
        self._listener.close()

    def on(
        self,
        fault: Fault,
        *,
        kind: Kind | tuple[Kind, ...] | None = None,
        method: str | None = None,
        key: str | None = None,
        when: Callable[[Request], bool] | None = None,
        skip: int = 0,
        times: int | None = 1,
    ) -> Rule:
        """Make this fault for matching requests: after `skip` of them, `times` times (None: always). First rule wins.

        `key` is a regular expression searched in the object's key; `when` decides with the whole request.
        """
        kinds = None if kind is None else frozenset((kind,) if isinstance(kind, Kind) else kind)
        rule = Rule(fault, kinds, method, re.compile(key) if key is not None else None, when, skip, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget all rules: from now on everything is forwarded."""
        with self._lock:
            self._rules.clear()

    def counts(self) -> dict[Kind, Count]:
        """Requests and bytes by kind since the start or `reset_counts`, faults included."""
        with self._lock:
            return {kind: replace(count) for kind, count in self._counts.items() if count.requests}

    def reset_counts(self) -> None:
        with self._lock:
            self._counts = {kind: Count() for kind in Kind}
            self._records.clear()

    def records(self) -> list[Record]:
        """The latest requests, oldest first (at most 10,000)."""
        with self._lock:
            return list(self._records)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._run(partial(self._serve, connection))

    def _run(self, target: Callable[[], None]) -> None:
        def finish() -> None:
            try:
                target()
            finally:
                with self._lock:
                    self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=finish, name="fault-proxy", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _serve(self, connection: socket.socket) -> None:
        """Handle one client's connection, with one connection to the server for as long as both last."""
        wires: list[Wire] = []

        def connect() -> Wire:
            if wires and wires[0].idle_and_open():
                return wires[0]
            for stale in wires:
                self._forget(stale.connection)
            wires[:] = [Wire(self._remember(socket.create_connection(self._upstream, CONNECT_SECONDS)))]
            wires[0].connection.settimeout(None)
            return wires[0]

        try:
            client = Wire(self._remember(connection))
            while head := client.head():
                exchange = self._begin(client, Record(parse_request(head)), connect)
                self._choose(exchange).apply(exchange)
                if not exchange.keep:
                    return
        except (OSError, Broken):
            return  # one side went away: the other learns it by the closing below
        finally:
            for each in (connection, *(wire.connection for wire in wires)):
                self._forget(each)

    def _begin(self, client: Wire, record: Record, connect: Callable[[], Wire]) -> Exchange:
        with self._lock:
            self._counts[record.request.kind].requests += 1
            self._records.append(record)
        return Exchange(client, record, connect, self._pause, self._count)

    def _pause(self, seconds: float | None) -> None:
        self._stopping.wait(seconds)

    def _choose(self, exchange: Exchange) -> Fault:
        with self._lock:
            rule = next((rule for rule in self._rules if rule.takes(exchange.request)), None)
        if rule is None:
            return Forward()
        exchange.record.fault = type(rule.fault).__name__
        return rule.fault

    def _count(self, record: Record, uploaded: int, downloaded: int) -> None:
        record.uploaded += uploaded
        record.downloaded += downloaded
        with self._lock:
            count = self._counts[record.request.kind]
            count.uploaded += uploaded
            count.downloaded += downloaded

    def _remember(self, connection: socket.socket) -> socket.socket:
        with self._lock:
            self._sockets.add(connection)
        if self._stopping.is_set():
            connection.close()
        return connection

    def _forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(connection)
        connection.close()
