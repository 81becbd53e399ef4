"""How a large file is cut: fixed 64 KiB units if it is written in place, else by content (docs/format-data.md section 3).

Decided per file by its name, its first page, holes, and how it changed since the lineage's last point; what was decided, and why,
is added up for the report. Reads a few pages, stores nothing.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind
from recoup.engine.records.content import Run, Scheme
from recoup.engine.source.files import read_into
from recoup.value import Record

HEAD_BYTES: Final = 4096

_SUFFIXES: Final = (
    b".db", b".sqlite", b".sqlite3", b".db3", b".ibd", b".ibdata1", b".myd", b".myi", b".frm", b".mdb", b".accdb", b".mdf", b".ldf",
    b".ndf", b".dbf", b".fdb", b".gdb", b".wt", b".edb", b".pst", b".raw", b".img", b".iso", b".vmdk", b".vdi", b".vhd", b".vhdx",
    b".qcow2", b".qcow", b".hdd",
)  # fmt: skip
_NAMES: Final = re.compile(rb"[0-9]+(?:\.[0-9]+|_fsm|_vm|_init)?|ibdata[0-9]+|ib_logfile[0-9]+|undo_[0-9]+")
"""Relation files of PostgreSQL, table spaces and logs of InnoDB."""
_MAGIC: Final = (
    (0, b"SQLite format 3\0", "SQLite"),
    (0, b"QFI\xfb", "QCOW image"),
    (0, b"KDMV", "VMDK image"),
    (0, b"conectix", "VHD image"),
    (0, b"vhdxfile", "VHDX image"),
    (0, b"<<< ", "VirtualBox image"),
    (0, b"\0\1\0\0Standard ", "Access database"),
    (0, b"\x41\xd8\x01\x00", "WiredTiger"),
    (0, b"XFSB", "XFS image"),
    (16, b"\xde\xc0\xef\xbe", "LMDB"),
    (16, b"\xed\xda\x0c\xed", "Bolt"),
    (512, b"EFI PART", "partitioned disk image"),
    (1080, b"\x53\xef", "ext image"),
)
_POSTGRES: Final = struct.Struct("<HHHH")

IN_PLACE_FROM: Final = 32 << 20
"""Bytes from which on it is looked at how a file changed."""
_SAMPLES: Final = 16
_SAMPLES_CHANGED: Final = 4
"""So many of the samples, and not all: to cut by content costs a part of the file each time that is worth one whole copy."""


class Unit(StrEnum):
    """What --unit says."""

    AUTO = "auto"
    FIXED = "fixed"
    CDC = "cdc"


class Chosen(Record):
    """Files that were cut in one way for one reason."""

    files: int = 0
    size: int = 0
    first: bytes = b""
    """Name of the first of them."""


class Cutting:
    """Decides, and adds up. Not thread-safe."""

    def __init__(self, unit: Unit, id_key: bytes) -> None:
        self._unit = unit
        self._id_key = id_key
        self.chosen: dict[tuple[str, str], Chosen] = {}
        """By (fixed or cdc, why)."""
        self.bytes_read = 0

    def fixed(self, fd: int, name: bytes, size: int, *, holes: bool, old: Scheme | None, runs: Iterable[Run]) -> bool:
        """Whether an open file gets fixed units. `old` and `runs` are what the lineage knows of the same path."""
        why = self._why_fixed(fd, name, size, holes=holes, old=old, runs=runs)
        self.note(
            "fixed" if why else "cdc", why or ("asked for" if self._unit is Unit.CDC else "nothing speaks for writes in place"), name, size
        )
        return bool(why)

    def note(self, unit: str, why: str, name: bytes, size: int) -> None:
        chosen = self.chosen.setdefault((unit, why), Chosen(first=name))
        chosen.files += 1
        chosen.size += size

    def _why_fixed(self, fd: int, name: bytes, size: int, *, holes: bool, old: Scheme | None, runs: Iterable[Run]) -> str:
        if holes:
            return "holes"  # whatever was asked for: no other content can have any
        if self._unit is not Unit.AUTO:
            return "asked for" if self._unit is Unit.FIXED else ""
        if old is Scheme.FIXED:
            return "as before"
        why = kind_of(name, os.pread(fd, HEAD_BYTES, 0))
        if not why and old is Scheme.CDC and size >= IN_PLACE_FROM and self._changed_in_place(fd, size, runs):
            return "it changes in place"
        return why

    def _changed_in_place(self, fd: int, size: int, runs: Iterable[Run]) -> bool:
        """Whether chunks here and there are others, but those behind them stand where they stood: nothing was inserted."""
        known = list(runs)
        if not known or known[-1].offset + known[-1].length != size:
            return False
        picked = known[:: max(1, len(known) // _SAMPLES)]
        same = [self._is_same(fd, run) for run in picked]
        changed = same.count(False)
        return changed >= _SAMPLES_CHANGED and True in same[same.index(False) :]

    def _is_same(self, fd: int, run: Run) -> bool:
        buffer = memoryview(bytearray(run.length))
        self.bytes_read += (got := read_into(fd, buffer, run.offset))
        return block_id(self._id_key, BlockKind.DATA, buffer[:got]) == run.block


def kind_of(name: bytes, head: bytes) -> str:
    """What a file is that is written in place, by its name or its first page; empty if it is none."""
    lower = name.lower()
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            return kind
    if _is_postgres_page(head):
        return "PostgreSQL page"
    if _is_innodb_page(head):
        return "InnoDB page"
    if lower.endswith(_SUFFIXES) or _NAMES.fullmatch(lower) is not None:
        return "name"
    return ""


def _is_postgres_page(head: bytes) -> bool:
    if len(head) < HEAD_BYTES:
        return False
    lower, upper, special, version = _POSTGRES.unpack_from(head, 12)
    return version in {0x2003, 0x2004} and 24 <= lower <= upper <= special <= 8192


def _is_innodb_page(head: bytes) -> bool:
    """Page 0 of a table space: its number is 0, its type that of a space header, and its space's number stands there twice."""
    return len(head) >= 42 and head[4:8] == bytes(4) and head[24:26] == b"\0\x08" and head[34:38] == head[38:42]
