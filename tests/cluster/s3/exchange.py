"""One request on its way through the proxy: the steps that faults are composed of. See faults.py for the compositions.

Each step counts what it passes before it passes it: whoever has the whole answer finds it counted.
"""

import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from tests.cluster.s3.request import Record, Request
from tests.cluster.s3.wire import Broken, Head, Piece, Wire, request_body, response_body

Change = Callable[[memoryview, int], "bytes | memoryview"]
"""Gets content and its offset in the body; returns what is passed on in its place, of the same length."""

PHRASES = {400: "Bad Request", 403: "Forbidden", 404: "Not Found", 409: "Conflict", 412: "Precondition Failed"}
PHRASES |= {429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}


@dataclass(frozen=True)
class Response:
    """The server's answer; its body is still on the wire and can be read once."""

    head: Head
    body: Iterator[Piece]


class Exchange:
    """A request from a client, its body still unread, and the means to answer it one way or another."""

    def __init__(
        self,
        client: Wire,
        record: Record,
        connect: Callable[[], Wire],
        pause: Callable[[float | None], None],
        count: Callable[[Record, int, int], None],
    ) -> None:
        self.record = record
        self.pause = pause
        """Wait so many seconds (None: for ever), or until the proxy stops."""
        self.keep = not record.request.head.closes
        """Whether both connections are fit for another request."""
        self._client, self._connect, self._count = client, connect, count
        self._waits_for_leave = (record.request.head.get("expect") or "").lower() == "100-continue"
        self._body = request_body(client, record.request.head)

    @property
    def request(self) -> Request:
        return self.record.request

    @property
    def client_address(self) -> str:
        """The address that the request came from: a pod's own, because clusters are routed."""
        return str(self._client.connection.getpeername()[0])

    def receive(self) -> None:
        """Read the request's body into memory; `forward` passes it on later. So a client that waits for an answer waits in peace."""
        if self._waits_for_leave:
            self.continue_waiting()
        self._body = iter([(memoryview(bytes(piece)), content) for piece, content in self._body])

    def continue_waiting(self) -> None:
        """Tell the client that its request is being worked on (100 Continue): its patience for the answer begins anew."""
        self._client.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._waits_for_leave = False

    def forward(self, change: Change | None = None) -> Response:
        """Pass the request to the server and return its answer, unread. Raises Broken or OSError if either side goes."""
        server = self._connect()
        server.connection.sendall(self.request.head.without("expect"))
        refused = False
        for piece in self._upload(change):
            if not refused:
                try:
                    server.connection.sendall(piece)
                except OSError:  # it has answered early and reads no more: its answer is still to be had
                    refused, self.keep = True, False
        while (head := server.head()) and head.first[1].startswith("1"):
            continue
        if head is None:
            raise Broken("the server closed instead of answering")
        self.keep = self.keep and not head.closes
        return Response(head, response_body(server, head, self.request.method))

    def relay(self, response: Response, change: Change | None = None, limit: int | None = None) -> None:
        """Pass the server's answer on; with a limit, only so many bytes of its content, and the connection ends there."""
        self._tell(int(response.head.first[1]), response.head.raw)
        offset = 0
        for piece, content in response.body:
            passed: bytes | memoryview = change(piece, offset) if change and content else piece
            if limit is not None and content and offset + len(piece) > limit:
                self._send(passed[: max(0, limit - offset)])
                self.keep = False
                return
            offset += len(piece) if content else 0
            self._send(passed)

    def swallow(self, response: Response) -> bytes:
        """Read the server's answer to the end, telling the client nothing; return its content."""
        return b"".join(bytes(piece) for piece, content in response.body if content)

    def discard(self) -> None:
        """Read the request's body and drop it. A client that waits for leave to send it is not given leave."""
        if self._waits_for_leave:
            self.keep = False
            return
        for _ in self._upload(None):
            continue

    def answer(self, status: int, code: str, message: str) -> None:
        """Answer as a server would with an error of its own. The request's body must be forwarded or discarded before."""
        error = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message><Resource>{escape(self.request.key)}</Resource>"
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{error}<RequestId>FAULTPROXY</RequestId></Error>'.encode()
        self.reply(f"{status} {PHRASES.get(status, 'Fault')}", body)

    def reply(self, status_line: str, body: bytes) -> None:
        """Send a whole XML answer; HEAD gets its head only."""
        closing = "" if self.keep else "Connection: close\r\n"
        head = f"HTTP/1.1 {status_line}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n{closing}\r\n"
        self._tell(int(status_line.split(" ", 1)[0]), head.encode())
        if self.request.method != "HEAD":
            self._send(body)

    def reset(self) -> None:
        """Break the client's connection at once, as a crash or a middlebox does (TCP RST)."""
        self.keep = False
        self._client.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._client.connection.close()

    def _upload(self, change: Change | None) -> Iterator["bytes | memoryview"]:
        if self._waits_for_leave:
            self.continue_waiting()
        offset = 0
        for piece, content in self._body:
            self._count(self.record, len(piece), 0)
            yield change(piece, offset) if change and content else piece
            offset += len(piece) if content else 0

    def _tell(self, status: int, head: bytes) -> None:
        self.record.status = status
        self._client.connection.sendall(head)

    def _send(self, piece: "bytes | memoryview") -> None:
        self._count(self.record, 0, len(piece))
        self._client.connection.sendall(piece)
