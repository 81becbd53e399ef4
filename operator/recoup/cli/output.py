"""How results reach stdout: JSON for programs, tables for people (drawn by rich on a terminal only). Numbers are made readable here."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec


def emit_json(value: Any) -> None:
    """One JSON document and a newline."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def emit_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()) -> None:
    """A table; the columns named in `right` are aligned to the right. Plain text with two spaces between columns off a terminal."""
    numbers = set(right)
    if sys.stdout.isatty():
        _draw(columns, rows, numbers)
        return
    every = [tuple(columns), *map(tuple, rows)]
    widths = [max(len(row[i]) for row in every) for i in range(len(columns))]
    for row in every:
        cells = [cell.rjust(w) if name in numbers else cell.ljust(w) for cell, w, name in zip(row, widths, columns, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def human_bytes(count: float) -> str:
    """1536 → 1.5 KiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def human_seconds(seconds: float) -> str:
    """75 → 1m15s."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def _draw(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: set[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
