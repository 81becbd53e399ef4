"""What long work says while it runs and when it ends: progress on stderr, one small report file.

Responsible for: throttled progress (a bar on a terminal, JSON lines elsewhere), rate and ETA, and the report of at most 2 KiB that
becomes a pod's termination message. Not for deciding what is success. The controller parses both; their fields are a contract
(docs/command-line.md).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Literal

import msgspec

from recoup import __version__
from recoup.errors import Cancelled, RecoupError

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

REPORT_LIMIT = 2048
"""Bytes; Kubernetes allows 4 KiB a container for a termination message, and shares 12 KiB over a pod."""

BEAT = 10.0
"""Seconds after which a line is printed though nothing moved."""

_REASONS: dict[type[BaseException], str] = {KeyboardInterrupt: Cancelled.reason}

Outcome = Literal["Succeeded", "Partial", "Failed", "Cancelled"]


class Report(msgspec.Struct, kw_only=True, omit_defaults=False, rename="camel"):
    """The end of one run. Bytes are bytes, duration is seconds."""

    version: int = 1
    outcome: Outcome = "Succeeded"
    reason: str = ""
    message: str = ""
    id: str = ""
    manifest: str = ""
    files_total: int = 0
    bytes_read: int = 0
    bytes_stored: int = 0
    bytes_written: int = 0
    duration: float = 0.0
    errors: int = 0
    first_paths: list[str] = msgspec.field(default_factory=list)
    engine_version: str = __version__


def encode_report(report: Report) -> bytes:
    """JSON of at most REPORT_LIMIT bytes: paths are dropped from the end, then the message is cut."""
    cut = msgspec.structs.replace(
        report, message=_clip(report.message, REPORT_LIMIT), first_paths=[_clip(path, 256) for path in report.first_paths[:10]]
    )
    data = msgspec.json.encode(cut)
    while len(data) > REPORT_LIMIT:
        if cut.first_paths:
            cut.first_paths.pop()
        elif cut.message:
            cut.message = _clip(cut.message, max(0, len(cut.message.encode()) - (len(data) - REPORT_LIMIT) - 8))
        else:
            break
        data = msgspec.json.encode(cut)
    return data


def write_report(path: str, report: Report) -> None:
    """Write the report in place: a termination message is a file that the kubelet made and mounted, so no rename."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, encode_report(report))
    finally:
        os.close(fd)


@contextmanager
def reporting(path: str | None) -> Iterator[Report]:
    """A report to fill in; it is written when the block ends, whether well or by an error, which passes through."""
    report = Report()
    started = time.monotonic()
    try:
        yield report
    except BaseException as error:
        report.outcome = "Cancelled" if isinstance(error, (Cancelled, KeyboardInterrupt)) else "Failed"
        report.reason = error.reason if isinstance(error, RecoupError) else _REASONS.get(type(error), "InternalError")
        report.message = str(error)
        raise
    finally:
        report.duration = round(time.monotonic() - started, 3)
        if path:
            write_report(path, report)


class Progress:
    """Counts of one long run. `advance` may be called from any thread, as often as one likes; printing is throttled.

    On a terminal a bar; otherwise JSON lines, at most one a second and at least one every ten. `quiet` prints nothing.
    Totals of None are unknown: no ETA then.
    """

    def __init__(self, *, quiet: bool = False, stream: IO[str] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._clock = clock
        self._lock = threading.Lock()
        self._phase = ""
        self.bytes_done = self.files_done = 0
        self.bytes_total: int | None = None
        self.files_total: int | None = None
        self._samples: deque[tuple[float, int]] = deque(maxlen=30)
        self._printed = 0.0
        self._beat: threading.Thread | None = None
        self._ended = threading.Event()
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def start(self, phase: str, *, bytes_total: int | None = None, files_total: int | None = None) -> None:
        """Begin a phase (one English word or two); counts begin at nought."""
        with self._lock:
            self._phase = phase
            self.bytes_done = self.files_done = 0
            self.bytes_total, self.files_total = bytes_total, files_total
            self._samples.clear()
            self._samples.append((self._clock(), 0))
            self._print(force=True)
            if self._beat is None and not self._quiet:
                self._beat = threading.Thread(target=self._keep_beating, name="progress", daemon=True)
                self._beat.start()

    def advance(self, *, data: int = 0, files: int = 0) -> None:
        """`data` more bytes and `files` more files are done."""
        with self._lock:
            self.bytes_done += data
            self.files_done += files
            self._print(force=False)

    def notice(self, text: str) -> None:
        """Something that a person should know while it runs: a place is away, something is tried elsewhere."""
        with self._lock:
            if self._quiet:
                return
            if self._bar is not None:
                self._bar.console.print(text, markup=False, highlight=False)
            elif self._stream.isatty():
                self._stream.write(text + "\n")
            else:
                self._stream.write(msgspec.json.encode({"notice": text}).decode() + "\n")
            self._stream.flush()

    def end(self) -> None:
        """The last line of a phase, and the terminal as it was. May be called twice."""
        self._ended.set()
        with self._lock:
            if self._phase:
                self._print(force=True)
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
            self._phase = ""

    def rate(self) -> float:
        """Bytes a second over the last half minute or so."""
        if len(self._samples) < 2:
            return 0.0
        (begin, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end - begin) if end > begin else 0.0

    def eta(self) -> int | None:
        """Seconds to go by the present rate; None while that is unknown."""
        rate = self.rate()
        if not self.bytes_total or rate <= 0:
            return None
        return max(0, round((self.bytes_total - self.bytes_done) / rate))

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT):
            with self._lock:
                if self._phase and self._clock() - self._printed >= BEAT:
                    self._print(force=True)

    def _print(self, *, force: bool) -> None:
        now = self._clock()
        if self._quiet or (not force and now - self._printed < 1.0):
            return
        if now > self._samples[-1][0]:
            self._samples.append((now, self.bytes_done))
        self._printed = now
        if self._stream.isatty():
            self._draw()
        else:
            self._line()

    def _line(self) -> None:
        fields = {
            "phase": self._phase,
            "bytesDone": self.bytes_done,
            "bytesTotal": self.bytes_total,
            "filesDone": self.files_done,
            "filesTotal": self.files_total,
            "rate": round(self.rate()),
            "eta": self.eta(),
        }
        self._stream.write(msgspec.json.encode({"progress": fields}).decode() + "\n")
        self._stream.flush()

    def _draw(self) -> None:
        if self._bar is None:
            from rich.console import Console  # noqa: PLC0415  # only a terminal pays for rich
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415  # a program without a terminal needs none of it

            columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
            text = TextColumn("{task.description:<12} {task.fields[files]} files")
            self._bar = Progress(text, *columns, console=Console(file=self._stream), transient=False)
            self._bar.start()
            self._task = None
        if self._task is None or self._bar.tasks[-1].description != self._phase:
            self._task = self._bar.add_task(self._phase, total=self.bytes_total, files="0")
        self._bar.update(self._task, completed=self.bytes_done, total=self.bytes_total, files=f"{self.files_done:,}")


def printable(name: str) -> str:
    """A path for people and for JSON: bytes that are not UTF-8 are shown as hexadecimal escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _clip(text: str, limit: int) -> str:
    shown = printable(text)
    data = shown.encode()
    return shown if len(data) <= limit else data[: max(0, limit - 3)].decode(errors="ignore") + "…"
