"""Just enough HTTP/1.1 to pass messages on unchanged: heads, body framing, bytes in pieces. No meaning of S3 here.

Bodies are never held whole: pieces of at most 256 KiB go through one buffer per connection. See exchange.py.
"""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

HEAD_LIMIT = 1 << 16
PIECE = 1 << 18
Piece = tuple[memoryview, bool]
"""Bytes as they were on the wire, and whether they are content (or framing: chunk sizes, trailers)."""


class Broken(Exception):
    """The other side ended in the middle of a message, or sent what is not HTTP/1.1."""


@dataclass(frozen=True)
class Head:
    """The first lines of a message: exact bytes, and the few things read out of them."""

    raw: bytes
    first: tuple[str, str, str]
    fields: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str | None:
        """The value of the first field of this name (lower case)."""
        return next((value for key, value in self.fields if key == name), None)

    @property
    def closes(self) -> bool:
        return (self.get("connection") or "").lower() == "close"

    def without(self, name: str) -> bytes:
        """The exact bytes, less the fields of this name."""
        lines = self.raw[:-4].split(b"\r\n")
        kept = [line for line in lines if not line.lower().startswith(name.encode() + b":")]
        return b"\r\n".join(kept) + b"\r\n\r\n"


class Wire:
    """A connected socket with what was read ahead of need."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self._ahead = bytearray()
        self._buffer = memoryview(bytearray(PIECE))

    def head(self) -> Head | None:
        """Read the next message's head; None when the other side closed between messages."""
        while (end := self._ahead.find(b"\r\n\r\n")) < 0:
            if len(self._ahead) > HEAD_LIMIT:
                raise Broken(f"head of more than {HEAD_LIMIT} bytes")
            more = self.connection.recv(PIECE)
            if not more:
                if self._ahead:
                    raise Broken("ended inside a head")
                return None
            self._ahead += more
        raw = bytes(self._ahead[: end + 4])
        del self._ahead[: end + 4]
        return _parsed(raw)

    def exactly(self, length: int) -> Iterator[memoryview]:
        """Yield the next `length` bytes in pieces; each is valid until the next is asked for."""
        while length:
            piece = self._some(length)
            length -= len(piece)
            yield piece

    def chunked(self) -> Iterator[Piece]:
        """Yield a chunked body, framing and trailers included."""
        while size := int(bytes(line := self._line()).split(b";", 1)[0], 16):
            yield memoryview(line), False
            for piece in self.exactly(size):
                yield piece, True
            yield memoryview(self._line()), False
        yield memoryview(line), False
        while (line := self._line()) != b"\r\n":
            yield memoryview(line), False
        yield memoryview(line), False

    def to_the_end(self) -> Iterator[Piece]:
        """Yield until the other side closes."""
        while True:
            try:
                yield self._some(PIECE), True
            except Broken:
                return

    def idle_and_open(self) -> bool:
        """Whether a kept connection can be used again: nothing to read, not closed by the other side."""
        if self._ahead:
            return False
        self.connection.setblocking(False)
        try:
            self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        else:
            return False
        finally:
            self.connection.setblocking(True)

    def _line(self) -> bytes:
        while (end := self._ahead.find(b"\r\n")) < 0:
            more = self.connection.recv(PIECE)
            if not more or len(self._ahead) > HEAD_LIMIT:
                raise Broken("ended inside a body")
            self._ahead += more
        line = bytes(self._ahead[: end + 2])
        del self._ahead[: end + 2]
        return line

    def _some(self, limit: int) -> memoryview:
        if self._ahead:
            piece = bytes(self._ahead[:limit])
            del self._ahead[:limit]
            return memoryview(piece)
        count = self.connection.recv_into(self._buffer[: min(limit, PIECE)])
        if not count:
            raise Broken("ended inside a body")
        return self._buffer[:count]


def request_body(wire: Wire, head: Head) -> Iterator[Piece]:
    """Yield a request's body from the wire (RFC 9112 §6.3)."""
    if (head.get("transfer-encoding") or "").lower().endswith("chunked"):
        return wire.chunked()
    return ((piece, True) for piece in wire.exactly(int(head.get("content-length") or 0)))


def response_body(wire: Wire, head: Head, method: str) -> Iterator[Piece]:
    """Yield a response's body from the wire; some have none whatever their fields say (RFC 9112 §6.3)."""
    status = int(head.first[1])
    if method == "HEAD" or status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        return iter(())
    if head.get("content-length") is None and (head.get("transfer-encoding") or "").lower() != "chunked":
        return wire.to_the_end()
    return request_body(wire, head)


def _parsed(raw: bytes) -> Head:
    try:
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        one, two, three = first.split(" ", 2)
        pairs = [line.split(":", 1) for line in lines]
        return Head(raw, (one, two, three), tuple((name.lower(), value.strip()) for name, value in pairs))
    except ValueError as error:
        raise Broken(f"not HTTP/1.1: {raw[:80]!r}") from error
