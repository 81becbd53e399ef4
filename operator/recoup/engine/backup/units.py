"""Cutting files into units and grouping units into blocks (docs/format.md section 4).

A file below 256 KiB is one unit; larger ones are cut by content, or, if they are written in place (databases, disk images), at
fixed 64 KiB. Units are grouped to blocks of about 1 MiB whose borders depend on the units alone. Blocks that are known are
referred to; new ones go to the pipeline.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from recoup.engine.backup.packs import PackWriter, compress
from recoup.engine.backup.pipeline import BLOCK_BYTES, Pipeline
from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind
from recoup.engine.records.content import Scheme, WireContent

SMALL_BYTES: Final = 256 << 10
"""A file below is one unit."""
GROUP_BYTES: Final = 1 << 20
GROUP_LEAST: Final = 512 << 10
GROUP_MOST: Final = 2 << 20
REMEMBERED_UNITS: Final = 1 << 16
"""Small files of this run whose content is recognised when it comes again."""


class BlockRef:
    """A block that units go into; its id is known once the group is closed."""

    __slots__ = ("id",)

    def __init__(self, block: bytes = b"") -> None:
        self.id = block


PendingRun = tuple[int, int, BlockRef, int, bytes]
"""offset, length, block, offset in the block, unit ids."""


class PendingContent(NamedTuple):
    """A content whose blocks may not all have ids yet."""

    scheme: Scheme
    runs: list[PendingRun]
    root: bytes = b""

    @property
    def ready(self) -> bool:
        return all(run[2].id for run in self.runs)


class KeptContent(NamedTuple):
    """A content of the last recovery point, as its companion has it; numbers in it are those of `blocks`."""

    wire: WireContent
    blocks: list[bytes]

    @property
    def root(self) -> bytes:
        return self.wire.root


class KnownBlocks(Protocol):
    """Decides whether a block must be stored (dedup.py)."""

    new: set[bytes]
    """Blocks of this run."""

    def knows(self, block: bytes) -> bool: ...


class BlockSink:
    """Takes finished blocks: stores those that are new."""

    def __init__(self, pipeline: Pipeline, packs: PackWriter, id_key: bytes, known: KnownBlocks) -> None:
        self.pipeline = pipeline
        self._packs = packs
        self.id_key = id_key
        self._known = known

    def store(self, plain: memoryview, buffer: memoryview | None, kind: BlockKind = BlockKind.DATA) -> bytes:
        """The block's id. `buffer`, of which `plain` is a part, is given back when the block is staged or known."""
        block = block_id(self.id_key, kind, plain)
        if self._known.knows(block):
            if buffer is not None:
                self.pipeline.give_buffer(buffer)
            return block
        self._known.new.add(block)

        def job() -> None:
            codec, payload = compress(plain, self.id_key, block, kind)
            self._packs.add(block, kind, codec, len(plain), payload)
            if buffer is not None:
                self.pipeline.give_buffer(buffer)

        self.pipeline.submit(job)
        return block

    def store_copy(self, data: memoryview, kind: BlockKind = BlockKind.DATA) -> bytes:
        """As `store`, for bytes whose memory will be used again: they are copied into a buffer."""
        block = block_id(self.id_key, kind, data)
        if self._known.knows(block):
            return block
        buffer = self.pipeline.take_buffer()
        view = buffer[: len(data)]
        view[:] = data
        return self.store(view, buffer, kind)


class Group:
    """The block that is being filled with units. Units are read or copied straight into its buffer."""

    def __init__(self, sink: BlockSink) -> None:
        self._sink = sink
        self._buffer: memoryview | None = None
        self.length = 0
        self.ref = BlockRef()

    def room(self, length: int) -> memoryview:
        """Where the next `length` bytes go; closes the group first if they do not fit."""
        if self.length and self.length + length > GROUP_MOST:
            self.close()
        if self._buffer is None:
            self._buffer = self._sink.pipeline.take_buffer()
        return self._buffer[self.length : self.length + length]

    def add(self, length: int) -> tuple[BlockRef, int]:
        """The first `length` bytes of the last `room` belong to the group now: (block, offset in it)."""
        at = self.length
        self.length += length
        return self.ref, at

    def close(self) -> None:
        """Make a block of what is there. Its reference gets its id."""
        buffer, self._buffer = self._buffer, None
        ref, length = self.ref, self.length
        self.ref, self.length = BlockRef(), 0
        if buffer is None:
            return
        if length == 0:
            self._sink.pipeline.give_buffer(buffer)
            return
        ref.id = self._sink.store(buffer[:length], buffer)


def ends_group(unit: bytes, unit_length: int, group_length: int) -> bool:
    """Whether a group ends after this unit: by the unit's own id, weighted by its length, so that equal files form equal groups."""
    if group_length < GROUP_LEAST:
        return False
    span = GROUP_BYTES - GROUP_LEAST
    return int.from_bytes(unit[:4], "big") * span < unit_length << 32


assert GROUP_MOST <= BLOCK_BYTES
