"""How files of a recovery point are shown: one line each, or one JSON object a line. Shared by ls, find and diff."""

from __future__ import annotations

import stat
import sys
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

_LETTERS = {1: stat.S_IFREG, 2: stat.S_IFDIR, 3: stat.S_IFLNK, 4: stat.S_IFIFO, 5: stat.S_IFSOCK, 6: stat.S_IFCHR, 7: stat.S_IFBLK}
TYPES = {1: "regular", 2: "directory", 3: "symlink", 4: "fifo", 5: "socket", 6: "character", 7: "block"}


class Shown(Protocol):
    """What an entry of a tree and a version found have in common."""

    @property
    def path(self) -> tuple[bytes, ...]: ...
    @property
    def type(self) -> int: ...
    @property
    def mode(self) -> int: ...
    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def mtime(self) -> int: ...
    @property
    def target(self) -> bytes: ...


def entry_fields(entry: Shown) -> dict[str, Any]:
    """For JSON."""
    fields: dict[str, Any] = {
        "path": path_text(entry.path),
        "type": TYPES[entry.type],
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "mtime": time_text(entry.mtime),
    }
    if entry.target:
        fields["target"] = entry.target.decode("utf-8", "backslashreplace")
    return fields


def entry_text(entry: Shown) -> str:
    """As `ls -l` shows it; names that are not UTF-8 with hexadecimal escapes, control characters escaped."""
    mode = stat.filemode(_LETTERS[entry.type] | entry.mode)
    target = f" -> {printable_bytes(entry.target)}" if entry.target else ""
    when = time_text(entry.mtime)[:19]
    return f"{mode} {entry.uid:>6} {entry.gid:>6} {entry.size:>14} {when} {path_text(entry.path)}{target}"


def path_text(path: tuple[bytes, ...]) -> str:
    from recoup.engine.records.tree import printable

    return printable(path)


def printable_bytes(text: bytes) -> str:
    return path_text((text,))


def emit_line(fields: dict[str, Any], text: str, output: str) -> None:
    """One result: JSON on one line, or text."""
    sys.stdout.write((msgspec.json.encode(fields).decode() if output == "json" else text) + "\n")


def time_text(nanoseconds: int) -> str:
    """UTC to the nanosecond; times outside the calendar as seconds since 1970."""
    try:
        whole = datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"@{nanoseconds / 10**9:.9f}"
    return f"{whole}.{nanoseconds % 10**9:09}Z"
