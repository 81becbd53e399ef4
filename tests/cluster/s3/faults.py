"""The faults that the proxy can make, each a value: `proxy.on(SLOW_DOWN, kind=Kind.PUT)`. Compositions of exchange.py's steps."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from xml.etree import ElementTree as ET

from tests.cluster.s3.exchange import Change, Exchange

S3_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class Fault(Protocol):
    """What is done with a request in place of forwarding it."""

    def apply(self, exchange: Exchange) -> None: ...


@dataclass(frozen=True)
class Forward:
    """No fault: the request and its answer pass unchanged."""

    def apply(self, exchange: Exchange) -> None:
        exchange.relay(exchange.forward())


@dataclass(frozen=True)
class Answer:
    """An error answer before any effect: the server never sees the request."""

    status: int
    code: str
    message: str = "made by the fault proxy"

    def apply(self, exchange: Exchange) -> None:
        exchange.discard()
        exchange.answer(self.status, self.code, self.message)


@dataclass(frozen=True)
class AnswerAfterEffect:
    """The server does what was asked, and the client is told something else."""

    status: int
    code: str
    message: str = "made by the fault proxy, after the effect"

    def apply(self, exchange: Exchange) -> None:
        exchange.swallow(exchange.forward())
        exchange.answer(self.status, self.code, self.message)


SLOW_DOWN = Answer(503, "SlowDown")
INTERNAL_ERROR = Answer(500, "InternalError")
EXPIRED_TOKEN = Answer(400, "ExpiredToken")
ACCESS_DENIED = Answer(403, "AccessDenied")
INTERNAL_ERROR_AFTER_EFFECT = AnswerAfterEffect(500, "InternalError")
PRECONDITION_FAILED_AFTER_EFFECT = AnswerAfterEffect(412, "PreconditionFailed")


@dataclass(frozen=True)
class Reset:
    """The connection breaks before any effect."""

    def apply(self, exchange: Exchange) -> None:
        exchange.reset()


@dataclass(frozen=True)
class LostResponse:
    """The server does what was asked and answers; the connection breaks before the answer arrives."""

    def apply(self, exchange: Exchange) -> None:
        exchange.swallow(exchange.forward())
        exchange.reset()


@dataclass(frozen=True)
class Delay:
    """So many seconds pass first."""

    seconds: float
    then: Fault = field(default_factory=Forward)

    def apply(self, exchange: Exchange) -> None:
        exchange.pause(self.seconds)
        self.then.apply(exchange)


@dataclass(frozen=True)
class Hang:
    """No answer, ever; the connection stays open until the proxy stops."""

    def apply(self, exchange: Exchange) -> None:
        exchange.pause(None)
        exchange.reset()


@dataclass(frozen=True)
class TruncatedBody:
    """The answer promises its whole length and ends after `length` bytes of it."""

    length: int

    def apply(self, exchange: Exchange) -> None:
        exchange.relay(exchange.forward(), limit=self.length)


@dataclass(frozen=True)
class CorruptDownload:
    """One bit of the byte at `offset` of the answer's content is flipped on its way to the client."""

    offset: int

    def apply(self, exchange: Exchange) -> None:
        exchange.relay(exchange.forward(), change=flip(self.offset))


@dataclass(frozen=True)
class CorruptUpload:
    """One bit of the byte at `offset` of the request's content is flipped on its way to the server."""

    offset: int

    def apply(self, exchange: Exchange) -> None:
        exchange.relay(exchange.forward(change=flip(self.offset)))


@dataclass(frozen=True)
class HiddenKeys:
    """Listings lack the keys that match: what an eventually consistent store does to what was just written."""

    keys: str

    def apply(self, exchange: Exchange) -> None:
        _relay_listing(exchange, lambda keys: [not re.search(self.keys, key) for key in keys])


@dataclass(frozen=True)
class ShortList:
    """Listings end after `count` keys and claim to be complete."""

    count: int

    def apply(self, exchange: Exchange) -> None:
        _relay_listing(exchange, lambda keys: [index < self.count for index in range(len(keys))], complete=True)


@dataclass(frozen=True)
class StaleList:
    """Listings stay as they were when each was first asked for: new keys missing, deleted ones still there."""

    seen: dict[str, bytes] = field(default_factory=dict)

    def apply(self, exchange: Exchange) -> None:
        response = exchange.forward()
        listing = exchange.swallow(response)
        if response.head.first[1] == "200":
            listing = self.seen.setdefault(exchange.request.head.first[1], listing)
        exchange.reply(" ".join(response.head.first[1:]), listing)


def flip(offset: int) -> Change:
    """A change of one bit at one offset of a body that is passed in pieces."""

    def change(piece: memoryview, start: int) -> "bytes | memoryview":
        if not start <= offset < start + len(piece):
            return piece
        copy = bytearray(piece)
        copy[offset - start] ^= 0x01
        return bytes(copy)

    return change


def _relay_listing(exchange: Exchange, keeps: Callable[[list[str]], list[bool]], *, complete: bool = False) -> None:
    """Pass on a listing (of objects or versions) with only the entries to be kept. Held whole: at most 1,000 entries."""
    response = exchange.forward()
    listing = exchange.swallow(response)
    status_line = " ".join(response.head.first[1:])
    if response.head.first[1] != "200":
        exchange.reply(status_line, listing)
        return
    ET.register_namespace("", S3_NAMESPACE)
    tree = ET.fromstring(listing)
    space = tree.tag.partition("}")[0] + "}" if tree.tag.startswith("{") else ""
    entries = [entry for entry in tree if entry.tag.removeprefix(space) in ("Contents", "Version", "DeleteMarker")]
    for entry, kept in zip(entries, keeps([entry.findtext(f"{space}Key") or "" for entry in entries]), strict=True):
        if not kept:
            tree.remove(entry)
    for field_name, value in (("IsTruncated", "false"), ("NextContinuationToken", None), ("NextMarker", None)):
        found = tree.find(space + field_name)
        if complete and found is not None:
            if value is None:
                tree.remove(found)
            else:
                found.text = value
    count = tree.find(f"{space}KeyCount")
    if count is not None:
        count.text = str(len(tree.findall(f"{space}Contents")) + len(tree.findall(f"{space}CommonPrefixes")))
    exchange.reply(status_line, b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(tree))
