"""A stream as a tree of one file: what LeafMaker asks of a directory and its files, answered for what a pipe delivers.

The file has the name that was given, the present time, and belongs to whoever runs the backup, who alone may read it.
"""

from __future__ import annotations

import os
import stat
import time
from typing import Final

from recoup.engine.backup.contents import ContentReader
from recoup.engine.backup.leaves import LeafMaker, NewLeaf
from recoup.engine.backup.units import PendingContent
from recoup.engine.records.content import Content
from recoup.engine.source.attributes import Attributes, XattrReader
from recoup.engine.source.stream import Stream
from recoup.engine.source.walk import Directory

_MODE: Final = stat.S_IFREG | 0o600


class StreamReader:
    """The content of the one file."""

    def __init__(self, reader: ContentReader, stream: Stream) -> None:
        self._reader, self._stream = reader, stream

    def read(self, name: bytes, listed: os.stat_result, old: Content | None) -> tuple[PendingContent, int, bool]:  # noqa: ARG002  # a stream has neither
        """Read to the end. Raises Invalid if the stream breaks, its command failed, or nothing came."""
        content, size = self._reader.read_stream(self._stream.fill)
        self._stream.finish(size)
        self._reader.cutting.note("cdc", "stream", name, size)
        return content, size, True

    def close_group(self) -> None:
        self._reader.close_group()


class NoXattrs(XattrReader):
    """A stream has no attributes; a file of the same name in some directory may have."""

    def read_all(self, names: list[bytes], stats: list[os.stat_result]) -> dict[int, Attributes]:  # noqa: ARG002  # as the source of files has it
        return {}


def take_stream(maker: LeafMaker, stream: Stream) -> list[NewLeaf]:
    """The leaves of the tree that lists the stream as a file."""
    directory = Directory((), os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), [stream.name], [_stat()])
    maker.take(directory)
    return maker.finish()


def _stat() -> os.stat_result:
    """What lstat would say of a file that appeared just now. Its size is not known: anything but 0 has it read."""
    now = time.time_ns()
    seconds = now // 1_000_000_000
    times = (seconds, seconds, seconds, now / 1e9, now / 1e9, now / 1e9, now, now, now)
    return os.stat_result((_MODE, 0, 0, 1, os.geteuid(), os.getegid(), 1, *times, 4096, 0, 0))
