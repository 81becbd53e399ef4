"""What a run reads from: a directory, one file, a block device, or a stream, opened once."""

from __future__ import annotations

import os
import stat
from types import TracebackType
from typing import Self

from recoup.engine.records.cache import Root
from recoup.engine.records.manifest import SourceKind
from recoup.engine.source.stream import Stream
from recoup.errors import Invalid, NotFound

KINDS = {stat.S_IFDIR: SourceKind.DIRECTORY, stat.S_IFREG: SourceKind.FILE, stat.S_IFBLK: SourceKind.DEVICE}


class OpenSource:
    """A source, found out what it is. A context manager; `fd` is open within it."""

    def __init__(self, path: str, stream: Stream | None = None) -> None:
        """`path`, or if there is one, the stream."""
        self.stream = stream
        self.fd = -1
        # resolve() would name another place where a link is meant
        self.path = f"stdin:{os.fsdecode(stream.name)}" if stream is not None else os.path.abspath(path)

    def __enter__(self) -> Self:
        """Raises NotFound, Invalid (SourceUnreadable, SourceUnsupported, SourceCommandFailed)."""
        if self.stream is not None:
            self.stream.__enter__()
            self.kind = SourceKind.FILE
            return self
        try:
            self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise NotFound(f"the source {self.path} does not exist", reason="SourceNotFound") from None
        except OSError as error:
            raise Invalid(f"the source {self.path} cannot be opened: {error.strerror}", reason="SourceUnreadable") from None
        self.stat = os.fstat(self.fd)
        mode = self.stat.st_mode
        kind = KINDS.get(stat.S_IFMT(mode))
        if kind is None:
            os.close(self.fd)
            raise Invalid(f"the source {self.path} is neither a directory, a file nor a block device", reason="SourceUnsupported")
        self.kind = kind
        self.size = os.lseek(self.fd, 0, os.SEEK_END) if kind is SourceKind.DEVICE else self.stat.st_size
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.stream is not None:
            self.stream.__exit__(kind, error, trace)
        else:
            os.close(self.fd)

    def expected(self, last: Root | None) -> tuple[int | None, int | None]:
        """(bytes, files) that the run will probably go through, for rate and ETA; None where nothing is known."""
        if self.stream is not None:
            return None, 1
        if self.kind is not SourceKind.DIRECTORY:
            return self.size, 1 if self.kind is SourceKind.FILE else None
        if last is not None:
            return last.size, last.files
        try:
            found = os.fstatvfs(self.fd)
        except OSError:
            return None, None
        if not os.path.ismount(self.path):
            return None, None
        return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_files - found.f_ffree or None
