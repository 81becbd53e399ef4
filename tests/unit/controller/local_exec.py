"""Exec into pods that are this machine: the commands of hooks run in its own shell, and the connection can break at any time."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from recoup.controller.exec import Ended, Stream


@dataclass
class LocalExec:
    """shell: what `sh` is in these pods. started: commands by pod."""

    shell: Sequence[str] = ("sh",)
    started: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    streams: list[LocalStream] = field(default_factory=list)

    def start(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> Stream:  # noqa: ARG002  # all the same machine
        self.started.append((pod, tuple(command)))
        real = [*self.shell, *command[1:]] if command[0] == "sh" else list(command)
        process = subprocess.Popen(real, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        stream = LocalStream(process)
        self.streams.append(stream)
        return stream

    def close(self) -> None:
        """Wait for everything that was started, and give it back."""
        for stream in self.streams:
            stream.close()

    def cut(self) -> None:
        """The controller dies: every connection is closed, and what runs in the pods goes on."""
        for stream in self.streams:
            stream.cut()


@dataclass
class LocalStream:
    process: subprocess.Popen[str]
    is_cut: bool = False
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def await_line(self, line: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while line not in self.lines and time.monotonic() < deadline and not self.is_cut and self.process.poll() is None:
            threading.Event().wait(0.005)
        return line in self.lines

    def send(self, text: str) -> None:
        if not self.is_cut and self.process.stdin is not None:
            self.process.stdin.write(text)
            self.process.stdin.flush()

    def finish(self, seconds: float) -> Ended | None:
        try:
            code = self.process.wait(seconds) if not self.is_cut else None
        except subprocess.TimeoutExpired:
            return None
        if code is None:
            return Ended(None, "the connection broke")
        assert self.process.stderr is not None
        return Ended(128 - code if code < 0 else code, self.process.stderr.read().strip() if not self.is_cut else "")

    def cut(self) -> None:
        self.is_cut = True
        if self.process.stdin is not None:
            self.process.stdin.close()

    def close(self) -> None:
        self.cut()
        self.process.wait(60)
        self._reader.join(60)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
