"""Writes to the API server that wait until a test lets them pass: a validating admission webhook, served by the test.

So a run stands where the test wants it for as long as it wants, and a client can be killed while a write of its own is in the air. A
write that is held for longer than a client would wait is refused as if the server were overloaded (503), which every client repeats.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from recoup.controller.failures import Gone
from recoup.controller.kube import ApiServer
from recoup.controller.resources import Resource
from tests.cluster.s3.tls import write_certificates

WEBHOOKS = Resource(
    "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", namespaced=False
)
NAME = "recoup-test-gate"
HOLD = 1.0
"""Seconds in which a held write may still pass; then its client is told to come again. A client's workers are few."""
POD_UID = "authentication.kubernetes.io/pod-uid"

Object = dict[str, Any]


@dataclass(frozen=True)
class Write:
    """One write as the API server asks about it: before it is done. `object` as it is to be; of a deletion, as it was."""

    user: str
    pod: str
    """uid of the pod whose token the client has; empty for clients outside."""
    verb: str
    """CREATE, UPDATE or DELETE."""
    resource: str
    """With its subresource: `backupsnapshots/status`."""
    object: Object
    before: Object

    @property
    def namespace(self) -> str:
        return str(self.object["metadata"].get("namespace") or "")

    @property
    def name(self) -> str:
        return str(self.object["metadata"].get("name") or "")

    def label(self, key: str) -> str:
        """The label, also if this write takes it away."""
        either = (self.before.get("metadata") or {}).get("labels") or {}, self.object["metadata"].get("labels") or {}
        return str((either[0] | either[1]).get(key) or "")


@dataclass
class Hold:
    """Which writes are held."""

    matches: Callable[[Write], bool]
    patience: float = HOLD
    asked: int = 0
    """Writes that were held so far."""
    act: Callable[[Write], bool] | None = None
    """Called with the next of them that is of user `acts_on`, while it is in the air; then that one is refused. Once, but for False."""
    acts_on: str = ""
    _opened: threading.Event = field(default_factory=threading.Event)

    def open(self) -> None:
        """Let them pass from now on."""
        self._opened.set()

    def wait(self) -> bool:
        """Whether it was opened while the write could wait."""
        return self._opened.wait(self.patience)

    @property
    def is_open(self) -> bool:
        return self._opened.is_set()


class ApiGate:
    """The holds of one webhook. Thread-safe; what no hold matches passes at once."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        """What an `act` raised: in a thread of its own nobody else would see it."""
        self._holds: list[Hold] = []
        self._lock = threading.Lock()

    def hold(self, matches: Callable[[Write], bool], patience: float = HOLD) -> Hold:
        made = Hold(matches, patience)
        with self._lock:
            self._holds.append(made)
        return made

    def open_all(self) -> None:
        with self._lock:
            for hold in self._holds:
                hold.open()

    def admits(self, write: Write) -> bool:
        """Whether the write may be done; may take a while."""
        with self._lock:
            found = next((hold for hold in self._holds if not hold.is_open and hold.matches(write)), None)
            if found is None:
                return True
            found.asked += 1
            act = found.act if write.user == found.acts_on else None
            found.act = None if act else found.act
        if act is None:
            return found.wait()
        try:
            found.act = found.act if act(write) else act
        except BaseException as error:  # noqa: BLE001  # raised in the test's own thread
            self.errors.append(error)
        return False


@contextmanager
def api_gate(kube: ApiServer, folder: Path, address: str, users: list[str]) -> Iterator[ApiGate]:
    """Ask a gate about every write of these users. `address` is the host's, as the API server reaches it."""
    gate = ApiGate()
    bundle = write_certificates(folder, (address,))
    with ThreadingHTTPServer((address, 0), _handler(gate)) as server:
        server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "public.crt", folder / "private.key")
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="api-gate")
        thread.start()
        try:
            _forget(kube)
            kube.create(WEBHOOKS, _configuration(f"https://{address}:{server.server_address[1]}/", bundle.read_bytes(), users))
            yield gate
        finally:
            gate.open_all()
            _forget(kube)
            server.shutdown()
            thread.join()


def _forget(kube: ApiServer) -> None:
    with suppress(Gone):
        kube.delete(WEBHOOKS, None, NAME, uid=kube.get(WEBHOOKS, None, NAME)["metadata"]["uid"])


def _configuration(url: str, bundle: bytes, users: list[str]) -> Object:
    groups = ["", "batch", "snapshot.storage.k8s.io", "recoup.dev"]  # neither Leases nor Events
    rule = {"apiGroups": groups, "apiVersions": ["*"], "operations": ["CREATE", "UPDATE", "DELETE"], "resources": ["*/*"], "scope": "*"}
    webhook = {
        "name": "gate.recoup.test",
        "clientConfig": {"url": url, "caBundle": base64.b64encode(bundle).decode()},
        "rules": [rule],
        "matchConditions": [{"name": "users", "expression": f"request.userInfo.username in {json.dumps(users)}"}],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": 30,
        "failurePolicy": "Ignore",  # a test that died holds nobody up
    }
    return {"apiVersion": WEBHOOKS.api_version, "kind": WEBHOOKS.kind, "metadata": {"name": NAME}, "webhooks": [webhook]}


def _handler(gate: ApiGate) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """HTTP/1.0: a connection for each question, so that none is left open at the end."""

        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = review["request"]
            answer: Object = {"uid": asked["uid"], "allowed": gate.admits(to_write(asked))}
            if not answer["allowed"]:
                answer["status"] = {"code": 503, "reason": "ServiceUnavailable", "message": "held by a test"}
            body = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer}).encode()
            with suppress(OSError):  # who asked may be gone by now
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
            """Say nothing."""

    return Handler


def to_write(asked: Object) -> Write:
    """The `request` of an AdmissionReview."""
    user, target = asked["userInfo"], asked["resource"]["resource"]
    before, after = asked.get("oldObject") or {}, asked.get("object") or {}
    return Write(
        user=user["username"],
        pod=next(iter((user.get("extra") or {}).get(POD_UID) or ()), ""),
        verb=asked["operation"],
        resource="/".join(part for part in (target, asked.get("subResource")) if part),
        object=after or before,
        before=before,
    )
