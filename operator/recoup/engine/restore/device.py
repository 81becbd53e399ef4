"""Restoring a block device: runs to their offsets, holes punched or zeroed, everything compared by reading it back.

The target is a block device at least as large as the recorded one, not in use, and blank where it matters: its first MiB must be zeros
or what this recovery point puts there (an interrupted run of the same restore).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind
from recoup.engine.points import OpenPoint
from recoup.engine.records.content import Content, Run, iterate_runs, unit_spans
from recoup.engine.records.tree import Entry, FileType
from recoup.engine.restore.attributes import Wishes
from recoup.engine.restore.beneath import Directories
from recoup.engine.restore.compare import Comparer
from recoup.engine.restore.files import Hands, Names
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.packs import Feeds, Workers
from recoup.engine.restore.plan import Pending, Planner
from recoup.errors import Integrity, Invalid
from recoup.report import Progress

_PUNCH = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
_HEAD = 1 << 20
_ZEROS = bytes(1 << 20)
_libc = ctypes.CDLL(None, use_errno=True)


def restore_device(point: OpenPoint, path: str, outcome: Outcome, progress: Progress) -> None:
    """Restore `point`, which is of a block device, to the block device `path`.

    Raises Invalid (TargetNotDevice, TargetInUse, TargetTooSmall, TargetNotEmpty), and Integrity if objects are damaged: the device
    then holds only a part, and says so by nothing but this error.
    """
    content = point.manifest.device
    assert content is not None
    with _open(path) as fd:
        size = os.lseek(fd, 0, os.SEEK_END)
        if size < content.size:
            message = f"target {path} has {size} bytes, the recovery point {content.size}; take a device at least as large"
            raise Invalid(message, reason="TargetTooSmall")
        _check_blank(point, content, fd, path)
        entry = Entry((), os.fsencode(path), FileType.REGULAR, 0, 0, 0, 0, content.size)
        progress.start("restoring", bytes_total=content.size)
        _write(point, content, fd, entry, outcome, progress)
        os.fsync(fd)
        if outcome.damaged.total:
            reason = outcome.damaged.listed[0][1]
            raise Integrity(f"not restored whole: {path}: {reason}; what the device holds is of no use as it is", reason="ObjectDamaged")
        _compare(point, content, fd, entry, outcome, progress)
        outcome.files = 1


class _DeviceSink:
    def __init__(self, fd: int, outcome: Outcome, progress: Progress) -> None:
        self._fd, self._outcome, self._progress = fd, outcome, progress

    def write(self, plain: memoryview, feeds: Feeds) -> None:
        for _, run in feeds:
            write_at(self._fd, plain[run.at : run.at + run.length], run.offset)
            self._outcome.count(written=run.length)
            self._progress.advance(data=run.length)

    def lose(self, pending: Pending, damage: str) -> None:
        self._outcome.damaged.add(pending.entry.path, damage)


def _write(point: OpenPoint, content: Content, fd: int, entry: Entry, outcome: Outcome, progress: Progress) -> None:
    workers = Workers(point.objects, point.blocks.id_key, _DeviceSink(fd, outcome, progress))
    planner, pending, end = Planner(), Pending(entry, b""), 0
    try:
        for run in _runs(point, content):
            make_hole(fd, end, run.offset)
            progress.advance(data=run.offset - end)
            end = run.offset + run.length
            planner.add(pending, run, point.blocks.refs.lookup(run.block))
            if planner.full:
                workers.submit(planner.take())
        make_hole(fd, end, content.size)
        progress.advance(data=content.size - end)
        workers.submit(planner.take(everything=True))
        workers.wait()
    finally:
        workers.close()


def _compare(point: OpenPoint, content: Content, fd: int, entry: Entry, outcome: Outcome, progress: Progress) -> None:
    progress.start("comparing", bytes_total=content.size)
    hands = Hands(Directories(-1), outcome, Wishes(), lambda _: b"", Names(b""), unreadable_later=False)

    def counted() -> Iterator[Run]:
        for run in _runs(point, content):
            yield run
            progress.advance(data=run.offset + run.length - progress.bytes_done)

    outcome.count(compared=Comparer(hands, point.blocks.id_key).content(fd, entry, content.scheme, counted()))


def _runs(point: OpenPoint, content: Content) -> Iterator[Run]:
    return iterate_runs(point.blocks.fetch, content, BlockKind.DEVICE_MAP)


def make_hole(fd: int, start: int, end: int) -> None:
    """Make a range read as zeros, deallocating it where the device can."""
    if end <= start or _punch(fd, start, end):
        return
    while start < end:
        length = min(end - start, len(_ZEROS))
        if os.pread(fd, length, start) != _ZEROS[:length]:
            write_at(fd, memoryview(_ZEROS)[:length], start)
        start += length


def _punch(fd: int, start: int, end: int) -> bool:
    """Deallocate a range; False where the device does not know how, or the range is not aligned to its sectors."""
    if not _libc.fallocate(fd, _PUNCH, ctypes.c_long(start), ctypes.c_long(end - start)):
        return True
    code = ctypes.get_errno()
    if code in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV}:
        return False
    raise OSError(code, os.strerror(code))


def write_at(fd: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count


def _check_blank(point: OpenPoint, content: Content, fd: int, path: str) -> None:
    """Refuse a device that holds other data: each unit of its first MiB must be zeros, or this recovery point's."""
    expected: dict[tuple[int, int], bytes] = {}
    for run in _runs(point, content):
        if run.offset >= _HEAD:
            break
        expected.update({(offset, length): unit for offset, length, unit in unit_spans(run, content.scheme)})
    head = os.pread(fd, _HEAD, 0)
    for (offset, length), unit in expected.items():
        part = head[offset : offset + length]
        if len(part) == length and block_id(point.blocks.id_key, BlockKind.DATA, part) == unit:
            head = head[:offset] + bytes(length) + head[offset + length :]
    if head.strip(b"\0"):
        message = f"target {path} holds other data; to lose it, wipe the device first (blkdiscard, or dd if=/dev/zero): nothing was written"
        raise Invalid(message, reason="TargetNotEmpty")


@contextmanager
def _open(path: str) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Invalid(
            f"target {path} does not exist; the recovery point is of a block device and needs one", reason="TargetNotFound"
        ) from error
    except IsADirectoryError as error:
        raise Invalid(
            f"target {path} is a directory; the recovery point is of a block device and needs one", reason="TargetNotDevice"
        ) from error
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise Invalid(f"target {path} is in use: unmount it first", reason="TargetInUse") from error
        raise
    try:
        if not stat.S_ISBLK(os.fstat(fd).st_mode):
            raise Invalid(f"target {path} is no block device; the recovery point is of one", reason="TargetNotDevice")
        yield fd
    finally:
        os.close(fd)
