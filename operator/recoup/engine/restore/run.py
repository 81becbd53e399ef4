"""The entrance of a restore: files or a device, and what the target's file system says, in our words."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from recoup.engine.allocator import tune_allocator, without_collector
from recoup.engine.points import OpenPoint
from recoup.engine.records.manifest import SourceKind
from recoup.engine.restore.device import restore_device
from recoup.engine.restore.forecast import Forecast, foresee_device, foresee_tree
from recoup.engine.restore.orders import Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.tree import restore_tree
from recoup.errors import Denied, Invalid, Retryable
from recoup.report import Progress


def restore(point: OpenPoint, target: str, orders: Orders, outcome: Outcome, progress: Progress) -> None:
    """Restore `point` as `orders` say to the directory, block device or image file `target` and compare it, filling in `outcome`.

    Returning means that everything is there and was read back. Raises Invalid, Denied, Retryable, Integrity.
    """
    tune_allocator()
    try:
        with disk_errors(target), without_collector():
            if point.manifest.kind is SourceKind.DEVICE:
                restore_device(point, target, orders, outcome, progress)
            else:
                restore_tree(point, target, orders, outcome, progress)
    finally:
        outcome.bytes_fetched = point.objects.fetched
        progress.end()


def foresee(point: OpenPoint, target: str, orders: Orders, progress: Progress) -> Forecast:
    """What `restore` would do with the same arguments; nothing is changed. Raises as it does."""
    try:
        with disk_errors(target), without_collector():
            if point.manifest.kind is SourceKind.DEVICE:
                return foresee_device(point, target, orders, progress)
            return foresee_tree(point, target, orders, progress)
    finally:
        progress.end()


@contextmanager
def disk_errors(path: str) -> Iterator[None]:
    """Raise Invalid, Denied or Retryable for the OSError of a target."""
    try:
        yield
    except OSError as error:
        where = f"target {path}: {os.fsdecode(error.filename) + ': ' if error.filename else ''}{error.strerror}"
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Invalid(f"{where}; take a larger target", reason="TargetTooSmall") from error
        if error.errno == errno.EFBIG:
            raise Invalid(f"{where}: its file system cannot hold files of this size", reason="TargetTooSmall") from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise Denied(f"{where}; restore as root, or into a directory that you may write to") from error
        if error.errno in {errno.EIO, errno.ESTALE, errno.ENXIO}:
            raise Retryable(where, reason="TargetFailed") from error
        raise Invalid(f"{where}; its file system cannot hold what the recovery point has", reason="TargetUnsuitable") from error
