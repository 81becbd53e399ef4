"""Index segments: which blocks are where, for deduplication between lineages (docs/format-data.md section 6).

One small segment per run that wrote blocks: an object of kind INDEX whose blocks are tables sorted by id, each beginning
after the one before ends. A cache: it can cost space, never data. A damaged segment is skipped by whoever reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from recoup.engine.records.rows import Place, Table, encode_table

SEGMENT_ROWS: Final = 8192
"""Rows of one table; with 48 bytes each and their objects it stays well below the limit of a node."""


def encode_segment(rows: Iterable[tuple[bytes, Place]]) -> Iterator[bytes]:
    """The blocks of a segment in order; `rows` are sorted by id."""
    iterator = iter(rows)
    while part := list(islice(iterator, SEGMENT_ROWS)):
        yield encode_table(part)


def decode_segment(data: bytes | memoryview) -> Table:
    """One block of a segment. Raises Integrity."""
    return Table(data, "an index segment")
