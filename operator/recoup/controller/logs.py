"""One JSON line per log record, and no secret in any of them.

Secrets that this process has read are registered with the Redactor and masked wherever they turn up, exceptions of foreign
libraries included. Tested with canaries (tests/unit/controller/test_logs.py).
"""

import logging
import re
import sys
import threading
from datetime import UTC, datetime
from typing import TextIO

import msgspec

MASK = "[redacted]"
SHORTEST_SECRET = 6
"""A shorter value would mask harmless text all over the log."""

_TOKEN = re.compile(r"(?i)\b(bearer|authorization:?|aws_secret_access_key|secretaccesskey|sessiontoken)([\s=:\"']+)[A-Za-z0-9+/_.=-]{8,}")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Redactor:
    """Remembers what must not be shown. Thread-safe; registering twice is nothing."""

    def __init__(self) -> None:
        self._secrets: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    def register(self, *secrets: str) -> None:
        with self._lock:
            self._secrets |= {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        return _TOKEN.sub(rf"\1\2{MASK}", text)


class JsonFormatter(logging.Formatter):
    """Fields: time, level, logger, message, whatever `extra` brings, and `error` with the traceback."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: str(value) for key, value in vars(record).items() if key not in _STANDARD and key not in line}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode({key: self._redactor(str(value)) for key, value in line.items()}).decode()


def set_up_logging(level: str, redactor: Redactor, stream: TextIO = sys.stderr) -> None:
    """Send every logger's records to `stream` as JSON lines; replaces what was set up before."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(redactor))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)  # it warns that it handles no signals, which is what we want
    for chatty in ("kopf", "urllib3", "botocore", "aiohttp", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.getLevelName(level), logging.WARNING))
