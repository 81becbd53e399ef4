"""Runs a command in a container of somebody's pod, over the official client's websocket: what hooks are made of.

One Stream is one exec. Reading is bounded: stdout is looked at for one line that is waited for and dropped otherwise, of stderr the end is
kept. Nothing of either is logged.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlencode

import msgspec

from recoup.controller import failures
from recoup.controller.resources import POD

if TYPE_CHECKING:
    from kubernetes.client import Configuration

CONNECT_TIMEOUT = 15.0
STDERR_KEPT = 256
"""Characters of the end of stderr."""
_STDIN, _STDOUT, _STDERR, _ERROR = 0, 1, 2, 3
_WAIT = 0.5


class Ended(NamedTuple):
    """How a command ended; code: None if that is not known. said: the end of its stderr, or what went wrong with the exec."""

    code: int | None
    said: str


class Stream(Protocol):
    """One running command."""

    def await_line(self, line: str, seconds: float) -> bool:
        """Whether it wrote this line to stdout in that time; False also if it ended."""

    def send(self, text: str) -> None:
        """Write to its stdin; what can't be written is lost."""

    def finish(self, seconds: float) -> Ended | None:
        """Wait for its end; None if it has not ended in that time. The connection is closed in any case."""


class Exec(Protocol):
    """What the hooks ask of an API server."""

    def start(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> Stream:
        """Start a command; raises Forbidden, Gone or Unavailable."""


class PodExec:
    """Exec over HTTP. Thread-safe."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    def start(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> Stream:
        from kubernetes.stream.ws_client import WSClient, get_websocket_url  # noqa: PLC0415  # slow to import, and rarely needed
        from websocket import WebSocketBadStatusException, WebSocketException, setdefaulttimeout  # noqa: PLC0415  # likewise

        query = [
            ("container", container),
            *(("command", part) for part in command),
            ("stdin", "true"),
            ("stdout", "true"),
            ("stderr", "true"),
        ]
        path = POD.path(namespace, pod, "exec")
        token = self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        url = get_websocket_url(f"{self._configuration.host}{path}?{urlencode(query)}")  # type: ignore[no-untyped-call]  # no types there
        setdefaulttimeout(CONNECT_TIMEOUT)
        call = f"exec in Pod {namespace}/{pod}"
        try:
            headers = {"authorization": token} if token else {}
            return _PodStream(WSClient(self._configuration, url, headers, capture_all=False))  # type: ignore[no-untyped-call]  # no types there
        except WebSocketBadStatusException as error:
            raise failures.from_answer(call, error.status_code, _decoded(error.resp_body)) from error
        except (WebSocketException, OSError) as error:
            raise failures.Unavailable(f"{call}: {error}") from error


class _PodStream:
    def __init__(self, client: Any) -> None:
        self._client = client
        self._stdout = self._stderr = self._status = ""

    def await_line(self, line: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while f"{line}\n" not in self._stdout:
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(min(left, _WAIT)):
                return False
        return True

    def send(self, text: str) -> None:
        from websocket import WebSocketException  # noqa: PLC0415  # see above

        try:
            self._client.write_channel(_STDIN, text)
        except (WebSocketException, OSError):
            return

    def finish(self, seconds: float) -> Ended | None:
        deadline = time.monotonic() + seconds
        try:
            while (left := deadline - time.monotonic()) > 0:
                if not self._read(min(left, _WAIT)):
                    return self._ended()
            return self._ended() if self._status else None
        finally:
            self._client.close()

    def _read(self, seconds: float) -> bool:
        """Take in what has come; False when there will be nothing more."""
        from websocket import WebSocketException  # noqa: PLC0415  # see above

        if self._status:
            return False
        try:
            self._client.update(timeout=seconds)
            channels = [self._client._channels.pop(number, "") for number in (_STDOUT, _STDERR, _ERROR)]  # noqa: SLF001  # reading by name waits
        except (WebSocketException, OSError) as error:
            self._stderr = f"the connection broke: {error}"
            return False
        self._stdout = (self._stdout + channels[0])[-STDERR_KEPT:]
        self._stderr = (self._stderr + channels[1])[-4 * STDERR_KEPT :]
        self._status += channels[2]
        return bool(self._client.is_open()) and not self._status

    def _ended(self) -> Ended:
        said = self._stderr.strip()[-STDERR_KEPT:]
        status = _decoded(self._status.encode())
        if not status:
            return Ended(None, said or "the connection ended before the command did")
        if status.get("status") == "Success":
            return Ended(0, said)
        for cause in (status.get("details") or {}).get("causes") or ():
            if cause.get("reason") == "ExitCode":
                return Ended(int(cause["message"]), said)
        return Ended(None, str(status.get("message") or said)[-STDERR_KEPT:])


def _decoded(raw: bytes | str | None) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(raw or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
