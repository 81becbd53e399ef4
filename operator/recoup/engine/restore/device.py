"""Restoring a block device to a block device or an image file: what differs is written, holes read as zeros, everything is compared.

The first MiB of a device, where partition tables and file systems have their marks, is written last: until then a text stands there that
says which restore has not ended, so that a crash never leaves what looks whole. An image file has another name meanwhile (places.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind
from recoup.engine.points import OpenPoint
from recoup.engine.records.content import UNIT, Content, Run, iterate_runs, unit_spans
from recoup.engine.records.nodes import ID
from recoup.engine.records.tree import Entry, FileType
from recoup.engine.restore.compare import DIFFERS
from recoup.engine.restore.orders import Existing, Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.packs import Feeds, Workers
from recoup.engine.restore.places import Place, open_place
from recoup.engine.restore.plan import Pending, Planner
from recoup.engine.restore.spans import dirt, make_hole, write_at, write_differing
from recoup.engine.restore.survey import compare_runs
from recoup.errors import Integrity, Invalid
from recoup.report import Progress

HEAD = 1 << 20
"""Bytes at the beginning of a device that are written last."""
Pieces = Iterable[tuple[Run, tuple[Run, ...]]]


def restore_device(point: OpenPoint, path: str, orders: Orders, outcome: Outcome, progress: Progress) -> None:
    """Restore `point`, which is of a block device, to the block device or image file `path`.

    Raises Invalid (TargetNotDevice, TargetInUse, TargetTooSmall, TargetNotEmpty), and Integrity if objects are damaged: the target
    then holds only a part, and its head or its name says so.
    """
    content = device_content(point, orders)
    with open_place(path, content.size, orders.mark(point.id)) as place:
        if orders.existing is Existing.FAIL and not place.ours:
            _check_blank(point, content, place)
        DeviceRestore(point, content, place, orders, outcome, progress).run()


def device_content(point: OpenPoint, orders: Orders) -> Content:
    """The content of a device. Raises Invalid for orders that make sense for files only."""
    if not orders.choice.everything or orders.into:
        message = "the recovery point is of a block device: --include, --exclude, --map and --into are for those of files"
        raise Invalid(message, reason="NotFiles")
    assert point.manifest.device is not None
    return point.manifest.device


class DeviceRestore:
    """One restore to an open device or image."""

    def __init__(self, point: OpenPoint, content: Content, place: Place, orders: Orders, outcome: Outcome, progress: Progress) -> None:
        self._point, self._content, self._place, self._outcome, self._progress = point, content, place, outcome, progress
        self._entry = Entry((), os.fsencode(place.path), FileType.REGULAR, 0, 0, 0, 0, content.size)
        self._head = min(HEAD, content.size) if place.device else 0
        self._survey = place.ours or orders.existing is not Existing.FAIL
        self._begun = False

    def run(self) -> None:
        self._progress.start("restoring", bytes_total=self._content.size)
        if not self._survey or self._place.ours or self._place.wrong_size:
            self._begin()
        self._write(self._head, self._content.size)
        if self._begun or self._differs(0, self._head):
            self._begin()
            self._finish()
        else:
            self._compare(0, self._content.size)
            self._outcome.already_there = True
        self._outcome.files = 1

    def _finish(self) -> None:
        os.fsync(self._place.fd)
        self._compare(self._head, self._content.size)
        self._progress.start("finishing", bytes_total=self._head)
        self._write(0, self._head)
        self._compare(0, self._head, phase="finishing")
        os.fsync(self._place.fd)
        self._place.complete()

    def _begin(self) -> None:
        """From here on the target says that it is incomplete."""
        if not self._begun:
            self._begun = True
            self._place.begin(self._head)

    def _write(self, start: int, end: int) -> None:
        """Write what differs in a range (everything, unless the target is surveyed)."""
        sink = _DeviceSink(self._place.fd, self._outcome, self._progress, survey=self._survey)
        workers = Workers(self._point.objects, self._point.blocks.id_key, sink)
        planner, pending, at = Planner(), Pending(self._entry, b""), start
        try:
            for run, lacking in self._pieces(start, end):
                self._clear(at, run.offset)
                at = run.offset + run.length
                kept = run.length - sum(part.length for part in lacking)
                self._outcome.count(kept=kept)
                self._progress.advance(data=kept)
                for part in lacking:
                    self._begin()
                    planner.add(pending, part, self._point.blocks.refs.lookup(part.block))
                    if planner.full:
                        workers.submit(planner.take())
            self._clear(at, end)
            workers.submit(planner.take(everything=True))
            workers.wait()
        finally:
            workers.close()
        if self._outcome.damaged.total:
            reason = self._outcome.damaged.listed[0][1]
            message = f"not restored whole: {self._place.path}: {reason}; what it holds is of no use as it is, and says so"
            raise Integrity(message, reason="ObjectDamaged")

    def _clear(self, start: int, end: int) -> None:
        """Make a hole of a range; of a surveyed target only where it is not zeros."""
        stretches = list(dirt(self._place.fd, start, end)) if self._survey else [(start, end - start)]
        for offset, length in stretches:
            if length > 0:
                self._begin()
                make_hole(self._place.fd, offset, offset + length)
        self._progress.advance(data=end - start)

    def _differs(self, start: int, end: int) -> bool:
        at = start
        for run, lacking in self._pieces(start, end):
            if lacking or any(dirt(self._place.fd, at, run.offset)):
                return True
            at = run.offset + run.length
        return any(dirt(self._place.fd, at, end))

    def _pieces(self, start: int, end: int) -> Pieces:
        """(run, what of it has to be written) in a range."""
        runs = between(self._runs(start), start, end)
        if self._survey:
            return compare_runs(self._place.fd, self._point.blocks.id_key, self._content.scheme, runs)
        return ((run, (run,)) for run in runs)

    def _compare(self, start: int, end: int, *, phase: str = "comparing") -> None:
        self._progress.start(phase, bytes_total=end - start)
        at, fd, key = start, self._place.fd, self._point.blocks.id_key
        for run, lacking in compare_runs(fd, key, self._content.scheme, between(self._runs(start), start, end)):
            self._is_zero(at, run.offset)
            if lacking:
                raise self._not_as_written(lacking[0].offset)
            self._outcome.count(compared=run.length)
            self._progress.advance(data=run.offset + run.length - at)
            at = run.offset + run.length
        self._is_zero(at, end)
        self._progress.advance(data=end - at)

    def _is_zero(self, start: int, end: int) -> None:
        for offset, _ in dirt(self._place.fd, start, end):
            raise self._not_as_written(offset)

    def _not_as_written(self, offset: int) -> Integrity:
        message = f"reading the target back: {self._place.path}: what stands from byte {offset} on is not what the recovery point has"
        return Integrity(message, reason=DIFFERS)

    def _runs(self, start: int) -> Iterator[Run]:
        return iterate_runs(self._point.blocks.fetch, self._content, BlockKind.DEVICE_MAP, start)


class _DeviceSink:
    def __init__(self, fd: int, outcome: Outcome, progress: Progress, *, survey: bool) -> None:
        self._fd, self._outcome, self._progress, self._survey = fd, outcome, progress, survey

    def write(self, plain: memoryview, feeds: Feeds) -> None:
        for _, run in feeds:
            part = plain[run.at : run.at + run.length]
            written = run.length
            if self._survey:
                written = write_differing(self._fd, part, run.offset)
            else:
                write_at(self._fd, part, run.offset)
            self._outcome.count(written=written)
            self._progress.advance(data=run.length)

    def lose(self, pending: Pending, damage: str) -> None:
        self._outcome.damaged.add(pending.entry.path, damage)


def between(runs: Iterable[Run], start: int, end: int) -> Iterator[Run]:
    """The parts of runs that lie in a range; both ends are multiples of UNIT, or the end of the device."""
    for run in runs:
        if run.offset >= end:
            return
        first, last = max(run.offset, start), min(run.offset + run.length, end)
        if first >= last:
            continue
        skipped = first // UNIT - run.offset // UNIT
        units = run.units[skipped * ID : (skipped + -(-last // UNIT) - first // UNIT) * ID]
        yield Run(first, last - first, run.block, run.at + first - run.offset, units)


def _check_blank(point: OpenPoint, content: Content, place: Place) -> None:
    """Refuse a target that holds other data: each unit of its first MiB must be zeros, or this recovery point's."""
    expected: dict[tuple[int, int], bytes] = {}
    for run in iterate_runs(point.blocks.fetch, content, BlockKind.DEVICE_MAP):
        if run.offset >= HEAD:
            break
        expected.update({(offset, length): unit for offset, length, unit in unit_spans(run, content.scheme)})
    if not place.device and os.fstat(place.fd).st_size:
        raise place.occupied()
    head = os.pread(place.fd, HEAD, 0)
    for (offset, length), unit in expected.items():
        part = head[offset : offset + length]
        if len(part) == length and block_id(point.blocks.id_key, BlockKind.DATA, part) == unit:
            head = head[:offset] + bytes(length) + head[offset + length :]
    if head.strip(b"\0"):
        raise place.occupied()
