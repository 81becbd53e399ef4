"""The controller's HTTP port: /healthz (restart me), /readyz (I do my part), /metrics.

Healthy means that no worker has been on one object for longer than any call may take, and no thread of ours has died. A standby
replica is ready when it can read the Lease. Reasons are in the answer's body.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from prometheus_client import CollectorRegistry

log = logging.getLogger(__name__)

Check = Callable[[], str | None]
"""Returns what is wrong, or None."""


class HealthServer:
    """Serves until stopped; the port is known after start."""

    def __init__(self, address: str, port: int, *, healthy: Check, ready: Check, registry: CollectorRegistry) -> None:
        self._app = build_app(healthy=healthy, ready=ready, registry=registry)
        self._server: WSGIServer = make_server(address, port, self._app, ThreadingWSGIServer, handler_class=_Quiet)
        self.port = int(self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    def start(self) -> None:
        self._thread.start()
        log.info("serving health and metrics", extra={"port": self.port})

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def build_app(*, healthy: Check, ready: Check, registry: CollectorRegistry) -> WSGIApplication:
    metrics: WSGIApplication = make_wsgi_app(registry)
    checks = {"/healthz": healthy, "/readyz": ready}

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return metrics(environ, start_response)
        check = checks.get(path)
        trouble = "no such page; there are /healthz, /readyz and /metrics" if check is None else check()
        status = "404 Not Found" if check is None else "503 Service Unavailable" if trouble else "200 OK"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{trouble or 'ok'}\n".encode()]

    return app


class _Quiet(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Probes every few seconds are no news."""
